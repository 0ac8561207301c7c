//! Making one connection to a host: a master process of `ssh` with a configuration of its own, and nothing inherited
//! from anybody's `~/.ssh`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use openssh::Session;
use tokio::process::Command;

use crate::domain::target::SshBlock;
use crate::executors::contract::{ExecutorError, Trouble};

/// For one connection, from the first packet to the login.
const CONNECT_SECONDS: u32 = 10;
/// For all of it, jump hosts included.
const CONNECT_MAX: Duration = Duration::from_secs(40);
/// A connection on which nothing comes back for three times this long is given up.
const ALIVE_SECONDS: u32 = 5;
/// A master ends by itself when nobody has used it for so long: also that of a clawhand that was killed.
const IDLE_SECONDS: u32 = 120;
/// The most of ssh's own words that goes into an error.
const SAID_MAX: usize = 600;

/// Why a connection could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::executors) enum Cause {
    Unreachable,
    NoSuchHost,
    UnknownHostKey,
    ChangedHostKey,
    Denied,
    /// Something on clawhand's own machine.
    Here,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::executors) struct ConnectError {
    pub cause: Cause,
    pub what: String,
}

impl ConnectError {
    pub(super) fn here(what: impl Into<String>) -> Self {
        Self {
            cause: Cause::Here,
            what: what.into(),
        }
    }

    /// For work that may have begun: what can be put right is waited for. Of a host key that is wrong nothing good is
    /// to be expected.
    pub(in crate::executors) fn into_later_error(self) -> ExecutorError {
        match self.cause {
            Cause::UnknownHostKey | Cause::ChangedHostKey => ExecutorError::Refused(self.what),
            _ => ExecutorError::Unreachable(self.what),
        }
    }

    /// For work that has not begun: a host that can't be reached now is waited for; a key that is wrong stays wrong.
    pub(super) fn into_executor_error(self) -> ExecutorError {
        match self.cause {
            Cause::Unreachable | Cause::NoSuchHost => ExecutorError::Unreachable(self.what),
            Cause::UnknownHostKey | Cause::ChangedHostKey | Cause::Denied | Cause::Here => {
                ExecutorError::Refused(self.what)
            }
        }
    }

    /// For the operator.
    pub(in crate::executors) fn into_trouble(self, block: &SshBlock) -> Trouble {
        let hint = match self.cause {
            Cause::Unreachable => {
                "see that the host is up, that its sshd listens on that port, and that no firewall is \
                                   between"
                    .to_owned()
            }
            Cause::NoSuchHost => "correct host (or jump) in the target's file, or the name service".to_owned(),
            Cause::UnknownHostKey => format!(
                "ask who runs the host for its key, compare it with what `ssh-keyscan -p {} {}` shows, and add it to {}",
                block.port, block.host, block.known_hosts
            ),
            Cause::ChangedHostKey => format!(
                "the host answers with another key than {} has: somebody may be in between. If the host was made anew, \
                 have its new key confirmed and replace the line",
                block.known_hosts
            ),
            Cause::Denied => format!(
                "see that the public key stands in ~/.ssh/authorized_keys of {}, that the account may log in, and that \
                 clawhand can read the private key",
                block.user
            ),
            Cause::Here => "correct this on clawhand's own machine".to_owned(),
        };
        Trouble::new(self.what, hint)
    }
}

/// Connects and logs in.
pub(super) async fn connect(block: &SshBlock) -> Result<Session, ConnectError> {
    check_files(block)?;
    let folder = tempfile::Builder::new()
        .prefix("clawhand-ssh-")
        .tempdir()
        .map_err(|error| ConnectError::here(format!("make a folder for the connection: {error}")))?;
    let (config, log) = (folder.path().join("config"), folder.path().join("log"));
    std::fs::write(&config, configuration(block))
        .map_err(|error| ConnectError::here(format!("write the configuration of ssh: {error}")))?;
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(&config).arg("-E").arg(&log);
    ssh.arg("-S").arg(folder.path().join("master"));
    ssh.args(["-M", "-f", "-N", "-o"])
        .arg(format!("ControlPersist={IDLE_SECONDS}"));
    // `--`, so that a host is a host whatever its name.
    ssh.arg("--").arg(&block.host).env("LC_ALL", "C");
    ssh.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let status = match tokio::time::timeout(CONNECT_MAX, ssh.status()).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ConnectError::here("ssh is not installed here"));
        }
        Ok(Err(error)) => return Err(ConnectError::here(format!("start ssh: {error}"))),
        Err(_) => {
            return Err(ConnectError {
                cause: Cause::Unreachable,
                what: format!("{} did not let anybody in for {} s", block.host, CONNECT_MAX.as_secs()),
            });
        }
    };
    if status.success() {
        return Ok(Session::new_native_mux(folder));
    }
    let said = if block.jump.is_empty() {
        std::fs::read(log).unwrap_or_default()
    } else {
        said_by_jumps(block, &config).await
    };
    Err(understood(block, &String::from_utf8_lossy(&said)))
}

