//! Where a step and its test meet: the step knocks, says a word, and goes on when the test opens. So a test knows where
//! a step is without looking at the clock, and counts how often it was started.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Longer than anything takes that works.
pub const LONG: Duration = Duration::from_secs(60);

/// Waits for something that must happen.
pub async fn must<T>(what: &str, happening: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LONG, happening).await {
        Ok(value) => value,
        Err(_) => panic!("did not happen: {what}"),
    }
}

/// A place where steps knock.
pub struct Gate {
    listener: TcpListener,
    port: u16,
}

/// A step that stands at the gate.
pub struct Visit {
    /// What it said.
    pub said: String,
    stream: BufReader<TcpStream>,
}

impl Gate {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        Self { listener, port }
    }

    /// A script in which `gate WORD` knocks and waits.
    pub fn script(&self, body: &str) -> String {
        format!(
            "gate() {{ exec 3<>/dev/tcp/127.0.0.1/{}; echo \"$1\" >&3; read -r _ <&3 || exit 99; exec 3>&-; }}\n{body}\n",
            self.port
        )
    }

    /// The next step that knocks.
    pub async fn visit(&self) -> Visit {
        must("a step knocks", async {
            let (stream, _) = self.listener.accept().await.expect("accepts");
            let mut stream = BufReader::new(stream);
            let mut said = String::new();
            stream.read_line(&mut said).await.expect("a word");
            Visit {
                said: said.trim_end().to_owned(),
                stream,
            }
        })
        .await
    }

    /// The next step that knocks, which must say this.
    pub async fn expect(&self, word: &str) -> Visit {
        let visit = self.visit().await;
        assert_eq!(visit.said, word);
        visit
    }

    /// Nobody knocked whom the test did not let in: called when everything is over.
    pub fn is_quiet(&self) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        self.listener.poll_accept(&mut context).is_pending()
    }
}

impl Visit {
    /// Lets it go on.
    pub async fn open(mut self) {
        self.stream.write_all(b"go\n").await.expect("it still waits");
    }

    /// Waits until nobody holds the other end any more: the step, with all that inherited the connection, is gone.
    pub async fn gone(mut self) {
        let mut rest = Vec::new();
        // A connection that is torn down is gone as well.
        let _ = must("the step is gone", self.stream.read_to_end(&mut rest)).await;
    }
}
