//! Chat and status over the gateway's HTTP endpoints, which speak OpenAI's chat completions.
//!
//! A reply is always asked for as a stream: text is seen as it arrives, and a gateway that works for an hour isn't
//! mistaken for one that hangs. There is no total timeout, only one on silence. Dropping a [`Chat`], or the future that
//! makes one, closes the connection, and the gateway ends the run. Nothing is sent twice.

mod answer;
mod frames;
mod media;
mod reply;
mod status;

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Response;
use serde_json::{Value, json};

use super::{Fault, Gateway, GatewayError, Instance, tls};
use answer::{Body, failed, is_json, said_no};
use frames::Frames;
use reply::Gathered;

pub use media::Media;
pub use reply::{Reply, Usage};
pub use status::{State, Status};

const CHAT: &str = "/v1/chat/completions";
const MODELS: &str = "/v1/models";
/// The header that continues a conversation.
const SESSION: &str = "x-openclaw-session-key";
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// The gateway closes a connection that is idle for 5 seconds. One that it is about to close must not be used.
const POOLED: Duration = Duration::from_secs(3);

/// One message to an agent.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What is said.
    pub text: &'a str,
    /// The conversation that it belongs to; nothing begins a new one.
    pub session: Option<&'a str>,
    /// The agent, as `openclaw/<agent>`; nothing is the instance's own.
    pub model: Option<&'a str>,
}

/// A reply on its way. Dropping it ends the run on the gateway.
pub struct Chat {
    from: Source,
    gathered: Gathered,
    idle: Duration,
}

/// Where a reply comes from.
enum Source {
    Stream(Response, Frames),
    /// It came in one piece: somebody between doesn't stream.
    Whole,
}

impl Gateway {
    /// Says something to an agent. The reply is there when [`Chat::next`] has given nothing more.
    ///
    /// # Errors
    /// When the gateway can't be reached, says no, or says nothing for too long.
    pub async fn chat(&self, ask: &Ask<'_>) -> Result<Chat, GatewayError> {
        let (instance, client) = (self.instance(), self.client()?);
        let mut sent = client
            .request(Method::POST, instance.address.http(CHAT))
            .headers(self.headers()?)
            .body(body_of(instance, ask).to_string());
        if let Some(session) = ask.session.and_then(header_of) {
            sent = sent.header(SESSION, session);
        }
        let response = within(instance.idle_timeout, sent.send())
            .await?
            .map_err(|error| failed(&error))?;
        let mut chat = Chat {
            from: Source::Whole,
            gathered: Gathered::new(instance.max_reply),
            idle: instance.idle_timeout,
        };
        match response.status() {
            StatusCode::OK if is_json(&response) => {
                let body = Body::read(response, instance).await?;
                chat.gathered.whole(&body.json()?)?;
            }
            StatusCode::OK if is_stream(&response) => {
                chat.from = Source::Stream(response, Frames::new(instance.max_reply));
            }
            _ => return Err(said_no(&Body::read(response, instance).await?)),
        }
        Ok(chat)
    }

    /// The connections over HTTP, made when they are needed first: reading the system's certificates takes longer than
    /// starting clawhand.
    fn client(&self) -> Result<&reqwest::Client, GatewayError> {
        let made = self.0.client.get_or_init(|| client_for(self.instance()));
        made.as_ref().map_err(|why| {
            let instance = self.instance().name.as_str();
            tracing::error!(instance, why, "no connection to an OpenClaw gateway can be set up");
            GatewayError::new(
                Fault::Unreachable,
                "Failed to connect to OpenClaw: the connection can't be set up",
            )
        })
    }

