//! `[[gateway]]` tables and the variables of openclaw-mcp: which OpenClaw gateways there are.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::Environment;
use crate::domain::target::SecretRef;
use crate::domain::units::{ByteSize, Span};
use crate::gateway::{Address, Credential, Fingerprint, Instance, Name, Secret};

/// Where a gateway is when only its token is said.
pub(super) const USUAL_URL: &str = "http://127.0.0.1:18789";
/// The most chats of one gateway in the background.
const MAX_CONCURRENT: u32 = 1000;

/// One `[[gateway]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayTable {
    /// What callers call it.
    #[serde(deserialize_with = "name", serialize_with = "shown")]
    pub name: Name,
    /// Where it is.
    #[serde(deserialize_with = "address", serialize_with = "shown_address")]
    pub url: Address,
    /// Its token.
    #[serde(default, deserialize_with = "secret", serialize_with = "hidden")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Its password.
    #[serde(default, deserialize_with = "secret", serialize_with = "hidden")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The agent that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How long it may say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Span>,
    /// The longest reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_reply: Option<ByteSize>,
    /// Chats in the background at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// How long a chat in the background may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_timeout: Option<Span>,
    /// Whether it is meant when a caller names none.
    #[serde(default)]
    pub default: bool,
    /// Whether to ask for `operator.admin`.
    #[serde(default)]
    pub admin: bool,
    /// Whether a caller that may talk to its agents may also answer their approvals.
    #[serde(default)]
    pub self_approval: bool,
    /// Whether callers may read where it is.
    #[serde(default)]
    pub show_url: bool,
    /// The one certificate that it must show.
    #[serde(default, deserialize_with = "fingerprint", serialize_with = "shown_option")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
}

impl GatewayTable {
    fn new(name: Name, url: Address) -> Self {
        Self {
            name,
            url,
            token: None,
            password: None,
            model: None,
            idle_timeout: None,
            max_reply: None,
            max_concurrent: None,
            task_timeout: None,
            default: false,
            admin: false,
            self_approval: false,
            show_url: false,
            fingerprint: None,
        }
    }

    /// As the gateway room knows it.
    pub(super) fn instance(&self) -> Instance {
        let mut instance = Instance::new(self.name.clone(), self.url.clone());
        let token = self.token.clone().map(Credential::Token);
        instance.credential = token.or_else(|| self.password.clone().map(Credential::Password));
        if let Some(model) = &self.model {
            instance.model.clone_from(model);
        }
        if let Some(Span(idle)) = self.idle_timeout {
            instance.idle_timeout = idle;
        }
        if let Some(ByteSize(max)) = self.max_reply {
            instance.max_reply = max;
        }
        if let Some(max) = self.max_concurrent {
            instance.max_concurrent = max;
        }
        if let Some(Span(timeout)) = self.task_timeout {
            instance.task_timeout = timeout;
        }
        instance.is_default = self.default;
        instance.admin = self.admin;
        instance.self_approval = self.self_approval;
        instance.show_url = self.show_url;
        instance.fingerprint = self.fingerprint;
        instance
    }

    fn check(&self) -> anyhow::Result<()> {
        for (key, secret) in [("token", &self.token), ("password", &self.password)] {
            ensure!(
                !matches!(secret, Some(Secret::Given(_))),
                "{key} is the secret itself: write {key} = {{ env = \"NAME\" }} or {{ file = \"/path\" }}"
            );
        }
        self.check_values()
    }

    /// What holds wherever it is written.
    pub(super) fn check_values(&self) -> anyhow::Result<()> {
        ensure!(
            self.token.is_none() || self.password.is_none(),
            "it has a token and a password: a gateway takes one of them"
        );
        ensure!(
            self.model.as_ref().is_none_or(|model| !model.trim().is_empty()),
            "model is empty"
        );
        ensure!(
            self.idle_timeout.is_none_or(|span| !span.0.is_zero()),
            "idle_timeout is 0: no gateway answers in that time"
        );
        ensure!(
            self.task_timeout.is_none_or(|span| !span.0.is_zero()),
            "task_timeout is 0: no agent answers in that time"
        );
        ensure!(self.max_reply.is_none_or(|max| max.0 > 0), "max_reply is 0");
        ensure!(
            self.max_concurrent
                .is_none_or(|max| (1..=MAX_CONCURRENT).contains(&max)),
            "max_concurrent must be 1 to {MAX_CONCURRENT}"
        );
        ensure!(
            self.fingerprint.is_none() || self.url.is_secure(),
            "fingerprint needs https:// or wss://: without TLS there is no certificate"
        );
        Ok(())
    }
}

