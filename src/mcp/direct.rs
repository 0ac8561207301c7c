//! The direct way of a call that is one message there and one message back.
//!
//! rmcp's transport serves every HTTP request with a service of its own: four tasks that pass the message on. That is
//! right for requests that may talk back, and costs more than most calls do. So the plainest calls of tools go from here
//! straight to rmcp's dispatch. Nothing is refused here: what isn't plain in every respect goes to the transport as it
//! came, whose checks of the protocol are the only ones. See docs/decisions/direct-calls.md.

use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, ErrorCode, InitializeRequestParams, JsonObject,
    JsonRpcVersion2_0, MetaObject, ProtocolVersion, RequestId, RequestMetaObject, ServerJsonRpcMessage,
};
use rmcp::service::{Peer, RequestContext};
use rmcp::{ErrorData, RoleServer, ServerHandler, Service as _};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::transport::HttpSettings;
use crate::lifecycle::Lifecycle;

/// The largest call that goes this way, in bytes: files come another.
const SMALL: usize = 64 * 1024;

const JSON: &str = "application/json";
/// Both forms of an answer, as clients name them.
const ACCEPTED: [&str; 2] = [
    "application/json, text/event-stream",
    "text/event-stream, application/json",
];
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const CALL: &str = "tools/call";

/// A server that knows which of its tools can be called directly.
pub trait Direct: ServerHandler + Clone {
    /// Whether a call of this tool without a progress token is answered by one message, and asks the client nothing.
    fn answers_once(&self, tool: &str) -> bool;
}

/// Who answers calls directly, and which.
pub(super) struct DirectWay<H> {
    handler: H,
    /// The names of this server, as the transport has them.
    hosts: Vec<String>,
    /// The largest body.
    max: usize,
    lifecycle: Lifecycle,
    versions: Vec<Version>,
}

/// A revision of the protocol, and a client of it that nothing can be sent to.
struct Version {
    known: ProtocolVersion,
    client: OnceLock<Peer<RoleServer>>,
}

/// An object, and not the list of its values, which serde would take for it, too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// A call of a tool. With a field more, it isn't a plain one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    #[serde(rename = "jsonrpc")]
    _jsonrpc: JsonRpcVersion2_0,
    id: RequestId,
    method: String,
    params: Object<Params>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    name: String,
    arguments: Option<JsonObject>,
    #[serde(rename = "_meta")]
    meta: Option<JsonObject>,
}

impl<H: Direct> DirectWay<H> {
    /// Lets `handler` answer until the program stops.
    pub(super) fn new(handler: H, settings: &HttpSettings, lifecycle: &Lifecycle) -> Self {
        let versions = ProtocolVersion::KNOWN_VERSIONS.iter().map(|known| Version {
            known: known.clone(),
            client: OnceLock::new(),
        });
        Self {
            handler,
            hosts: settings.allowed_hosts.clone(),
            max: settings.max_body_bytes.min(SMALL),
            lifecycle: lifecycle.clone(),
            versions: versions.collect(),
        }
    }

    /// Answers a plain call; gives anything else back as it came.
    pub(super) async fn answer(&self, request: Request) -> Result<Response, Request> {
        let Some(version) = self.version(&request) else {
            return Err(request);
        };
        let (parts, body) = request.into_parts();
        // A body that breaks off has no caller any more.
        let Ok(body) = to_bytes(body, self.max).await else {
            return Err(Request::from_parts(parts, Body::empty()));
        };
        match self.message(&parts.headers, version, &body) {
            Some(message) => Ok(self.call(parts, version, message).await),
            None => Err(Request::from_parts(parts, Body::from(body))),
        }
    }

