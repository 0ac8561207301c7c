//! The gateways of a bridge: what its command line says wins over the environment and the file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::gateways::{self, GatewayTable, USUAL_URL};
use super::{Config, Environment};
use crate::domain::target::SecretRef;
use crate::gateway::{Address, Fingerprint, Secret};

/// What a command line says about gateways.
#[derive(Debug, Clone, Default)]
pub struct GatewayOptions {
    /// Where the one gateway is.
    pub url: Option<String>,
    /// What lets in.
    pub credential: Option<GivenCredential>,
    /// The one certificate that it must show.
    pub fingerprint: Option<String>,
    /// Whether to ask for `operator.admin`.
    pub admin: bool,
    /// Whether the client may answer approvals.
    pub self_approval: bool,
}

/// A credential of a command line.
#[derive(Clone)]
pub enum GivenCredential {
    /// A token.
    Token(String),
    /// The file with a token.
    TokenFile(PathBuf),
    /// A password.
    Password(String),
    /// The file with a password.
    PasswordFile(PathBuf),
}

/// No credential is printed.
impl std::fmt::Debug for GivenCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(***)"),
            Self::TokenFile(path) => f.debug_tuple("TokenFile").field(path).finish(),
            Self::Password(_) => f.write_str("Password(***)"),
            Self::PasswordFile(path) => f.debug_tuple("PasswordFile").field(path).finish(),
        }
    }
}

impl GatewayOptions {
    /// Whether they are about one gateway, in place of those that are configured.
    const fn names_one(&self) -> bool {
        self.url.is_some() || self.credential.is_some()
    }

    /// The environment without what the options say themselves.
    fn over(&self, environment: &Environment) -> Environment {
        let said = |name: &str| match name {
            "OPENCLAW_INSTANCES" => true,
            "OPENCLAW_URL" => self.url.is_some(),
            _ => name.starts_with("OPENCLAW_GATEWAY_") && self.credential.is_some(),
        };
        let url = self.url.as_deref().or_else(|| environment.get("OPENCLAW_URL"));
        let url = url.unwrap_or(USUAL_URL).to_owned();
        let rest = environment.all().iter().filter(|(name, _)| !said(name));
        rest.map(|(name, value)| (name.clone(), value.clone()))
            .chain([("OPENCLAW_URL".to_owned(), url)])
            .collect()
    }

    fn add_to(&self, table: &mut GatewayTable) -> anyhow::Result<()> {
        let file = |path: &Path| -> anyhow::Result<Secret> {
            let path = std::path::absolute(path)?;
            let path = path.to_str().context("the name of the file is no text")?;
            Ok(Secret::At(SecretRef::File(path.to_owned())))
        };
        if let Some(credential) = &self.credential {
            (table.token, table.password) = match credential {
                GivenCredential::Token(token) => (Some(Secret::Given(token.clone())), None),
                GivenCredential::TokenFile(path) => (Some(file(path)?), None),
                GivenCredential::Password(password) => (None, Some(Secret::Given(password.clone()))),
                GivenCredential::PasswordFile(path) => (None, Some(file(path)?)),
            };
        }
        if let Some(text) = &self.fingerprint {
            let fingerprint = Fingerprint::parse(text).map_err(|why| anyhow::anyhow!("--fingerprint: {why}"))?;
            table.fingerprint = Some(fingerprint);
        }
        table.admin |= self.admin;
        table.self_approval |= self.self_approval;
        table.check_values()
    }
}

impl Config {
    /// The configuration of a bridge: as [`Config::load`], with the gateways that `options` say, or else those that are
    /// configured, or else the one that is usually there.
    ///
    /// # Errors
    /// When a named file can't be read or parsed, or a value can't be used.
    pub fn load_bridge(
        named: Option<&Path>,
        environment: &Environment,
        options: &GatewayOptions,
    ) -> anyhow::Result<Self> {
        if let Some(url) = &options.url {
            Address::parse(url).map_err(|why| anyhow::anyhow!("--url: {why}"))?;
        }
        let mut config = Self::found(named, environment)?;
        if options.names_one() {
            config.gateway.clear();
            config.overlay(&options.over(environment))?;
        } else {
            config.overlay(environment)?;
        }
        if config.gateway.is_empty() {
            let usual = Environment::from_iter([("OPENCLAW_URL".to_owned(), USUAL_URL.to_owned())]);
            gateways::overlay(&mut config.gateway, &usual)?;
        }
        for table in &mut config.gateway {
            options.add_to(table)?;
        }
        config.check()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Credential;

    fn load(pairs: &[(&str, &str)], options: &GatewayOptions) -> anyhow::Result<Config> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Config::load_bridge(None, &pairs.iter().map(owned).collect(), options)
    }

