//! Asking a gateway for the end of a run, through interruptions of the connection and restarts of the gateway.

use std::time::Duration;

use tokio::time::Instant;

use super::Patience;
use super::follow::{halt_if_stopping, pause};
use super::notes::Sent;
use super::verdict::{Verdict, judge};
use crate::domain::Clock;
use crate::gateway::wire::{
    self, AgentWait, ChatAbort, ChatSend, Message, RunEnd, SessionRow, SessionsDescribe, SessionsGet,
};
use crate::gateway::{Gateway, GatewayError};

/// How long a reply may take beyond that.
const REPLY: Duration = Duration::from_secs(30);
/// How often the messages are looked at although the gateway knows the run.
const LOOK: Duration = Duration::from_secs(60);
/// The most messages of a session that are looked at.
const MESSAGES: u32 = 1000;

/// A run that is watched.
pub(super) struct Watch<'a> {
    pub gateway: &'a Gateway,
    pub message: &'a ChatSend,
    pub run: String,
    pub sent: &'a Sent,
    /// Whether the gateway said that it has the message.
    pub accepted: bool,
    pub patience: Patience,
    pub now: &'a Clock,
}

/// What came of watching.
#[derive(Debug)]
pub(super) enum Watched {
    /// It is over.
    Over(Verdict),
    /// What became of it can't be established.
    Lost(String),
}

/// What is remembered between two looks.
#[derive(Default)]
struct Looks {
    last: Option<Instant>,
    /// Since when another run of the gateway is there.
    restarted: Option<Instant>,
    resent: bool,
    /// Whether the gateway is known to have the message although it didn't say so to this process.
    is_known: bool,
}

