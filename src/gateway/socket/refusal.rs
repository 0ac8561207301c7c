//! What a gateway's no means.

use std::time::Duration;

use serde_json::Value;

use crate::gateway::fault::{Fault, GatewayError, Pairing};
use crate::gateway::wire::Trouble;

/// The shortest and the longest time that a gateway that is starting is given before it is asked again.
const STARTING: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What a refused request means.
pub(super) fn of_request(trouble: &Trouble) -> GatewayError {
    if let Some(scope) = missing_scope(trouble) {
        let message = format!(
            "the gateway did not give this connection the scope {scope}: {}",
            said(trouble)
        );
        return coded(Fault::MissingScope(scope), message, trouble);
    }
    let fault = match is_not_ready(trouble) {
        true => Fault::NotReady,
        false => Fault::Refused,
    };
    coded(fault, said(trouble), trouble)
}

/// What a refused `connect` means.
pub(super) fn of_connect(trouble: &Trouble, device_id: &str) -> GatewayError {
    let code = trouble.detail("code").unwrap_or_default();
    match code {
        "PAIRING_REQUIRED" | "AUTH_SCOPE_MISMATCH" => pairing(trouble, device_id),
        "DEVICE_IDENTITY_REQUIRED" => {
            let message = "the gateway wants to know the device, or a token or password, and was shown none";
            coded(Fault::Pairing(Box::default()), message.to_owned(), trouble)
        }
        "PROTOCOL_MISMATCH" => {
            let version = trouble.details.get("expectedProtocol").and_then(Value::as_u64);
            let speaks = version.map_or_else(|| "another version".to_owned(), |version| format!("version {version}"));
            let message = format!("the gateway speaks {speaks} of the protocol; clawhand speaks version 4");
            coded(Fault::Protocol, message, trouble)
        }
        "AUTH_RATE_LIMITED" => {
            let mut error = coded(Fault::Refused, said(trouble), trouble);
            error.retryable = true;
            error
        }
        _ if code.starts_with("AUTH_") => {
            let message = format!("the gateway does not take the credential: {}", said(trouble));
            coded(Fault::WrongToken, message, trouble)
        }
        _ => of_request(trouble),
    }
}

fn pairing(trouble: &Trouble, device_id: &str) -> GatewayError {
    let reason = match trouble.detail("code") {
        // The token of the device is good for less than is asked.
        Some("AUTH_SCOPE_MISMATCH") => Some("scope-upgrade".to_owned()),
        _ => trouble.detail("reason").map(str::to_owned),
    };
    let why = match reason.as_deref() {
        Some("scope-upgrade") => "wants more scopes than were approved for it",
        Some("role-upgrade") => "wants another role than was approved for it",
        Some("metadata-upgrade") => "changed since it was approved",
        _ => "is not approved yet",
    };
    // It becomes part of a command that a person runs.
    let is_id =
        |text: &&str| text.len() <= 128 && text.chars().all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c));
    let request_id = trouble.detail("requestId").filter(is_id).map(str::to_owned);
    let how = request_id.as_deref().unwrap_or("--latest");
    let message = format!(
        "the device {device_id} {why}: run `openclaw devices approve {how}` where the gateway is, then try again"
    );
    let pairing = Pairing {
        device_id: device_id.to_owned(),
        request_id,
        reason,
    };
    coded(Fault::Pairing(Box::new(pairing)), message, trouble)
}

/// The gateway's own words, bounded, for they end up in answers.
fn said(trouble: &Trouble) -> String {
    const MOST: usize = 2000;
    match trouble.message.trim() {
        "" => "the gateway gave no reason".to_owned(),
        message => message.chars().take(MOST).collect(),
    }
}

fn coded(fault: Fault, message: String, trouble: &Trouble) -> GatewayError {
    // What says more: the detail's own name where there is one.
    let code = trouble
        .detail("code")
        .or(trouble.detail("reason"))
        .unwrap_or(&trouble.code);
    let mut error = GatewayError::new(fault, message).with_code(code);
    error.retryable = trouble.retryable.unwrap_or(error.retryable);
    error.retry_after = trouble.retry_after_ms.map(Duration::from_millis);
    if error.fault == Fault::NotReady {
        let wait = error.retry_after.unwrap_or(Duration::from_millis(500));
        error.retry_after = Some(wait.clamp(STARTING.0, STARTING.1));
    }
    error
}

