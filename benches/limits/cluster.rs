//! A PostgreSQL that waits for the disk: the one that is named, or a private cluster for the time of the run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clawhand::config::Environment;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, Row as _};
use tempfile::TempDir;

/// How long a server may take to answer.
const START: Duration = Duration::from_secs(20);

/// Where databases can be made.
pub struct Cluster {
    url: String,
    server: Option<Server>,
}

/// A server of ours; ended and removed with this value.
struct Server {
    child: Child,
    _folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        }
        let _ = self.child.wait();
    }
}

impl Cluster {
    /// The one of CLAWHAND_TEST_POSTGRES, else a private one; none where there is no server to start. Call it on the
    /// main thread: the server is told to stop when the thread that started it ends.
    pub fn open(environment: &Environment) -> anyhow::Result<Option<Self>> {
        if let Some(url) = environment.get("CLAWHAND_TEST_POSTGRES") {
            return Ok(Some(Self {
                url: url.to_owned(),
                server: None,
            }));
        }
        match programs() {
            Some(folder) => Self::start(&folder).map(Some).context("PostgreSQL does not start"),
            None => {
                println!("left out: PostgreSQL, because neither CLAWHAND_TEST_POSTGRES nor a server is there");
                Ok(None)
            }
        }
    }

    fn start(programs: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("clawhand-limits-").tempdir()?;
        let mut prefix = vec!["setpriv".to_owned(), "--pdeathsig".into(), "INT".into()];
        if geteuid().is_root() {
            let user = User::from_name("postgres")?.context("there is no user postgres")?;
            std::os::unix::fs::chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            prefix.extend(["--reuid=postgres", "--regid=postgres", "--init-groups"].map(str::to_owned));
        }
        let command = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(&prefix[0]);
            command.args(&prefix[1..]).arg(programs.join(program)).args(arguments);
            command.current_dir(folder.path()).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let made = command(
            "initdb",
            &[
                "-D",
                "data",
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
            ],
        )
        .status()
        .context("setpriv and initdb")?;
        ensure!(made.success(), "initdb failed");
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port()
            .to_string();
        // Its defaults are durable: fsync and synchronous_commit are on.
        let arguments = [
            "-D",
            "data",
            "-k",
            ".",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-c",
            "max_connections=100",
        ];
        let child = command("postgres", &arguments).spawn()?;
        let mut server = Server { child, _folder: folder };
        let began = Instant::now();
        while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
            ensure!(server.child.try_wait()?.is_none(), "the server ended");
            ensure!(began.elapsed() < START, "the server takes too long");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self {
            url: format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            server: Some(server),
        })
    }

    /// A new database of this cluster; its address.
    pub async fn database(&self, name: &str) -> anyhow::Result<String> {
        let options: PgConnectOptions = self.url.parse()?;
        let began = Instant::now();
        // It listens before it is ready.
        let mut connection = loop {
            match options.connect().await {
                Ok(connection) => break connection,
                Err(error) if began.elapsed() > START => bail!(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        let name = format!("limits_{name}_{}", std::process::id());
        connection
            .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await?;
        Ok(options.database(&name).to_url_lossy().to_string())
    }

    /// Drops what [`Cluster::database`] made. A private cluster goes as a whole.
    pub async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        if self.server.is_none() {
            let mut connection = self.url.parse::<PgConnectOptions>()?.connect().await?;
            let name = format!("limits_{name}_{}", std::process::id());
            let statement = format!("DROP DATABASE {name} WITH (FORCE)");
            connection.execute(AssertSqlSafe(statement)).await?;
        }
        Ok(())
    }

    /// Whether its commits wait for the disk, in its own words.
    pub async fn durability(&self) -> anyhow::Result<String> {
        let mut connection = self.url.parse::<PgConnectOptions>()?.connect().await?;
        let mut words = Vec::new();
        for name in ["server_version", "fsync", "synchronous_commit"] {
            let row = connection.fetch_one(AssertSqlSafe(format!("SHOW {name}"))).await?;
            words.push(format!("{name} {}", row.try_get::<String, _>(0)?));
        }
        Ok(words.join(", "))
    }
}

/// The folder of the newest server on this machine.
fn programs() -> Option<PathBuf> {
    let entries = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let versions = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut versions: Vec<u32> = versions.filter(|version| *version >= 15).collect();
    versions.sort_unstable();
    let folders = versions.iter().rev();
    folders
        .map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")))
        .find(|folder| folder.join("postgres").is_file())
}
