//! Chats with a real gateway, whose agent is driven by a scripted model.

use clawhand::gateway::Fault;
use clawhand::gateway::http::Ask;
use serde_json::json;

use super::real::one;

fn ask<'a>(text: &'a str, session: Option<&'a str>) -> Ask<'a> {
    Ask {
        text,
        session,
        model: None,
    }
}

#[tokio::test]
async fn an_agent_replies_and_remembers_its_session() {
    let Some(real) = one() else { return };
    let gateway = real.client();
    for session in ["continuity", "Gespräch 東京"] {
        let mut before = 0;
        for turn in 1..=2 {
            let name = format!("turn {turn} of {session}");
            let text = format!("script:{}", json!({"say": name}));
            let chat = gateway.chat(&ask(&text, Some(session))).await.expect("answers");
            let reply = chat.reply().await.expect("a reply");
            assert_eq!(reply.text, name);
            assert_eq!(reply.finish_reason.as_deref(), Some("stop"));
            assert_eq!(reply.usage.expect("told").total_tokens, 18);
            let escaped = serde_json::to_string(&name).expect("JSON");
            let run = real.run(escaped.trim_matches('"'), "answered").await;
            let messages = run["messages"].as_u64().expect("a count");
            assert!(
                messages > before,
                "the second turn knows the first: {messages} after {before}"
            );
            before = messages;
        }
    }
}

#[tokio::test]
async fn text_streams_while_the_agent_still_works() {
    let Some(real) = one() else { return };
    let text = format!(
        "script:{}",
        json!({"say": ["first part. ", "second part."], "gate": "streaming"})
    );
    let mut chat = real.client().chat(&ask(&text, None)).await.expect("answers");
    real.open("streaming").await;
    let first = chat.next().await.expect("goes on").expect("a piece");
    assert!("first part. ".starts_with(&first), "{first:?}");
    real.open("streaming").await;
    while chat.next().await.expect("goes on").is_some() {}
    assert_eq!(chat.into_reply().text, "first part. second part.");
}

#[tokio::test]
async fn a_chat_that_is_dropped_ends_the_run() {
    let Some(real) = one() else { return };
    let gateway = real.client();
    // Before any text, and in the middle of it.
    let text = format!("script:{}", json!({"say": "never", "gate": "dropped at once"}));
    let chat = gateway.chat(&ask(&text, None)).await.expect("answers");
    real.run("dropped at once", "running").await;
    drop(chat);
    real.run("dropped at once", "left").await;
    let text = format!(
        "script:{}",
        json!({"say": ["some ", "never"], "gate": "dropped midway"})
    );
    let mut chat = gateway.chat(&ask(&text, None)).await.expect("answers");
    real.open("dropped midway").await;
    assert!(chat.next().await.expect("goes on").is_some());
    drop(chat);
    real.run("dropped midway", "left").await;
}

#[tokio::test]
async fn a_hundred_thousand_characters_of_any_script_arrive() {
    let Some(real) = one() else { return };
    let script = format!("script:{}", json!({"say": "東".repeat(50_000)}));
    let left = 100_000 - script.chars().count();
    let text = format!("{}{script}", "é".repeat(left));
    let reply = real
        .client()
        .chat(&ask(&text, Some("large")))
        .await
        .expect("answers")
        .reply()
        .await;
    assert_eq!(reply.expect("a reply").text, "東".repeat(50_000));
}

#[tokio::test]
async fn the_gateways_own_words_for_a_mistake_are_kept() {
    let Some(real) = one() else { return };
    let gateway = real.client();
    for (asked, words) in [
        (
            Ask {
                text: "hi",
                session: None,
                model: Some("nonsense"),
            },
            "Invalid `model`",
        ),
        (
            Ask {
                text: "hi",
                session: None,
                model: Some("openclaw/nobody"),
            },
            "nobody",
        ),
        (ask("hi", Some("cron:x")), "reserved internal session namespaces"),
    ] {
        let error = gateway.chat(&asked).await.err().expect("is refused");
        assert_eq!(error.fault, Fault::Refused, "{error:?}");
        assert!(
            error.message.contains("400 Bad Request") && error.message.contains(words),
            "{error:?}"
        );
        assert_eq!(error.code.as_deref(), Some("invalid_request_error"));
    }
    let text = format!("script:{}", json!({"fail": 400}));
    let failed = gateway.chat(&ask(&text, None)).await.expect("answers").reply().await;
    let failed = failed.expect_err("the model failed");
    assert_eq!(failed.fault, Fault::Refused, "{failed:?}");
    assert!(
        failed.code.is_some() && failed.message.starts_with("OpenClaw failed to reply: "),
        "{failed:?}"
    );
    let error = real.stranger().chat(&ask("hi", None)).await.err().expect("is refused");
    assert_eq!(error.fault, Fault::WrongToken, "{error:?}");
}
