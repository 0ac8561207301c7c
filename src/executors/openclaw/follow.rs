//! The way of a run once its message may have reached the gateway: its words are heard, its end is asked for.

use std::time::Duration;

use tokio::time::Instant;

use super::Patience;
use super::notes::{CallNote, Sent};
use super::questions::Asked;
use super::report::Report;
use super::verdict::Verdict;
use super::watch::{Watch, Watched};
use crate::domain::Clock;
use crate::executors::attempts::{Driving, End};
use crate::executors::contract::ExitReport;
use crate::gateway::socket::{Notice, Subscription};
use crate::gateway::wire::{self, ApprovalKind, ChatEvent, ChatState, Event, Hello, SessionMessages};
use crate::gateway::{Fault, Gateway, GatewayError};

/// How long asking to be told of a session may take.
const SUBSCRIBE: Duration = Duration::from_secs(10);

/// An attempt under way.
pub(super) struct Way<'a> {
    pub driving: &'a Driving,
    pub now: &'a Clock,
    pub gateway: &'a Gateway,
    pub patience: Patience,
    pub note: &'a CallNote,
    /// The run's id at the gateway.
    pub run: String,
    pub deadline: Instant,
    pub report: &'a mut Report,
    pub asked: &'a Asked,
}

/// Why it is ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Cancelled,
    TimedOut,
}

impl Stop {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Cancelled => "ended: it was cancelled",
            Self::TimedOut => "ended: it took longer than it may",
        }
    }

    pub(super) fn report(self) -> ExitReport {
        ExitReport {
            cancelled: self == Self::Cancelled,
            timed_out: self == Self::TimedOut,
            ..ExitReport::default()
        }
    }
}

/// What is known of the connection while a run is followed.
struct Heard {
    /// The connections so far.
    connections: u32,
    /// Whether the message was sent before this process began to follow.
    is_resumed: bool,
    /// The run of the gateway that is known to the log.
    boot: Option<String>,
}

/// Until so much time has passed.
pub(super) async fn pause(time: Duration) {
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

/// When clawhand stops, another process goes on: nothing more is done here, least of all an end written down.
pub(super) async fn halt_if_stopping(error: &GatewayError) {
    if error.fault == Fault::Cancelled {
        std::future::pending::<()>().await;
    }
}

impl<'a> Way<'a> {
    /// Returns when somebody wants it ended, or its time is over.
    pub(super) fn stopped(&self) -> impl Future<Output = Stop> + use<'a> {
        let (driving, deadline) = (self.driving, self.deadline);
        async move {
            tokio::select! {
                biased;
                () = driving.cancelled() => Stop::Cancelled,
                () = tokio::time::sleep_until(deadline) => Stop::TimedOut,
            }
        }
    }
}

