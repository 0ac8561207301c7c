//! Chats that go well.

use std::time::Duration;

use clawhand::gateway::http::Ask;
use clawhand::gateway::{Fault, Gateways};
use serde_json::json;

use super::{ask, expect, fails, say};
use crate::executors::trust::{Clients, Trust};
use crate::gateway::scripted::http::Play;
use crate::gateway::scripted::{LONG, Scripted, TOKEN, client, instance, secrets, surroundings};

#[tokio::test]
async fn a_chat_says_who_asks_what_and_in_which_conversation() {
    let scripted = Scripted::start().await;
    let gateway = scripted.client();
    let asked = Ask {
        text: "hello",
        session: Some("work:1"),
        model: None,
    };
    let reply = gateway
        .chat(&asked)
        .await
        .expect("answers")
        .reply()
        .await
        .expect("a reply");
    assert_eq!(reply.text, "hello");
    assert_eq!(reply.finish_reason.as_deref(), Some("stop"));
    assert_eq!(reply.model.as_deref(), Some("openclaw"));
    assert_eq!(reply.usage.expect("told").total_tokens, 18);
    let sent = &scripted.desk.chats()[0];
    assert_eq!(sent.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(sent.header("x-openclaw-session-key"), Some("work:1"));
    let body = sent.json();
    assert_eq!(body["model"], "openclaw");
    assert_eq!(body["messages"], json!([{"role": "user", "content": "hello"}]));
    assert_eq!(body["stream"], true);
    // A session that no header can carry unchanged goes as the user, and another agent as the model.
    let asked = Ask {
        text: "hello",
        session: Some("Gespräch 東京"),
        model: Some("openclaw/ops"),
    };
    gateway
        .chat(&asked)
        .await
        .expect("answers")
        .reply()
        .await
        .expect("a reply");
    let sent = &scripted.desk.chats()[1];
    assert_eq!(sent.header("x-openclaw-session-key"), None);
    assert_eq!(
        (&sent.json()["user"], &sent.json()["model"]),
        (&json!("Gespräch 東京"), &json!("openclaw/ops"))
    );
}

#[tokio::test]
async fn text_arrives_in_pieces_while_the_gateway_still_works() {
    let scripted = Scripted::start().await;
    let text = |text: &str| Play::Text(text.into());
    scripted.desk.play([
        Play::Begin,
        text("Grüße, "),
        Play::Gate,
        text("東京"),
        Play::Gate,
        text("!"),
        Play::Done,
    ]);
    let mut chat = scripted.client().chat(&ask("hi")).await.expect("answers");
    assert_eq!(chat.next().await.expect("goes on").as_deref(), Some("Grüße, "));
    assert_eq!(chat.characters(), 7);
    scripted.desk.open();
    assert_eq!(chat.next().await.expect("goes on").as_deref(), Some("東京"));
    scripted.desk.open();
    let mut rest = String::new();
    while let Some(piece) = chat.next().await.expect("goes on") {
        rest.push_str(&piece);
    }
    assert_eq!(rest, "!");
    assert_eq!(chat.next().await.expect("stays at its end"), None);
    assert_eq!(chat.characters(), 10);
    assert_eq!(chat.into_reply().text, "Grüße, 東京!");
}

#[tokio::test]
async fn dropping_a_chat_at_any_time_closes_the_connection() {
    let scripted = Scripted::start().await;
    let gateway = scripted.client();
    // Before the gateway has answered at all.
    scripted.desk.play([Play::Hang]);
    {
        let question = ask("hi");
        let asking = gateway.chat(&question);
        tokio::select! {
            _ = asking => panic!("nothing answers"),
            () = scripted.desk.until_chats(1) => {}
        }
    }
    scripted.desk.until_left(1).await;
    // And in the middle of its reply.
    scripted.desk.play([Play::Begin, Play::Text("a".into()), Play::Hang]);
    let mut chat = gateway.chat(&ask("hi")).await.expect("answers");
    assert_eq!(chat.next().await.expect("goes on").as_deref(), Some("a"));
    drop(chat);
    scripted.desk.until_left(2).await;
}

#[tokio::test]
async fn a_hundred_thousand_characters_of_any_script_go_both_ways() {
    let scripted = Scripted::start().await;
    let gateway = scripted.client();
    for letter in ["x", "é", "東", "🦀"] {
        let text = letter.repeat(100_000);
        assert_eq!(say(&gateway, &text).await.expect("a reply").text, text);
    }
}

#[tokio::test]
async fn a_reply_that_comes_in_one_piece_is_a_reply() {
    let scripted = Scripted::start().await;
    let gateway = scripted.client();
    let whole = |content: serde_json::Value| {
        let body = json!({"model": "m", "choices": [{"message": {"content": content}, "finish_reason": "stop"}]});
        [Play::Answer(200, "application/json", body.to_string().into())]
    };
    scripted.desk.play(whole(json!("in one")));
    assert_eq!(say(&gateway, "hi").await.expect("a reply").text, "in one");
    scripted.desk.play(whole(
        json!([{"type": "text", "text": "in "}, {"type": "image"}, {"type": "text", "text": "parts"}]),
    ));
    assert_eq!(say(&gateway, "hi").await.expect("a reply").text, "in parts");
    scripted.desk.play(whole(json!(null)));
    assert_eq!(say(&gateway, "hi").await.expect("a reply").text, "");
    // Some proxies swallow the last event.
    let end = json!({"choices": [{"delta": {"content": "b"}, "finish_reason": "stop"}]}).to_string();
    scripted
        .desk
        .play([Play::Begin, Play::Text("a".into()), Play::Data(end), Play::End]);
    assert_eq!(say(&gateway, "hi").await.expect("a reply").text, "ab");
}

#[tokio::test]
async fn a_gateway_that_says_little_is_waited_for_and_one_that_says_nothing_is_not() {
    let scripted = Scripted::start().await;
    let mut slow = scripted.instance("lab");
    slow.idle_timeout = Duration::from_millis(400);
    let gateway = client(slow);
    // Each comment is a sign of life: all of it takes longer than the timeout.
    let signs = (0..20).flat_map(|_| [Play::Gate, Play::Bytes(b": working\n\n".to_vec())]);
    scripted.desk.play(
        [Play::Begin]
            .into_iter()
            .chain(signs)
            .chain([Play::Text("done".into()), Play::Done]),
    );
    let mut metronome = tokio::time::interval(Duration::from_millis(50));
    let beat = async {
        loop {
            metronome.tick().await;
            scripted.desk.open();
        }
    };
    let reply = tokio::select! {
        reply = say(&gateway, "hi") => reply,
        () = beat => unreachable!(),
    };
    assert_eq!(reply.expect("waited for").text, "done");
    for (at, script) in [vec![Play::Hang], vec![Play::Begin, Play::Text("a".into()), Play::Hang]]
        .into_iter()
        .enumerate()
    {
        scripted.desk.play(script);
        let error = fails(&gateway).await;
        expect(
            &error,
            &Fault::IdleTimeout,
            "Request to OpenClaw timed out: nothing was heard for 400ms",
        );
        let left = u32::try_from(at).expect("small") + 1;
        scripted.desk.until_left(left).await;
    }
}

#[tokio::test]
async fn a_pinned_certificate_is_trusted_and_no_other() {
    let trust = Trust::new();
    let scripted = Scripted::secured(trust.acceptor("localhost", Clients::Anybody)).await;
    let url = format!("https://localhost:{}", scripted.address.port());
    let pem = std::fs::read_to_string(trust.file("localhost.pem")).expect("a certificate");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body).expect("base64");
    let digest = sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), der));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut pinned = instance("lab", &url);
    pinned.fingerprint = Some(clawhand::gateway::Fingerprint::parse(&hex).expect("a fingerprint"));
    assert_eq!(say(&client(pinned.clone()), "hi").await.expect("trusted").text, "hi");
    let other = hex.chars().rev().collect::<String>();
    pinned.fingerprint = Some(clawhand::gateway::Fingerprint::parse(&other).expect("a fingerprint"));
    expect(
        &fails(&client(pinned)).await,
        &Fault::Unreachable,
        "Failed to connect to OpenClaw: ",
    );
    expect(
        &fails(&client(instance("lab", &url))).await,
        &Fault::Unreachable,
        "certificate",
    );
    assert_eq!(scripted.desk.chats().len(), 1, "nobody else was asked anything");
}

