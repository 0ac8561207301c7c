//! Sending the message: once, as soon as the gateway is there.

use std::time::Duration;

use tokio::time::Instant;

use super::follow::{Stop, Way, halt_if_stopping, pause};
use super::inputs;
use super::notes::{self, Sent};
use crate::executors::attempts::End;
use crate::executors::contract::ExitReport;
use crate::executors::local::{blocking, failed};
use crate::gateway::wire::{self, ChatSend, IdempotencyKey};
use crate::gateway::{Fault, GatewayError};

/// How long one look for the gateway takes.
const CONNECT: Duration = Duration::from_secs(15);
/// The longest pause that a gateway may ask for.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// How long the gateway may take to take the message.
const SEND: Duration = Duration::from_secs(60);
/// So much longer than clawhand the gateway waits for the end of a run: it ends what clawhand can't end any more.
const MARGIN: Duration = Duration::from_secs(60);

impl Way<'_> {
    /// What is sent.
    pub(super) async fn message(&self) -> Result<ChatSend, End> {
        let never = |why: &str| End::NeverStarted(why.to_owned());
        let folder = self.driving.folder.clone();
        let attachments =
            blocking(move || inputs::attachments(&folder).map_err(|error| failed("read the inputs", &error))).await;
        let attachments = attachments.map_err(|_| never("its files can't be read"))?;
        let left = self.deadline.saturating_duration_since(Instant::now()) + MARGIN;
        Ok(ChatSend {
            session_key: self.note.session.clone(),
            message: self.note.message.clone(),
            agent_id: None,
            timeout_ms: Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            queue_mode: Some(ChatSend::AFTER),
            attachments,
            idempotency_key: IdempotencyKey::new(self.run.as_str()).ok_or_else(|| never("the attempt has no name"))?,
        })
    }

    /// Sends it. What is returned may have reached the gateway; whether the gateway said so stands beside it.
    pub(super) async fn send(&mut self, message: &ChatSend) -> Result<(Sent, bool), End> {
        let since = Instant::now();
        let socket = self.gateway.socket();
        loop {
            let stopped = self.stopped();
            let hello = tokio::select! {
                biased;
                stop = stopped => return Err(self.ended_unsent(stop)),
                hello = socket.hello(CONNECT) => hello,
            };
            let sent = match hello {
                Ok(hello) => Sent {
                    boot: hello.server.boot_id.clone(),
                    at: self.now.now(),
                },
                Err(error) => {
                    self.unsent(&error, since).await?;
                    continue;
                }
            };
            if let Err(error) = notes::write_sent(&self.driving.folder, &sent) {
                tracing::error!(run = self.run, %error, "what is sent to an OpenClaw gateway can't be written down");
                return Err(End::NeverStarted(
                    "no space is left to write down what is sent".to_owned(),
                ));
            }
            // Not broken off by a cancel: what was sent can be ended only once the gateway has it.
            match socket.call(&wire::CHAT_SEND, message, SEND).await {
                Ok(_) => return Ok((sent, true)),
                Err(error) => {
                    halt_if_stopping(&error).await;
                    match error.fault {
                        Fault::Refused => return Err(self.refused(&error)),
                        Fault::Lost | Fault::Protocol | Fault::IdleTimeout => return Ok((sent, false)),
                        _ => {}
                    }
                    let _ = notes::forget_sent(&self.driving.folder);
                    self.unsent(&error, since).await?;
                }
            }
        }
    }

    /// The gateway said no, so nothing runs.
    fn refused(&mut self, error: &GatewayError) -> End {
        let said = match &error.code {
            Some(code) if !error.message.contains(code.as_str()) => format!("{} ({code})", error.message),
            _ => error.message.clone(),
        };
        let why = format!("the gateway refused it: {said}");
        self.report.line(&why);
        End::Ended(ExitReport {
            exit_code: Some(1),
            exec_error: Some(why),
            ..ExitReport::default()
        })
    }

    /// It can't be sent now. Returns when it should be tried again.
    async fn unsent(&mut self, error: &GatewayError, since: Instant) -> Result<(), End> {
        halt_if_stopping(error).await;
        let passes = matches!(error.fault, Fault::Unreachable | Fault::NotReady | Fault::IdleTimeout);
        if !passes || since.elapsed() >= self.patience.outage {
            tracing::warn!(run = self.run, fault = ?error.fault, %error, "a message can't be sent to an OpenClaw gateway");
            return Err(End::NeverStarted(error.message.clone()));
        }
        let stopped = self.stopped();
        tokio::select! {
            stop = stopped => Err(self.ended_unsent(stop)),
            () = pause(self.patience.again.max(error.retry_after.unwrap_or_default().min(RETRY_MAX))) => Ok(()),
        }
    }

    fn ended_unsent(&mut self, stop: Stop) -> End {
        self.report.line(stop.words());
        End::Ended(stop.report())
    }
}
