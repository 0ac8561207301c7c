//! What goes wrong when a daemon is asked for something: sorted for the engine, and explained for the operator.

use bollard::errors::Error;

use crate::domain::target::DockerBlock;
use crate::executors::contract::{ExecutorError, Trouble};
use crate::executors::ssh::{Cause, ConnectError};

/// The kinds of faults that somebody goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The daemon doesn't answer, or not now.
    Unreachable,
    /// There is no socket where it should be.
    NoSocket,
    /// The socket is there and may not be used.
    Forbidden,
    /// The two sides don't trust each other, or only one of them speaks TLS.
    Tls,
    /// The host of the daemon doesn't let clawhand in.
    Ssh(Cause),
    /// It does, and doesn't let it through to the daemon's socket.
    NoWay,
    /// The image isn't there and can't be had.
    NoImage,
    /// The image has no shell, or lacks another thing that every step needs.
    NoShell,
    /// What was named isn't there.
    NotFound,
    /// It is there already, or in use.
    Conflict,
    /// No space is left.
    Full,
    /// An input that can't be laid.
    Unsafe,
    /// It won't do it, now or later.
    Refused,
}

impl Kind {
    /// Whether another connection may do better.
    pub(super) const fn is_about_the_way(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::NoSocket | Self::Forbidden | Self::Tls | Self::Ssh(_) | Self::NoWay
        )
    }
}

/// A fault, in words for the operator's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub kind: Kind,
    pub text: String,
}

impl Fault {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self::new(Kind::Refused, text)
    }

    /// What the client says, while `what` was tried: "failed to WHAT: ...".
    pub(super) fn of(what: &str, error: &Error) -> Self {
        let words = words_of(error);
        Self::new(kind_of(error, &words), format!("failed to {what}: {words}"))
    }

    /// For the operator, with what can be done about it.
    pub(super) fn into_trouble(self, block: &DockerBlock) -> Trouble {
        let (endpoint, image) = (&block.endpoint, &block.image);
        let hint = match self.kind {
            Kind::Ssh(cause) => match &block.ssh {
                Some(ssh) => return ConnectError { cause, what: self.text }.into_trouble(&ssh.host),
                None => "correct executor.ssh".to_owned(),
            },
            Kind::NoWay => {
                "see that the daemon runs on that host with the socket that executor.endpoint names, that the user may \
                          use the socket, for example by the group that owns it, and that sshd allows forwarding to \
                          sockets (AllowStreamLocalForwarding; a key with restrict needs port-forwarding)"
                    .to_owned()
            }
            Kind::Unreachable if block.tls.is_some() => format!(
                "see that a daemon runs and can be reached from here at {endpoint}, and that it accepts the \
                 certificate of executor.tls"
            ),
            Kind::Tls if block.tls.is_none() => {
                "the daemon speaks TLS: add [executor.tls] with ca, cert and key".to_owned()
            }
            Kind::Unreachable => format!("see that a daemon runs and can be reached from here at {endpoint}"),
            Kind::NoSocket => {
                format!("start the daemon, or correct executor.endpoint: there is no socket at {endpoint}")
            }
            Kind::Forbidden => {
                "let the user that clawhand runs as use the socket, for example by the group that owns it; \
                                 whoever can use it is as good as root there"
                    .to_owned()
            }
            Kind::Tls => {
                "see that executor.tls names the authority that signed the daemon's certificate, and a certificate \
                          and key that the daemon accepts"
                    .to_owned()
            }
            Kind::NoImage => format!(
                "load or pull the image {image} there, or correct executor.image; with pull = \"missing\" it is fetched"
            ),
            Kind::NoShell => {
                "steps need an image with sh, env, setsid, mkfifo, dd, tail, grep, sleep and cat: any with \
                              coreutils and util-linux, or with busybox"
                    .to_owned()
            }
            Kind::Full => "make room on the disk of the daemon".to_owned(),
            Kind::NotFound | Kind::Conflict | Kind::Unsafe | Kind::Refused => {
                "correct the target's file or the daemon's configuration".to_owned()
            }
        };
        Trouble::new(self.text, hint)
    }
}

