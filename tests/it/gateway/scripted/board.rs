//! A scripted gateway that answers by itself what conversations ask, from what a test put on its board.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use clawhand::gateway::Instance;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::socket::{Asked, Peer, Place, hello};

/// How much may be wished for at once.
const WISHES: usize = 20_000;

/// The running gateway. It is gone when it is dropped.
pub struct Board {
    address: SocketAddr,
    instance: Instance,
    on_it: Arc<Mutex<OnIt>>,
    wishes: mpsc::Sender<Wish>,
    tasks: JoinSet<()>,
}

/// What it answers with, and what it was asked.
#[derive(Default)]
pub struct OnIt {
    /// The rows of all sessions, newest first.
    pub sessions: Vec<Value>,
    /// The messages of each session.
    pub messages: BTreeMap<String, Vec<Value>>,
    pub exec: Vec<Value>,
    pub plugin: Vec<Value>,
    /// Whether it gives operator.admin to those who ask for it.
    pub gives_admin: bool,
    /// Whether it wants to know the device.
    pub wants_device: bool,
    /// What it says instead of letting anybody in.
    pub keeps_out: Option<Value>,
    /// What it says no to, by the method.
    pub refuses: BTreeMap<&'static str, Value>,
    /// Methods during which it breaks off.
    pub breaks_at: Option<&'static str>,
    pub asked: Vec<Asked>,
}

enum Wish {
    Event(String, Value),
    /// As many events are left out.
    Skip(u64),
    Close,
}

impl Board {
    pub async fn start() -> Self {
        Self::on(Place::new().await)
    }

    /// At the place of one that is gone.
    pub async fn at(address: SocketAddr) -> Self {
        Self::on(Place::at(address).await)
    }

    fn on(place: Place) -> Self {
        let address = place.address();
        let instance = place.instance();
        let on_it = Arc::new(Mutex::new(OnIt::default()));
        let (wishes, mut wished) = mpsc::channel(WISHES);
        let mut tasks = JoinSet::new();
        let shared = on_it.clone();
        tasks.spawn(async move {
            loop {
                let mut peer = place.accept().await;
                if let_in(&mut peer, &shared).await {
                    serve(peer, &shared, &mut wished).await;
                }
            }
        });
        Self {
            address,
            instance,
            on_it,
            wishes,
            tasks,
        }
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        self.instance.address.socket()
    }

    pub fn on_it(&self) -> MutexGuard<'_, OnIt> {
        self.on_it.lock().expect("nobody panicked")
    }

    /// Everything that it was asked with this method.
    pub fn asked(&self, method: &str) -> Vec<Value> {
        let asked = &self.on_it().asked;
        let with = asked.iter().filter(|asked| asked.method == method);
        with.map(|asked| asked.params.clone()).collect()
    }

    pub fn event(&self, name: &str, payload: Value) {
        self.wish(Wish::Event(name.to_owned(), payload));
    }

    /// Leaves out as many events.
    pub fn skip(&self, events: u64) {
        self.wish(Wish::Skip(events));
    }

    /// Breaks the connection off; the next one is taken.
    pub fn close(&self) {
        self.wish(Wish::Close);
    }

    fn wish(&self, wish: Wish) {
        self.wishes.try_send(wish).expect("it runs, and wants no more");
    }

    /// Nobody listens any more.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn let_in(peer: &mut Peer, on_it: &Mutex<OnIt>) -> bool {
    peer.challenge().await;
    let connect = peer.asked("connect").await;
    let (refusal, admin) = {
        let mut on_it = on_it.lock().expect("nobody panicked");
        on_it.asked.push(connect.clone());
        let unknown = on_it.wants_device && connect.params["device"].is_null();
        let details = json!({ "code": "DEVICE_IDENTITY_REQUIRED" });
        let who = json!({ "code": "NOT_PAIRED", "message": "device identity required", "details": details });
        (on_it.keeps_out.clone().or(unknown.then_some(who)), on_it.gives_admin)
    };
    if let Some(refusal) = refusal {
        peer.refuse(&connect, refusal).await;
        return false;
    }
    let mut welcome = hello("boot-1");
    let asks = connect.params["scopes"].as_array().expect("scopes");
    if admin && asks.contains(&json!("operator.admin")) {
        let scopes = welcome["auth"]["scopes"].as_array_mut().expect("scopes");
        scopes.push(json!("operator.admin"));
    }
    peer.reply(&connect, welcome).await;
    true
}