/// Reads the tables, so that a mistake between several is told where they begin.
pub(super) fn tables<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<GatewayTable>, D::Error> {
    let tables = Vec::<GatewayTable>::deserialize(from)?;
    for table in &tables {
        let told = |error: anyhow::Error| D::Error::custom(format!("gateway {:?}: {error}", table.name.as_str()));
        table.check().map_err(told)?;
    }
    check_together(&tables).map_err(D::Error::custom)?;
    Ok(tables)
}

fn check_together(tables: &[GatewayTable]) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    for table in tables {
        ensure!(
            names.insert(&table.name),
            "two gateways have the name {:?}",
            table.name.as_str()
        );
    }
    let defaults: Vec<&str> = tables
        .iter()
        .filter(|table| table.default)
        .map(|table| table.name.as_str())
        .collect();
    ensure!(
        defaults.len() <= 1,
        "only one gateway can be the default, not {}",
        defaults.join(", ")
    );
    Ok(())
}

/// Puts what the environment says over the tables of the file.
///
/// # Errors
/// When a variable can't be used, or both name gateways.
pub(super) fn overlay(tables: &mut Vec<GatewayTable>, environment: &Environment) -> anyhow::Result<()> {
    let named = from_environment(environment)?;
    if let (Some((variable, _)), false) = (&named, tables.is_empty()) {
        bail!("{variable} and [[gateway]] both say which gateways there are: remove one of them");
    }
    if let Some((_, found)) = named {
        *tables = found;
        check_together(tables).context("OPENCLAW_INSTANCES")?;
    }
    let model = environment.get("OPENCLAW_MODEL").map(str::to_owned);
    let timeout = number(environment, "OPENCLAW_TIMEOUT_MS")?.map(|ms| Span(Duration::from_millis(ms)));
    let parallel = number(environment, "OPENCLAW_TASK_CONCURRENCY")?;
    let parallel = parallel.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    for table in tables {
        table.model = table.model.take().or_else(|| model.clone());
        table.idle_timeout = table.idle_timeout.or(timeout);
        table.max_concurrent = table.max_concurrent.or(parallel);
        table
            .check_values()
            .with_context(|| format!("gateway {:?}", table.name.as_str()))?;
    }
    Ok(())
}

/// The gateways that the environment names, and the variable that does.
fn from_environment(environment: &Environment) -> anyhow::Result<Option<(&'static str, Vec<GatewayTable>)>> {
    const LIST: &str = "OPENCLAW_INSTANCES";
    if let Some(text) = environment.get(LIST) {
        return Ok(Some((LIST, listed(text).context(LIST)?)));
    }
    let said = [
        "OPENCLAW_URL",
        "OPENCLAW_GATEWAY_TOKEN",
        "OPENCLAW_GATEWAY_TOKEN_FILE",
        "OPENCLAW_GATEWAY_PASSWORD",
        "OPENCLAW_GATEWAY_PASSWORD_FILE",
    ];
    let Some(first) = said.into_iter().find(|name| environment.get(name).is_some()) else {
        return Ok(None);
    };
    let url = environment.get("OPENCLAW_URL").unwrap_or(USUAL_URL);
    let url = Address::parse(url).map_err(|why| anyhow::anyhow!("OPENCLAW_URL: {why}"))?;
    let name = Name::parse("default").map_err(anyhow::Error::msg)?;
    let secret = |variable: &str| -> anyhow::Result<Option<Secret>> {
        let file = environment.get(&format!("{variable}_FILE"));
        match (environment.get(variable), file) {
            (Some(_), Some(_)) => bail!("{variable} and {variable}_FILE are both set: remove one of them"),
            (Some(_), None) => Ok(Some(Secret::At(SecretRef::Env(variable.to_owned())))),
            (None, file) => Ok(file.map(|path| Secret::At(SecretRef::File(path.to_owned())))),
        }
    };
    let table = GatewayTable {
        token: secret("OPENCLAW_GATEWAY_TOKEN")?,
        password: secret("OPENCLAW_GATEWAY_PASSWORD")?,
        default: true,
        ..GatewayTable::new(name, url)
    };
    Ok(Some((first, vec![table])))
}

