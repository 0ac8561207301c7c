//! Status of a real gateway, in all its words.

use std::time::Duration;

use clawhand::gateway::http::{Ask, State};
use clawhand::gateway::{Credential, Fault, Secret};
use serde_json::json;

use super::real::{one, two};
use crate::gateway::scripted::client;

#[tokio::test]
async fn a_gateway_that_runs_is_ready_and_names_its_agents() {
    let Some(real) = one() else { return };
    let status = real.client().status().await;
    assert_eq!(status.state, State::Ready, "{status:?}");
    assert!(status.uptime_ms.is_some_and(|ms| ms > 0), "{status:?}");
    assert!(status.models.contains(&"openclaw/main".to_owned()), "{status:?}");
    let status = real.stranger().status().await;
    assert_eq!(status.state, State::WrongToken, "{status:?}");
    assert!(status.message.contains("401 Unauthorized"), "{status:?}");
}

#[tokio::test]
async fn a_gateway_that_is_killed_started_and_changed_is_told_as_it_is() {
    let Some(real) = two().await else { return };
    let gateway = real.client();
    let hello = format!("script:{}", json!({"say": "never", "gate": "killed midway"}));
    let asked = Ask {
        text: &hello,
        session: None,
        model: None,
    };
    let chat = gateway.chat(&asked).await.expect("answers");
    real.run("killed midway", "running").await;
    real.kill().await;
    let lost = chat.reply().await.expect_err("it was killed");
    assert_eq!(lost.fault, Fault::Lost, "{lost:?}");
    assert_eq!(gateway.status().await.state, State::Unreachable);

    // It comes back with a password in place of its token.
    real.start(json!({"auth": "password", "wait": false})).await;
    let mut known = real.instance();
    known.credential = Some(Credential::Password(Secret::Given(real.text("token").to_owned())));
    let gateway = client(known);
    let mut seen = Vec::new();
    let mut now_and_then = tokio::time::interval(Duration::from_millis(100));
    while seen.last() != Some(&State::Ready) {
        now_and_then.tick().await;
        seen.push(gateway.status().await.state);
    }
    seen.dedup();
    let starting = [State::Unreachable, State::NotReady, State::Ready];
    assert!(seen.iter().all(|state| starting.contains(state)), "{seen:?}");
    assert_eq!(real.stranger().status().await.state, State::WrongToken);

    real.be(json!({"chat": false})).await;
    let gateway = real.client();
    let status = gateway.status().await;
    assert_eq!(status.state, State::EndpointDisabled, "{status:?}");
    let error = gateway.chat(&asked).await.err().expect("is refused");
    assert_eq!(error.fault, Fault::EndpointDisabled, "{error:?}");
    assert_eq!(real.stranger().status().await.state, State::EndpointDisabled);
}