async fn serve(mut peer: Peer, on_it: &Mutex<OnIt>, wished: &mut mpsc::Receiver<Wish>) {
    loop {
        tokio::select! {
            asked = peer.idle() => {
                let Some(asked) = asked else { return };
                let reply = {
                    let mut on_it = on_it.lock().expect("nobody panicked");
                    on_it.asked.push(asked.clone());
                    if on_it.breaks_at.take_if(|method| *method == asked.method).is_some() {
                        return;
                    }
                    answer(&mut on_it, &asked)
                };
                match reply {
                    Ok(payload) => peer.reply(&asked, payload).await,
                    Err(error) => peer.refuse(&asked, error).await,
                }
            }
            wish = wished.recv() => match wish {
                Some(Wish::Event(name, payload)) => peer.event(&name, payload).await,
                Some(Wish::Skip(events)) => peer.skip(events),
                Some(Wish::Close) | None => return,
            }
        }
    }
}

fn answer(on_it: &mut OnIt, asked: &Asked) -> Result<Value, Value> {
    if let Some(error) = on_it.refuses.get(asked.method.as_str()) {
        return Err(error.clone());
    }
    let params = &asked.params;
    let text = |key: &str| params[key].as_str().unwrap_or_default();
    let messages = |key: &str| on_it.messages.get(key).cloned().unwrap_or_default();
    Ok(match asked.method.as_str() {
        "sessions.subscribe" => json!({ "subscribed": true }),
        "sessions.list" => page(&on_it.sessions, params),
        "sessions.describe" => {
            let found = on_it.sessions.iter().find(|row| row["key"] == params["key"]);
            json!({ "session": found })
        }
        "sessions.get" => {
            let all = messages(text("key"));
            let limit = usize::try_from(params["limit"].as_u64().expect("a limit")).expect("fits");
            json!({ "messages": all[all.len().saturating_sub(limit)..] })
        }
        "chat.message.get" => {
            let all = messages(text("sessionKey"));
            match all
                .iter()
                .find(|message| message["__openclaw"]["id"] == params["messageId"])
            {
                Some(message) => json!({ "ok": true, "message": message }),
                None => json!({ "ok": false, "unavailableReason": "not_found" }),
            }
        }
        "send" => json!({ "runId": params["idempotencyKey"], "messageId": "77", "channel": params["channel"] }),
        "exec.approval.list" => json!(on_it.exec),
        "plugin.approval.list" => json!(on_it.plugin),
        "exec.approval.resolve" | "plugin.approval.resolve" => {
            let before = on_it.exec.len() + on_it.plugin.len();
            on_it.exec.retain(|approval| approval["id"] != params["id"]);
            on_it.plugin.retain(|approval| approval["id"] != params["id"]);
            if on_it.exec.len() + on_it.plugin.len() == before {
                let details = json!({ "reason": "APPROVAL_NOT_FOUND" });
                return Err(json!({ "code": "INVALID_REQUEST", "message": "unknown approval id", "details": details }));
            }
            json!({ "ok": true })
        }
        other => return Err(json!({ "code": "INVALID_REQUEST", "message": format!("unknown method: {other}") })),
    })
}

/// A page as gateways cut it: the limit first, whatever the rows are.
fn page(sessions: &[Value], params: &Value) -> Value {
    let number = |key: &str| usize::try_from(params[key].as_u64().unwrap_or_default()).expect("fits");
    let search = params["search"].as_str().unwrap_or_default();
    let matching = sessions.iter().filter(|row| row.to_string().contains(search));
    let rest: Vec<&Value> = matching.skip(number("offset")).collect();
    let rows: Vec<_> = rest.iter().take(number("limit")).collect();
    let next = (rows.len() < rest.len()).then(|| number("offset") + rows.len());
    json!({ "sessions": rows, "nextOffset": next, "hasMore": next.is_some() })
}

/// The row of a session on telegram.
pub fn row(key: &str, to: &str) -> Value {
    json!({
        "key": key, "channel": "telegram", "lastChannel": "Telegram", "lastTo": to, "lastAccountId": "default",
        "displayName": format!("chat with {to}"), "updatedAt": 1_795_000_000_000_u64, "systemPrompt": "x".repeat(3000),
    })
}

/// The row of a session that came over no channel.
pub fn unrouted(key: &str) -> Value {
    json!({ "key": key, "updatedAt": 1_795_000_000_001_u64 })
}

/// A message as a gateway keeps it.
pub fn message(id: &str, role: &str, text: &str) -> Value {
    json!({ "role": role, "content": [{ "type": "text", "text": text }], "__openclaw": { "id": id, "seq": 1 } })
}

/// The payload of `session.message`.
pub fn told(key: &str, id: &str, text: &str) -> Value {
    json!({
        "sessionKey": key, "messageId": id, "messageSeq": 1, "senderIsOwner": true,
        "message": message(id, "user", text), "session": row(key, "telegram:1"),
    })
}

/// An approval of a command that waits.
pub fn approval(id: &str, key: &str, created: i64) -> Value {
    let request = json!({ "command": "uname -a", "sessionKey": key, "allowedDecisions": ["allow-once", "deny"] });
    json!({ "id": id, "request": request, "createdAtMs": created, "expiresAtMs": created + 1_800_000, "approvalKind": "exec" })
}
