//! The requests that wait for their reply: which are still to be sent, which are on their way, until when, and what
//! becomes of them when the connection goes. None is ever forgotten: each leaves here with an answer.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::gateway::wire::{Repeat, Scope};
use crate::gateway::{Fault, GatewayError};

/// How often a request is sent at most: one that takes every connection down with it must end.
const SENDS: u32 = 3;

/// Where an answer goes.
pub(super) type Answer = oneshot::Sender<Result<Box<RawValue>, GatewayError>>;

/// A request.
pub(super) struct Call {
    pub method: &'static str,
    pub scope: Scope,
    pub repeat: Repeat,
    pub params: Box<RawValue>,
    pub deadline: Instant,
    pub answer: Answer,
    pub sent: Option<Sending>,
}

/// What is known of a request that went out.
#[derive(Clone)]
pub(super) struct Sending {
    times: u32,
    /// The run of the gateway that it was sent to first.
    boot: Option<String>,
}

/// All of them, by number. The number is the id on the wire, too: a request goes out once on a connection.
#[derive(Default)]
pub(super) struct Calls {
    all: BTreeMap<u64, Call>,
    /// Still to be sent on this connection, in the order in which they came.
    queue: BTreeSet<u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    last: u64,
}

impl Calls {
    /// Takes one in.
    pub(super) fn add(&mut self, call: Call) {
        self.last += 1;
        self.deadlines.insert((call.deadline, self.last));
        self.queue.insert(self.last);
        self.all.insert(self.last, call);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether one is to be sent.
    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// When the next one has waited long enough.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The next to be sent, which is then on its way to the run `boot` of the gateway. Those that nobody waits for are let
    /// go, those that this connection may not make are refused.
    pub(super) fn send_next(&mut self, may: impl Fn(Scope) -> bool, boot: Option<&str>) -> Option<(u64, &Call)> {
        let number = loop {
            let number = self.queue.pop_first()?;
            let call = self.all.get_mut(&number)?;
            let scope = call.scope;
            if call.answer.is_closed() {
                self.remove(number);
            } else if !may(scope) {
                self.finish(number, Err(not_granted(scope)));
            } else {
                let fresh = || Sending {
                    times: 0,
                    boot: boot.map(str::to_owned),
                };
                call.sent.get_or_insert_with(fresh).times += 1;
                break number;
            }
        };
        self.all.get(&number).map(|call| (number, call))
    }

    /// Gives one its answer. Late and unknown numbers are nobody's.
    pub(super) fn finish(&mut self, number: u64, result: Result<Box<RawValue>, GatewayError>) -> bool {
        let call = self.remove(number);
        let known = call.is_some();
        if let Some(call) = call {
            let _ = call.answer.send(result);
        }
        known
    }

    /// Ends those that have waited long enough.
    pub(super) fn expire(&mut self, now: Instant, why: Option<&GatewayError>) {
        while let Some(&(at, number)) = self.deadlines.first() {
            if at > now {
                return;
            }
            let Some(call) = self.remove(number) else { return };
            let error = match (&call.sent, call.repeat) {
                (None, _) => not_sent(call.method, why),
                (Some(_), Repeat::Harmless) => {
                    let message = format!("the gateway did not answer {} in time", call.method);
                    let mut error = GatewayError::new(Fault::IdleTimeout, message);
                    error.retryable = true;
                    error
                }
                (Some(_), _) => lost(call.method, "the gateway did not answer in time"),
            };
            let _ = call.answer.send(Err(error));
        }
    }

    /// The connection went: what may be asked again is queued in its old order, what may not is lost.
    pub(super) fn disconnected(&mut self, why: &GatewayError) {
        let on_their_way: Vec<u64> = self
            .all
            .keys()
            .filter(|number| !self.queue.contains(number))
            .copied()
            .collect();
        for number in on_their_way {
            let Some(call) = self.all.get(&number) else { continue };
            let times = call.sent.as_ref().map_or(0, |sent| sent.times);
            // A reply that is too large would be too large again.
            let again = times < SENDS && why.fault != Fault::TooLarge;
            match call.repeat {
                Repeat::Harmless if again => {
                    self.queue.insert(number);
                }
                Repeat::Harmless => {
                    self.finish(number, Err(why.clone()));
                }
                Repeat::Keyed if again => {
                    self.queue.insert(number);
                }
                Repeat::Keyed | Repeat::Never => {
                    let error = lost(call.method, &why.message);
                    self.finish(number, Err(error));
                }
            }
        }
    }

    /// There is a connection to the run `boot` of the gateway. What relies on the memory of another run is lost.
    pub(super) fn connected(&mut self, boot: Option<&str>) {
        let forgotten = |call: &Call| {
            let remembers = |sent: &Sending| sent.boot.is_some() && sent.boot.as_deref() == boot;
            call.repeat == Repeat::Keyed && call.sent.as_ref().is_some_and(|sent| !remembers(sent))
        };
        let numbers: Vec<u64> = self
            .all
            .iter()
            .filter(|(_, call)| forgotten(call))
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            let Some(call) = self.all.get(&number) else { continue };
            let error = lost(call.method, "the gateway was restarted before it answered");
            self.finish(number, Err(error));
        }
    }

    /// An attempt to connect failed. Those that were never sent are told at once; those that were wait for another attempt
    /// if there may be a better one.
    pub(super) fn attempt_failed(&mut self, why: &GatewayError) {
        let passes = matches!(why.fault, Fault::Unreachable | Fault::NotReady | Fault::IdleTimeout);
        let waits = |call: &Call| match call.sent {
            None => why.fault == Fault::NotReady,
            Some(_) => passes,
        };
        let numbers: Vec<u64> = self
            .all
            .iter()
            .filter(|(_, call)| !waits(call))
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            let Some(call) = self.all.get(&number) else { continue };
            let error = match (&call.sent, call.repeat) {
                (Some(_), Repeat::Keyed) => lost(call.method, &why.message),
                _ => why.clone(),
            };
            self.finish(number, Err(error));
        }
    }

    fn remove(&mut self, number: u64) -> Option<Call> {
        let call = self.all.remove(&number)?;
        self.queue.remove(&number);
        self.deadlines.remove(&(call.deadline, number));
        Some(call)
    }
}

/// A request with effects whose outcome nobody knows.
pub(super) fn lost(method: &str, why: &str) -> GatewayError {
    let message = format!("whether the gateway did {method} isn't known: {why}");
    GatewayError::new(Fault::Lost, message)
}

fn not_sent(method: &str, why: Option<&GatewayError>) -> GatewayError {
    match why {
        Some(why) => why.clone(),
        None => {
            let message = format!("there was no connection to the gateway in time, and {method} was not sent");
            GatewayError::new(Fault::Unreachable, message)
        }
    }
}

fn not_granted(scope: Scope) -> GatewayError {
    let message = format!("the gateway did not give this connection the scope {scope}");
    GatewayError::new(Fault::MissingScope(scope.as_str().to_owned()), message)
}