/// `OPENCLAW_INSTANCES`: JSON as openclaw-mcp reads it. Keys that nobody knows are left alone, as there.
fn listed(text: &str) -> anyhow::Result<Vec<GatewayTable>> {
    // The error of a reader by type would repeat the value at which it stopped.
    let value: Value = serde_json::from_str(text).context("it is not JSON")?;
    let items = value.as_array().filter(|items| !items.is_empty());
    let items = items.context("it must be a JSON array with at least one instance")?;
    items
        .iter()
        .enumerate()
        .map(|(at, item)| listed_one(item).with_context(|| format!("at [{at}]")))
        .collect()
}

fn listed_one(item: &Value) -> anyhow::Result<GatewayTable> {
    let text = |key: &str| match &item[key] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_str()).filter(|text| !text.trim().is_empty())),
        _ => Err(anyhow::anyhow!("{key} must be a text")),
    };
    let count = |key: &str| match &item[key] {
        Value::Null => Ok(None),
        value => value
            .as_u64()
            .map(Some)
            .with_context(|| format!("{key} must be a whole number")),
    };
    let flag = |key: &str| match &item[key] {
        Value::Null => Ok(false),
        value => value.as_bool().with_context(|| format!("{key} must be true or false")),
    };
    let secret = |key: &str| -> anyhow::Result<Option<Secret>> {
        let path = text(&format!("{key}_file"))?;
        match (text(key)?, path) {
            (Some(_), Some(_)) => bail!("it has {key} and {key}_file: remove one of them"),
            (Some(value), None) => Ok(Some(Secret::Given(value.to_owned()))),
            (None, path) => Ok(path.map(|path| Secret::At(SecretRef::File(path.to_owned())))),
        }
    };
    ensure!(item.is_object(), "it must be an object with name and url");
    let name = Name::parse(text("name")?.context("it has no name")?.trim()).map_err(anyhow::Error::msg)?;
    let url = Address::parse(text("url")?.context("it has no url")?);
    let url = url.map_err(|why| anyhow::anyhow!("url: {why}"))?;
    let pin = text("fingerprint")?.map(Fingerprint::parse).transpose();
    let table = GatewayTable {
        token: secret("token")?,
        password: secret("password")?,
        model: text("model")?.map(str::to_owned),
        idle_timeout: count("timeout")?.map(|ms| Span(Duration::from_millis(ms))),
        max_concurrent: count("max_concurrent")?.map(|max| u32::try_from(max).unwrap_or(u32::MAX)),
        default: flag("default")?,
        admin: flag("admin")?,
        self_approval: flag("self_approval")?,
        show_url: flag("show_url")?,
        fingerprint: pin.map_err(anyhow::Error::msg)?,
        ..GatewayTable::new(name, url)
    };
    table.check_values()?;
    Ok(table)
}

fn number(environment: &Environment, name: &str) -> anyhow::Result<Option<u64>> {
    let Some(text) = environment.get(name) else {
        return Ok(None);
    };
    let number = text.trim().parse::<u64>().ok().filter(|number| *number > 0);
    Ok(Some(number.with_context(|| {
        format!("{name}={text} is not a whole number above 0")
    })?))
}

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<Name, D::Error> {
    Name::parse(&String::deserialize(from)?).map_err(D::Error::custom)
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Address, D::Error> {
    Address::parse(&String::deserialize(from)?).map_err(D::Error::custom)
}

fn fingerprint<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Fingerprint>, D::Error> {
    Fingerprint::parse(&String::deserialize(from)?)
        .map(Some)
        .map_err(D::Error::custom)
}

/// A secret that stands in the file itself is read too, so that the refusal can be one that doesn't repeat it.
fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected { env = \"NAME\" } or { file = \"/path\" }")]
    enum Written {
        At(SecretRef),
        Itself(String),
    }
    Ok(Some(match Written::deserialize(from)? {
        Written::At(reference) => Secret::At(reference),
        Written::Itself(value) => Secret::Given(value),
    }))
}

