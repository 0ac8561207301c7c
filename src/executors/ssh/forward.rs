//! A socket of a host, used here as if it were one of this machine's.

use std::path::{Path, PathBuf};

use openssh::{ForwardType, Session, Socket};

use super::connect::{ConnectError, connect};
use crate::domain::target::SshBlock;

/// A connection to a host that passes on to a socket there. With it goes the socket here.
#[derive(Debug)]
pub(in crate::executors) struct Forward {
    session: Session,
    socket: PathBuf,
}

impl Forward {
    /// Connects, and opens the way to `socket` of the host. Whether anybody listens there only a connection tells.
    pub(in crate::executors) async fn open(block: &SshBlock, socket: &str) -> Result<Self, ConnectError> {
        let session = connect(block).await?;
        // In the folder of the connection, where nobody else may look.
        let here = session.control_socket().with_file_name("forward");
        let ends = (Socket::from(here.as_path()), Socket::from(Path::new(socket)));
        let opened = session.request_port_forward(ForwardType::Local, ends.0, ends.1).await;
        opened.map_err(|error| ConnectError::here(format!("no way to {socket} of {}: {error}", block.host)))?;
        Ok(Self { session, socket: here })
    }

    /// What stands for the host's socket here.
    pub(in crate::executors) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether the connection is still there.
    pub(in crate::executors) async fn is_up(&self) -> bool {
        self.session.check().await.is_ok()
    }
}