/// What the ssh to a jump host has to say, which a master keeps to itself: asked once more without one.
async fn said_by_jumps(block: &SshBlock, config: &Path) -> Vec<u8> {
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(config).arg("--").arg(&block.host).arg("true");
    ssh.env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    let asked = tokio::time::timeout(CONNECT_MAX, ssh.output()).await;
    asked
        .ok()
        .and_then(Result::ok)
        .map(|output| output.stderr)
        .unwrap_or_default()
}

fn check_files(block: &SshBlock) -> Result<(), ConnectError> {
    let files = [
        &block.identity_file,
        &block.certificate_file,
        &block.agent,
        &block.config,
    ];
    let needed = files.into_iter().flatten().chain([&block.known_hosts]);
    for file in needed {
        if let Err(error) = std::fs::metadata(Path::new(file)) {
            return Err(ConnectError::here(format!("{file} can't be used: {error}")));
        }
    }
    Ok(())
}

/// What ssh said, as one of the causes that an operator can do something about.
fn understood(block: &SshBlock, said: &str) -> ConnectError {
    let text = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let cause = if has(&["identification has changed", "revoked host key"]) {
        Cause::ChangedHostKey
    } else if has(&["host key verification failed", "host key is known for"]) {
        Cause::UnknownHostKey
    } else if has(&["could not resolve", "name or service not known"]) {
        Cause::NoSuchHost
    } else if has(&[
        "permission denied",
        "too many authentication failures",
        "no supported authentication",
    ]) {
        Cause::Denied
    } else if has(&["bad configuration", "no such identity", "bad owner or permissions"]) {
        Cause::Here
    } else {
        Cause::Unreachable
    };
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    // The end tells what it came to.
    let skipped = words.chars().count().saturating_sub(SAID_MAX);
    let words: String = words.chars().skip(skipped).collect();
    ConnectError {
        cause,
        what: format!("ssh to {}: {words}", block.host),
    }
}

fn configuration(block: &SshBlock) -> String {
    let mut text = String::new();
    let names: Vec<String> = (1..=block.jump.len()).map(|n| format!("clawhand-jump-{n}")).collect();
    for (name, jump) in names.iter().zip(&block.jump) {
        let _ = writeln!(
            text,
            "Host {name}\nHostName {}\nPort {}\nUser {}",
            jump.host, jump.port, jump.user
        );
    }
    let _ = writeln!(text, "Host {}\nPort {}\nUser {}", block.host, block.port, block.user);
    if !names.is_empty() {
        let _ = writeln!(text, "ProxyJump {}", names.join(","));
    }
    text.push_str("Host *\n");
    let file = |text: &mut String, key: &str, value: &Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "{key} \"{value}\"");
        }
    };
    file(&mut text, "IdentityFile", &block.identity_file);
    file(&mut text, "CertificateFile", &block.certificate_file);
    match (&block.agent, &block.config) {
        (Some(agent), _) => {
            let _ = writeln!(text, "IdentityAgent \"{agent}\"");
        }
        (None, None) => text.push_str("IdentityAgent none\nIdentitiesOnly yes\n"),
        (None, Some(_)) => {}
    }
    if block.identity_file.is_some() {
        text.push_str("IdentitiesOnly yes\n");
    }
    let _ = writeln!(
        text,
        "UserKnownHostsFile \"{}\"\nGlobalKnownHostsFile none",
        block.known_hosts
    );
    let _ = writeln!(
        text,
        "ConnectTimeout {CONNECT_SECONDS}\nServerAliveInterval {ALIVE_SECONDS}"
    );
    text.push_str(
        "StrictHostKeyChecking yes\nUpdateHostKeys no\nVerifyHostKeyDNS no\nCheckHostIP no\nServerAliveCountMax 3\n\
         BatchMode yes\nPreferredAuthentications publickey\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         ForwardAgent no\nForwardX11 no\nPermitLocalCommand no\nClearAllForwardings yes\nRequestTTY no\nLogLevel ERROR\n",
    );
    file(&mut text, "Include", &block.config);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_is_told_apart() {
        let block = SshBlock {
            host: "h".into(),
            port: 22,
            user: "u".into(),
            identity_file: Some("/k".into()),
            certificate_file: None,
            agent: None,
            known_hosts: "/kh".into(),
            jump: Vec::new(),
            config: None,
            root: "/r".into(),
            path: "/bin".into(),
            names: Vec::new(),
        };
        for (said, cause) in [
            ("ssh: connect to host h port 22: Connection refused", Cause::Unreachable),
            (
                "ssh: connect to host h port 22: Connection timed out",
                Cause::Unreachable,
            ),
            (
                "ssh: Could not resolve hostname h: Name or service not known",
                Cause::NoSuchHost,
            ),
            (
                "No ED25519 host key is known for h and you have requested strict checking.\nHost key verification failed.",
                Cause::UnknownHostKey,
            ),
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                Cause::ChangedHostKey,
            ),
            ("u@h: Permission denied (publickey).", Cause::Denied),
            ("/c: line 1: Bad configuration option: x", Cause::Here),
            ("", Cause::Unreachable),
        ] {
            assert_eq!(understood(&block, said).cause, cause, "{said}");
        }
    }
}
