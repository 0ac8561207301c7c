//! The WebSocket connection to one gateway, shared by everybody who wants something of it.
//!
//! It is made when somebody asks for something, and made again when it goes for as long as somebody waits. A request is
//! never lost without a word and never made twice on a guess: what changes nothing is asked again on the next connection,
//! what carries an idempotency key is asked again of the same run of the gateway, and for anything else the answer is that
//! nobody knows ([`Fault::Lost`]). Start reading at [`Socket::call`], then `driver`, then `calls`.

mod calls;
mod dial;
mod driver;
mod live;
mod refusal;
mod subscribers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::wire::{Hello, Method, Repeat};
use super::{Access, Fault, GatewayError};
use calls::{Call, Calls};
use dial::Dialer;
use driver::{Command, Desk, Driver};
use subscribers::Subscribers;
pub use subscribers::{Notice, Room, Subscription};

/// How many wishes wait for the task to look at them.
const COMMANDS: usize = 64;

/// What a connection needs from its surroundings.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The folder with the identity of this installation. Without it, gateways that want to know the device refuse.
    pub identity: Option<PathBuf>,
    /// When the identity is shown.
    pub show_device: ShowDevice,
    /// How patient it is.
    pub pace: Pace,
    /// Who owns its task.
    pub tracker: TaskTracker,
    /// Ends it.
    pub stop: CancellationToken,
    /// Where the cursors of events begin. If it grows from one start of the program to the next, a cursor from before is
    /// known as such.
    pub cursors: u64,
}

impl Surroundings {
    /// Without an identity, and with the usual patience.
    pub fn new(tracker: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            identity: None,
            show_device: ShowDevice::WhenNeeded,
            pace: Pace::default(),
            tracker,
            stop,
            cursors: 0,
        }
    }
}

/// When a gateway is shown the identity of this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowDevice {
    /// When it isn't on this machine, when there is no token or password for it, or when it asks.
    WhenNeeded,
    /// Always.
    Always,
}

/// How patient a connection is.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long TCP, TLS and the upgrade may take, and then the first exchange.
    pub connect: Duration,
    /// How long the gateway may take nothing in.
    pub write: Duration,
    /// After this long a connection was a good one, and the next one is tried quickly again.
    pub settled: Duration,
    /// The pause after the first failure; each further one is twice as long.
    pub first_wait: Duration,
    /// The longest of these pauses.
    pub longest_wait: Duration,
    /// The pause after a refusal that won't pass by itself.
    pub refused: Duration,
    /// Within this time of an attempt that failed, whoever asks is told so at once; after it, it is tried for them.
    pub floor: Duration,
    /// The shortest interval of ticks that is believed.
    pub shortest_tick: Duration,
    /// The longest.
    pub longest_tick: Duration,
    /// The longest message that is taken in, in bytes.
    pub max_message: usize,
    /// How much a subscriber may be behind.
    pub room: Room,
    /// Chance.
    pub chance: fn() -> u32,
}

impl Pace {
    /// The pause after so many failures before: twice as long each time, up to a limit, and never the same for two that
    /// were cut off together.
    fn wait_after(&self, failures: u32) -> Duration {
        let longest = self.first_wait.saturating_mul(1 << failures.min(16));
        let part = 0.5 + f64::from((self.chance)()) / (2.0 * f64::from(u32::MAX));
        longest.min(self.longest_wait).mul_f64(part)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            write: Duration::from_secs(60),
            settled: Duration::from_secs(5),
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(30),
            refused: Duration::from_secs(60),
            floor: Duration::from_secs(1),
            shortest_tick: Duration::from_secs(1),
            longest_tick: Duration::from_secs(120),
            max_message: 32 << 20,
            room: Room {
                events: 1000,
                bytes: 32 << 20,
            },
            chance: || getrandom::u32().unwrap_or(u32::MAX / 2),
        }
    }
}

/// How a connection is.
#[derive(Debug, Clone)]
pub enum State {
    /// Nobody wants anything of it.
    Idle,
    /// It is being made, for the first time or again.
    Connecting,
    /// It is there.
    Ready(Arc<Hello>),
    /// It can't be made; it is tried again as long as somebody wants something.
    Failed(GatewayError),
    /// The program stops.
    Closed,
}

/// A handle on the connection to one gateway. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Socket {
    commands: mpsc::Sender<Command>,
    subscribers: Arc<Subscribers>,
    state: watch::Receiver<State>,
    room: Room,
}

