//! Learning whether a gateway lets clawhand in and lets it speak to agents.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::facts::Tool;
use crate::domain::{Facts, UnixMs};
use crate::executors::contract::Trouble;
use crate::gateway::wire::Scope;
use crate::gateway::{Fault, Gateway, GatewayError};

/// How long it may take to be let in.
const PATIENCE: Duration = Duration::from_secs(15);

/// Connects, and says what the gateway is.
pub(super) async fn probe(gateway: &Gateway, now: UnixMs) -> Result<Facts, Trouble> {
    let hello = gateway.socket().hello(PATIENCE).await;
    let hello = hello.map_err(|error| trouble(gateway, &error))?;
    for scope in [Scope::Read, Scope::Write] {
        if !hello.may(scope) {
            let missing = GatewayError::new(
                Fault::MissingScope(scope.to_string()),
                format!("the gateway lets clawhand in without the scope {scope}"),
            );
            return Err(trouble(gateway, &missing));
        }
    }
    let version = hello.server.version.clone();
    Ok(Facts {
        os: "openclaw".to_owned(),
        arch: String::new(),
        tools: BTreeMap::from([("openclaw".to_owned(), Tool { version })]),
        isolation: Vec::new(),
        learned_at: now,
    })
}

fn trouble(gateway: &Gateway, error: &GatewayError) -> Trouble {
    let name = gateway.instance().name.as_str();
    let hint = match &error.fault {
        Fault::Unreachable | Fault::NotReady | Fault::IdleTimeout => {
            "see that the gateway runs and that its url in the configuration is right"
        }
        Fault::WrongToken | Fault::Credential => "correct the gateway's token or password in the configuration",
        Fault::Pairing(_) => "approve this device at the gateway: openclaw devices approve",
        Fault::MissingScope(_) => "let this device have the scopes operator.read and operator.write at the gateway",
        _ => "`clawhand doctor` looks at the gateway itself",
    };
    Trouble::new(format!("the gateway {name}: {}", error.message), hint)
}
