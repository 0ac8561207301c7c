//! Gateways that refuse, break off, lie and flood.

use std::time::Duration;

use clawhand::domain::target::SecretRef;
use clawhand::gateway::{Credential, Fault, Secret};
use serde_json::json;

use super::{expect, fails, say};
use crate::gateway::scripted::http::Play;
use crate::gateway::scripted::{Scripted, TOKEN, client, instance};

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html";

#[tokio::test]
async fn the_gateways_own_text_and_code_are_kept() {
    let scripted = Scripted::start().await;
    let gateway = scripted.client();
    let error = |message: &str, kind: &str| {
        json!({"error": {"message": message, "type": kind}})
            .to_string()
            .into_bytes()
    };
    let invalid = "Invalid `model`. Use `openclaw` or `openclaw/<agentId>`.";
    scripted
        .desk
        .play([Play::Answer(400, JSON, error(invalid, "invalid_request_error"))]);
    let refused = fails(&gateway).await;
    expect(
        &refused,
        &Fault::Refused,
        &format!("API request failed: 400 Bad Request: {invalid}"),
    );
    assert_eq!(
        (refused.code.as_deref(), refused.retryable),
        (Some("invalid_request_error"), false)
    );

    scripted.desk.play([Play::With(
        429,
        JSON,
        "retry-after: 7",
        error("too many runs", "rate_limited"),
    )]);
    let refused = fails(&gateway).await;
    expect(&refused, &Fault::Refused, "too many runs");
    assert_eq!(
        (refused.retryable, refused.retry_after),
        (true, Some(Duration::from_secs(7)))
    );

    scripted
        .desk
        .play([Play::Answer(503, JSON, error("gateway is starting", "unavailable"))]);
    let refused = fails(&gateway).await;
    expect(&refused, &Fault::NotReady, "gateway is starting");
    assert!(refused.retryable);

    scripted.desk.play([Play::Answer(
        403,
        JSON,
        error("missing scope: operator.write", "forbidden"),
    )]);
    expect(
        &fails(&gateway).await,
        &Fault::MissingScope("operator.write".into()),
        "403 Forbidden",
    );
    scripted
        .desk
        .play([Play::Answer(413, JSON, error("Payload too large", "x"))]);
    expect(
        &fails(&gateway).await,
        &Fault::TooLarge,
        "413 Payload Too Large: Payload too large",
    );
    scripted.desk.play([Play::Answer(
        500,
        JSON,
        json!({"error": "just\na\ttext"}).to_string().into(),
    )]);
    expect(
        &fails(&gateway).await,
        &Fault::Refused,
        "500 Internal Server Error: just a text",
    );
}

#[tokio::test]
async fn nobody_floods_a_caller_with_the_text_of_an_error() {
    let scripted = Scripted::start().await;
    let error = json!({"error": {"message": "東".repeat(100_000), "type": "x"}}).to_string();
    scripted.desk.play([Play::Answer(400, JSON, error.into())]);
    let gateway = scripted.client();
    assert!(fails(&gateway).await.message.chars().count() < 400);
}

#[tokio::test]
async fn a_wrong_token_a_missing_one_and_an_endpoint_that_is_off_are_told_apart() {
    let scripted = Scripted::start().await;
    let mut wrong = scripted.instance("lab");
    wrong.credential = Some(Credential::Token(Secret::Given("wrong".into())));
    let error = fails(&client(wrong)).await;
    expect(&error, &Fault::WrongToken, "401 Unauthorized: Unauthorized");
    assert_eq!((error.code.as_deref(), error.retryable), (Some("unauthorized"), false));
    let mut none = scripted.instance("lab");
    none.credential = None;
    expect(&fails(&client(none)).await, &Fault::WrongToken, "401 Unauthorized");
    assert_eq!(scripted.desk.chats()[1].header("authorization"), None);

    for (secret, words) in [
        (
            Secret::At(SecretRef::Env("NOT_THERE".into())),
            "the credential for the instance lab can't be read",
        ),
        (
            Secret::Given("two\nlines".into()),
            "characters that no header can carry",
        ),
    ] {
        let mut unreadable = scripted.instance("lab");
        unreadable.credential = Some(Credential::Password(secret));
        let error = fails(&client(unreadable)).await;
        expect(&error, &Fault::Credential, words);
        assert!(
            !error.message.contains("NOT_THERE") && !error.message.contains("two"),
            "{error}"
        );
    }
    assert_eq!(
        scripted.desk.chats().len(),
        2,
        "without its credential nothing is asked"
    );

    scripted.desk.be(|manner| manner.chat = false);
    expect(
        &fails(&scripted.client()).await,
        &Fault::EndpointDisabled,
        "endpoint is disabled",
    );
}

