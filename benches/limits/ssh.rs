//! The ssh executor beside a command on a connection that is open already. The host is this machine, by an sshd of the
//! bench's own; the user is one that tests/run.sh makes, with dash and nothing that a login would run.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clawhand::config::Environment;
use clawhand::domain::target::SshBlock;
use clawhand::executors::ssh::SshPool;
use clawhand::executors::{Executor, ExecutorSettings, SshExecutor};
use clawhand::gateway::Gateways;
use openssh::Session;
use tempfile::TempDir;

use crate::step::Part;
use crate::table::Goal;
use crate::{site, step};

const SSHD: &str = "/usr/sbin/sshd";
/// One of those that tests/run/ssh.sh makes.
const USER: &str = "cwt-dash";
const ROUNDS: usize = 7;
/// At once, and how many in a round.
const CLIENTS: [(usize, usize); 2] = [(1, 12), (8, 32)];
/// What an attempt may cost over the command, in milliseconds.
const GOAL: Goal = Goal::AtMost(5.0, " ms more");

/// Measures start to end of `true`: on an open ControlMaster, as an attempt, and as an execution with all around it.
pub async fn measure(environment: &Environment) -> anyhow::Result<()> {
    if environment.get("CLAWHAND_TEST_SSH").is_none() {
        println!("left out: ssh, because CLAWHAND_TEST_SSH is not set; see tests/run.sh bench");
        return Ok(());
    }
    let host = Host::start()?;
    let executor: Arc<dyn Executor> = Arc::new(host.executor()?);
    let session = Arc::new(host.session().await?);
    let of_part = Part {
        title: "ssh executor: one step, `true`",
        rounds: ROUNDS,
        clients: &CLIENTS,
        goal: GOAL,
    };
    step::compare(&of_part, &executor, move || command(session.clone())).await
}

/// The floor: a command on a connection that is open already.
async fn command(session: Arc<Session>) -> anyhow::Result<()> {
    ensure!(session.command("true").status().await?.success(), "true said no");
    Ok(())
}

/// An sshd that lets the user in by a key that is thrown away.
struct Host {
    folder: TempDir,
    server: Child,
    port: u16,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Host {
    fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("clawhand-limits-").tempdir()?;
        let runs = folder.path().join("runs");
        std::fs::create_dir(&runs)?;
        // The user makes folders below it, and sshd reads the key as that user.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
        std::fs::set_permissions(&runs, Permissions::from_mode(0o1777))?;
        for name in ["host_key", "key"] {
            let mut make = Command::new("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.path().join(name));
            ensure!(make.status()?.success(), "ssh-keygen makes no key");
        }
        std::fs::set_permissions(folder.path().join("key.pub"), Permissions::from_mode(0o644))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let at = folder.path().display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/key.pub\n\
             PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxSessions 100\n"
        );
        std::fs::write(folder.path().join("sshd_config"), config)?;
        let host_key = std::fs::read_to_string(folder.path().join("host_key.pub"))?;
        let known = format!("[127.0.0.1]:{port} {host_key}");
        std::fs::write(folder.path().join("known_hosts"), known)?;
        let mut server = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(folder.path().join("sshd_config"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let said = server.stderr.take().context("stderr is piped")?;
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        ensure!(
            lines.any(|line| line.contains("Server listening")),
            "sshd does not listen"
        );
        // Nobody reads what it says later, and it must not wait for that.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { folder, server, port })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn executor(&self) -> anyhow::Result<SshExecutor> {
        let scratch = self.at("scratch");
        std::fs::create_dir(&scratch)?;
        let settings = ExecutorSettings {
            local: site::local_settings(self.folder.path()),
            scratch,
            secrets: Arc::new(|_| Err("there are no secrets".to_owned())),
            gateways: Gateways::default(),
        };
        let text = |name: &str| self.at(name).display().to_string();
        let block = SshBlock {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: USER.to_owned(),
            identity_file: Some(text("key")),
            certificate_file: None,
            agent: None,
            known_hosts: text("known_hosts"),
            jump: Vec::new(),
            config: None,
            root: text("runs/root"),
            path: SshBlock::PATH.to_owned(),
            names: Vec::new(),
        };
        Ok(SshExecutor::new(&settings, &SshPool::default(), &block))
    }

    /// A master connection of the bench's own.
    async fn session(&self) -> anyhow::Result<Session> {
        let folder = tempfile::Builder::new().prefix("clawhand-limits-").tempdir()?;
        let known = format!("UserKnownHostsFile={}", self.at("known_hosts").display());
        let mut ssh = tokio::process::Command::new("ssh");
        ssh.args([
            "-F",
            "none",
            "-M",
            "-f",
            "-N",
            "-o",
            "ControlPersist=600",
            "-o",
            &known,
            "-S",
        ])
        .arg(folder.path().join("master"));
        ssh.arg("-i").arg(self.at("key"));
        ssh.args(["-p", &self.port.to_string(), "-l", USER, "--", "127.0.0.1"]);
        ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ensure!(ssh.status().await?.success(), "ssh does not connect");
        Ok(Session::new_native_mux(folder))
    }
}
