//! A way to a Docker daemon on which requests can be held up, and then let through or lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// What becomes of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Those with this word in them wait.
    Hold(&'static str),
    /// All pass, also those that waited.
    Pass,
    /// Those that waited are thrown away, others pass.
    Lose,
}

pub struct Proxy {
    pub endpoint: String,
    rule: watch::Sender<Rule>,
    held: mpsc::Receiver<()>,
    _folder: tempfile::TempDir,
    _passing: JoinSet<()>,
}

struct Door {
    daemon: PathBuf,
    rule: watch::Receiver<Rule>,
    held: mpsc::Sender<()>,
}

impl Proxy {
    /// Everything passes.
    pub fn to(endpoint: &str) -> Self {
        let folder = tempfile::tempdir().expect("makes a folder");
        let socket = folder.path().join("held.sock");
        let listener = UnixListener::bind(&socket).expect("binds");
        let (rule, seen) = watch::channel(Rule::Pass);
        let (tell, held) = mpsc::channel(100);
        let door = Arc::new(Door {
            daemon: Path::new(endpoint.strip_prefix("unix://").expect("a socket")).to_owned(),
            rule: seen,
            held: tell,
        });
        let passing = JoinSet::from_iter([async move {
            let mut all = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let door = door.clone();
                all.spawn(async move { door.pass(client).await });
            }
        }]);
        Self {
            endpoint: format!("unix://{}", socket.display()),
            rule,
            held,
            _folder: folder,
            _passing: passing,
        }
    }

    /// From now on requests with this word are held.
    pub fn hold(&self, word: &'static str) {
        self.rule.send_replace(Rule::Hold(word));
    }

    /// Waits until a request is held.
    pub async fn holds(&mut self) {
        crate::server::gate::must("a request is held", self.held.recv())
            .await
            .expect("it lives");
    }

    /// Lets through what is held, and what comes.
    pub fn let_through(&self) {
        self.rule.send_replace(Rule::Pass);
    }

    /// Throws away what is held; what comes later passes.
    pub fn lose(&self) {
        self.rule.send_replace(Rule::Lose);
    }
}

impl Door {
    async fn pass(&self, client: UnixStream) {
        let Ok(daemon) = UnixStream::connect(&self.daemon).await else {
            return;
        };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_daemon, mut to_daemon) = daemon.into_split();
        let there = async {
            let mut bytes = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
                // The first line of a request comes in one piece.
                if !self.may_pass(&bytes[..count]).await {
                    return;
                }
                if to_daemon.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
            let _ = to_daemon.shutdown().await;
            // The daemon may go on telling.
            std::future::pending::<()>().await;
        };
        let back = async {
            let _ = tokio::io::copy(&mut from_daemon, &mut to_client).await;
        };
        tokio::select! { () = there => {}, () = back => {} }
    }

    async fn may_pass(&self, said: &[u8]) -> bool {
        let mut rule = self.rule.clone();
        match *rule.borrow() {
            Rule::Hold(word) if contains(said, word.as_bytes()) => {}
            _ => return true,
        }
        let _ = self.held.send(()).await;
        rule.wait_for(|rule| !matches!(rule, Rule::Hold(_)))
            .await
            .is_ok_and(|rule| *rule == Rule::Pass)
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
