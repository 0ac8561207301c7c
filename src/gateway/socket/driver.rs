//! The task that owns a gateway's connection: it connects when somebody wants something, serves the connection, and tries
//! again when it goes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::State;
use super::calls::{Call, Calls};
use super::dial::{Connection, Dialer};
use super::live;
use super::subscribers::Subscribers;
use crate::gateway::wire::Hello;
use crate::gateway::{Fault, GatewayError};

/// How many requests wait at once; more wait outside.
const CALLS: usize = 1024;

/// What the handles ask of the task.
pub(super) enum Command {
    /// A request to make.
    Call(Call),
    /// There should be a connection; who asks wants to know its hello.
    Knock(oneshot::Sender<Result<Arc<Hello>, GatewayError>>),
    /// There is a new subscriber.
    Wake,
}

/// The task.
pub(super) struct Driver {
    dialer: Dialer,
    desk: Desk,
    /// Before this, nobody is tried for.
    earliest: Instant,
    /// Attempts in a row that didn't lead to a connection that lasted.
    failures: u32,
}

/// What is wanted of a connection, whether there is one or not.
pub(super) struct Desk {
    pub commands: mpsc::Receiver<Command>,
    pub calls: Calls,
    pub knocks: Vec<oneshot::Sender<Result<Arc<Hello>, GatewayError>>>,
    pub subscribers: Arc<Subscribers>,
    pub state: watch::Sender<State>,
    pub stop: CancellationToken,
    /// Why there is no connection, if trying failed.
    pub failure: Option<GatewayError>,
}

impl Driver {
    /// The task that dials with `dialer` for those who ask at `desk`.
    pub(super) fn new(dialer: Dialer, desk: Desk) -> Self {
        Self {
            dialer,
            desk,
            earliest: Instant::now(),
            failures: 0,
        }
    }

    /// Runs until the program stops or nobody holds a handle any more.
    pub(super) async fn run(mut self) {
        while self.turn().await.is_some() {}
        self.desk.state.send_replace(State::Closed);
        self.desk.subscribers.close();
    }

    /// One connection, from the wish for it to the pause after it. `None` at the end.
    async fn turn(&mut self) -> Option<()> {
        if !self.desk.wants_connection() {
            if self.desk.failure.is_none() {
                self.desk.state.send_replace(State::Idle);
            }
            let command = self.desk.listen().await?;
            self.desk.take(command);
            return Some(());
        }
        if self.desk.failure.is_none() {
            self.desk.state.send_replace(State::Connecting);
        }
        self.earliest = Instant::now() + self.dialer.pace.floor;
        let wait = match self.attempt().await? {
            Ok(connection) => {
                let began = Instant::now();
                let why = self.serve(connection).await?;
                if began.elapsed() >= self.dialer.pace.settled {
                    self.failures = 0;
                }
                let wait = self.dialer.pace.wait_after(self.failures);
                self.failures += 1;
                why.retry_after.unwrap_or_default().max(wait)
            }
            Err(error) => self.failed(error),
        };
        self.pause(Instant::now() + wait).await
    }

    /// Tries to connect, and takes in what is asked meanwhile.
    async fn attempt(&mut self) -> Option<Result<Connection, GatewayError>> {
        let Self { dialer, desk, .. } = self;
        let dialing = dialer.dial();
        tokio::pin!(dialing);
        loop {
            let alarm = desk.calls.next_deadline();
            tokio::select! {
                result = &mut dialing => return Some(result),
                command = desk.listen() => desk.take(command?),
                () = until(alarm) => desk.expire(),
            }
        }
    }

    /// Serves a connection until it goes; why it went.
    async fn serve(&mut self, connection: Connection) -> Option<GatewayError> {
        let desk = &mut self.desk;
        let name = self.dialer.access.instance.name.as_str();
        let hello = connection.hello.clone();
        tracing::info!(
            instance = name,
            version = hello.server.version,
            "connected to an OpenClaw gateway"
        );
        desk.failure = None;
        desk.state.send_replace(State::Ready(hello.clone()));
        desk.subscribers.connected(&hello);
        for knock in desk.knocks.drain(..) {
            let _ = knock.send(Ok(hello.clone()));
        }
        desk.calls.connected(hello.server.boot_id.as_deref());
        let why = live::serve(desk, connection, self.dialer.pace).await?;
        tracing::info!(instance = name, why = why.message, "an OpenClaw gateway is gone");
        desk.calls.disconnected(&why);
        desk.subscribers.disconnected(&why);
        desk.state.send_replace(State::Connecting);
        Some(why)
    }

