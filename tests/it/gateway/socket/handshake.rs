//! How a connection begins, and every way in which it doesn't.

use std::time::Duration;

use clawhand::gateway::socket::{ShowDevice, State};
use clawhand::gateway::{Credential, Fault, GatewayError, Secret};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

use crate::gateway::scripted::socket::{Asked, Line, Peer, Place, certificate, hello, soon};
use crate::gateway::scripted::{LONG, TOKEN};

/// Plays the gateway up to the client's `connect`.
async fn connecting(place: &Place) -> (Peer, Asked) {
    let mut peer = place.accept().await;
    peer.challenge().await;
    let connect = peer.asked("connect").await;
    (peer, connect)
}

/// Why there is no connection when the gateway answers `connect` with this.
async fn refused(error: Value) -> GatewayError {
    let place = Place::new().await;
    let line = place.socket();
    let (result, ()) = tokio::join!(line.socket.hello(LONG), async {
        let (mut peer, connect) = connecting(&place).await;
        peer.refuse(&connect, error).await;
        peer.close(1008, "connect failed").await;
    });
    let error = result.expect_err("refused");
    assert!(matches!(line.socket.state(), State::Failed(why) if why == error));
    error
}

#[tokio::test]
async fn connect_is_what_the_protocol_asks_for() {
    let place = Place::new().await;
    let line = place.socket();
    let (got, _peer) = tokio::join!(line.socket.hello(LONG), async {
        let (mut peer, connect) = connecting(&place).await;
        let version = env!("CARGO_PKG_VERSION");
        let expected = json!({
            "minProtocol": 4,
            "maxProtocol": 4,
            "client": {
                "id": "gateway-client",
                "mode": "backend",
                "displayName": "clawhand",
                "version": version,
                "platform": std::env::consts::OS,
                "deviceFamily": std::env::consts::FAMILY,
            },
            "role": "operator",
            "scopes": ["operator.read", "operator.write", "operator.approvals"],
            "caps": ["approvals"],
            "auth": { "token": TOKEN },
            "userAgent": format!("clawhand/{version}"),
        });
        assert_eq!(connect.params, expected);
        peer.reply(&connect, hello("boot-1")).await;
        peer
    });
    let got = got.expect("a hello");
    assert_eq!(got.server.version, "2026.9.6");
    assert!(matches!(line.socket.state(), State::Ready(_)));
}

#[tokio::test]
async fn nothing_is_connected_before_somebody_asks() {
    let place = Place::new().await;
    let line = place.socket();
    assert!(matches!(line.socket.state(), State::Idle));
    let subscription = line.socket.subscribe(|_| true);
    let peer = place.greet().await;
    drop((subscription, peer));
}

#[tokio::test]
async fn admin_is_asked_for_only_when_the_operator_says_so() {
    let place = Place::new().await;
    let mut instance = place.instance();
    instance.admin = true;
    instance.credential = Some(Credential::Password(Secret::Given("open sesame".into())));
    let line = Line::to(instance, |_| {});
    let (got, ()) = tokio::join!(line.socket.hello(LONG), async {
        let (mut peer, connect) = connecting(&place).await;
        let scopes = json!([
            "operator.read",
            "operator.write",
            "operator.approvals",
            "operator.admin"
        ]);
        assert_eq!(connect.params["scopes"], scopes);
        assert_eq!(connect.params["auth"], json!({ "password": "open sesame" }));
        peer.reply(&connect, hello("boot-1")).await;
    });
    assert!(
        !got.expect("a hello").may(clawhand::gateway::wire::Scope::Admin),
        "it was not granted"
    );
}

#[tokio::test]
async fn a_device_is_proved_and_its_token_kept_and_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::new().await;
    let mut instance = place.instance();
    let with_device = |surroundings: &mut clawhand::gateway::socket::Surroundings| {
        surroundings.identity = Some(folder.path().to_owned());
        surroundings.show_device = ShowDevice::Always;
    };
    let line = Line::to(instance.clone(), with_device);
    let (got, device) = tokio::join!(line.socket.hello(LONG), async {
        let (mut peer, connect) = connecting(&place).await;
        let device = connect.params["device"].clone();
        assert_eq!(
            (&device["nonce"], &device["signedAt"]),
            (&json!("nonce-1"), &json!(1_795_231_195_843_u64))
        );
        let mut hello = hello("boot-1");
        hello["auth"]["deviceToken"] = json!("device-token-1");
        peer.reply(&connect, hello).await;
        device["id"].as_str().expect("an id").to_owned()
    });
    got.expect("a hello");

    // The next time there is no token of the gateway, and the device's own does.
    instance.credential = None;
    let line = Line::to(instance, with_device);
    let (got, ()) = tokio::join!(line.socket.hello(LONG), async {
        let (mut peer, connect) = connecting(&place).await;
        assert_eq!(connect.params["auth"], json!({ "deviceToken": "device-token-1" }));
        assert_eq!(connect.params["device"]["id"], json!(device));
        peer.reply(&connect, hello("boot-1")).await;
    });
    got.expect("a hello");
}