#[tokio::test]
async fn what_is_no_gateway_is_not_believed() {
    let scripted = Scripted::start().await;
    let gateway = scripted.client();
    let page = "<!DOCTYPE html><html><head><TITLE> 502 Bad\nGateway </TITLE></head></html>";
    scripted.desk.play([Play::Answer(502, HTML, page.into())]);
    let error = fails(&gateway).await;
    expect(
        &error,
        &Fault::Protocol,
        "a web page came back (502 Bad Gateway): 502 Bad Gateway",
    );
    assert!(error.retryable);
    for (answer, words) in [
        (
            Play::Answer(200, HTML, page.into()),
            "a web page came back (502 Bad Gateway): 200 OK",
        ),
        (
            Play::Answer(404, HTML, b" <html>".to_vec()),
            "a web page came back: 404 Not Found",
        ),
        (
            Play::Answer(200, JSON, b"{\"choices\": [".to_vec()),
            "something came back that is not JSON: 200 OK",
        ),
        (
            Play::Answer(200, "text/plain", b"ok".to_vec()),
            "something came back that is not JSON: 200 OK",
        ),
        (Play::Answer(200, JSON, Vec::new()), "an empty body came back: 200 OK"),
        (
            Play::Answer(204, JSON, Vec::new()),
            "an empty body came back: 204 No Content",
        ),
        (
            Play::With(302, HTML, "location: http://elsewhere.example/", Vec::new()),
            "an empty body came back: 302 Found",
        ),
        (Play::Answer(200, JSON, b"{}".to_vec()), "a reply without choices"),
        (
            Play::Answer(200, JSON, b"{\"choices\": []}".to_vec()),
            "a reply without choices",
        ),
        (Play::Answer(200, JSON, b"[]".to_vec()), "a reply without choices"),
    ] {
        scripted.desk.play([answer]);
        let error = fails(&gateway).await;
        expect(&error, &Fault::Protocol, words);
        assert!(!error.retryable, "{error}");
    }
    scripted
        .desk
        .play([Play::Begin, Play::Data("{not json".into()), Play::Done]);
    expect(
        &fails(&gateway).await,
        &Fault::Protocol,
        "a part of its reply that is not JSON",
    );
    let empty = Play::Bytes(b"HTTP/1.1 200 OK".to_vec());
    scripted.desk.play([empty, Play::Close]);
    expect(&fails(&gateway).await, &Fault::Lost, "broke before it answered");
    scripted.desk.play([Play::Close]);
    expect(&fails(&gateway).await, &Fault::Lost, "broke before it answered");
    scripted.desk.play([Play::Begin, Play::Data("{}".into()), Play::End]);
    expect(&fails(&gateway).await, &Fault::Lost, "broke after 0 characters");
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_reply_is_an_error() {
    let scripted = Scripted::start().await;
    let gateway = scripted.client();
    let failed = json!({"error": {"message": "upstream provider error", "type": "api_error"}}).to_string();
    scripted.desk.play([
        Play::Begin,
        Play::Data(failed.clone()),
        Play::Data("[DONE]".into()),
        Play::End,
    ]);
    let error = fails(&gateway).await;
    expect(
        &error,
        &Fault::Refused,
        "OpenClaw failed to reply: upstream provider error",
    );
    assert_eq!(error.code.as_deref(), Some("api_error"));
    scripted.desk.play([
        Play::Begin,
        Play::Text("abc".into()),
        Play::Data(failed),
        Play::Data("[DONE]".into()),
        Play::End,
    ]);
    expect(
        &fails(&gateway).await,
        &Fault::Refused,
        "failed after 3 characters of its reply: upstream provider error",
    );
}

#[tokio::test]
async fn a_connection_that_goes_is_told_with_what_it_brought() {
    let scripted = Scripted::start().await;
    let gateway = scripted.client();
    for end in [Play::Close, Play::End] {
        scripted.desk.play([Play::Begin, Play::Text("abc".into()), end]);
        let error = fails(&gateway).await;
        expect(&error, &Fault::Lost, "broke after 3 characters of the reply");
        assert!(!error.retryable, "the agent may have done something");
    }
}

#[tokio::test]
async fn eleven_megabytes_are_refused_before_they_are_kept() {
    let scripted = Scripted::start().await;
    let gateway = scripted.client();
    let too_large = "Response exceeds maximum allowed size (10MB)";
    let part = Play::Text("x".repeat(1 << 20));
    scripted
        .desk
        .play([Play::Begin].into_iter().chain(vec![part; 40]).chain([Play::Done]));
    expect(&fails(&gateway).await, &Fault::TooLarge, too_large);
    scripted.desk.until_left(1).await;
    let content = json!({"choices": [{"message": {"content": "x".repeat(11 << 20)}}]}).to_string();
    scripted.desk.play([Play::Answer(200, JSON, content.into())]);
    expect(&fails(&gateway).await, &Fault::TooLarge, too_large);
    // An event that never ends.
    scripted.desk.play(
        [Play::Begin]
            .into_iter()
            .chain(vec![Play::Bytes(vec![b'x'; 1 << 20]); 12]),
    );
    expect(&fails(&gateway).await, &Fault::TooLarge, too_large);
    let mut small = scripted.instance("lab");
    small.max_reply = 1000;
    let small = client(small);
    assert_eq!(say(&small, &"x".repeat(1000)).await.expect("fits").text.len(), 1000);
    let error = say(&small, &"x".repeat(1001)).await.expect_err("doesn't");
    expect(
        &error,
        &Fault::TooLarge,
        "Response exceeds maximum allowed size (1000 bytes)",
    );
}

#[tokio::test]
async fn a_gateway_that_is_away_and_comes_back() {
    let scripted = Scripted::start().await;
    let (gateway, address) = (scripted.client(), scripted.address);
    assert_eq!(say(&gateway, "one").await.expect("a reply").text, "one");
    scripted.stop().await;
    let error = fails(&gateway).await;
    expect(
        &error,
        &Fault::Unreachable,
        "Failed to connect to OpenClaw: Connection refused",
    );
    assert!(error.retryable && !error.message.contains("127.0.0.1"), "{error}");
    // The connection that was kept broke meanwhile; the next chat isn't sent into it.
    let again = Scripted::at(address).await;
    assert_eq!(say(&gateway, "two").await.expect("a reply").text, "two");
    assert_eq!(again.desk.chats().len(), 1);
    let nowhere = fails(&client(instance("lab", "http://gateway.invalid:1"))).await;
    expect(&nowhere, &Fault::Unreachable, "Failed to connect to OpenClaw: ");
    assert!(!format!("{nowhere:?}").contains(TOKEN));
}