impl From<ExecutorError> for Fault {
    fn from(error: ExecutorError) -> Self {
        match error {
            ExecutorError::Refused(text) => Self::refused(text),
            ExecutorError::Unreachable(text) => Self::new(Kind::Unreachable, text),
            ExecutorError::StorageFull(text) => Self::new(Kind::Full, text),
            ExecutorError::UnsafeArchive(text) => Self::new(Kind::Unsafe, text),
        }
    }
}

impl From<Fault> for ExecutorError {
    fn from(fault: Fault) -> Self {
        match fault.kind {
            Kind::Ssh(cause) => ConnectError {
                cause,
                what: fault.text,
            }
            .into_later_error(),
            // All of these may be over in a moment: a daemon that is being updated takes its socket along.
            Kind::Unreachable | Kind::NoSocket | Kind::Forbidden | Kind::Tls | Kind::NoWay => {
                Self::Unreachable(fault.text)
            }
            Kind::Full => Self::StorageFull(fault.text),
            Kind::Unsafe => Self::UnsafeArchive(fault.text),
            Kind::NoImage | Kind::NoShell | Kind::NotFound | Kind::Conflict | Kind::Refused => {
                Self::Refused(fault.text)
            }
        }
    }
}

/// The error with everything that is behind it.
fn words_of(error: &Error) -> String {
    if let Error::DockerResponseServerError { message, .. } = error {
        return message.trim().to_owned();
    }
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        source = cause.source();
    }
    words
}

fn kind_of(error: &Error, words: &str) -> Kind {
    let says = |text: &str| words.to_ascii_lowercase().contains(text);
    if says("no space left on device") || says("disk quota exceeded") {
        return Kind::Full;
    }
    match error {
        Error::SocketNotFoundError(_) => Kind::NoSocket,
        Error::DockerResponseServerError { status_code, .. } => match status_code {
            404 if says("no such image") => Kind::NoImage,
            400 if says("http request to an https server") => Kind::Tls,
            400..=599 if says("executable file not found") || says("no such file or directory: unknown") => {
                Kind::NoShell
            }
            404 => Kind::NotFound,
            409 => Kind::Conflict,
            // As podman has it.
            500 if says("is already in use") || says("container state improper") => Kind::Conflict,
            400..=499 => Kind::Refused,
            500 if says("oci runtime") || says("invalid") || says("not supported") => Kind::Refused,
            _ => Kind::Unreachable,
        },
        _ if says("permission denied") => Kind::Forbidden,
        _ if [
            "certificate",
            "tls",
            "handshake",
            "fatal alert",
            "corrupt message",
            "invalid http",
        ]
        .into_iter()
        .any(says) =>
        {
            Kind::Tls
        }
        _ => Kind::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_daemon_says_is_sorted() {
        let said = |status_code, message: &str| Error::DockerResponseServerError {
            status_code,
            message: message.to_owned(),
        };
        for (error, kind) in [
            (said(404, "No such image: x:1"), Kind::NoImage),
            (said(404, "No such container: x"), Kind::NotFound),
            (
                said(409, "Conflict. The container name is already in use"),
                Kind::Conflict,
            ),
            (
                said(
                    400,
                    "exec: \"/bin/sh\": stat /bin/sh: no such file or directory: unknown",
                ),
                Kind::NoShell,
            ),
            (
                said(
                    500,
                    "creating container storage: the container name \"x\" is already in use by 00ff",
                ),
                Kind::Conflict,
            ),
            (said(400, "Client sent an HTTP request to an HTTPS server."), Kind::Tls),
            (said(500, "write /x: no space left on device"), Kind::Full),
            (said(500, "context deadline exceeded"), Kind::Unreachable),
            (said(503, ""), Kind::Unreachable),
            (Error::RequestTimeoutError, Kind::Unreachable),
            (Error::SocketNotFoundError("/x".to_owned()), Kind::NoSocket),
            (
                Error::from(std::io::Error::from(std::io::ErrorKind::PermissionDenied)),
                Kind::Forbidden,
            ),
        ] {
            let fault = Fault::of("ask", &error);
            assert_eq!(fault.kind, kind, "{error:?}");
            assert!(fault.text.starts_with("failed to ask: "), "{}", fault.text);
        }
    }
}