#[tokio::test]
async fn a_gateway_that_wants_the_device_is_shown_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::new().await;
    let line = Line::to(place.instance(), |surroundings| {
        surroundings.identity = Some(folder.path().to_owned());
    });
    let (got, ()) = tokio::join!(line.socket.hello(LONG), async {
        let (mut peer, connect) = connecting(&place).await;
        assert_eq!(connect.params.get("device"), None, "on this machine a token is enough");
        let details = json!({ "code": "DEVICE_IDENTITY_REQUIRED" });
        peer.refuse(
            &connect,
            json!({ "code": "NOT_PAIRED", "message": "who?", "details": details }),
        )
        .await;
        let (mut peer, connect) = connecting(&place).await;
        assert!(connect.params["device"]["signature"].is_string());
        peer.reply(&connect, hello("boot-1")).await;
    });
    got.expect("a hello");
}

#[tokio::test]
async fn a_token_of_the_device_that_is_no_longer_known_is_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::new().await;
    let mut instance = place.instance();
    instance.credential = None;
    let device = clawhand::gateway::device::Device::open(folder.path()).expect("a device");
    let address = instance.address.socket();
    device.keep_token("lab", &address, "stale").expect("kept");
    let line = Line::to(instance, |surroundings| {
        surroundings.identity = Some(folder.path().to_owned());
    });
    let (got, ()) = tokio::join!(line.socket.hello(LONG), async {
        let (mut peer, connect) = connecting(&place).await;
        let details = json!({ "code": "AUTH_DEVICE_TOKEN_MISMATCH" });
        peer.refuse(
            &connect,
            json!({ "code": "INVALID_REQUEST", "message": "device token mismatch", "details": details }),
        )
        .await;
    });
    assert_eq!(got.expect_err("refused").fault, Fault::WrongToken);
    assert_eq!(device.token("lab", &address), None);
}

#[tokio::test]
async fn a_wrong_token_is_called_one_and_not_shown_again_and_again() {
    let place = Place::new().await;
    let line = Line::to(place.instance(), |surroundings| {
        surroundings.pace.floor = Duration::from_secs(60);
    });
    let details = json!({ "code": "AUTH_TOKEN_MISMATCH", "recommendedNextStep": "update_auth_credentials" });
    let error =
        json!({ "code": "INVALID_REQUEST", "message": "unauthorized: gateway token mismatch", "details": details });
    let (got, ()) = tokio::join!(line.socket.hello(LONG), async {
        let (mut peer, connect) = connecting(&place).await;
        peer.refuse(&connect, error).await;
    });
    let first = got.expect_err("refused");
    assert_eq!(first.fault, Fault::WrongToken);
    assert!(!first.retryable && !first.message.contains(TOKEN));
    assert_eq!(first.code.as_deref(), Some("AUTH_TOKEN_MISMATCH"));
    // Nobody plays the gateway now: the answer comes without it.
    assert_eq!(soon(line.socket.hello(LONG)).await.expect_err("refused"), first);
}

#[tokio::test]
async fn a_token_that_is_right_again_is_found_out_by_the_next_who_asks() {
    let place = Place::new().await;
    let line = Line::to(place.instance(), |surroundings| {
        surroundings.pace.floor = Duration::ZERO;
    });
    let details = json!({ "code": "AUTH_TOKEN_MISMATCH" });
    let error = json!({ "code": "INVALID_REQUEST", "message": "mismatch", "details": details });
    let (got, ()) = tokio::join!(line.socket.hello(LONG), async {
        let (mut peer, connect) = connecting(&place).await;
        peer.refuse(&connect, error).await;
    });
    got.expect_err("refused");
    let (got, _peer) = tokio::join!(line.socket.hello(LONG), place.greet());
    got.expect("a hello");
}

#[tokio::test]
async fn who_is_to_be_approved_is_told_how() {
    let details = json!({ "code": "PAIRING_REQUIRED", "requestId": "req-7", "reason": "not-paired" });
    let error = refused(json!({ "code": "NOT_PAIRED", "message": "pairing required", "details": details })).await;
    assert!(
        error.message.contains("openclaw devices approve req-7"),
        "{}",
        error.message
    );
    assert!(matches!(error.fault, Fault::Pairing(pairing) if pairing.request_id.as_deref() == Some("req-7")));

    let details = json!({ "code": "DEVICE_IDENTITY_REQUIRED" });
    let error =
        refused(json!({ "code": "NOT_PAIRED", "message": "device identity required", "details": details })).await;
    assert!(matches!(error.fault, Fault::Pairing(_)), "{error:?}");
}

