//! A connection while it lasts: what is to be sent goes out, replies find their requests, events their subscribers, and
//! silence is noticed.

use std::time::Duration;

use futures_util::{Sink, SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{self, Message};

use super::dial::{Connection, of_close, of_open};
use super::driver::{Desk, until};
use super::subscribers::Notice;
use super::{Pace, refusal};
use crate::gateway::wire::{Event, Frame, Hello, Request};
use crate::gateway::{Fault, GatewayError};

/// How many messages are on their way to the operating system.
const OUTBOX: usize = 8;
/// How long a closing connection may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What is known of the connection.
struct Live<'a> {
    desk: &'a mut Desk,
    hello: &'a Hello,
    tick: Duration,
    /// When the gateway was last heard.
    heard: Instant,
    /// Whether it was asked since whether it is there.
    pinged: bool,
    /// The number of the last event.
    seq: Option<u64>,
    /// The gateway said that it will close: nothing more is begun here.
    leaving: bool,
    odd: u64,
}

/// Serves a connection until it goes. Why it went; `None` when the program stops.
pub(super) async fn serve(desk: &mut Desk, connection: Connection, pace: Pace) -> Option<GatewayError> {
    let Connection { stream, hello } = connection;
    let (sink, mut stream) = stream.split();
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let mut live = Live {
        tick: Duration::from_millis(hello.policy.tick_interval_ms).clamp(pace.shortest_tick, pace.longest_tick),
        hello: &hello,
        desk,
        heard: Instant::now(),
        pinged: false,
        seq: None,
        leaving: false,
        odd: 0,
    };
    let writer = write_all(sink, messages, pace.write);
    tokio::pin!(writer);
    let why = loop {
        let may_send = !live.leaving && live.desk.calls.has_queued();
        let alarm = live.next_alarm();
        let end = tokio::select! {
            why = &mut writer => Some(why),
            message = stream.next() => live.receive(message),
            Ok(place) = outbox.reserve(), if may_send => {
                live.send(place);
                None
            }
            command = live.desk.listen() => match command {
                Some(command) => {
                    live.desk.take_connected(command, &hello);
                    None
                }
                None => break None,
            },
            () = until(Some(alarm)) => live.alarm(&outbox),
        };
        if let Some(why) = end {
            break Some(why);
        }
    };
    // The writer says goodbye when nothing more can come.
    drop(outbox);
    if why.is_none() {
        let _ = timeout(GOODBYE, writer).await;
    }
    why
}

impl Live<'_> {
    /// Takes in what came; why the connection is at its end, if it is.
    fn receive(&mut self, message: Option<Result<Message, tungstenite::Error>>) -> Option<GatewayError> {
        self.heard = Instant::now();
        self.pinged = false;
        match message {
            Some(Ok(Message::Text(text))) => match Frame::parse(&text) {
                Ok(frame) => self.frame(frame),
                Err(_) => self.strange(),
            },
            Some(Ok(Message::Binary(_))) => self.strange(),
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) = frame
                    .as_ref()
                    .map_or((1005, ""), |frame| (u16::from(frame.code), frame.reason.as_str()));
                return Some(of_close(code, reason));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Some(of_open(&error)),
            None => return Some(of_close(1006, "")),
        }
        None
    }

    fn frame(&mut self, frame: Frame) {
        match frame {
            Frame::Reply { id, result } => {
                let result = result.map_err(|trouble| refusal::of_request(&trouble));
                let known = id.parse().is_ok_and(|number| self.desk.calls.finish(number, result));
                if !known {
                    // A run of an agent is answered twice, and what nobody waits for any more is answered, too.
                    tracing::trace!(id, "a reply that nobody waits for");
                }
            }
            Frame::Event { name, seq, payload } => {
                self.count(seq);
                self.leaving |= name == "shutdown";
                if self.desk.subscribers.want(&name) {
                    let bytes = payload.get().len();
                    self.desk
                        .subscribers
                        .tell(&name, Event::read(name.clone(), payload), bytes);
                }
            }
            Frame::Other => {}
        }
    }

    /// The gateway counts its events, and leaves some out for a connection that is slow.
    fn count(&mut self, seq: Option<u64>) {
        let Some(seq) = seq else { return };
        let missed = self.seq.map_or(0, |last| seq.saturating_sub(last.saturating_add(1)));
        if missed > 0 {
            self.desk.subscribers.tell_all(&Notice::Gap { missed });
        }
        self.seq = Some(seq);
    }

    /// Something that is no frame. A reply in it is missed by its deadline; an event in it is told as missing.
    fn strange(&mut self) {
        self.odd += 1;
        if self.odd == 1 {
            tracing::warn!("an OpenClaw gateway sent something that is no frame of its protocol");
        }
        self.desk.subscribers.tell_all(&Notice::Gap { missed: 1 });
    }

    /// Sends the next request to where there is room for it.
    fn send(&mut self, place: mpsc::Permit<'_, Message>) {
        let hello = self.hello;
        let boot = hello.server.boot_id.as_deref();
        let Some((number, call)) = self.desk.calls.send_next(|scope| hello.may(scope), boot) else {
            return;
        };
        let id = number.to_string();
        let text = serde_json::to_string(&Request::new(&id, call.method, &call.params));
        let error = match text {
            Ok(text) if text.len() <= hello.policy.max_payload => return place.send(Message::text(text)),
            Ok(text) => {
                let (is, most) = (text.len(), hello.policy.max_payload);
                let message = format!("{} would be {is} bytes long; the gateway takes {most}", call.method);
                GatewayError::new(Fault::TooLarge, message)
            }
            Err(error) => GatewayError::new(Fault::Protocol, error.to_string()),
        };
        self.desk.calls.finish(number, Err(error));
    }

    fn next_alarm(&self) -> Instant {
        let patience = if self.pinged { 2 * self.tick } else { self.tick };
        let silence = self.heard + patience;
        self.desk
            .calls
            .next_deadline()
            .map_or(silence, |deadline| deadline.min(silence))
    }

    /// Something is due: a request has waited long enough, or the gateway has been silent.
    fn alarm(&mut self, outbox: &mpsc::Sender<Message>) -> Option<GatewayError> {
        self.desk.expire();
        let silent = self.heard.elapsed();
        if silent >= 2 * self.tick {
            let message = format!("the gateway said nothing for {} s", silent.as_secs_f32());
            return Some(GatewayError::new(Fault::Unreachable, message));
        }
        if silent >= self.tick && !self.pinged {
            self.pinged = true;
            let _ = outbox.try_send(Message::Ping(Default::default()));
        }
        None
    }
}

/// Sends what comes until it can't; says goodbye when nothing more will come.
async fn write_all<S>(mut sink: S, mut messages: mpsc::Receiver<Message>, limit: Duration) -> GatewayError
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    while let Some(message) = messages.recv().await {
        match timeout(limit, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return of_open(&error),
            Err(_) => {
                let message = format!("the gateway took nothing in for {} s", limit.as_secs_f32());
                return GatewayError::new(Fault::Unreachable, message);
            }
        }
    }
    let _ = sink.close().await;
    of_close(1000, "")
}
