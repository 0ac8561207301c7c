//! The real gateways `one` and `two`, the model and the Telegram behind each, and their control. What can be asked of
//! them says tests/openclaw.

use clawhand::domain::target::SecretRef;
use clawhand::gateway::{Credential, Gateway, Instance, Secret};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::executors::{left_out, variable};
use crate::gateway::scripted::{client, instance};

/// Gateway `two` may be killed, so it is one test's at a time.
static TWO: Mutex<()> = Mutex::const_new(());

/// A running gateway.
pub struct Real {
    about: Value,
    _alone: Option<MutexGuard<'static, ()>>,
}

/// Gateway `one`, which all tests use at once and none may stop; nothing where there is none.
pub fn one() -> Option<Real> {
    Some(Real {
        about: about("one")?,
        _alone: None,
    })
}

/// Gateway `two`, for one test at a time, which may do with it what it likes.
pub async fn two() -> Option<Real> {
    let about = about("two")?;
    let alone = TWO.lock().await;
    let real = Real {
        about,
        _alone: Some(alone),
    };
    real.be(json!({})).await;
    Some(real)
}

fn about(name: &str) -> Option<Value> {
    let Some(folder) = variable("CLAWHAND_TEST_OPENCLAW") else {
        left_out(
            "openclaw",
            "CLAWHAND_TEST_OPENCLAW is not set; tests/run.sh starts gateways",
        );
        return None;
    };
    let text = std::fs::read_to_string(format!("{folder}/{name}.json")).expect("a running gateway");
    Some(serde_json::from_str(&text).expect("JSON"))
}

impl Real {
    pub fn text(&self, key: &str) -> &str {
        self.about[key].as_str().expect("is there")
    }

    /// With its token.
    pub fn instance(&self) -> Instance {
        let mut instance = instance(self.text("name"), self.text("url"));
        instance.credential = Some(Credential::Token(Secret::Given(self.text("token").to_owned())));
        instance
    }

    pub fn client(&self) -> Gateway {
        client(self.instance())
    }

    /// A client with another token.
    pub fn stranger(&self) -> Gateway {
        let mut instance = self.instance();
        instance.credential = Some(Credential::Token(Secret::At(SecretRef::Env("TOKEN".into()))));
        client(instance)
    }

    /// Waits until the model has this text in this state; says what it knows of the run.
    pub async fn run(&self, text: &str, state: &str) -> Value {
        let query = [("text", text), ("state", state)];
        let url = reqwest::Url::parse_with_params(&format!("{}/_wait", self.text("model")), query).expect("a url");
        let response = reqwest::get(url).await.expect("the model answers");
        assert_eq!(response.status(), 200, "no run with {text} was {state}");
        response.json().await.expect("JSON")
    }

    /// Opens a gate of the model once.
    pub async fn open(&self, gate: &str) {
        post(&format!("{}/_open", self.text("model")), json!({"gate": gate})).await;
    }

    /// Ends it as a crash would.
    pub async fn kill(&self) {
        self.control("kill", json!({})).await;
    }

    /// Starts it after it was ended.
    pub async fn start(&self, how: Value) {
        self.control("start", how).await;
    }

    /// Starts it anew, unless it runs in this way.
    pub async fn be(&self, how: Value) {
        self.control("be", how).await;
    }

    async fn control(&self, what: &str, how: Value) {
        post(&format!("{}/{what}", self.text("control")), how).await;
    }
}

pub async fn post(url: &str, body: Value) {
    crate::executors::http::crypto();
    let response = reqwest::Client::new()
        .post(url)
        .json(&body)
        .send()
        .await
        .expect("an answer");
    let status = response.status();
    assert_eq!(status, 200, "{url}: {}", response.text().await.unwrap_or_default());
}
