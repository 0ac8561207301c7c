//! `kind = "http"`: an API whose operations the target's file declares. A caller fills in declared parameters and
//! nothing else: never a host, a path of its own, a header name or a query key.

mod network;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

pub use network::{BadNetwork, Network, may_reach};
pub use template::{Filling, Placeholder, Template, Unfit};

use super::SecretRef;
use crate::domain::plan::Effect;

/// An API, how it is reached, and what may be asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpBlock {
    /// Where it is, without a slash at its end.
    pub base_url: String,
    /// Whether it may be reached without TLS.
    pub plaintext: bool,
    /// A file with the certificates that are trusted instead of the system's.
    pub ca: Option<String>,
    /// What clawhand shows of itself in TLS.
    pub client_certificate: Option<ClientCertificate>,
    /// How requests are authorized.
    pub auth: Option<HttpAuth>,
    /// Addresses that are not public and may be reached all the same.
    pub allow_private: Vec<Network>,
    /// Hosts to which redirects are followed, and at which a status may be asked for.
    pub redirect_hosts: Vec<String>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long the API may say nothing while it is waited for.
    pub idle_timeout: Duration,
    /// How long it may be out of reach before that counts.
    pub outage: Duration,
    /// The operation that a probe calls.
    pub probe: Option<String>,
    /// What may be asked of it, by name.
    pub operations: BTreeMap<String, Operation>,
}

/// A certificate of a client, and where its key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// A file with the certificate and those between it and its root.
    pub certificate: String,
    /// Where its private key is read from, as PEM.
    pub key: SecretRef,
}

/// How requests are authorized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAuth {
    /// `Authorization: Bearer`.
    Bearer(SecretRef),
    /// `Authorization: Basic`.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: SecretRef,
    },
    /// A header of the API's own.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: SecretRef,
    },
    /// A token by OAuth client credentials.
    OAuth {
        /// Where tokens are given out.
        token_url: String,
        /// Who asks.
        client_id: String,
        /// What proves it.
        client_secret: SecretRef,
        /// What is asked for.
        scopes: Vec<String>,
    },
}

impl HttpAuth {
    /// The reference to its secret.
    pub const fn secret(&self) -> &SecretRef {
        match self {
            Self::Bearer(value) | Self::Header { value, .. } => value,
            Self::Basic { password, .. } => password,
            Self::OAuth { client_secret, .. } => client_secret,
        }
    }
}

/// The methods that an operation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Reads without a body.
    Head,
    /// Makes something; twice makes two.
    Post,
    /// Puts something in place.
    Put,
    /// Changes a part.
    Patch,
    /// Takes something away.
    Delete,
}

impl Method {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether it changes nothing.
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }

    /// Whether sending it twice does the same as once, by what HTTP says of it.
    pub const fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete)
    }
}

/// One thing that may be asked of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The intents it serves.
    pub intents: Vec<String>,
    /// In words, for callers and for the person who approves.
    pub summary: String,
    /// How it is asked for.
    pub method: Method,
    /// Below the base URL; a parameter only ever becomes part of one segment.
    pub path: Template,
    /// The query, by key.
    pub query: BTreeMap<String, Template>,
    /// Headers, by name.
    pub headers: BTreeMap<String, Template>,
    /// The body as JSON, its texts being templates.
    pub body: Option<Value>,
    /// What a caller may give, by name.
    pub parameters: BTreeMap<String, HttpParameter>,
    /// What answer means yes.
    pub success: Success,
    /// What it does to the world.
    pub effects: Vec<Effect>,
    /// Whether sending it twice does the same as once.
    pub idempotent: bool,
    /// A header that carries the attempt's id, by which the API knows a request that it had before.
    pub idempotency_header: Option<String>,
    /// How often it is sent again after a failure that may pass, where that does no harm.
    pub retries: u32,
    /// From the first request to the end, if it is shorter than the target's.
    pub timeout: Option<Duration>,
    /// How to wait for work that goes on after the answer.
    pub poll: Option<Poll>,
    /// How to end such work.
    pub cancel: Option<CancelCall>,
    /// What of the answer is the result: JSON pointers by name.
    pub result: BTreeMap<String, String>,
    /// The largest answer that is taken, in bytes.
    pub max_response: u64,
}

impl Operation {
    /// Whether the same attempt may be sent again without harm.
    pub const fn may_resend(&self) -> bool {
        self.idempotent || self.idempotency_header.is_some()
    }
}

/// The type of a parameter of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpParameterType {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// true or false.
    Boolean,
    /// One of several texts.
    Enum,
    /// Several texts.
    List,
}