fn shown<T: std::fmt::Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn shown_option<T: std::fmt::Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

fn shown_address<S: Serializer>(value: &Address, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(value.shown())
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn hidden<S: Serializer>(value: &Option<Secret>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(Secret::At(reference)) => reference.serialize(to),
        Some(Secret::Given(_)) => to.serialize_str("***"),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, DEFAULT};
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn read(file: &str, pairs: &[(&str, &str)]) -> anyhow::Result<Vec<GatewayTable>> {
        let mut tables = toml::from_str::<Config>(file)?.gateway;
        overlay(&mut tables, &environment(pairs))?;
        Ok(tables)
    }

    fn mistake(file: &str, pairs: &[(&str, &str)]) -> String {
        format!("{:#}", read(file, pairs).expect_err("is refused"))
    }

    #[test]
    fn the_example_of_the_annotated_file_names_every_key() {
        let (_, example) = DEFAULT.split_once("# [[gateway]]\n").expect("has one");
        let lines = example.lines().take_while(|line| line.starts_with('#'));
        let text: String = lines
            .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or("")))
            .collect();
        let text = format!("[[gateway]]\n{text}");
        let keys: Vec<String> = toml::from_str::<toml::Table>(&text).expect("parses")["gateway"][0]
            .as_table()
            .expect("a table")
            .keys()
            .cloned()
            .collect();
        let mut every = GatewayTable::new(
            Name::parse("a").expect("a name"),
            Address::parse("https://a").expect("an address"),
        );
        let secret = || Some(Secret::Given("x".into()));
        (every.token, every.password) = (secret(), secret());
        (every.model, every.idle_timeout) = (Some("m".into()), Some(Span::seconds(1)));
        (every.max_reply, every.max_concurrent) = (Some(ByteSize(1)), Some(1));
        every.task_timeout = Some(Span::seconds(1));
        every.fingerprint = Some(Fingerprint::parse(&"0".repeat(64)).expect("a fingerprint"));
        let table = toml::Table::try_from(&every).expect("serializes");
        let mut expected: Vec<String> = table.keys().filter(|key| *key != "password").cloned().collect();
        expected.sort();
        let mut keys = keys;
        keys.sort();
        assert_eq!(keys, expected, "password stands beside token in a comment");
        let read = read(&text, &[]).expect("can be used");
        let (shown, usual) = (
            read[0].instance(),
            Instance::new(read[0].name.clone(), read[0].url.clone()),
        );
        assert_eq!(shown.idle_timeout, usual.idle_timeout);
        assert_eq!(shown.max_reply, usual.max_reply);
        assert_eq!(shown.max_concurrent, usual.max_concurrent);
        assert_eq!(shown.task_timeout, usual.task_timeout);
        assert_eq!(shown.model, usual.model);
    }

    #[test]
    fn the_variables_of_the_peer_mean_what_they_mean_there() {
        assert!(read("", &[("OPENCLAW_MODEL", "openclaw/x")]).expect("fine").is_empty());
        let one = read(
            "",
            &[
                ("OPENCLAW_GATEWAY_TOKEN", "hunter2"),
                ("OPENCLAW_TIMEOUT_MS", "5000"),
                ("OPENCLAW_MODEL", "openclaw/x"),
            ],
        );
        let one = one.expect("fine")[0].instance();
        assert_eq!((one.name.as_str(), one.address.shown()), ("default", USUAL_URL));
        assert!(one.is_default && one.model == "openclaw/x" && one.idle_timeout == Duration::from_secs(5));
        assert!(!format!("{one:?}").contains("hunter2"));
        let list = r#"[{"name":"a","url":"http://a:1/","token":"hunter2","note":1},
                       {"name":"b","url":"https://b","timeout":7,"default":true,"token_file":"/t"}]"#;
        let variables = [
            ("OPENCLAW_INSTANCES", list),
            ("OPENCLAW_URL", "http://ignored"),
            ("OPENCLAW_TIMEOUT_MS", "9"),
        ];
        let two = read("", &variables).expect("fine");
        assert_eq!(two[0].token, Some(Secret::Given("hunter2".into())));
        assert_eq!(two[0].idle_timeout, Some(Span(Duration::from_millis(9))));
        assert_eq!(two[1].idle_timeout, Some(Span(Duration::from_millis(7))));
        assert_eq!(two[1].token, Some(Secret::At(SecretRef::File("/t".into()))));
        assert!(two[1].default && !two[0].default);
    }

    #[test]
    fn mistakes_are_named_at_their_place_and_no_secret_is_repeated() {
        let named = |list: &str| mistake("", &[("OPENCLAW_INSTANCES", list)]);
        for (list, expected) in [
            ("{", "OPENCLAW_INSTANCES: it is not JSON: "),
            ("[]", "it must be a JSON array with at least one instance"),
            (
                "[1]",
                "OPENCLAW_INSTANCES: at [0]: it must be an object with name and url",
            ),
            (
                r#"[{"name":"a","url":"ftp://x"}]"#,
                "at [0]: url: it must begin with http://",
            ),
            (
                r#"[{"name":"a","url":"http://x"},{"name":"a b","url":"http://x"}]"#,
                "at [1]: \"a b\" is no name",
            ),
            (
                r#"[{"name":"a","url":"http://x"},{"name":"a","url":"http://y"}]"#,
                "two gateways have the name \"a\"",
            ),
            (
                r#"[{"name":"a","url":"http://x","default":true},{"name":"b","url":"http://y","default":true}]"#,
                "not a, b",
            ),
            (
                r#"[{"name":"a","url":"http://x","token":7}]"#,
                "at [0]: token must be a text",
            ),
            (
                r#"[{"name":"a","url":"http://x","timeout":"1s"}]"#,
                "at [0]: timeout must be a whole number",
            ),
            (r#"[{"name":"a","url":"http://x","timeout":0}]"#, "idle_timeout is 0"),
            (
                r#"[{"name":"a","url":"http://x","token":"hunter2","password":"hunter2"}]"#,
                "a token and a password",
            ),
        ] {
            let says = named(list);
            assert!(says.contains(expected) && !says.contains("hunter2"), "{list}: {says}");
        }
    }

    #[test]
    fn mistakes_in_tables_are_named_at_their_line() {
        let table = "[[gateway]]\nname = \"a\"\nurl = \"http://a\"\n";
        for (file, expected) in [
            ("[[gateway]]\nname = \"a\"\nurl = \"a\"\n", "line 3"),
            ("[[gateway]]\nname = \"a b\"\nurl = \"http://a\"\n", "line 2"),
            (&format!("{table}tokn = 1\n"), "unknown field `tokn`"),
            (&format!("{table}token = \"hunter2\"\n"), "token is the secret itself"),
            (
                &format!("{table}fingerprint = \"{}\"\n", "0".repeat(64)),
                "needs https://",
            ),
            (
                &format!("{table}max_concurrent = 0\n"),
                "max_concurrent must be 1 to 1000",
            ),
            (&format!("{table}{table}"), "two gateways have the name \"a\""),
        ] {
            let says = mistake(file, &[]);
            assert!(says.contains(expected) && !says.contains("hunter2"), "{file}: {says}");
        }
        for (pairs, expected) in [
            (
                vec![("OPENCLAW_URL", "http://b")],
                "OPENCLAW_URL and [[gateway]] both say",
            ),
            (
                vec![("OPENCLAW_TIMEOUT_MS", "soon")],
                "OPENCLAW_TIMEOUT_MS=soon is not a whole number",
            ),
        ] {
            let says = mistake(table, &pairs);
            assert!(says.contains(expected), "{says}");
        }
        let says = mistake("", &[("OPENCLAW_URL", "http://me:hunter2@b")]);
        assert!(
            says.contains("OPENCLAW_URL: it must not contain") && !says.contains("hunter2"),
            "{says}"
        );
    }

    #[test]
    fn what_is_shown_has_no_secret() {
        let list = r#"[{"name":"a","url":"http://a","token":"hunter2"}]"#;
        let config = Config::load(
            None,
            &environment(&[("OPENCLAW_INSTANCES", list), ("CLAWHAND_DATA", "/d")]),
        );
        let shown = config.expect("loads").show().expect("shows");
        assert!(
            shown.contains("[[gateway]]") && shown.contains("token = \"***\""),
            "{shown}"
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