    fn headers(&self) -> Result<HeaderMap, GatewayError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("text/event-stream, application/json;q=0.5"),
        );
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(credential) = self.credential()? {
            let mut value = HeaderValue::from_str(&format!("Bearer {credential}")).map_err(|_| {
                let name = &self.instance().name;
                GatewayError::new(
                    Fault::Credential,
                    format!("the credential for the instance {name} has characters that no header can carry"),
                )
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }
}

impl Chat {
    /// The next piece of the reply, or nothing when it is whole.
    ///
    /// # Errors
    /// When the run failed, the connection broke, the gateway said nothing for too long, or the reply is too long.
    pub async fn next(&mut self) -> Result<Option<String>, GatewayError> {
        let Source::Stream(response, frames) = &mut self.from else {
            return Ok(self.gathered.take());
        };
        loop {
            while let Some(data) = frames.take()? {
                if self.gathered.chunk(&data)? {
                    self.from = Source::Whole;
                    return Ok(self.gathered.take());
                }
            }
            if let Some(piece) = self.gathered.take() {
                return Ok(Some(piece));
            }
            match within(self.idle, response.chunk()).await {
                Ok(Ok(Some(bytes))) => frames.push(&bytes),
                Ok(Ok(None)) if self.gathered.is_whole() => {
                    self.from = Source::Whole;
                    return Ok(None);
                }
                Ok(Ok(None)) => return Err(self.gathered.broken("the gateway closed the connection")),
                Ok(Err(error)) => return Err(self.gathered.broken(&answer::reason(&error))),
                Err(silent) => return Err(silent),
            }
        }
    }

    /// What has arrived so far, in characters.
    pub fn characters(&self) -> u64 {
        self.gathered.characters()
    }

    /// The reply. Whole when [`Chat::next`] gave nothing more.
    pub fn into_reply(self) -> Reply {
        self.gathered.into_reply()
    }

    /// Waits for all of it.
    ///
    /// # Errors
    /// As [`Chat::next`].
    pub async fn reply(mut self) -> Result<Reply, GatewayError> {
        while self.next().await?.is_some() {}
        Ok(self.into_reply())
    }
}

/// A session as a header: a byte for each character, as gateways read it. One in another script can't be said so; it goes
/// into the body, as the user.
fn header_of(session: &str) -> Option<HeaderValue> {
    let bytes: Option<Vec<u8>> = session.chars().map(|c| u8::try_from(c).ok()).collect();
    HeaderValue::from_bytes(&bytes?).ok()
}

/// The key that a gateway gives the session of a chat over HTTP: what is sent in the header is the key itself, and one in the body
/// is the key of a user.
pub fn session_key(session: &str) -> Cow<'_, str> {
    match header_of(session) {
        Some(_) => Cow::Borrowed(session),
        None => Cow::Owned(format!("openai-user:{session}")),
    }
}

fn body_of(instance: &Instance, ask: &Ask<'_>) -> Value {
    let mut body = json!({
        "model": ask.model.unwrap_or(&instance.model),
        "messages": [{"role": "user", "content": ask.text}],
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    if let Some(session) = ask.session.filter(|session| header_of(session).is_none()) {
        body["user"] = session.into();
    }
    body
}

fn is_stream(response: &Response) -> bool {
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/event-stream"))
}

async fn within<T>(idle: Duration, waiting: impl Future<Output = T>) -> Result<T, GatewayError> {
    let silent = |_| {
        let ms = idle.as_millis();
        GatewayError::new(
            Fault::IdleTimeout,
            format!("Request to OpenClaw timed out: nothing was heard for {ms}ms"),
        )
    };
    tokio::time::timeout(idle, waiting).await.map_err(silent)
}

fn client_for(instance: &Instance) -> Result<reqwest::Client, String> {
    let builder = reqwest::Client::builder()
        // A gateway is reached as it is configured, and nothing else gets its token.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(POOLED)
        .user_agent(concat!("clawhand/", env!("CARGO_PKG_VERSION")));
    let builder = match (instance.address.is_secure(), instance.fingerprint) {
        (true, Some(fingerprint)) => {
            builder.tls_backend_preconfigured(tls::pinned(fingerprint).map_err(|error| error.to_string())?)
        }
        (true, None) => builder,
        // Without TLS nobody looks at certificates: none are loaded.
        (false, _) => builder.tls_certs_only([]),
    };
    builder.build().map_err(|error| answer::reason(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::{Address, Name};

    #[test]
    fn a_session_goes_where_it_arrives_unchanged() {
        let instance = Instance::new(
            Name::parse("a").expect("a name"),
            Address::parse("http://a").expect("an address"),
        );
        let ask = |session| Ask {
            text: "hi",
            session,
            model: None,
        };
        for (session, header) in [
            ("agent:main:work 1", &b"agent:main:work 1"[..]),
            ("sch\u{f6}n\t", b"sch\xf6n\t"),
        ] {
            assert_eq!(header_of(session).expect("fits").as_bytes(), header);
            assert!(body_of(&instance, &ask(Some(session))).get("user").is_none());
        }
        for session in ["東京", "a\nb"] {
            assert_eq!(header_of(session), None);
            assert_eq!(body_of(&instance, &ask(Some(session)))["user"], session);
        }
        assert_eq!(body_of(&instance, &ask(None))["model"], "openclaw");
    }
}