#[tokio::test]
async fn instances_are_found_by_name_and_the_default_without() {
    let (first, second) = (Scripted::start().await, Scripted::start().await);
    let mut default = second.instance("prod");
    default.is_default = true;
    let gateways = Gateways::new(vec![first.instance("lab"), default], &secrets(), &surroundings());
    for (name, scripted) in [(Some("lab"), &first), (Some("prod"), &second), (None, &second)] {
        let before = scripted.desk.chats().len();
        say(gateways.get(name).expect("there is"), "hi").await.expect("a reply");
        assert_eq!(scripted.desk.chats().len(), before + 1, "{name:?}");
    }
    let error = gateways.get(Some("lba")).err().expect("unknown");
    expect(
        &error,
        &Fault::UnknownInstance,
        "Unknown instance \"lba\". Available: lab, prod",
    );
    let error = Gateways::new(Vec::new(), &secrets(), &surroundings())
        .get(None)
        .err()
        .expect("none");
    expect(&error, &Fault::UnknownInstance, "No OpenClaw instance is configured");
}

#[tokio::test]
async fn many_chats_at_once_keep_apart() {
    let scripted = Scripted::start().await;
    let gateway = scripted.client();
    let chats = (0..64).map(|at| {
        let gateway = gateway.clone();
        async move { say(&gateway, &format!("number {at}")).await.expect("a reply").text == format!("number {at}") }
    });
    let all = tokio::time::timeout(LONG, futures_util::future::join_all(chats)).await;
    assert!(all.expect("within a long time").into_iter().all(|same| same));
}