impl Socket {
    /// A connection to a gateway, which is made when the first one asks for something.
    pub(super) fn start(access: Arc<Access>, surroundings: Surroundings) -> Self {
        let Surroundings {
            identity,
            show_device,
            pace,
            tracker,
            stop,
            cursors: _,
        } = surroundings;
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (state, watched) = watch::channel(State::Idle);
        let subscribers = Arc::new(Subscribers::default());
        let desk = Desk {
            commands: receiver,
            calls: Calls::default(),
            knocks: Vec::new(),
            subscribers: subscribers.clone(),
            state,
            stop,
            failure: None,
        };
        let dialer = Dialer {
            access,
            identity,
            show_device,
            pace,
        };
        tracker.spawn(Driver::new(dialer, desk).run());
        Self {
            commands,
            subscribers,
            state: watched,
            room: pace.room,
        }
    }

    /// Asks the gateway for something, and waits for the answer for at most `limit`.
    ///
    /// # Errors
    /// When there is no connection and none can be made now; when the gateway says no; when the answer doesn't come in time
    /// or the connection goes, and the request can't be made again ([`Fault::Lost`] if it has effects).
    pub async fn call<P, R>(&self, method: &Method<P, R>, params: &P, limit: Duration) -> Result<R, GatewayError>
    where
        P: Serialize,
        R: DeserializeOwned,
    {
        let deadline = Instant::now() + limit;
        let (answer, reply) = oneshot::channel();
        let call = Call {
            method: method.name,
            scope: method.scope,
            repeat: method.repeat,
            params: dial::params(params)?,
            deadline,
            answer,
            sent: None,
        };
        match timeout_at(deadline, self.commands.send(Command::Call(call))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(stopping()),
            Err(_) => return Err(too_many(method.name)),
        }
        let payload = match reply.await {
            Ok(result) => result?,
            Err(_) if method.repeat == Repeat::Harmless => return Err(stopping()),
            Err(_) => return Err(calls::lost(method.name, "clawhand is stopping")),
        };
        serde_json::from_str(payload.get()).map_err(|error| {
            let message = format!("the gateway's reply to {} can't be read: {error}", method.name);
            GatewayError::new(Fault::Protocol, message)
        })
    }

    /// What the gateway said of itself on the connection that there is, or on one that is made for this.
    ///
    /// # Errors
    /// When there is none within `limit`.
    pub async fn hello(&self, limit: Duration) -> Result<Arc<Hello>, GatewayError> {
        let asked = async {
            let (answer, reply) = oneshot::channel();
            let sent = self.commands.send(Command::Knock(answer)).await;
            sent.map_err(|_| stopping())?;
            reply.await.map_err(|_| stopping())?
        };
        match timeout(limit, asked).await {
            Ok(result) => result,
            Err(_) => Err(match self.state() {
                State::Failed(error) => error,
                _ => GatewayError::new(Fault::Unreachable, "there was no connection to the gateway in time"),
            }),
        }
    }

    /// Tells the events whose names `wants` says yes to from now on. Keeps the connection up as long as the subscription and
    /// a handle are there.
    pub fn subscribe(&self, wants: fn(&str) -> bool) -> Subscription {
        let subscription = self.subscribers.add(wants, self.room);
        // If the queue is full, the task is awake anyway.
        let _ = self.commands.try_send(Command::Wake);
        subscription
    }

    /// How the connection is.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Tells how the connection is whenever that changes.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

fn stopping() -> GatewayError {
    GatewayError::new(Fault::Cancelled, "clawhand is stopping")
}

fn too_many(method: &str) -> GatewayError {
    let message = format!("too many requests wait for the gateway; {method} was not sent");
    let mut error = GatewayError::new(Fault::Unreachable, message);
    error.retryable = true;
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_are_spread() {
        let waits = |chance: fn() -> u32| {
            let pace = Pace {
                first_wait: Duration::from_millis(250),
                longest_wait: Duration::from_secs(30),
                chance,
                ..Pace::default()
            };
            [0, 1, 2, 6, 7, 100, u32::MAX].map(|failures| pace.wait_after(failures).as_millis())
        };
        assert_eq!(waits(|| u32::MAX), [250, 500, 1000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(waits(|| 0), [125, 250, 500, 8_000, 15_000, 15_000, 15_000]);
    }
}
