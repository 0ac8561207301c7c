//! Where requests go and where they don't, whom clawhand trusts, and what it shows of itself.

use std::time::Duration;

use clawhand::domain::target::HttpBlock;
use clawhand::executors::{AttemptState, Executor};
use serde_json::json;
use tokio::net::TcpListener;

use super::super::trust::{Clients, Trust};
use super::api::{Api, Gate, Reply, fine};
use super::stories::plain;
use super::{Rig, block, call, end_of, report};

const GET: &str = r#"
[executor.operations.get]
intents = ["check"]
summary = "s"
method = "GET"
path = "/get"
retries = 1
"#;

/// A target whose API has a name and a certificate.
fn named(api: &Api, trust: &Trust, more: &str) -> HttpBlock {
    let executor = format!(
        "base_url = \"https://api.test:{}\"\nca = \"{}\"\nallow_private = [\"127.0.0.1\"]\noutage = \"1s\"\n{more}",
        api.address.port(),
        trust.file("ca.pem").display(),
    );
    block(&executor, GET)
}

fn never_started(state: &AttemptState) -> &str {
    match state {
        AttemptState::NeverStarted(why) => why,
        other => panic!("ended as {other:?}"),
    }
}

#[tokio::test]
async fn addresses_that_are_not_named_are_refused_whatever_the_name() {
    let api = Api::start(None, |_, _| fine()).await;
    let port = api.address.port();
    let rig = Rig::new();
    rig.book.put("api.test", &["127.0.0.1", "10.0.0.1"]);
    for host in [
        "127.0.0.1",
        "localhost",
        "api.test",
        "[::ffff:127.0.0.1]",
        "0x7f.1",
        "2130706433",
    ] {
        rig.book.put("localhost", &["127.0.0.1", "::1"]);
        let executor =
            format!("base_url = \"http://{host}:{port}\"\nplaintext = true\nallow_private = [\"10.9.0.0/16\"]");
        let (log, state) = rig.run(&block(&executor, GET), "get", json!({})).await;
        assert!(
            never_started(&state).contains("not one that it allows"),
            "{host}: {log}"
        );
        let trouble = rig.executor(&block(&executor, GET)).probe().await.expect_err("refused");
        assert!(
            trouble.what.contains("not allowed") && trouble.hint.contains("allow_private"),
            "{trouble:?}"
        );
    }
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn a_name_that_changes_where_it_leads_gains_nothing() {
    let trust = Trust::new();
    let rig = Rig::new();
    rig.book.put("api.test", &["127.0.0.1"]);
    let book = rig.book.clone();
    // It answers that work goes on, and from then on its name leads to another address of the machine.
    let api = Api::start(Some(trust.acceptor("api.test", Clients::Anybody)), move |seen, _| {
        book.put("api.test", &["127.0.0.2"]);
        match seen.method.as_str() {
            "POST" => Reply::Json(202, json!({"url": "/state"})),
            _ => Reply::Json(200, json!({"state": "done"})),
        }
    })
    .await;
    let other = TcpListener::bind(("127.0.0.2", api.address.port()))
        .await
        .expect("binds");
    let other = Api::on(other, Some(trust.acceptor("api.test", Clients::Anybody)), |_, _| {
        Reply::Json(200, json!({"state": "done"}))
    });
    let operations = r#"
[executor.operations.job]
intents = ["run"]
summary = "s"
method = "POST"
path = "/jobs"
poll = { pointer = "/url", until = { pointer = "/state", equals = "done" } }
"#;
    let executor = format!(
        "base_url = \"https://api.test:{}\"\nca = \"{}\"\nallow_private = [\"127.0.0.1\"]",
        api.address.port(),
        trust.file("ca.pem").display()
    );
    let (log, state) = rig.run(&block(&executor, operations), "job", json!({})).await;
    assert!(matches!(state, AttemptState::Lost(_)), "{state:?}: {log}");
    assert!(other.seen().is_empty());
    assert_eq!(api.asked(), ["POST /jobs"]);
}

#[tokio::test]
async fn redirects_lead_only_to_listed_hosts_and_allowed_addresses() {
    let other = Api::start(None, |_, _| Reply::Json(200, json!({"from": "other"}))).await;
    let to = format!("http://files.test:{}/x", other.address.port());
    let api = Api::start(None, move |_, _| {
        Reply::Full(302, vec![("location", to.clone())], b"moved".to_vec())
    })
    .await;
    let rig = Rig::new();
    rig.book.put("files.test", &["127.0.0.1"]);
    rig.secret("KEY", "a-secret-of-the-api");
    let with = |more: &str| {
        let executor = format!(
            "base_url = \"http://{}\"\nplaintext = true\n{more}\nauth = {{ kind = \"bearer\", token = {{ env = \"KEY\" }} }}",
            api.address
        );
        block(&executor, GET)
    };
    // Not listed: it is an answer, and no good one.
    let (_, state) = rig
        .run(&with("allow_private = [\"127.0.0.1\"]"), "get", json!({}))
        .await;
    assert_eq!(report(&state).exit_code, Some(1));
    assert!(other.seen().is_empty());
    let listed = format!("redirect_hosts = [\"files.test:{}\"]", other.address.port());
    // Listed, and its address is not allowed, though somebody would answer there.
    let elsewhere = TcpListener::bind(("127.0.0.3", other.address.port())).await;
    let elsewhere = Api::on(elsewhere.expect("binds"), None, |_, _| fine());
    rig.book.put("files.test", &["127.0.0.3"]);
    let (_, state) = rig
        .run(
            &with(&format!("allow_private = [\"127.0.0.1\"]\n{listed}")),
            "get",
            json!({}),
        )
        .await;
    assert!(matches!(state, AttemptState::Lost(_)), "{state:?}");
    assert!(other.seen().is_empty() && elsewhere.seen().is_empty());
    // Listed and allowed: it gets the request, and none of the credentials.
    rig.book.put("files.test", &["127.0.0.1"]);
    let (log, state) = rig
        .run(
            &with(&format!("allow_private = [\"127.0.0.1\"]\n{listed}")),
            "get",
            json!({}),
        )
        .await;
    assert_eq!(report(&state).exit_code, Some(0), "{log}");
    assert_eq!(other.asked(), ["GET /x"]);
    assert_eq!(other.seen()[0].header("authorization"), None);
    assert_eq!(
        api.seen()[0].header("authorization"),
        Some("Bearer a-secret-of-the-api")
    );
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_stops_everything() {
    let (trust, others) = (Trust::new(), Trust::new());
    let rig = Rig::new();
    rig.book.put("api.test", &["127.0.0.1"]);
    let good = Api::start(Some(trust.acceptor("api.test", Clients::Anybody)), |_, _| fine()).await;
    let (log, state) = rig.run(&named(&good, &trust, ""), "get", json!({})).await;
    assert_eq!(report(&state).exit_code, Some(0), "{log}");
    let foreign = Api::start(Some(others.acceptor("api.test", Clients::Anybody)), |_, _| fine()).await;
    let misnamed = Api::start(Some(trust.acceptor("other.test", Clients::Anybody)), |_, _| fine()).await;
    for api in [&foreign, &misnamed] {
        let block = named(api, &trust, "");
        let (_, state) = rig.run(&block, "get", json!({})).await;
        assert!(never_started(&state).contains("can't be trusted"), "{state:?}");
        let trouble = rig.executor(&block).probe().await.expect_err("refused");
        assert!(trouble.what.contains("can't be trusted"), "{trouble:?}");
        assert!(api.seen().is_empty());
    }
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let trust = Trust::new();
    let rig = Rig::new();
    rig.book.put("api.test", &["127.0.0.1"]);
    let api = Api::start(Some(trust.acceptor("api.test", Clients::Known)), |_, _| fine()).await;
    trust.issue("clawhand.test");
    let shown = format!(
        "client_certificate = \"{}\"\nclient_key = {{ file = \"{}\" }}",
        trust.file("clawhand.test.pem").display(),
        trust.file("clawhand.test.key").display()
    );
    let (log, state) = rig.run(&named(&api, &trust, &shown), "get", json!({})).await;
    assert_eq!(report(&state).exit_code, Some(0), "{log}");
    let without = named(&api, &trust, "");
    let (_, state) = rig.run(&without, "get", json!({})).await;
    assert!(never_started(&state).contains("can't be trusted"), "{state:?}");
    let trouble = rig.executor(&without).probe().await.expect_err("refused");
    assert!(trouble.hint.contains("client_certificate"), "{trouble:?}");
    assert_eq!(api.seen().len(), 1);
    assert!(!rig.everything().contains("PRIVATE KEY"));
}

#[tokio::test]
async fn credentials_are_sent_and_never_written() {
    let api = Api::start(None, |seen, _| Reply::Json(200, json!({"you_sent": seen.head}))).await;
    let rig = Rig::new();
    rig.secret("KEY", "hunter2-hunter2");
    let cases = [
        (
            "{ kind = \"bearer\", token = { env = \"KEY\" } }",
            "authorization",
            "Bearer hunter2-hunter2",
        ),
        (
            "{ kind = \"basic\", user = \"jo\", password = { env = \"KEY\" } }",
            "authorization",
            "Basic am86aHVudGVyMi1odW50ZXIy",
        ),
        (
            "{ kind = \"header\", name = \"X-Key\", value = { env = \"KEY\" } }",
            "x-key",
            "hunter2-hunter2",
        ),
    ];
    for (auth, header, value) in cases {
        let executor = format!(
            "base_url = \"http://{}\"\nplaintext = true\nallow_private = [\"127.0.0.1\"]\nauth = {auth}",
            api.address
        );
        let block = block(&executor, GET);
        let (log, state) = rig.run(&block, "get", json!({})).await;
        assert_eq!(report(&state).exit_code, Some(0), "{log}");
        assert_eq!(api.seen().last().expect("a request").header(header), Some(value));
        assert!(log.contains("[secret]"), "{log}");
        let written = rig.everything() + &log + &format!("{block:?}");
        for text in ["hunter2", "am86aHVu"] {
            assert!(!written.contains(text), "{text} in {written}");
        }
    }
    let block = plain(&api, GET);
    let missing = HttpBlock {
        auth: Some(clawhand::domain::target::http::HttpAuth::Bearer(
            clawhand::domain::target::SecretRef::Env("NOT_THERE".to_owned()),
        )),
        ..block
    };
    let (_, state) = rig.run(&missing, "get", json!({})).await;
    assert!(never_started(&state).contains("credentials"), "{state:?}");
    assert_eq!(api.seen().len(), 3);
}

#[tokio::test]
async fn a_token_is_fetched_once_and_anew_when_it_is_refused() {
    let api = Api::start(None, |seen, count| match seen.target.as_str() {
        "/token" => {
            let token =
                json!({"access_token": format!("token-number-{count}"), "token_type": "Bearer", "expires_in": 3600});
            Reply::Json(200, token)
        }
        // The first token is taken twice and then no more.
        _ if seen.header("authorization") == Some("Bearer token-number-0") && count > 2 => Reply::Json(401, json!({})),
        _ => Reply::Json(200, json!({"echo": seen.header("authorization")})),
    })
    .await;
    let rig = Rig::new();
    rig.secret("CLIENT", "client-secret-value");
    let executor = format!(
        "base_url = \"http://{0}\"\nplaintext = true\nallow_private = [\"127.0.0.1\"]\n[executor.auth]\nkind = \"oauth2\"\ntoken_url = \"http://{0}/token\"\nclient_id = \"clawhand\"\nclient_secret = {{ env = \"CLIENT\" }}\nscopes = [\"deploy\", \"read\"]",
        api.address
    );
    let block = block(&executor, &GET.replace("GET", "POST"));
    let executor = rig.executor(&block);
    for _ in 0..3 {
        let handle = rig.start(&executor, &call("get", json!({}))).await;
        let (log, state) = end_of(&executor, &handle).await;
        assert_eq!(report(&state).exit_code, Some(0), "{log}");
        assert!(
            log.contains("Bearer [secret]") && !log.contains("token-number"),
            "{log}"
        );
    }
    assert_eq!(
        api.asked(),
        [
            "POST /token",
            "POST /get",
            "POST /get",
            "POST /get",
            "POST /token",
            "POST /get"
        ]
    );
    let asked = api.seen()[0].clone();
    let body = String::from_utf8(asked.body).expect("text");
    assert!(
        body.contains("grant_type=client_credentials") && body.contains("scope=deploy+read"),
        "{body}"
    );
    let everything = rig.everything();
    assert!(
        !everything.contains("token-number") && !everything.contains("client-secret"),
        "{everything}"
    );
}

#[tokio::test]
async fn an_api_that_is_away_for_a_while_costs_nothing() {
    // The port is known, and nobody listens there yet.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let rig = Rig::new();
    let executor = format!(
        "base_url = \"http://{address}/v1\"\nplaintext = true\nallow_private = [\"127.0.0.1\"]\noutage = \"60s\""
    );
    let block = block(&executor, &GET.replace("GET", "POST"));
    let executor = rig.executor(&block);
    let handle = rig.start(&executor, &call("get", json!({}))).await;
    super::super::rig::until_printed(&executor, &handle, "can't be reached now").await;
    let listener = TcpListener::bind(address).await.expect("binds again");
    let api = Api::on(listener, None, |_, _| fine());
    let (log, state) = end_of(&executor, &handle).await;
    assert_eq!(report(&state).exit_code, Some(0), "{log}");
    assert_eq!(api.asked(), ["POST /v1/get"]);
}

#[tokio::test]
async fn an_api_that_stays_away_was_never_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let rig = Rig::new();
    let executor =
        format!("base_url = \"http://{address}\"\nplaintext = true\nallow_private = [\"127.0.0.1\"]\noutage = \"1s\"");
    let block = block(&executor, &GET.replace("GET", "POST"));
    let (_, state) = rig.run(&block, "get", json!({})).await;
    assert_eq!(never_started(&state), "the API can't be reached now");
    let trouble = rig.executor(&block).probe().await.expect_err("refused");
    assert!(trouble.what.contains("nobody answers"), "{trouble:?}");
}

#[tokio::test]
async fn an_api_that_falls_silent_is_not_waited_for_forever() {
    let gate = Gate::new();
    let held = gate.clone();
    let api = Api::start(None, move |_, _| Reply::After(held.clone(), Box::new(fine()))).await;
    let rig = Rig::new();
    let mut block = plain(
        &api,
        &(GET.to_owned() + &GET.replace("get", "post").replace("GET", "POST")),
    );
    block.idle_timeout = Duration::from_millis(100);
    let (log, state) = rig.run(&block, "get", json!({})).await;
    assert!(matches!(state, AttemptState::Lost(_)), "{state:?}: {log}");
    assert_eq!(api.seen().len(), 2, "one repetition");
    let (_, state) = rig.run(&block, "post", json!({})).await;
    assert!(matches!(state, AttemptState::Lost(_)), "{state:?}");
    assert_eq!(api.seen().len(), 3, "no repetition");
    gate.open();
}

#[tokio::test]
async fn a_probe_tells_what_is_wrong_apart() {
    let api = Api::start(None, |seen, _| match seen.target.as_str() {
        "/v1/unknown" => Reply::Json(401, json!({})),
        "/v1/forbidden" => Reply::Json(403, json!({})),
        _ => fine(),
    })
    .await;
    let rig = Rig::new();
    let probing = |name: &str| {
        let mut block = plain(&api, &GET.replace("get", name));
        block.probe = Some(name.to_owned());
        rig.executor(&block)
    };
    let facts = probing("good").probe().await.expect("facts");
    assert!(facts.tools.is_empty());
    let told = |trouble: clawhand::executors::Trouble| format!("{}; {}", trouble.what, trouble.hint);
    let unknown = told(probing("unknown").probe().await.expect_err("refused"));
    assert!(
        unknown.contains("401") && unknown.contains("doesn't know the credentials"),
        "{unknown}"
    );
    let forbidden = told(probing("forbidden").probe().await.expect_err("refused"));
    assert!(
        forbidden.contains("403") && forbidden.contains("may not do this"),
        "{forbidden}"
    );
    rig.executor(&plain(&api, ""))
        .probe()
        .await
        .expect("any answer will do");
    assert!(api.asked().contains(&"HEAD /v1".to_owned()), "{:?}", api.asked());
    let nowhere = block("base_url = \"https://nowhere.test\"", GET);
    let nowhere = told(rig.executor(&nowhere).probe().await.expect_err("refused"));
    assert!(nowhere.contains("name can't be found"), "{nowhere}");
}

#[tokio::test]
async fn what_may_have_been_done_is_never_called_not_started() {
    let gate = Gate::new();
    let held = gate.clone();
    let api = Api::start(None, move |_, _| Reply::After(held.clone(), Box::new(fine()))).await;
    let rig = Rig::new();
    let mut block = plain(&api, &GET.replace("GET", "PUT"));
    block.outage = Duration::from_millis(200);
    let executor = rig.executor(&block);
    let handle = rig.start(&executor, &call("get", json!({}))).await;
    api.until(1).await;
    // It breaks off, and from then on nobody listens.
    drop(api);
    let (log, state) = end_of(&executor, &handle).await;
    assert!(
        matches!(&state, AttemptState::Lost(why) if why.contains("earlier request")),
        "{state:?}: {log}"
    );
}