impl Way<'_> {
    /// From where it stands to its end.
    pub(super) async fn go(mut self, sent: Option<Sent>) -> End {
        let is_resumed = sent.is_some();
        let message = match self.message().await {
            Ok(message) => message,
            Err(_) if is_resumed => return End::Lost("what was sent can't be read any more".to_owned()),
            Err(end) => return end,
        };
        // Before the message is sent, so that none of the run's words is missed.
        let told = |name: &str| name == "chat" || ApprovalKind::is_told_by(name);
        let mut events = self.gateway.socket().subscribe(told);
        let (sent, accepted) = match sent {
            Some(sent) => (sent, false),
            None => match self.send(&message).await {
                Ok(known) => known,
                Err(end) => return end,
            },
        };
        let watch = Watch {
            gateway: self.gateway,
            message: &message,
            run: self.run.clone(),
            sent: &sent,
            accepted,
            patience: self.patience,
            now: self.now,
        };
        if !is_resumed {
            self.asked.know(self.driving.attempt);
        }
        let mut heard = Heard {
            connections: 0,
            is_resumed,
            boot: sent.boot.clone(),
        };
        let stopped = self.stopped();
        let ended = watch.end();
        tokio::pin!(stopped, ended);
        let stop = loop {
            tokio::select! {
                biased;
                watched = &mut ended => break Err(watched),
                stop = &mut stopped => break Ok(stop),
                notice = events.next() => self.hear(notice, &mut heard).await,
            }
        };
        let (watched, stop) = match stop {
            Err(watched) => (watched, None),
            Ok(stop) => (watch.abort().await, Some(stop)),
        };
        self.drain(&mut events, &mut heard).await;
        self.end(watched, stop).await
    }

    /// What was told before the end was known.
    async fn drain(&mut self, events: &mut Subscription, heard: &mut Heard) {
        while let Ok(Some(notice)) = tokio::time::timeout(Duration::ZERO, events.next()).await {
            if matches!(notice, Notice::Event(_)) {
                self.hear(Some(notice), heard).await;
            }
        }
    }

    async fn hear(&mut self, notice: Option<Notice>, heard: &mut Heard) {
        match notice {
            Some(Notice::Event(event)) => match &*event {
                Event::Chat(chat) if self.is_ours(chat) => self.words(chat),
                Event::ApprovalRequested(kind, approval) => self.asks(*kind, approval),
                Event::ApprovalResolved(kind, resolved) => self.is_answered(*kind, resolved),
                _ => {}
            },
            Some(Notice::Connected(hello)) => {
                self.connected(&hello, heard).await;
                self.find_questions(&hello).await;
            }
            Some(Notice::Gap { .. }) => {
                if let Ok(hello) = self.gateway.socket().hello(SUBSCRIBE).await {
                    self.find_questions(&hello).await;
                }
            }
            Some(Notice::Disconnected(_)) => {}
            // clawhand stops.
            None => std::future::pending().await,
        }
    }

    /// On the connection that it was sent on, a run's words are told by themselves; on another they are asked for.
    async fn connected(&mut self, hello: &Hello, heard: &mut Heard) {
        heard.connections += 1;
        if hello.server.boot_id != heard.boot {
            heard.boot.clone_from(&hello.server.boot_id);
            self.report
                .line("[the gateway was restarted; its messages are asked what became of the run]");
        }
        if heard.connections > 1 || heard.is_resumed {
            let session = SessionMessages {
                key: self.note.session.clone(),
            };
            let asked = self.gateway.socket();
            let asked = asked
                .call(&wire::SESSIONS_MESSAGES_SUBSCRIBE, &session, SUBSCRIBE)
                .await;
            if let Err(error) = asked {
                // The reply is found all the same; it is only not seen while it comes.
                tracing::debug!(run = self.run, %error, "a session's words are not told");
            }
        }
    }

    /// Also what the gateway says under a run of its own, in a session that nobody else uses.
    fn is_ours(&self, chat: &ChatEvent) -> bool {
        chat.run_id == self.run || self.is_own_session(&chat.session_key)
    }

    /// Whether it is the session of this attempt alone.
    pub(super) fn is_own_session(&self, key: &str) -> bool {
        let own = format!("clawhand-{}", self.run);
        self.note.session.ends_with(&own) && key.ends_with(&own)
    }

    fn words(&mut self, chat: &ChatEvent) {
        if !matches!(chat.state, ChatState::Delta | ChatState::Final) {
            return;
        }
        let whole = chat.message.as_ref().and_then(wire::Message::text);
        if let Some(text) = whole.filter(|text| !text.is_empty()) {
            self.report.says(&text);
        }
    }

    async fn end(&mut self, watched: Watched, stop: Option<Stop>) -> End {
        let failed = |why: String| {
            End::Ended(ExitReport {
                exit_code: Some(1),
                exec_error: Some(why),
                ..ExitReport::default()
            })
        };
        let max_reply = self.gateway.instance().max_reply;
        let why = match (watched, stop) {
            // Also when it was to be ended: it had replied before that.
            (Watched::Over(Verdict::Replied { text, run }), _) => {
                let is_short = text.len() as u64 <= max_reply;
                self.keep(if is_short { &text } else { "" }, &run).await;
                if is_short {
                    return End::Ended(ExitReport {
                        exit_code: Some(0),
                        ..ExitReport::default()
                    });
                }
                format!(
                    "the reply has {} bytes, and max_reply of this gateway is {max_reply}; its session there has it whole",
                    text.len()
                )
            }
            (Watched::Lost(why), _) => {
                self.report.line(&format!("[{why}]"));
                return End::Lost(why);
            }
            (Watched::Over(_), Some(stop)) => {
                self.report.line(stop.words());
                return End::Ended(stop.report());
            }
            (Watched::Over(Verdict::Failed(said)), None) => format!("the agent's run failed: {said}"),
            (Watched::Over(Verdict::TimedOut), None) => {
                "the gateway ended the run because it took longer than the gateway allows".to_owned()
            }
            (Watched::Over(_), None) => "somebody ended the run at the gateway".to_owned(),
        };
        self.report.line(&why);
        failed(why)
    }
}