/// A gateway that is starting, restarting or suspending has done nothing of what was asked.
fn is_not_ready(trouble: &Trouble) -> bool {
    let reason = trouble.detail("reason").unwrap_or_default();
    trouble.code == "UNAVAILABLE" && matches!(reason, "startup-sidecars" | "gateway-restarting" | "gateway-suspending")
}

/// The scope that is missing: by its field, or as older gateways say it.
fn missing_scope(trouble: &Trouble) -> Option<String> {
    if trouble.detail("code") == Some("MISSING_SCOPE") {
        return trouble.detail("missingScope").map(str::to_owned);
    }
    if !matches!(trouble.code.as_str(), "FORBIDDEN" | "INVALID_REQUEST") {
        return None;
    }
    let (_, after) = trouble.message.split_once("missing scope:")?;
    let is_scope = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let scope: String = after.trim_start().chars().take_while(|c| is_scope(*c)).collect();
    Some(scope.trim_end_matches('.').to_owned()).filter(|scope| !scope.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(json: Value) -> Trouble {
        serde_json::from_value(json).expect("a trouble")
    }

    #[test]
    fn a_missing_scope_is_named() {
        for json in [
            serde_json::json!({ "code": "FORBIDDEN", "message": "no", "details": { "code": "MISSING_SCOPE", "missingScope": "operator.admin", "requiredScopes": ["operator.admin"] } }),
            serde_json::json!({ "code": "INVALID_REQUEST", "message": "missing scope: operator.admin." }),
        ] {
            let error = of_request(&trouble(json));
            assert_eq!(error.fault, Fault::MissingScope("operator.admin".into()));
            assert!(error.message.contains("operator.admin"), "{}", error.message);
        }
    }

    #[test]
    fn a_gateway_that_starts_is_asked_again_soon_but_not_at_once() {
        let wait = |ms: Option<u64>| {
            let json = serde_json::json!({ "code": "UNAVAILABLE", "message": "starting", "retryable": true, "retryAfterMs": ms, "details": { "reason": "startup-sidecars" } });
            let error = of_connect(&trouble(json), "d");
            assert_eq!(error.fault, Fault::NotReady);
            assert!(error.retryable);
            error.retry_after.expect("a time")
        };
        assert_eq!(wait(Some(700)), Duration::from_millis(700));
        assert_eq!(wait(Some(1)), STARTING.0);
        assert_eq!(wait(Some(600_000)), STARTING.1);
        assert_eq!(wait(None), Duration::from_millis(500));
    }

    #[test]
    fn refusals_of_connect_are_told_apart() {
        let fault = |code: &str| {
            let json = serde_json::json!({ "code": "INVALID_REQUEST", "message": "said", "details": { "code": code, "expectedProtocol": 5, "requestId": "r-1", "reason": "scope-upgrade" } });
            of_connect(&trouble(json), "dev-1")
        };
        assert_eq!(fault("AUTH_TOKEN_MISMATCH").fault, Fault::WrongToken);
        assert_eq!(fault("AUTH_PASSWORD_MISSING").fault, Fault::WrongToken);
        assert_eq!(fault("DEVICE_AUTH_SIGNATURE_INVALID").fault, Fault::Refused);
        assert!(fault("PROTOCOL_MISMATCH").message.contains("version 5"));
        let pairing = fault("PAIRING_REQUIRED");
        assert!(pairing.message.contains("devices approve r-1") && pairing.message.contains("dev-1"));
        let Fault::Pairing(known) = pairing.fault else {
            panic!("{pairing:?}")
        };
        assert_eq!(known.request_id.as_deref(), Some("r-1"));
        assert_eq!(known.reason.as_deref(), Some("scope-upgrade"));
        assert!(matches!(fault("AUTH_SCOPE_MISMATCH").fault, Fault::Pairing(_)));
    }

    #[test]
    fn long_words_are_cut() {
        let error = of_request(&trouble(
            serde_json::json!({ "code": "X", "message": "é".repeat(5000) }),
        ));
        assert_eq!(error.message.chars().count(), 2000);
        assert_eq!(error.code.as_deref(), Some("X"));
    }
}
