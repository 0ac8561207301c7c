//! Status in all its words.

use std::time::Duration;

use clawhand::gateway::http::State;
use clawhand::gateway::{Credential, Secret};
use serde_json::json;

use crate::gateway::scripted::http::Play;
use crate::gateway::scripted::{Scripted, client, instance};

#[tokio::test]
async fn a_gateway_that_would_answer_is_ready_and_nothing_was_started() {
    let scripted = Scripted::start().await;
    let status = scripted.client().status().await;
    assert_eq!((status.state, status.message.as_str()), (State::Ready, "Gateway ready"));
    assert_eq!(status.uptime_ms, Some(1234));
    assert_eq!(status.models, ["openclaw", "openclaw/main"]);
    assert!(scripted.desk.chats().is_empty());
}

#[tokio::test]
async fn what_is_wrong_is_told_apart() {
    let scripted = Scripted::start().await;
    let mut wrong = scripted.instance("lab");
    wrong.credential = Some(Credential::Token(Secret::Given("wrong".into())));
    let status = client(wrong).status().await;
    assert_eq!(status.state, State::WrongToken, "{status:?}");

    scripted.desk.be(|manner| manner.chat = false);
    let status = scripted.client().status().await;
    assert_eq!(status.state, State::EndpointDisabled, "{status:?}");
    scripted.desk.be(|manner| manner.chat = true);

    let starting = json!({"ready": false, "failing": ["startup-sidecars", "telegram"], "uptimeMs": 5}).to_string();
    scripted
        .desk
        .be(|manner| manner.ready = (503, "application/json", starting));
    let status = scripted.client().status().await;
    assert_eq!(status.state, State::NotReady, "{status:?}");
    assert_eq!(status.message, "Gateway not ready: startup-sidecars, telegram");
    assert_eq!((status.failing.len(), status.uptime_ms), (2, Some(5)));

    let error = json!({"error": {"message": "draining", "type": "unavailable"}}).to_string();
    scripted
        .desk
        .be(|manner| manner.ready = (503, "application/json", error));
    let status = scripted.client().status().await;
    assert_eq!(
        (status.state, status.message.contains("draining")),
        (State::NotReady, true),
        "{status:?}"
    );

    for (code, kind, body) in [
        (200, "text/html", "<title>hello</title>"),
        (200, "application/json", "{}"),
        (404, "text/plain", "no"),
    ] {
        scripted.desk.be(|manner| manner.ready = (code, kind, body.to_owned()));
        let status = scripted.client().status().await;
        assert_eq!(status.state, State::Unreachable, "{body}: {status:?}");
    }
    let address = scripted.address;
    scripted.stop().await;
    let status = client(instance("lab", &format!("http://{address}"))).status().await;
    assert_eq!(status.state, State::Unreachable);
    assert_eq!(
        status.message,
        "Failed to connect to OpenClaw: Connection refused (os error 111)"
    );
}

#[tokio::test]
async fn a_gateway_that_hangs_is_not_waited_for_without_end() {
    let scripted = Scripted::start().await;
    scripted.desk.be(|manner| manner.instead = Some(Play::Hang));
    let mut hasty = scripted.instance("lab");
    hasty.idle_timeout = Duration::from_millis(100);
    let status = client(hasty).status().await;
    assert_eq!(status.state, State::Unreachable, "{status:?}");
    assert!(status.message.contains("nothing was heard for 100ms"), "{status:?}");
}