    fn shown(config: &Config) -> Vec<String> {
        let tell = |instance: &crate::gateway::Instance| {
            let credential = match &instance.credential {
                Some(Credential::Token(Secret::Given(token))) => format!("token {token}"),
                Some(Credential::Token(Secret::At(at))) => format!("token at {at:?}"),
                Some(Credential::Password(Secret::Given(password))) => format!("password {password}"),
                Some(Credential::Password(Secret::At(at))) => format!("password at {at:?}"),
                None => "nothing".to_owned(),
            };
            format!("{} {credential}", instance.address.shown())
        };
        config.instances().iter().map(tell).collect()
    }

    #[test]
    fn what_is_said_last_wins() {
        let nothing = GatewayOptions::default();
        assert_eq!(
            shown(&load(&[], &nothing).expect("loads")),
            ["http://127.0.0.1:18789 nothing"]
        );
        let token = [("OPENCLAW_GATEWAY_TOKEN", "t")];
        let from_environment = "token at Env(\"OPENCLAW_GATEWAY_TOKEN\")";
        assert_eq!(
            shown(&load(&token, &nothing).expect("loads")),
            [format!("http://127.0.0.1:18789 {from_environment}")]
        );
        let url = GatewayOptions {
            url: Some("wss://gw.example".into()),
            ..GatewayOptions::default()
        };
        assert_eq!(
            shown(&load(&token, &url).expect("loads")),
            [format!("https://gw.example {from_environment}")]
        );
        let several = [
            ("OPENCLAW_INSTANCES", r#"[{"name": "a", "url": "http://a"}]"#),
            ("OPENCLAW_GATEWAY_PASSWORD_FILE", "/p"),
        ];
        assert_eq!(shown(&load(&several, &nothing).expect("loads")), ["http://a nothing"]);
        let both = GatewayOptions {
            credential: Some(GivenCredential::Token("mine".into())),
            admin: true,
            ..url
        };
        let config = load(&several, &both).expect("loads");
        assert_eq!(shown(&config), ["https://gw.example token mine"]);
        assert!(config.instances()[0].admin && !config.instances()[0].self_approval);
        assert!(!format!("{both:?}").contains("mine"));
    }

    #[test]
    fn every_way_to_say_a_credential_is_read() {
        let nothing = GatewayOptions::default();
        for (name, seen) in [
            ("OPENCLAW_GATEWAY_TOKEN", "token at Env(\"OPENCLAW_GATEWAY_TOKEN\")"),
            ("OPENCLAW_GATEWAY_TOKEN_FILE", "token at File(\"/secret\")"),
            (
                "OPENCLAW_GATEWAY_PASSWORD",
                "password at Env(\"OPENCLAW_GATEWAY_PASSWORD\")",
            ),
            ("OPENCLAW_GATEWAY_PASSWORD_FILE", "password at File(\"/secret\")"),
        ] {
            let config = load(&[(name, "/secret")], &nothing).expect(name);
            assert_eq!(shown(&config), [format!("http://127.0.0.1:18789 {seen}")]);
        }
        for (credential, seen) in [
            (GivenCredential::Token("/secret".into()), "token /secret"),
            (
                GivenCredential::TokenFile("/secret".into()),
                "token at File(\"/secret\")",
            ),
            (GivenCredential::Password("/secret".into()), "password /secret"),
            (
                GivenCredential::PasswordFile("/secret".into()),
                "password at File(\"/secret\")",
            ),
        ] {
            let options = GatewayOptions {
                credential: Some(credential),
                ..GatewayOptions::default()
            };
            let config = load(&[("OPENCLAW_GATEWAY_TOKEN", "another")], &options).expect("loads");
            assert_eq!(shown(&config), [format!("http://127.0.0.1:18789 {seen}")]);
        }
        let both = [("OPENCLAW_GATEWAY_TOKEN", "a"), ("OPENCLAW_GATEWAY_PASSWORD", "b")];
        load(&both, &nothing).expect_err("two credentials");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (options, words) in [
            (
                GatewayOptions {
                    url: Some("gw".into()),
                    ..GatewayOptions::default()
                },
                "--url: it is no url",
            ),
            (
                GatewayOptions {
                    fingerprint: Some("0".repeat(64)),
                    ..GatewayOptions::default()
                },
                "fingerprint needs https:// or wss://",
            ),
        ] {
            let error = format!("{:#}", load(&[], &options).expect_err(words));
            assert!(error.contains(words), "{error}");
        }
    }
}