    /// Takes note of an attempt that failed; how long to wait before the next one.
    fn failed(&mut self, error: GatewayError) -> Duration {
        let name = self.dialer.access.instance.name.as_str();
        if self.desk.failure.as_ref() != Some(&error) {
            tracing::warn!(
                instance = name,
                why = error.message,
                "no connection to an OpenClaw gateway"
            );
        }
        let wait = match error.fault {
            Fault::NotReady => error.retry_after.unwrap_or(Duration::from_millis(500)),
            Fault::Unreachable | Fault::IdleTimeout => self.dialer.pace.wait_after(self.failures),
            _ => {
                // Gateways lock out who shows them a wrong token too often.
                self.earliest += error.retry_after.unwrap_or(4 * self.dialer.pace.floor);
                error.retry_after.unwrap_or_default().max(self.dialer.pace.refused)
            }
        };
        self.failures += 1;
        self.desk.failed(error);
        wait
    }

    /// Waits until the next attempt. Who asks now is told at once why there is no connection, if that was just tried; later
    /// it is tried again for them.
    async fn pause(&mut self, until_when: Instant) -> Option<()> {
        let earliest = self.earliest;
        let mut until_when = until_when;
        loop {
            let now = Instant::now();
            if now >= until_when || (now >= earliest && !self.desk.wants_connection()) {
                return Some(());
            }
            let alarm = self.desk.calls.next_deadline();
            tokio::select! {
                command = self.desk.listen() => {
                    let command = command?;
                    if matches!(command, Command::Wake) {
                        continue;
                    }
                    match &self.desk.failure {
                        Some(failure) if Instant::now() < earliest && failure.fault != Fault::NotReady => command.refuse(failure),
                        _ => {
                            self.desk.take(command);
                            until_when = until_when.min(earliest);
                        }
                    }
                }
                () = until(Some(until_when)) => {}
                () = until(alarm) => self.desk.expire(),
            }
        }
    }
}

impl Command {
    fn refuse(self, why: &GatewayError) {
        match self {
            Self::Call(call) => {
                let _ = call.answer.send(Err(why.clone()));
            }
            Self::Knock(knock) => {
                let _ = knock.send(Err(why.clone()));
            }
            Self::Wake => {}
        }
    }
}

impl Desk {
    /// What is asked next; `None` when the program stops or nobody can ask any more.
    pub(super) async fn listen(&mut self) -> Option<Command> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            command = self.commands.recv(), if self.calls.len() < CALLS => command,
        }
    }

    /// Notes what is asked.
    pub(super) fn take(&mut self, command: Command) {
        match command {
            Command::Call(call) => self.calls.add(call),
            Command::Knock(knock) => self.knocks.push(knock),
            Command::Wake => {}
        }
    }

    /// Ends what has waited long enough.
    pub(super) fn expire(&mut self) {
        self.calls.expire(Instant::now(), self.failure.as_ref());
    }

    /// Notes what is asked while there is a connection.
    pub(super) fn take_connected(&mut self, command: Command, hello: &Arc<Hello>) {
        match command {
            Command::Knock(knock) => {
                let _ = knock.send(Ok(hello.clone()));
            }
            other => self.take(other),
        }
    }

    fn wants_connection(&mut self) -> bool {
        self.knocks.retain(|knock| !knock.is_closed());
        self.calls.len() > 0 || !self.knocks.is_empty() || self.subscribers.any()
    }

    /// Tells everybody that trying failed. A gateway that is starting is waited for.
    fn failed(&mut self, error: GatewayError) {
        self.calls.attempt_failed(&error);
        if error.fault != Fault::NotReady {
            for knock in self.knocks.drain(..) {
                let _ = knock.send(Err(error.clone()));
            }
        }
        self.state.send_replace(State::Failed(error.clone()));
        self.failure = Some(error);
    }
}

/// Until a time; for ever without one.
pub(super) async fn until(when: Option<Instant>) {
    match when {
        Some(when) => {
            let _ = timeout_at(when, std::future::pending::<()>()).await;
        }
        None => std::future::pending().await,
    }
}
