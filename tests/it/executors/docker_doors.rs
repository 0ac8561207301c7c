//! A Docker daemon behind TCP with TLS: a door of the test's own, that lets in whoever shows the right certificate, and
//! passes all they say on to the daemon's socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use clawhand::domain::ExecutionId;
use clawhand::domain::target::{DockerBlock, DockerTls};
use clawhand::executors::{Executor, Handle};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::suite::System;
use super::suite_docker::Daemon;
use super::trust::{Clients, Trust};

/// A way to the daemon's socket, closed when it is dropped.
pub struct Door {
    _tasks: JoinSet<()>,
}

impl Door {
    /// Over TCP, with TLS or without.
    pub async fn tcp(tls: Option<TlsAcceptor>, socket: PathBuf) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut guests = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, socket) = (tls.clone(), socket.clone());
                guests.spawn(async move {
                    match tls {
                        None => pass(stream, &socket).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                pass(stream, &socket).await;
                            }
                        }
                    }
                });
            }
        });
        (Self { _tasks: tasks }, address)
    }

    /// Another socket, at `place`.
    pub fn unix(place: &Path, socket: PathBuf) -> Self {
        let listener = UnixListener::bind(place).expect("binds");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut guests = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let socket = socket.clone();
                guests.spawn(async move { pass(stream, &socket).await });
            }
        });
        Self { _tasks: tasks }
    }
}

async fn pass(mut stream: impl AsyncRead + AsyncWrite + Unpin, socket: &Path) {
    if let Ok(mut daemon) = UnixStream::connect(socket).await {
        let _ = copy_bidirectional(&mut stream, &mut daemon).await;
    }
}

/// The daemon, as it is reached in another way than by its socket.
pub struct Behind<T> {
    pub daemon: Daemon,
    pub block: DockerBlock,
    pub way: T,
}

#[async_trait]
impl<T: Send + Sync> System for Behind<T> {
    fn executor(&self) -> Arc<dyn Executor> {
        Arc::new(self.daemon.with(self.block.clone()))
    }

    async fn processes(&self, handle: &Handle) -> Vec<String> {
        self.daemon.processes(handle).await
    }

    async fn remains(&self, execution: ExecutionId) -> Vec<String> {
        self.daemon.remains(execution).await
    }

    async fn in_sight(&self, handle: &Handle) -> String {
        self.daemon.in_sight(handle).await
    }
}

/// The socket of the daemon.
pub fn socket(daemon: &Daemon) -> PathBuf {
    daemon.endpoint.strip_prefix("unix://").expect("a socket").into()
}

async fn behind_tls() -> Option<Behind<(Trust, Door)>> {
    let daemon = Daemon::find().await?;
    let trust = Trust::new();
    let acceptor = trust.acceptor("127.0.0.1", Clients::Known);
    trust.issue("clawhand.test");
    let (door, address) = Door::tcp(Some(acceptor), socket(&daemon)).await;
    let file = |name: &str| trust.file(name).display().to_string();
    let block = DockerBlock {
        endpoint: format!("tcp://{address}"),
        tls: Some(DockerTls {
            ca: file("ca.pem"),
            cert: file("clawhand.test.pem"),
            key: file("clawhand.test.key"),
        }),
        ..daemon.block()
    };
    let way = (trust, door);
    Some(Behind { daemon, block, way })
}

/// What a way to the daemon has to carry: requests, uploads, downloads, and connections that are taken over, by a job on
/// standard input and by output.
macro_rules! is_carried {
    ($daemon:expr) => {
        $crate::executors::suite::goes_through!(
            $daemon;
            ends::the_exit_code_is_exact,
            every::cancelling_ends_all_of_it,
            files::archives_are_unpacked_and_later_inputs_win,
            files::a_large_input_arrives_whole,
            files::outputs_are_found_by_globs_and_links_are_refused,
            output::it_is_exact_and_in_order,
            every::it_is_seen_while_the_work_goes_on,
            every::secrets_are_nowhere_in_sight,
            every::another_process_goes_on_where_one_ended,
            every::many_at_once_keep_apart,
            every::a_probe_finds_what_is_there,
        );
    };
}
pub(super) use is_carried;

is_carried!(behind_tls());

#[tokio::test]
async fn those_who_do_not_trust_each_other_are_told_apart() {
    let Some(behind) = behind_tls().await else { return };
    let (trust, others) = (&behind.way.0, Trust::new());
    others.issue("clawhand.test");
    let with = |change: &dyn Fn(&mut DockerTls)| {
        let mut block = behind.block.clone();
        block.tls.iter_mut().for_each(change);
        block
    };
    let foreign = |name: &str| others.file(name).display().to_string();
    let empty = trust.file("empty.pem");
    std::fs::write(&empty, "").expect("writes");
    let (_plain, address) = Door::tcp(None, socket(&behind.daemon)).await;
    let misnamed = Door::tcp(
        Some(trust.acceptor("other.test", Clients::Known)),
        socket(&behind.daemon),
    )
    .await;
    for (block, what, hint) in [
        (
            with(&|tls| tls.ca = foreign("ca.pem")),
            "certificate",
            "the authority that signed",
        ),
        (
            with(&|tls| {
                tls.cert = foreign("clawhand.test.pem");
                tls.key = foreign("clawhand.test.key");
            }),
            "",
            "executor.tls",
        ),
        (
            with(&|tls| tls.key = foreign("clawhand.test.key")),
            "clawhand.test.pem can't be used",
            "executor.tls",
        ),
        (
            with(&|tls| tls.cert = empty.display().to_string()),
            "no certificate in it",
            "executor.tls",
        ),
        (
            DockerBlock {
                tls: None,
                ..behind.block.clone()
            },
            "",
            "add [executor.tls]",
        ),
        (
            DockerBlock {
                endpoint: format!("tcp://{address}"),
                ..behind.block.clone()
            },
            "",
            "executor.tls",
        ),
        (
            DockerBlock {
                endpoint: format!("tcp://{}", misnamed.1),
                ..behind.block.clone()
            },
            "certificate",
            "executor.tls",
        ),
    ] {
        let trouble = behind.daemon.with(block).probe().await.expect_err("is wrong");
        assert!(trouble.what.contains(what), "{what}: {trouble:?}");
        assert!(trouble.hint.contains(hint), "{hint}: {trouble:?}");
    }
}
