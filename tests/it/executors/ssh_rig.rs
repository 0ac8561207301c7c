//! A real sshd on loopback, with keys that are thrown away, and a way to it that can be cut.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use clawhand::domain::target::{JumpHost, SshBlock};
use clawhand::executors::ssh::SshPool;
use clawhand::executors::{ExecutorSettings, SshExecutor};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::rig::settings;

/// Where a way to the host may begin, and nothing else that the tests speak to.
pub const OTHER_ADDRESS: &str = "127.0.0.2";

/// The login shells that there are users for.
pub const SHELLS: [&str; 3] = ["dash", "bash", "busybox"];

/// What tests/run/ssh.sh made, or nothing, which is said.
pub fn prepared() -> Option<PathBuf> {
    let folder = std::env::var_os("CLAWHAND_TEST_SSH").map(PathBuf::from);
    if folder.is_none() {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "CLAWHAND_TEST_SSH is not set"
        );
        eprintln!("left out: ssh, because nobody made users for it; tests/run.sh does");
    }
    folder
}

/// An sshd of a test's own.
pub struct Sshd {
    pub folder: tempfile::TempDir,
    pub port: u16,
    prepared: PathBuf,
    server: Child,
}

impl Sshd {
    pub fn start() -> Option<Self> {
        Self::start_as(None)
    }

    /// On a host that gives itself this name: the server and what it starts see another one than everybody else.
    pub fn start_as(name: Option<&str>) -> Option<Self> {
        let prepared = prepared()?;
        let folder = tempfile::tempdir().expect("makes a folder");
        // Users of the host make their folders below it.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).expect("sets the mode");
        let runs = folder.path().join("runs");
        std::fs::create_dir(&runs).expect("makes");
        std::fs::set_permissions(&runs, std::fs::Permissions::from_mode(0o1777)).expect("sets the mode");
        std::fs::create_dir(folder.path().join("scratch")).expect("makes");
        for name in ["host_key", "key", "other_key", "ca_key"] {
            make_key(&folder.path().join(name));
        }
        let (server, port) = serve(folder.path(), name);
        let sshd = Self {
            folder,
            port,
            prepared,
            server,
        };
        sshd.know(&[sshd.port]);
        Some(sshd)
    }

    /// Writes the known hosts: this host on these ports.
    pub fn know(&self, ports: &[u16]) {
        let key = std::fs::read_to_string(self.folder.path().join("host_key.pub")).expect("reads");
        let line = |port: &u16| format!("[127.0.0.1]:{port} {key}[{OTHER_ADDRESS}]:{port} {key}");
        let lines: String = ports.iter().map(line).collect();
        std::fs::write(self.folder.path().join("known_hosts"), lines).expect("writes");
    }

    /// Gives the host another key: the old server goes, a new one comes on another port.
    pub fn change_key(&mut self) {
        self.stop();
        std::fs::remove_file(self.folder.path().join("host_key")).expect("removes");
        make_key(&self.folder.path().join("host_key"));
        (self.server, self.port) = serve(self.folder.path(), None);
    }

    fn stop(&mut self) {
        let _ = kill(Pid::from_raw(self.server.id().cast_signed()), Signal::SIGTERM);
        let _ = self.server.wait();
    }

    pub fn block(&self, shell: &str) -> SshBlock {
        let at = |name: &str| self.folder.path().join(name).to_str().expect("is text").to_owned();
        let mut path = SshBlock::PATH.to_owned();
        if shell != "dash" {
            // Where `sh` is that shell, and for busybox every tool is its own.
            path = format!("{}:{path}", self.prepared.join(shell).display());
        }
        SshBlock {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: format!("cwt-{shell}"),
            identity_file: Some(at("key")),
            certificate_file: None,
            agent: None,
            known_hosts: at("known_hosts"),
            jump: Vec::new(),
            config: None,
            root: at(&format!("runs/{shell}")),
            path,
            names: Vec::new(),
        }
    }

    pub fn jump(&self, shell: &str) -> JumpHost {
        JumpHost {
            user: format!("cwt-{shell}"),
            host: "127.0.0.1".to_owned(),
            port: self.port,
        }
    }

    pub fn settings(&self) -> ExecutorSettings {
        ExecutorSettings {
            local: settings(self.folder.path()),
            scratch: self.folder.path().join("scratch"),
            secrets: Arc::new(|_| Err("there are no secrets".to_owned())),
            gateways: clawhand::gateway::Gateways::default(),
        }
    }

    /// An executor with connections of its own.
    pub fn executor(&self, block: &SshBlock) -> SshExecutor {
        SshExecutor::new(&self.settings(), &SshPool::default(), block)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(path)
        .status();
    assert!(made.expect("runs ssh-keygen").success());
}

fn serve(folder: &Path, name: Option<&str>) -> (Child, u16) {
    let free = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = free.local_addr().expect("has one").port();
    drop(free);
    let at = folder.display();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/key.pub\nTrustedUserCAKeys {at}/ca_key.pub\nPidFile none\n\
         UsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n\
         AllowTcpForwarding yes\n"
    );
    std::fs::write(folder.join("sshd_config"), config).expect("writes");
    std::fs::set_permissions(folder.join("key.pub"), std::fs::Permissions::from_mode(0o644)).expect("sets the mode");
    let mut server = Command::new("/usr/bin/unshare");
    if let Some(name) = name {
        // Each of the three executes the next, so the process stays the same.
        server.args(["--uts", "/bin/sh", "-c", "hostname \"$0\" && exec \"$@\"", name]);
    } else {
        server = Command::new("/usr/bin/env");
    }
    let mut server = server
        .args(["/usr/sbin/sshd", "-D", "-e", "-f"])
        .arg(folder.join("sshd_config"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts sshd");
    let mut lines = BufReader::new(server.stderr.take().expect("is piped")).lines();
    let listening = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.contains("Server listening"));
    assert!(listening, "sshd does not listen");
    // What it says later nobody reads, and it must not wait for that.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    (server, port)
}