/// A value that a caller may give to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpParameter {
    /// Its type.
    pub kind: HttpParameterType,
    /// For callers.
    pub description: String,
    /// Whether the plan needs it.
    pub required: bool,
    /// Taken when the caller gives nothing.
    pub default: Option<Value>,
    /// Each text must be one of these; empty allows any.
    pub one_of: Vec<String>,
    /// A regular expression that each text must match as a whole.
    pub pattern: Option<String>,
    /// The longest text, in bytes.
    pub max_length: usize,
}

impl HttpParameter {
    /// The longest text where the file doesn't say.
    pub const MAX_LENGTH: usize = 1024;

    /// Whether it always has a value in a plan.
    pub const fn is_certain(&self) -> bool {
        self.required || self.default.is_some()
    }
}

/// A place in a JSON document, and the values there that count. Numbers and booleans are compared as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The JSON pointer.
    pub pointer: String,
    /// Any of these.
    pub any_of: Vec<String>,
}

impl Condition {
    /// Whether it holds of a document.
    pub fn holds(&self, document: &Value) -> bool {
        let found = document.pointer(&self.pointer).and_then(template::text_of);
        found.is_some_and(|found| self.any_of.contains(&found))
    }
}

/// What answer means yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success {
    /// Status codes, from and to.
    pub status: Vec<(u16, u16)>,
    /// What the answer must say, beside its status.
    pub says: Option<Condition>,
}

impl Default for Success {
    fn default() -> Self {
        Self {
            status: vec![(200, 299)],
            says: None,
        }
    }
}

impl Success {
    /// Whether a status means yes.
    pub fn has_status(&self, status: u16) -> bool {
        self.status.iter().any(|(from, to)| (*from..=*to).contains(&status))
    }
}

/// Where the state of work that goes on is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollUrl {
    /// Below the base URL; may use `{response:/pointer}`.
    Path(Template),
    /// The URL is at this JSON pointer of the answer.
    Pointer(String),
    /// The URL is in this header of the answer.
    Header(String),
}

/// How to wait for work that goes on after the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    /// Where.
    pub url: PollUrl,
    /// Between two questions.
    pub interval: Duration,
    /// Means that it ended well.
    pub until: Condition,
    /// Means that it ended badly.
    pub failed: Option<Condition>,
    /// How long it may take, if that is shorter than the operation's own limit.
    pub timeout: Option<Duration>,
}

/// How to end work that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelCall {
    /// How it is asked for.
    pub method: Method,
    /// Below the base URL; may use `{response:/pointer}`.
    pub path: Template,
}

impl HttpBlock {
    /// The operations that serve an intent, by name.
    pub fn serving(&self, intent: &str) -> BTreeMap<&str, &Operation> {
        let serves = |operation: &Operation| operation.intents.iter().any(|served| served == intent);
        let named = self.operations.iter().filter(|(_, operation)| serves(operation));
        named.map(|(name, operation)| (name.as_str(), operation)).collect()
    }

    /// Its texts that no caller may read.
    pub(super) fn private_texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        add_url(&mut texts, &self.base_url);
        texts.extend(self.ca.clone());
        texts.extend(self.redirect_hosts.clone());
        texts.extend(self.client_certificate.iter().map(|shown| shown.certificate.clone()));
        let mut secrets: Vec<&SecretRef> = self.client_certificate.iter().map(|shown| &shown.key).collect();
        secrets.extend(self.auth.iter().map(HttpAuth::secret));
        for secret in secrets {
            if let SecretRef::File(path) = secret {
                texts.push(path.clone());
            }
        }
        match &self.auth {
            Some(HttpAuth::OAuth {
                token_url, client_id, ..
            }) => {
                add_url(&mut texts, token_url);
                texts.push(client_id.clone());
            }
            Some(HttpAuth::Basic { user, .. }) => texts.push(user.clone()),
            _ => {}
        }
        texts
    }
}

/// A path that is shorter is one that many have, such as `/api/v1`.
const TELLING_PATH: usize = 8;

/// A URL as a whole, its host with the port, its host, and its path if that tells something.
fn add_url(texts: &mut Vec<String>, url: &str) {
    texts.push(url.to_owned());
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => host,
        _ => authority,
    };
    let path = rest.get(authority.len()..).unwrap_or_default().trim_end_matches('/');
    if path.len() >= TELLING_PATH {
        texts.push(path.to_owned());
    }
    texts.push(authority.to_owned());
    texts.push(host.trim_matches(['[', ']']).to_owned());
}