#[tokio::test]
async fn another_version_of_the_protocol_is_named() {
    let details = json!({ "code": "PROTOCOL_MISMATCH", "expectedProtocol": 5 });
    let error = refused(json!({ "code": "INVALID_REQUEST", "message": "protocol mismatch", "details": details })).await;
    assert_eq!(error.fault, Fault::Protocol);
    assert!(error.message.contains("version 5"), "{}", error.message);

    for version in [3, 5] {
        let place = Place::new().await;
        let line = place.socket();
        let (got, ()) = tokio::join!(line.socket.hello(LONG), async {
            let (mut peer, connect) = connecting(&place).await;
            let mut hello = hello("boot-1");
            hello["protocol"] = json!(version);
            peer.reply(&connect, hello).await;
        });
        let error = got.expect_err("another version");
        assert_eq!(error.fault, Fault::Protocol);
        assert!(
            error.message.contains(&format!("version {version}")),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn a_gateway_that_starts_is_waited_for() {
    let place = Place::new().await;
    let line = place.socket();
    let starting = json!({
        "code": "UNAVAILABLE",
        "message": "gateway starting",
        "retryable": true,
        "retryAfterMs": 100,
        "details": { "reason": "startup-sidecars" },
    });
    let (got, _peer) = tokio::join!(line.socket.hello(LONG), async {
        for _ in 0..2 {
            let (mut peer, connect) = connecting(&place).await;
            peer.refuse(&connect, starting.clone()).await;
            peer.close(1013, "gateway starting").await;
        }
        place.greet().await
    });
    got.expect("a hello");
}

#[tokio::test]
async fn a_gateway_that_hangs_is_given_up() {
    // It takes the connection and says nothing; it challenges and says nothing more.
    for challenges in [false, true] {
        let place = Place::new().await;
        let line = Line::to(place.instance(), |surroundings| {
            surroundings.pace.connect = Duration::from_millis(1500);
        });
        let (got, _peer) = tokio::join!(line.socket.hello(LONG), async {
            let mut peer = place.accept().await;
            if challenges {
                peer.challenge().await;
            }
            peer
        });
        let error = got.expect_err("nothing came");
        assert_eq!(error.fault, Fault::IdleTimeout, "{error}");
        assert!(error.retryable);
    }
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let place = Place::new().await;
    let line = place.socket();
    drop(place);
    let error = soon(line.socket.hello(LONG)).await.expect_err("nobody");
    assert_eq!(error.fault, Fault::Unreachable);
    assert!(
        !error.message.contains("127.0.0.1") && !error.message.contains("localhost"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn what_is_no_gateway_is_called_that() {
    let greetings = [
        Message::text("not JSON"),
        Message::text(r#"["frames", "are", "objects"]"#),
        Message::binary(vec![0, 159, 146, 150]),
        Message::text(r#"{"type":"event","event":"connect.challenge","payload":{"nonce":7}}"#),
    ];
    for greeting in greetings {
        let place = Place::new().await;
        let line = place.socket();
        let (got, _peer) = tokio::join!(line.socket.hello(LONG), async {
            let mut peer = place.accept().await;
            peer.say(greeting).await;
            peer
        });
        assert_eq!(got.expect_err("no gateway").fault, Fault::Protocol);
    }
}

#[tokio::test]
async fn a_web_server_in_its_place_is_told_by_what_it_said() {
    let html = "<html><body>Sign in</body></html>";
    let json =
        r#"{"error":{"message":"forwarded headers from an untrusted proxy","type":"proxy_attribution_required"}}"#;
    for (status, body, expected) in [
        ("200 OK", html, "HTTP status 200"),
        ("302 Found", "", "HTTP status 302"),
        ("403 Forbidden", json, "untrusted proxy"),
        ("502 Bad Gateway", html, "HTTP status 502"),
    ] {
        let place = Place::new().await;
        let line = place.socket();
        let (got, ()) = tokio::join!(line.socket.hello(LONG), async {
            let mut stream = place.accept_raw().await;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.expect("written");
        });
        let error = got.expect_err("a web server");
        assert!(error.message.contains(expected), "{}", error.message);
        assert!(!error.message.contains("Sign in"), "{}", error.message);
    }
}

#[tokio::test]
async fn only_the_pinned_certificate_is_trusted() {
    let (tls, fingerprint) = certificate();
    let place = Place::secured(tls).await;
    let mut instance = place.instance();
    instance.fingerprint = Some(clawhand::gateway::Fingerprint::parse(&fingerprint).expect("a fingerprint"));
    let line = Line::to(instance.clone(), |_| {});
    let (got, _peer) = tokio::join!(line.socket.hello(LONG), place.greet());
    got.expect("a hello");

    let other = fingerprint.chars().rev().collect::<String>();
    instance.fingerprint = Some(clawhand::gateway::Fingerprint::parse(&other).expect("a fingerprint"));
    let line = Line::to(instance.clone(), |_| {});
    let failed = async |line: &Line| {
        tokio::select! {
            got = line.socket.hello(LONG) => got.expect_err("not trusted"),
            _ = place.accept_raw() => panic!("it was trusted"),
        }
    };
    let error = failed(&line).await;
    assert_eq!(error.fault, Fault::Unreachable);
    assert!(error.message.contains("fingerprint"), "{}", error.message);

    instance.fingerprint = None;
    let error = failed(&Line::to(instance, |_| {})).await;
    assert_eq!(error.fault, Fault::Unreachable);
    assert!(error.message.contains("TLS"), "{}", error.message);
}