    /// The revision of a request whose head is plain.
    fn version(&self, request: &Request) -> Option<&Version> {
        let headers = request.headers();
        let size: usize = only(headers, &CONTENT_LENGTH)?.parse().ok()?;
        let is_plain = request.method() == Method::POST
            && request.uri().authority().is_none()
            && size <= self.max
            && only(headers, &HOST).is_some_and(|host| self.is_named(host))
            && only(headers, &CONTENT_TYPE) == Some(JSON)
            && only(headers, &ACCEPT).is_some_and(|accept| ACCEPTED.contains(&accept))
            && !headers.contains_key(ORIGIN)
            && !headers.contains_key(TRANSFER_ENCODING);
        let told = only(headers, &VERSION).filter(|_| is_plain)?;
        self.versions.iter().find(|version| version.known.as_str() == told)
    }

    /// Whether this server is called `host`, letter by letter, with any port where the name has none.
    fn is_named(&self, host: &str) -> bool {
        let (bare, port) = match host.split_once(':') {
            Some((bare, port)) => (bare, Some(port)),
            None => (host, None),
        };
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
        let is_plain = !bare.is_empty() && port.is_none_or(is_port);
        is_plain && self.hosts.iter().any(|name| name == bare || name == host)
    }

    /// The call in a body, if it is plain and agrees with its headers.
    fn message(&self, headers: &HeaderMap, version: &Version, body: &[u8]) -> Option<Message> {
        let Object(message): Object<Message> = serde_json::from_slice(body).ok()?;
        let params = &message.params.0;
        let has_handshake = version.known.has_initialize();
        let agrees = match &params.meta {
            None => has_handshake,
            Some(_) if has_handshake => false,
            // Who wants to hear of progress wants more than one message.
            Some(meta) if meta.contains_key("progressToken") => false,
            Some(meta) => {
                let meta = RequestMetaObject(MetaObject(meta.clone()));
                meta.protocol_version().as_ref() == Some(&version.known)
                    && meta.missing_required_keys(&version.known).is_empty()
                    && only(headers, &METHOD) == Some(CALL)
                    && only(headers, &NAME) == Some(&params.name)
                    && !self.wants_headers(&params.name)
            }
        };
        let is_plain = agrees && message.method == CALL && self.handler.answers_once(&params.name);
        is_plain.then_some(message)
    }

    /// Whether a tool wants arguments in headers, too.
    fn wants_headers(&self, tool: &str) -> bool {
        let tool = self.handler.get_tool(tool);
        tool.is_some_and(|tool| has_key(&tool.input_schema, "x-mcp-header"))
    }

