//! The promise of the connection, against a gateway that breaks off at random: every request gets an answer, what has
//! effects is sent once, and what carries a key is sent again only to the same run of the gateway.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use clawhand::gateway::socket::Socket;
use clawhand::gateway::wire::{self, AgentRun, ApprovalResolve, Decision, IdempotencyKey, SessionsGet};
use clawhand::gateway::{Fault, GatewayError};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::timeout;

use crate::gateway::scripted::LONG;
use crate::gateway::scripted::socket::{Asked, Place, hello, soon};

/// What the gateway saw of each request: the run of the gateway, and whether it was answered there.
type Seen = Mutex<BTreeMap<String, Vec<(u32, bool)>>>;

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    /// One of `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// The name of a request, whatever its method calls it.
fn name_of(asked: &Asked) -> String {
    let named = ["key", "idempotencyKey", "id"];
    let name = named.iter().find_map(|field| asked.params[*field].as_str());
    name.expect("a name").to_owned()
}

fn answered(seen: &Seen, name: &str) {
    let mut seen = seen.lock().expect("whole");
    let last = seen.get_mut(name).and_then(|all| all.last_mut());
    last.expect("was seen").1 = true;
}

/// Plays a gateway that answers in any order, breaks off and restarts, for as long as it is asked.
async fn play(place: &Place, seen: &Seen, mut dice: Dice) {
    let mut boot = 1;
    loop {
        let mut peer = place.accept().await;
        if dice.roll(8) == 0 {
            continue;
        }
        peer.challenge().await;
        let Some(connect) = peer.next().await else { continue };
        if dice.roll(3) == 0 {
            boot += 1;
        }
        peer.reply(&connect, hello(&format!("boot-{boot}"))).await;
        let mut held: Vec<Asked> = Vec::new();
        // When nothing more comes, what is held is broken off, so that nobody waits for ever.
        while let Ok(Some(asked)) = timeout(Duration::from_millis(50), peer.next()).await {
            let sighting = (boot, false);
            seen.lock()
                .expect("whole")
                .entry(name_of(&asked))
                .or_default()
                .push(sighting);
            held.push(asked);
            match dice.roll(6) {
                0 => break,
                1 => {}
                _ => {
                    let at = usize::try_from(dice.roll(held.len() as u64)).expect("small");
                    let one = held.swap_remove(at);
                    let name = name_of(&one);
                    answered(seen, &name);
                    let payload = json!({ "runId": name, "messages": [] });
                    if !peer.try_reply(&one, payload).await {
                        break;
                    }
                }
            }
        }
    }
}

async fn ask(socket: &Socket, number: usize) -> (String, Result<(), GatewayError>) {
    let name = format!("{}-{number}", ["read", "keyed", "once"][number % 3]);
    let result = match number % 3 {
        0 => {
            let get = SessionsGet {
                key: name.clone(),
                limit: 1,
            };
            socket.call(&wire::SESSIONS_GET, &get, LONG).await.map(drop)
        }
        1 => {
            let run = AgentRun {
                message: "do it".to_owned(),
                agent_id: None,
                session_key: None,
                extra_system_prompt: None,
                timeout: None,
                label: None,
                idempotency_key: IdempotencyKey::new(name.clone()).expect("a key"),
            };
            socket.call(&wire::AGENT, &run, LONG).await.map(drop)
        }
        _ => {
            let resolve = ApprovalResolve {
                id: name.clone(),
                decision: Decision::Deny,
            };
            socket
                .call(&wire::EXEC_APPROVAL_RESOLVE, &resolve, LONG)
                .await
                .map(drop)
        }
    };
    (name, result)
}

#[tokio::test]
async fn every_request_is_answered_and_none_is_made_twice_on_a_guess() {
    let (mut lost, mut done) = (0, 0);
    for seed in 1..=20 {
        let place = Place::new().await;
        let line = place.socket();
        let seen = Seen::default();
        let all = async {
            let mut answers = Vec::new();
            // In waves, so that some are asked while there is no connection.
            for wave in 0..4 {
                answers.extend(join_all((0..15).map(|number| ask(&line.socket, 15 * wave + number))).await);
            }
            answers
        };
        let answers = tokio::select! {
            answers = all => answers,
            () = play(&place, &seen, Dice(seed * 0x9E37_79B9)) => unreachable!("it plays on"),
        };
        let seen = seen.into_inner().expect("whole");
        for (name, result) in answers {
            let sightings = seen.get(&name).cloned().unwrap_or_default();
            let kind = name.split('-').next().expect("a kind");
            let what = format!("seed {seed}, {name}: {result:?} after {sightings:?}");
            match &result {
                Ok(()) => {
                    assert!(sightings.last().is_some_and(|(_, answered)| *answered), "{what}");
                    done += 1;
                }
                Err(error) if error.fault == Fault::Lost => {
                    assert!(kind != "read", "{what}");
                    lost += 1;
                }
                Err(_) if kind == "read" => {}
                // Anything but lost says that it never left, or was never begun.
                Err(_) => assert!(sightings.is_empty(), "{what}"),
            }
            match kind {
                "once" => assert!(sightings.len() <= 1, "{what}"),
                "keyed" => assert!(sightings.iter().all(|(boot, _)| *boot == sightings[0].0), "{what}"),
                _ => assert!(sightings.len() <= 3, "{what}"),
            }
        }
        soon(line.stop()).await;
    }
    assert!(
        lost > 20 && done > 300,
        "{lost} lost, {done} done: the dice were kind or cruel"
    );
}
