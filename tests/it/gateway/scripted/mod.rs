//! A gateway of the tests' own: it listens on one port and does what a test's script says, byte for byte, so that it can
//! also be slow, break off and lie.

pub mod socket;

use std::sync::Arc;
use std::time::Duration;

use clawhand::domain::target::SecretRef;
use clawhand::gateway::{Address, Credential, Gateway, Gateways, Instance, Name, ReadSecret, Secret};

/// No test waits longer for what must happen.
pub const LONG: Duration = Duration::from_secs(60);
/// What the gateway takes.
pub const TOKEN: &str = "scripted-gateway-token-1";

/// An instance at `url` that is let in.
pub fn instance(name: &str, url: &str) -> Instance {
    crate::executors::http::crypto();
    let name = Name::parse(name).expect("a name");
    let mut instance = Instance::new(name, Address::parse(url).expect("an address"));
    instance.credential = Some(Credential::Token(Secret::At(SecretRef::Env("TOKEN".into()))));
    instance
}

/// A client of one instance.
pub fn client(instance: Instance) -> Gateway {
    let gateways = Gateways::new(vec![instance], &secrets());
    gateways.expect("gateways").get(None).expect("there is one").clone()
}

/// Knows `TOKEN`, and what was given.
pub fn secrets() -> ReadSecret {
    Arc::new(|secret| match secret {
        Secret::At(SecretRef::Env(name)) if name == "TOKEN" => Ok(TOKEN.to_owned()),
        Secret::At(reference) => Err(format!("{reference:?} is not there")),
        Secret::Given(value) => Ok(value.clone()),
    })
}
