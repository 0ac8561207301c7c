//! The door for models, as a client sees it: every revision of the protocol, who may come in, what a wrong call gets.

pub mod bridge;
mod chats;
mod conversations;
mod executions;
mod limits;
mod piped;
mod process;
mod recorded;
mod waiting;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use clawhand::app::Home;
use clawhand::auth::peer::Doorway;
use clawhand::config::{Config, Environment};
use clawhand::control::Control;
use clawhand::domain::{Actor, Scope};
use clawhand::lifecycle::Lifecycle;
use clawhand::mcp::{self, Caller, Direct, Handler, HttpSettings};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use rmcp::model::{CallToolRequestParams, CallToolResponse, Tool};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use self::piped::Piped;
use crate::database::Base;
use crate::gateway::scripted::TOKEN;
use crate::site::Site;

const TASKS: &str = "io.modelcontextprotocol/tasks";
const MODERN: &str = "2026-07-28";

/// A door on a loopback port. Dropping it ends the server.
struct Door {
    address: SocketAddr,
    client: Client,
    lifecycle: Lifecycle,
    /// The installation behind it, when it is this door's own.
    site: Option<Site>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

impl Door {
    async fn open(settings: HttpSettings, actor: Option<Actor>) -> Self {
        let site = Site::new(Base::sqlite()).await;
        let mut door = Self::before(site.control.clone(), settings, actor).await;
        door.site = Some(site);
        door
    }

    async fn before(control: Control, settings: HttpSettings, actor: Option<Actor>) -> Self {
        Self::of(Handler::new(control, Caller::OfRequest), settings, actor).await
    }

    async fn of(handler: impl Direct, settings: HttpSettings, actor: Option<Actor>) -> Self {
        let lifecycle = Lifecycle::new();
        let router =
            mcp::http_router(&settings, &lifecycle, handler).layer(from_fn(move |mut request: Request, next: Next| {
                if let Some(actor) = actor.clone() {
                    request.extensions_mut().insert(actor);
                }
                next.run(request)
            }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stopped = lifecycle.soft().cancelled_owned();
        let server = axum::serve(Doorway::new(listener), router).with_graceful_shutdown(stopped);
        TaskTracker::new().spawn(async move { server.await.expect("serves") });
        // Another test may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            address,
            client: Client::new(),
            lifecycle,
            site: None,
        }
    }

    /// The door of `actor` to `site`.
    async fn to(site: &Site, actor: Actor) -> Self {
        Self::before(site.control.clone(), HttpSettings::default(), Some(actor)).await
    }

    async fn usual() -> Self {
        Self::open(HttpSettings::default(), Some(caller(&[Scope::Tasks]))).await
    }

    fn post(&self, body: &Value) -> RequestBuilder {
        self.client
            .post(format!("http://{}/mcp", self.address))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body.to_string())
    }

    /// A call as a client of `revision` makes it.
    fn request(&self, revision: &str, method: &str, mut params: Value) -> RequestBuilder {
        if revision < MODERN {
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            return self.post(&body).header("mcp-protocol-version", revision);
        }
        for (key, value) in [
            ("protocolVersion", json!(revision)),
            (
                "clientCapabilities",
                json!({"elicitation": {}, "extensions": {TASKS: {}}}),
            ),
            ("clientInfo", json!({"name": "door test", "version": "1"})),
        ] {
            params["_meta"][format!("io.modelcontextprotocol/{key}")] = value;
        }
        let name = ["name", "uri", "taskId"]
            .iter()
            .find_map(|field| params[*field].as_str());
        let name = name.unwrap_or_default().to_owned();
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let post = self
            .post(&body)
            .header("mcp-protocol-version", revision)
            .header("mcp-method", method);
        if name.is_empty() {
            post
        } else {
            post.header("mcp-name", name)
        }
    }

    async fn answer(&self, revision: &str, method: &str, params: Value) -> Value {
        let response = self.request(revision, method, params).send().await.expect("an answer");
        response.json().await.expect("JSON")
    }

