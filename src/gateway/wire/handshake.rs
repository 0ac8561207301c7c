//! The first exchange on a connection: the gateway's challenge, the `connect` request, `hello-ok`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Scope, lenient};

/// The payload of `connect.challenge`, the gateway's first words.
#[derive(Debug, Clone, Deserialize)]
pub struct Challenge {
    /// What the signature of a device has to contain.
    pub nonce: String,
    /// The gateway's time in milliseconds, which a signature repeats.
    #[serde(default, deserialize_with = "lenient")]
    pub ts: Option<u64>,
}

/// The parameters of `connect`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct Connect {
    pub min_protocol: u32,
    pub max_protocol: u32,
    pub client: Client,
    pub role: &'static str,
    pub scopes: Vec<&'static str>,
    pub caps: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceProof>,
    pub user_agent: String,
}

/// Who connects. Id and mode are of fixed lists; a program in the background is `gateway-client`, `backend`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct Client {
    pub id: &'static str,
    pub mode: &'static str,
    pub display_name: &'static str,
    pub version: &'static str,
    pub platform: &'static str,
    pub device_family: &'static str,
}

/// What proves that the connection is allowed. Never printed.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// The gateway's token.
    Token(String),
    /// The gateway's password.
    Password(String),
    /// The token that the gateway gave this device when it was paired.
    DeviceToken(String),
}

impl Auth {
    /// What a device's signature has to contain of it.
    pub fn signed(&self) -> &str {
        match self {
            Self::Token(token) | Self::DeviceToken(token) => token,
            Self::Password(_) => "",
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(***)",
            Self::Password(_) => "Password(***)",
            Self::DeviceToken(_) => "DeviceToken(***)",
        })
    }
}

/// What proves which device connects.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct DeviceProof {
    pub id: String,
    pub public_key: String,
    pub signature: String,
    pub signed_at: u64,
    pub nonce: String,
}

/// The payload of `hello-ok`.
#[derive(Debug, Clone, Deserialize)]
pub struct Hello {
    /// Always `hello-ok`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version of the protocol that the gateway speaks from here on.
    pub protocol: u32,
    /// Who answers.
    #[serde(default)]
    pub server: Server,
    /// What the connection may do.
    #[serde(default)]
    pub auth: Granted,
    /// What it has to keep to.
    #[serde(default)]
    pub policy: Policy,
}

impl Hello {
    /// Whether the connection may do this. A gateway that says nothing of scopes is taken to have given those that were asked
    /// for; one that lists none has taken them away.
    pub fn may(&self, scope: Scope) -> bool {
        let Some(scopes) = &self.auth.scopes else { return true };
        let has = |wanted: Scope| scopes.iter().any(|held| held == wanted.as_str());
        // Whoever may write may read.
        let implied = scope == Scope::Read && has(Scope::Write);
        has(scope) || implied || has(Scope::Admin)
    }
}

/// Which gateway it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Server {
    /// The version of OpenClaw.
    pub version: String,
    /// Another one after each start of the gateway.
    #[serde(deserialize_with = "lenient")]
    pub boot_id: Option<String>,
    /// The connection's name in the gateway's log.
    pub conn_id: String,
}

/// What the connection was given.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Granted {
    /// The scopes.
    #[serde(deserialize_with = "lenient")]
    pub scopes: Option<Vec<String>>,
    /// What this device can show from now on instead of the gateway's token.
    #[serde(deserialize_with = "lenient")]
    pub device_token: Option<String>,
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Granted({})", self.scopes.as_deref().unwrap_or_default().join(", "))
    }
}

/// What a gateway asks of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The longest message that it takes, in bytes.
    pub max_payload: usize,
    /// How often it says something when there is nothing to say, in milliseconds.
    pub tick_interval_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_payload: 25 << 20,
            tick_interval_ms: 30_000,
        }
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = |name: &str| value.get(name).and_then(Value::as_u64).filter(|number| *number > 0);
        let usual = Self::default();
        Ok(Self {
            max_payload: number("maxPayload")
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(usual.max_payload),
            tick_interval_ms: number("tickIntervalMs").unwrap_or(usual.tick_interval_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(scopes: &[&str]) -> Hello {
        let hello = serde_json::json!({ "type": "hello-ok", "protocol": 4, "auth": { "scopes": scopes, "new": 1 }, "more": {} });
        serde_json::from_value(hello).expect("a hello")
    }

    #[test]
    fn scopes_are_what_was_given() {
        let reader = hello(&["operator.read"]);
        assert!(reader.may(Scope::Read) && !reader.may(Scope::Write) && !reader.may(Scope::Admin));
        assert!(hello(&["operator.write"]).may(Scope::Read));
        assert!(!hello(&["operator.write"]).may(Scope::Approvals));
        assert!(hello(&["operator.admin"]).may(Scope::Approvals));
        assert!(!hello(&[]).may(Scope::Read), "a device that was not shown loses them");
        let silent: Hello = serde_json::from_str(r#"{"type":"hello-ok","protocol":4}"#).expect("a hello");
        assert!(silent.may(Scope::Write));
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_the_usual_one() {
        assert_eq!(hello(&[]).policy, Policy::default());
        let odd: Policy = serde_json::from_str(r#"{"maxPayload": "big", "tickIntervalMs": 0}"#).expect("a policy");
        assert_eq!(odd, Policy::default());
        let own: Policy = serde_json::from_str(r#"{"maxPayload": 1000, "tickIntervalMs": 50}"#).expect("a policy");
        assert_eq!((own.max_payload, own.tick_interval_ms), (1000, 50));
    }

    #[test]
    fn credentials_are_not_printed() {
        for auth in [
            Auth::Token("hunter2".into()),
            Auth::Password("hunter2".into()),
            Auth::DeviceToken("hunter2".into()),
        ] {
            assert!(!format!("{auth:?}").contains("hunter2"));
        }
        let granted: Granted = serde_json::from_str(r#"{"deviceToken": "hunter2"}"#).expect("granted");
        assert!(!format!("{granted:?}").contains("hunter2"));
    }

    #[test]
    fn what_proves_is_sent_under_its_own_name() {
        let sent = |auth: Auth| serde_json::to_string(&auth).expect("serializes");
        assert_eq!(sent(Auth::Token("t".into())), r#"{"token":"t"}"#);
        assert_eq!(sent(Auth::Password("p".into())), r#"{"password":"p"}"#);
        assert_eq!(sent(Auth::DeviceToken("d".into())), r#"{"deviceToken":"d"}"#);
        assert_eq!(Auth::Password("p".into()).signed(), "");
    }
}