impl Watch<'_> {
    /// Waits for the end.
    pub(super) async fn end(&self) -> Watched {
        let began = Instant::now();
        let mut looks = Looks::default();
        // A message that may not have arrived, or a run that may be over: asked at once.
        let mut wait = if self.accepted {
            self.patience.wait
        } else {
            Duration::ZERO
        };
        loop {
            match self.ask(wait, &mut looks).await {
                Ok(Some(verdict)) => {
                    if let Some(watched) = self.weigh(verdict, began, &mut looks).await {
                        return watched;
                    }
                    wait = self.patience.wait / 4;
                }
                Ok(None) => wait = self.patience.wait,
                Err(error) => {
                    halt_if_stopping(&error).await;
                    pause(self.patience.again).await;
                    wait = Duration::ZERO;
                }
            }
        }
    }

    /// Asks for the end, and the messages where the gateway doesn't tell. `None` while it goes on as it should.
    async fn ask(&self, wait: Duration, looks: &mut Looks) -> Result<Option<Verdict>, GatewayError> {
        let socket = self.gateway.socket();
        let asked = AgentWait {
            run_id: self.run.clone(),
            timeout_ms: u64::try_from(wait.as_millis()).unwrap_or(0),
        };
        let end = socket.call(&wire::AGENT_WAIT, &asked, wait + REPLY).await?;
        let waits_its_turn = end.status == "pending";
        if let Some(verdict) = self.told(&end).await? {
            return Ok(Some(verdict));
        }
        let hello = socket.hello(REPLY).await?;
        let is_same = self.sent.boot.is_some() && hello.server.boot_id == self.sent.boot;
        match is_same {
            true => looks.restarted = None,
            false => drop(looks.restarted.get_or_insert_with(Instant::now)),
        }
        looks.is_known |= self.accepted || waits_its_turn;
        let is_due = looks.last.is_none_or(|last| last.elapsed() >= LOOK);
        if looks.is_known && is_same && !waits_its_turn && !is_due {
            return Ok(None);
        }
        looks.last = Some(Instant::now());
        if waits_its_turn {
            pause(self.patience.again).await;
        }
        let verdict = self.look().await?;
        looks.is_known |= matches!(verdict, Verdict::Going { .. });
        let goes_on = matches!(verdict, Verdict::Going { .. } | Verdict::Unseen);
        Ok(Some(verdict).filter(|_| !(goes_on && is_same && looks.is_known)))
    }

    /// What the gateway itself says of the end; `None` if there is none, or it knows nothing.
    async fn told(&self, end: &RunEnd) -> Result<Option<Verdict>, GatewayError> {
        let is_aborted =
            matches!(end.stop_reason.as_deref(), Some("rpc" | "stop")) || end.error.as_deref() == Some("aborted");
        Ok(match end.status.as_str() {
            "ok" => {
                let last = end.terminal_reply.as_ref().map(|reply| reply.text.clone());
                // The messages have the text without the lines that only name files.
                Some(match self.look().await? {
                    found @ Verdict::Replied { .. } => found,
                    _ => Verdict::Replied {
                        text: last.unwrap_or_default(),
                        run: self.run.clone(),
                    },
                })
            }
            "error" | "timeout" if is_aborted => Some(Verdict::Aborted),
            "error" => Some(Verdict::Failed(
                end.error
                    .clone()
                    .unwrap_or_else(|| "the gateway doesn't say why".to_owned()),
            )),
            "timeout" if end.ended_at.is_some() => Some(Verdict::TimedOut),
            _ => None,
        })
    }

    /// What the session's messages say.
    async fn look(&self) -> Result<Verdict, GatewayError> {
        let (messages, row) = self.messages().await?;
        Ok(judge(&self.run, &messages, row.as_ref()))
    }

    async fn messages(&self) -> Result<(Vec<Message>, Option<SessionRow>), GatewayError> {
        let socket = self.gateway.socket();
        let describe = SessionsDescribe {
            key: self.message.session_key.clone(),
            include_derived_titles: false,
            include_last_message: false,
        };
        // The row first: what it calls running may have ended in the messages, never the other way round.
        let row = socket.call(&wire::SESSIONS_DESCRIBE, &describe, REPLY).await?.session;
        let get = SessionsGet {
            key: self.message.session_key.clone(),
            limit: MESSAGES,
        };
        let messages = socket.call(&wire::SESSIONS_GET, &get, REPLY).await?.messages;
        Ok((messages, row))
    }

    /// What a verdict of the messages means now. `None` to ask again.
    async fn weigh(&self, verdict: Verdict, began: Instant, looks: &mut Looks) -> Option<Watched> {
        let restarted = looks.restarted.map(|since| since.elapsed());
        match (verdict, restarted) {
            (Verdict::Unseen, Some(_)) => Some(Watched::Lost(
                "the gateway was restarted, and its messages don't say whether it had begun".to_owned(),
            )),
            (Verdict::Unseen, None) if began.elapsed() >= self.patience.on_its_way => {
                Some(Watched::Lost("the gateway knows nothing of it".to_owned()))
            }
            (Verdict::Unseen, None) => {
                self.send_again(looks).await;
                None
            }
            (Verdict::Going { by: None }, Some(since)) if since >= self.patience.recovery => Some(Watched::Lost(
                "the gateway was restarted while the agent worked, and does not go on with it".to_owned(),
            )),
            (Verdict::Going { .. }, _) => None,
            (over, _) => Some(Watched::Over(over)),
        }
    }

    /// Sends the message again to the run of the gateway that would remember it.
    async fn send_again(&self, looks: &mut Looks) {
        let age = self.now.now().since(self.sent.at);
        if looks.resent || age >= self.patience.on_its_way {
            return;
        }
        looks.resent = true;
        tracing::info!(
            run = self.run,
            "a message that may not have arrived is sent again under its key"
        );
        let sent = self.gateway.socket().call(&wire::CHAT_SEND, self.message, REPLY).await;
        if let Err(error) = sent {
            halt_if_stopping(&error).await;
            tracing::warn!(run = self.run, %error, "a message could not be sent again");
        }
    }

    /// Ends the run, and says what the gateway says of that.
    pub(super) async fn abort(&self) -> Watched {
        let began = Instant::now();
        let mut looks = Looks::default();
        while began.elapsed() < self.patience.abort {
            let told = tokio::time::timeout(self.patience.abort, self.abort_once(&mut looks)).await;
            match told {
                Ok(Ok(Some(watched))) => return watched,
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    halt_if_stopping(&error).await;
                    pause(self.patience.again).await;
                }
                Err(_) => break,
            }
        }
        Watched::Lost("it was to be ended, and the gateway doesn't say that it has".to_owned())
    }

    async fn abort_once(&self, looks: &mut Looks) -> Result<Option<Watched>, GatewayError> {
        self.abort_run(&self.run).await?;
        let Some(verdict) = self.ask(self.patience.again, looks).await? else {
            return Ok(None);
        };
        Ok(match verdict {
            Verdict::Going { by: Some(by) } => {
                self.abort_run(&by).await?;
                None
            }
            Verdict::Going { by: None } => None,
            Verdict::Unseen if looks.restarted.is_none() => None,
            Verdict::Unseen => Some(Watched::Lost(
                "the gateway was restarted, and its messages don't say whether it had begun".to_owned(),
            )),
            over => Some(Watched::Over(over)),
        })
    }

    async fn abort_run(&self, run: &str) -> Result<(), GatewayError> {
        let abort = ChatAbort {
            session_key: self.message.session_key.clone(),
            run_id: run.to_owned(),
        };
        let aborted = self.gateway.socket().call(&wire::CHAT_ABORT, &abort, REPLY).await;
        aborted.map(drop)
    }
}