    async fn call(&self, revision: &str, tool: &str, arguments: Value) -> Value {
        self.answer(revision, "tools/call", json!({"name": tool, "arguments": arguments}))
            .await
    }
}

/// An installation with the gateways of these tables, who take the token of `LAB_TOKEN`, and its folder.
async fn home_with(tables: &str, lifecycle: Lifecycle) -> (Home, tempfile::TempDir) {
    // Another test may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a folder");
    let parsed: Config = toml::from_str(tables).expect("parses");
    std::fs::create_dir(folder.path().join("targets")).expect("made");
    let config = Config {
        data: folder.path().join("data"),
        targets: folder.path().join("targets"),
        ..parsed
    };
    let environment = Environment::from_iter([("LAB_TOKEN".to_owned(), TOKEN.to_owned())]);
    let home = Home::open(config, &environment, lifecycle).await.expect("opens");
    (home, folder)
}

fn caller(scopes: &[Scope]) -> Actor {
    let mut actor = Actor::local_model("door test");
    actor.scopes = scopes.to_vec();
    actor
}

fn names(list: &Value) -> Vec<&str> {
    let tools = list["result"]["tools"].as_array().expect("tools");
    tools.iter().filter_map(|tool| tool["name"].as_str()).collect()
}

async fn refusal(response: Response) -> Value {
    let body: Value = response.json().await.expect("JSON");
    let data = &body["error"]["data"];
    for field in ["code", "message", "retryable", "hint"] {
        assert!(!data[field].is_null(), "no {field} in {body}");
    }
    data.clone()
}

#[tokio::test]
async fn a_client_before_2026_shakes_hands_and_calls() {
    let door = Door::usual().await;
    for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "old", "version": "1"},
        }});
        let response = door.post(&hello).send().await.expect("an answer");
        assert_eq!(response.headers().get("mcp-session-id"), None, "stateless");
        let hello: Value = response.json().await.expect("JSON");
        assert_eq!(hello["result"]["protocolVersion"], revision);
        assert_eq!(hello["result"]["serverInfo"]["name"], "clawhand");
        let instructions = hello["result"]["instructions"].as_str().expect("instructions");
        assert!(instructions.len() < 2048 && instructions.contains("submit_task"));

        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let accepted = door
            .post(&initialized)
            .header("mcp-protocol-version", revision)
            .send()
            .await
            .expect("an answer");
        assert_eq!(accepted.status(), StatusCode::ACCEPTED);

        let list = door.answer(revision, "tools/list", json!({})).await;
        assert_eq!(names(&list).len(), 9, "{revision}");
        let called = door.call(revision, "list_targets", json!({})).await;
        assert_eq!(called["result"]["isError"], false, "{called}");
        assert!(called["result"]["structuredContent"]["targets"].is_array(), "{called}");
        assert_eq!(called["result"].get("resultType"), None, "a word of a later revision");
    }
}

#[tokio::test]
async fn a_client_of_2026_discovers_and_calls() {
    let door = Door::usual().await;
    let found = door.answer(MODERN, "server/discover", json!({})).await;
    let versions = found["result"]["supportedVersions"].as_array().expect("versions");
    for revision in ["2025-06-18", "2025-11-25", MODERN] {
        assert!(versions.contains(&revision.into()), "{versions:?}");
    }
    let capabilities = &found["result"]["capabilities"];
    assert!(capabilities["extensions"][TASKS].is_object(), "{capabilities}");
    assert!(
        capabilities["tools"].is_object() && capabilities["resources"].is_object(),
        "{capabilities}"
    );

    let called = door.call(MODERN, "list_targets", json!({})).await;
    assert_eq!(called["result"]["resultType"], "complete", "{called}");
    let text = called["result"]["content"][0]["text"].as_str().expect("a text");
    let text: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(
        text, called["result"]["structuredContent"],
        "for clients that read only text"
    );

    let templates = door.answer(MODERN, "resources/templates/list", json!({})).await;
    assert_eq!(
        templates["result"]["resourceTemplates"][0]["uriTemplate"],
        "clawhand://artifacts/{artifact_id}"
    );
}

#[tokio::test]
async fn an_unknown_revision_is_refused_with_those_that_are_known() {
    let door = Door::usual().await;
    let response = door
        .request("2031-01-01", "tools/list", json!({}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], -32022, "{body}");
}