    async fn call(&self, parts: Parts, version: &Version, message: Message) -> Response {
        let Object(asked) = message.params;
        let cancelled = self.lifecycle.soft().child_token();
        let mut context = RequestContext::new(message.id.clone(), self.client(version));
        context.ct = cancelled.clone();
        context.extensions.insert(parts);
        context.meta = RequestMetaObject(MetaObject(asked.meta.unwrap_or_default()));
        let mut params = CallToolRequestParams::new(asked.name);
        params.arguments = asked.arguments;
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        // A caller who hangs up cancels the call; it isn't dropped halfway.
        let _hung_up = cancelled.drop_guard();
        let handler = self.handler.clone();
        let called = async move { handler.handle_request(request, context).await };
        let called = self.lifecycle.tracker().spawn(called);
        let (status, answer) = match called.await {
            Ok(Ok(result)) => (StatusCode::OK, ServerJsonRpcMessage::response(result, message.id)),
            Ok(Err(error)) => {
                tracing::warn!(id = %message.id, ?error, "response error");
                let status = status(version, &error);
                (status, ServerJsonRpcMessage::error(error, Some(message.id)))
            }
            Err(died) => match died.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
            },
        };
        match serde_json::to_vec(&answer) {
            Ok(body) => (status, [(CONTENT_TYPE, JSON)], body).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    fn client(&self, version: &Version) -> Peer<RoleServer> {
        let client = version.client.get_or_init(|| {
            let mut told = InitializeRequestParams::default();
            told.protocol_version = version.known.clone();
            let nowhere = (tokio::io::empty(), tokio::io::sink());
            let service = rmcp::service::serve_directly(self.handler.clone(), nowhere, Some(told));
            service.peer().clone()
        });
        client.clone()
    }
}

/// The status of an error: since 2026-07-28 some say by it that the request itself was wrong
/// (Streamable HTTP, "Sending Messages to the Server").
fn status(version: &Version, error: &ErrorData) -> StatusCode {
    match error.code {
        _ if version.known.has_initialize() => StatusCode::OK,
        ErrorCode::UNSUPPORTED_PROTOCOL_VERSION
        | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY
        | ErrorCode::HEADER_MISMATCH => StatusCode::BAD_REQUEST,
        ErrorCode::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok())?
}

/// Whether an object has this key at any depth.
fn has_key(object: &JsonObject, key: &str) -> bool {
    fn inside(value: &serde_json::Value, key: &str) -> bool {
        match value {
            serde_json::Value::Object(object) => has_key(object, key),
            serde_json::Value::Array(values) => values.iter().any(|value| inside(value, key)),
            _ => false,
        }
    }
    object.contains_key(key) || object.values().any(|value| inside(value, key))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
    use serde_json::{Value, json};

    use super::*;

    #[derive(Clone)]
    struct Constant;

    impl Direct for Constant {
        fn answers_once(&self, tool: &str) -> bool {
            tool != "talkative"
        }
    }

    impl ServerHandler for Constant {
        async fn call_tool(
            &self,
            request: CallToolRequestParams,
            _: RequestContext<RoleServer>,
        ) -> Result<CallToolResponse, ErrorData> {
            Ok(CallToolResult::success(vec![ContentBlock::text(request.name)]).into())
        }
    }

    fn body(revision: &str) -> Value {
        let mut params = json!({"name": "look", "arguments": {}});
        if revision >= "2026" {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": revision,
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        json!({"jsonrpc": "2.0", "id": 1, "method": CALL, "params": params})
    }

    fn request(revision: &str, body: &Value) -> Request {
        let body = body.to_string();
        let request = Request::post("/mcp")
            .header(HOST, "127.0.0.1:8787")
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, ACCEPTED[0])
            .header(CONTENT_LENGTH, body.len())
            .header(VERSION, revision)
            .header(METHOD, CALL)
            .header(NAME, "look");
        request.body(Body::from(body)).expect("a request")
    }

    async fn asked(request: Request) -> Result<Value, Vec<u8>> {
        let settings = HttpSettings {
            allowed_hosts: ["127.0.0.1", "example.com:443", "::1", ""].map(str::to_owned).to_vec(),
            ..HttpSettings::default()
        };
        let direct = DirectWay::new(Constant, &settings, &Lifecycle::new());
        let (body, is_answer) = match direct.answer(request).await {
            Ok(response) => (response.into_body(), true),
            Err(request) => (request.into_body(), false),
        };
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        match is_answer {
            true => Ok(serde_json::from_slice(&body).expect("JSON")),
            false => Err(body.to_vec()),
        }
    }

    #[tokio::test]
    async fn plain_calls_are_answered() {
        for revision in ["2025-03-26", "2025-11-25", "2026-07-28"] {
            let answer = asked(request(revision, &body(revision))).await.expect("answered");
            assert_eq!(answer["id"], 1, "{revision}: {answer}");
            assert_eq!(answer["result"]["content"][0]["text"], "look", "{revision}: {answer}");
        }
        for host in ["127.0.0.1", "example.com:443"] {
            let mut request = request("2025-11-25", &body("2025-11-25"));
            request.headers_mut().insert(HOST, HeaderValue::from_static(host));
            asked(request).await.expect("answered");
        }
    }

    #[tokio::test]
    async fn a_head_that_is_not_plain_is_given_back() {
        let revision = "2026-07-28";
        for (name, value) in [
            (HOST, "example.com"),
            (HOST, "example.com:80"),
            (HOST, "127.0.0.1:+1"),
            (HOST, "127.0.0.1:"),
            (HOST, "127.0.0.1:80:80"),
            (HOST, "127.0.0.1.example.com"),
            (HOST, "me@127.0.0.1"),
            (HOST, ":80"),
            (HOST, "::1:80"),
            (HOST, "::1"),
            (HOST, "127.0.0.1:65536"),
            (HOST, "example.com:443:443"),
            (ORIGIN, "http://localhost"),
            (CONTENT_TYPE, "text/plain"),
            (ACCEPT, JSON),
            (ACCEPT, "application/json;q=0, text/event-stream"),
            (TRANSFER_ENCODING, "chunked"),
            (CONTENT_LENGTH, "70000"),
            (VERSION, "2025-11-25"),
            (VERSION, "2099-01-01"),
            (METHOD, "tools/list"),
            (NAME, "other"),
        ] {
            let body = body(revision);
            let mut with = request(revision, &body);
            with.headers_mut().insert(name.clone(), HeaderValue::from_static(value));
            let back = asked(with).await.expect_err(value);
            assert_eq!(back, body.to_string().as_bytes(), "{name}: {value}");
        }
        for name in [HOST, ACCEPT, CONTENT_TYPE, VERSION, METHOD, NAME] {
            let mut twice = request(revision, &body(revision));
            let value = twice.headers()[&name].clone();
            twice.headers_mut().append(name.clone(), value);
            asked(twice).await.expect_err("twice");
            let mut without = request(revision, &body(revision));
            without.headers_mut().remove(&name);
            asked(without).await.expect_err("without");
        }
        let mut other = request(revision, &body(revision));
        *other.method_mut() = Method::PUT;
        asked(other).await.expect_err("another method");
    }

    #[tokio::test]
    async fn a_body_that_is_not_plain_is_given_back() {
        for revision in ["2025-11-25", "2026-07-28"] {
            for (at, value) in [
                ("/id", Value::Null),
                ("/jsonrpc", json!("1.0")),
                ("/method", json!("tools/list")),
                ("/more", json!(1)),
                ("/params/task", json!({})),
                ("/params/name", json!("talkative")),
                ("/params/requestState", json!("kept")),
                ("/params/_meta/progressToken", json!(1)),
                (
                    "/params/_meta/io.modelcontextprotocol~1protocolVersion",
                    json!("2025-06-18"),
                ),
                ("/params/_meta/io.modelcontextprotocol~1clientCapabilities", Value::Null),
            ] {
                let mut body = body(revision);
                let (object, field) = at.rsplit_once('/').expect("a field");
                if revision < "2026" && object == "/params/_meta" {
                    body["params"]["_meta"] = json!({});
                }
                let object = body.pointer_mut(object).expect("an object");
                object[field.replace("~1", "/")] = value;
                let back = asked(request(revision, &body)).await.expect_err(at);
                assert_eq!(back, body.to_string().as_bytes(), "{at}");
            }
        }
    }

    #[tokio::test]
    async fn a_list_is_no_message() {
        for revision in ["2025-11-25", "2026-07-28"] {
            let whole = body(revision);
            let params = &whole["params"];
            let listed = json!([params["name"], params["arguments"], params["_meta"]]);
            let mut with_list = whole.clone();
            with_list["params"] = listed;
            for list in [with_list, json!(["2.0", 1, CALL, params])] {
                let back = asked(request(revision, &list)).await.expect_err("a list");
                assert_eq!(back, list.to_string().as_bytes());
            }
        }
    }

    #[test]
    fn a_tool_that_wants_headers_is_known_by_its_schema() {
        let schema = json!({"type": "object", "properties": {"region": {"x-mcp-header": "Region"}}});
        assert!(has_key(schema.as_object().expect("an object"), "x-mcp-header"));
        assert!(!has_key(schema.as_object().expect("an object"), "x-mcp-other"));
    }
}