#[tokio::test]
async fn nobody_comes_in_without_an_actor() {
    let door = Door::open(HttpSettings::default(), None).await;
    for (revision, method, params) in [
        (
            "2025-11-25",
            "initialize",
            json!({"protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "x", "version": "1"}}),
        ),
        ("2025-11-25", "tools/list", json!({})),
        (MODERN, "server/discover", json!({})),
        (MODERN, "tools/call", json!({"name": "list_targets", "arguments": {}})),
    ] {
        let response = door.request(revision, method, params).send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{revision} {method}");
        assert_eq!(
            refusal(response).await["code"],
            "unauthenticated",
            "{revision} {method}"
        );
    }
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused() {
    let door = Door::usual().await;
    let list = || door.request("2025-11-25", "tools/list", json!({}));
    for (header, value, status) in [
        ("host", "evil.example", StatusCode::FORBIDDEN),
        ("host", "127.0.0.1.evil.example", StatusCode::FORBIDDEN),
        ("host", "localhost:1", StatusCode::OK),
        ("origin", "http://evil.example", StatusCode::FORBIDDEN),
        ("origin", "null", StatusCode::FORBIDDEN),
        ("origin", "http://localhost:5173", StatusCode::OK),
    ] {
        let response = list().header(header, value).send().await.expect("an answer");
        assert_eq!(response.status(), status, "{header}: {value}");
    }
    let settings = HttpSettings {
        allowed_hosts: vec!["claw.example".into()],
        allowed_origins: vec!["https://claude.ai:443".into()],
        ..HttpSettings::default()
    };
    let door = Door::open(settings, Some(caller(&[Scope::Tasks]))).await;
    let list = || door.request("2025-11-25", "tools/list", json!({}));
    let own = list().send().await.expect("an answer");
    assert_eq!(own.status(), StatusCode::FORBIDDEN, "only the names of the list");
    let named = list()
        .header("host", "claw.example")
        .header("origin", "https://claude.ai");
    assert_eq!(named.send().await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn the_methods_of_http_that_mean_sessions_are_refused() {
    let door = Door::usual().await;
    let url = format!("http://{}/mcp", door.address);
    for request in [door.client.get(&url), door.client.delete(&url), door.client.put(&url)] {
        let response = request
            .header("accept", "text/event-stream")
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "POST");
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_says_what_to_do_instead() {
    let settings = HttpSettings {
        max_body_bytes: 10_000,
        ..HttpSettings::default()
    };
    let door = Door::open(settings, Some(caller(&[Scope::Tasks]))).await;
    let upload = |size| json!({"name": "upload_artifact", "arguments": {"task_id": "t", "name": "n", "content": "x".repeat(size)}});
    let response = door
        .request("2025-11-25", "tools/call", upload(10_000))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let refused = refusal(response).await;
    assert_eq!(
        (&refused["code"], &refused["retryable"]),
        (&json!("too_large"), &json!(false))
    );
    let response = door
        .request("2025-11-25", "tools/call", upload(5_000))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let door = Door::usual().await;
    for (body, content_type, status, code) in [
        (&b"{"[..], "application/json", 400, -32700),
        (b"{\"jsonrpc\":\"\xff\"}", "application/json", 400, -32700),
        (b"<html>", "application/json; charset=utf-8", 400, -32700),
        (b"", "application/json", 400, -32700),
        (b"[]", "application/json", 400, -32600),
        (b"{\"jsonrpc\":\"2.0\"}", "application/json", 400, -32600),
        (b"{}", "text/plain", 415, -32600),
    ] {
        let what = String::from_utf8_lossy(body);
        let request = door.client.post(format!("http://{}/mcp", door.address));
        let request = request
            .header("content-type", content_type)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
            .body(body.to_vec());
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), status, "{what}");
        let answer: Value = response.json().await.expect("JSON");
        assert_eq!(answer["error"]["code"], code, "{what}: {answer}");
        assert_eq!(answer["id"], Value::Null, "{answer}");
        assert_eq!(answer["error"]["data"]["code"], "invalid_argument", "{answer}");
    }
}

/// A handler that counts which calls are answered directly.
#[derive(Clone)]
struct Counted {
    handler: Handler,
    direct: Arc<AtomicUsize>,
}

impl Direct for Counted {
    fn answers_once(&self, tool: &str) -> bool {
        let once = self.handler.answers_once(tool);
        self.direct.fetch_add(usize::from(once), Ordering::Relaxed);
        once
    }
}

impl ServerHandler for Counted {
    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.handler.get_tool(name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.handler.call_tool(request, context).await
    }
}

/// The plainest calls are answered directly, all others by the transport: nobody may see which.
#[tokio::test]
async fn a_call_answered_directly_is_answered_as_by_the_transport() {
    let site = Site::new(Base::sqlite()).await;
    let direct = Arc::new(AtomicUsize::new(0));
    let counted = Counted {
        handler: Handler::new(site.control.clone(), Caller::OfRequest),
        direct: direct.clone(),
    };
    let door = Door::of(counted, HttpSettings::default(), Some(caller(&[Scope::Tasks]))).await;
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", MODERN] {
        for (params, is_plain) in [
            (json!({"name": "list_targets", "arguments": {}}), true),
            (json!({"name": "list_targets", "arguments": null}), true),
            (json!({"name": "list_targets"}), true),
            (
                json!({"name": "get_status", "arguments": {"execution_id": "nobody's"}}),
                true,
            ),
            (json!({"name": "get_status", "arguments": []}), false),
            (json!({"name": "=?base64?eA==?=", "arguments": {}}), false),
            (json!({"name": "no_such_tool", "arguments": {}}), false),
            (
                json!({"name": "submit_task", "arguments": {"goal": 7}, "requestState": "kept"}),
                false,
            ),
        ] {
            // A space less, and the request isn't plain.
            let [plain, not] = [
                "application/json, text/event-stream",
                "application/json,text/event-stream",
            ]
            .map(|accept| {
                let mut request = door
                    .request(revision, "tools/call", params.clone())
                    .build()
                    .expect("a request");
                request.headers_mut().insert("accept", accept.parse().expect("a value"));
                door.client.execute(request)
            });
            let mut answers = Vec::new();
            for response in [plain.await, not.await] {
                let response = response.expect("an answer");
                let told = response.headers().get("content-type").cloned();
                let status = response.status();
                answers.push((status, told, response.text().await.expect("a text")));
            }
            assert_eq!(answers[0], answers[1], "{revision} {params}");
            let directly = direct.swap(0, Ordering::Relaxed);
            assert_eq!(directly, usize::from(is_plain), "{revision} {params}");
        }
    }
}

#[tokio::test]
async fn wrong_arguments_are_tool_errors_that_name_the_field() {
    let door = Door::usual().await;
    let task = json!({"project_name": "p", "goal": "g", "target_ref": "t", "execution_intent": "test"});
    let with = |field: &str, value: Value| {
        let mut task = task.clone();
        task[field] = value;
        task
    };
    for revision in ["2025-06-18", "2025-11-25", MODERN] {
        for (tool, arguments, says) in [
            ("submit_task", json!({}), "field project_name is missing"),
            ("submit_task", with("hostname", json!("h")), "field hostname is unknown"),
            ("submit_task", with("goal", json!(7)), "field goal: expected a text"),
            (
                "submit_task",
                with("goal", json!("g".repeat(70_000))),
                "field goal: 70000 bytes",
            ),
            (
                "submit_task",
                with("constraints", json!({"timeout_s": "5"})),
                "field constraints.timeout_s: expected a whole",
            ),
            (
                "submit_task",
                with("constraints", json!({"cpu": 5})),
                "field constraints.cpu is unknown",
            ),
            (
                "upload_artifact",
                json!({"task_id": "t", "name": "n", "last": 1}),
                "field last: expected true or false",
            ),
            (
                "start_execution",
                json!({"task_id": null}),
                "field task_id: expected a text",
            ),
            (
                "get_status",
                json!({"execution_id": "e", "wait_ms": -1}),
                "field wait_ms: expected a whole",
            ),
            ("get_result", json!({"execution": "e"}), "field execution is unknown"),
            (
                "respond_to_approval",
                json!({"approval_id": "a", "decision": "yes"}),
                "field decision: not one of",
            ),
            ("list_tasks", json!({"limit": 1.5}), "field limit: expected a whole"),
        ] {
            let called = door.call(revision, tool, arguments.clone()).await;
            let result = &called["result"];
            assert_eq!(result["isError"], true, "{revision} {tool} {arguments}: {called}");
            let refused = &result["structuredContent"];
            assert_eq!(refused["code"], "invalid_argument", "{refused}");
            assert_eq!(refused["retryable"], false, "{refused}");
            let message = refused["message"].as_str().expect("a message");
            assert!(message.starts_with(says), "{tool} {arguments}: {message}");
            assert!(!refused["hint"].as_str().expect("a hint").is_empty());
        }
    }
}

#[tokio::test]
async fn an_unknown_tool_is_an_error_of_the_protocol() {
    let door = Door::usual().await;
    for revision in ["2025-11-25", MODERN] {
        let called = door.call(revision, "rm_rf", json!({})).await;
        assert_eq!(called["error"]["code"], -32602, "{called}");
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_read_is_no_unknown_method() {
    let door = Door::usual().await;
    for (method, params) in [
        ("tools/call", json!({"name": "list_targets", "arguments": []})),
        ("tools/call", json!({"arguments": {}})),
        ("resources/read", json!({"uri": 5})),
    ] {
        let got = door.answer("2025-11-25", method, params).await;
        assert_eq!(got["error"]["code"], -32602, "{method}: {got}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_offered_does_not_exist() {
    let door = Door::usual().await;
    let prompt = json!({"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "v"}});
    for (revision, method, params) in [
        ("2025-11-25", "prompts/list", json!({})),
        (MODERN, "prompts/list", json!({})),
        (MODERN, "completion/complete", prompt),
        ("2025-11-25", "logging/setLevel", json!({"level": "debug"})),
        (
            "2025-11-25",
            "resources/subscribe",
            json!({"uri": "clawhand://artifacts/x"}),
        ),
        (MODERN, "subscriptions/listen", json!({"notifications": {}})),
        (MODERN, "tasks/list", json!({})),
    ] {
        let got = door.answer(revision, method, params).await;
        assert_eq!(got["error"]["code"], -32601, "{revision} {method}: {got}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_words_of_its_method() {
    let door = Door::usual().await;
    let execution = "exe_00000000000070008000000000000000";
    let called = door
        .call("2025-11-25", "get_result", json!({"execution_id": execution}))
        .await;
    assert_eq!(called["result"]["structuredContent"]["code"], "not_found", "{called}");
    for id in [execution, "nonsense"] {
        for (method, more) in [
            ("tasks/get", json!({})),
            ("tasks/cancel", json!({})),
            ("tasks/update", json!({"inputResponses": {}})),
        ] {
            let mut params = more;
            params["taskId"] = id.into();
            let got = door.answer(MODERN, method, params).await;
            assert_eq!(got["error"]["code"], -32602, "{method} {id}: {got}");
            assert_eq!(got["error"]["message"], "unknown task", "{method} {id}: {got}");
        }
    }
    for uri in [
        "clawhand://artifacts/art_00000000000070008000000000000000",
        "clawhand://artifacts/x",
        "file:///etc/passwd",
    ] {
        for (revision, code) in [("2025-11-25", -32002), (MODERN, -32602)] {
            let got = door.answer(revision, "resources/read", json!({ "uri": uri })).await;
            assert_eq!(got["error"]["code"], code, "{uri}: {got}");
        }
    }
}

#[tokio::test]
async fn a_caller_sees_only_what_its_scopes_allow() {
    for (scopes, seen) in [
        (vec![], vec!["list_targets"]),
        (vec![Scope::Approve], vec!["list_targets", "respond_to_approval"]),
    ] {
        let door = Door::open(HttpSettings::default(), Some(caller(&scopes))).await;
        let list = door.answer("2025-11-25", "tools/list", json!({})).await;
        assert_eq!(names(&list), seen, "{scopes:?}");
        let called = door.call("2025-11-25", "submit_task", json!({})).await;
        assert_eq!(called["result"]["structuredContent"]["code"], "not_allowed", "{called}");
    }
}

/// What models read is a contract: a change shows up here, to be looked at and taken over.
#[tokio::test]
async fn the_list_of_tools_is_as_recorded() {
    let door = Door::usual().await;
    let list = door.answer("2025-11-25", "tools/list", json!({})).await;
    let got = serde_json::to_string_pretty(&list["result"]["tools"]).expect("JSON") + "\n";
    let recorded = include_str!("mcp/tools.json");
    if got != recorded {
        let new = concat!(env!("CARGO_TARGET_TMPDIR"), "/tools.json");
        std::fs::write(new, &got).expect("written");
        panic!("the tools differ from tests/it/mcp/tools.json; what they are now is in {new}");
    }
}

#[tokio::test]
async fn sessions_are_kept_only_where_they_are_switched_on() {
    let settings = HttpSettings {
        legacy_sessions: true,
        ..HttpSettings::default()
    };
    let door = Door::open(settings, Some(caller(&[Scope::Tasks]))).await;
    let hello =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}});
    let response = door
        .request("2025-11-25", "initialize", hello)
        .send()
        .await
        .expect("an answer");
    let session = response.headers().get("mcp-session-id").expect("a session").clone();
    let ended = door
        .client
        .delete(format!("http://{}/mcp", door.address))
        .header("mcp-session-id", &session);
    assert!(ended.send().await.expect("an answer").status().is_success());
    for method in ["tools/list", "tools/call"] {
        let late = door
            .request("2025-11-25", method, json!({"name": "list_targets"}))
            .header("mcp-session-id", &session);
        assert_eq!(late.send().await.expect("an answer").status(), StatusCode::NOT_FOUND);
    }

    // Where there are none, a client that remembers one from another server goes on.
    let door = Door::usual().await;
    for revision in ["2025-11-25", MODERN] {
        for (method, params) in [
            ("tools/list", json!({})),
            ("tools/call", json!({"name": "list_targets", "arguments": {}})),
        ] {
            let asked = door
                .request(revision, method, params)
                .header("mcp-session-id", &session);
            let answer: Value = asked.send().await.expect("an answer").json().await.expect("JSON");
            assert!(answer["result"].is_object(), "{revision} {method}: {answer}");
        }
    }
}
