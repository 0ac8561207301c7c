//! One annotated TOML file plus environment variables, read once at the start into [`Config`].
//!
//! The environment is read nowhere else: rooms are handed [`Environment`] or plain values. Unknown keys are errors
//! with their position. `default.toml` beside this file is the reference and is tested to say the same as the types.

mod bridge;
mod gateways;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::domain::units::{ByteSize, Span};
use crate::gateway::Instance;
use crate::telemetry;

pub use bridge::{GatewayOptions, GivenCredential};
pub use gateways::GatewayTable;

/// The annotated default file, as `clawhand config default` prints it.
pub const DEFAULT: &str = include_str!("default.toml");

/// The environment variables of the process, captured once.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Captures the environment of this process. Variables that are not UTF-8 are left out.
    pub fn capture() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        )
    }

    /// The value of `name` unless it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All of them.
    pub fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// `[database]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// Where it is; empty is SQLite in the data folder.
    pub url: String,
    /// Connections at most.
    pub max_connections: u32,
}

/// `[artifacts]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Artifacts {
    /// Where they are; empty is a folder in the data folder.
    pub url: String,
    /// Of an S3 service.
    pub endpoint: String,
    /// Of an S3 service.
    pub region: String,
    /// Whether the endpoint may be without TLS.
    pub allow_http: bool,
}

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// The address to listen on.
    pub host: String,
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
    /// What callers reach this server by.
    pub public_url: String,
    /// Further values of the Host header.
    pub allowed_hosts: Vec<String>,
    /// Values of the Origin header.
    pub allowed_origins: Vec<String>,
    /// The largest request body at /mcp.
    pub max_request: ByteSize,
    /// Sessions for older clients.
    pub legacy_sessions: bool,
}

/// `[uploads]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Uploads {
    /// The largest artifact.
    pub max_size: ByteSize,
    /// How long a link works.
    pub link_expires: Span,
}

/// `[downloads]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Downloads {
    /// How long a link works.
    pub link_expires: Span,
}

/// `[worker]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// Whether `serve` works too.
    pub enabled: bool,
    /// Executions at once.
    pub parallel: u32,
    /// How long a lease lasts.
    pub lease: Span,
    /// Between TERM and KILL.
    pub grace: Span,
    /// How long a target may be out of reach.
    pub unreachable: Span,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Executions of one owner at once; 0 is no limit.
    pub max_concurrent_per_owner: u32,
    /// The most members of a group on which a task runs.
    pub max_group_members: u32,
}

/// `[facts]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactsSection {
    /// How old facts may be.
    pub max_age: Span,
}

/// `[retention]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// How long after their last activity tasks are kept.
    pub after: Span,
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// The folder with targets and recipes.
    pub targets: PathBuf,
    /// `[database]`.
    pub database: Database,
    /// `[artifacts]`.
    pub artifacts: Artifacts,
    /// `[http]`.
    pub http: Http,
    /// `[uploads]`.
    pub uploads: Uploads,
    /// `[downloads]`.
    pub downloads: Downloads,
    /// `[worker]`.
    pub worker: Worker,
    /// `[limits]`.
    pub limits: Limits,
    /// `[facts]`.
    pub facts: FactsSection,
    /// `[retention]`.
    pub retention: Retention,
    /// `[log]`.
    pub log: telemetry::Settings,
    /// `[[gateway]]`.
    #[serde(deserialize_with = "gateways::tables", skip_serializing_if = "Vec::is_empty")]
    pub gateway: Vec<GatewayTable>,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: String::new(),
            max_connections: 10,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 8787,
            public_url: String::new(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            max_request: ByteSize(8 << 20),
            legacy_sessions: false,
        }
    }
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            max_size: ByteSize(1 << 30),
            link_expires: Span::seconds(15 * 60),
        }
    }
}

impl Default for Downloads {
    fn default() -> Self {
        Self {
            link_expires: Span::seconds(60 * 60),
        }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            enabled: true,
            parallel: 8,
            lease: Span::seconds(30),
            grace: Span::seconds(10),
            unreachable: Span::seconds(5 * 60),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_concurrent_per_owner: 0,
            max_group_members: 20,
        }
    }
}

impl Default for FactsSection {
    fn default() -> Self {
        Self {
            max_age: Span::seconds(24 * 60 * 60),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            after: Span::seconds(30 * 24 * 60 * 60),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            targets: "targets".into(),
            database: Database::default(),
            artifacts: Artifacts::default(),
            http: Http::default(),
            uploads: Uploads::default(),
            downloads: Downloads::default(),
            worker: Worker::default(),
            limits: Limits::default(),
            facts: FactsSection::default(),
            retention: Retention::default(),
            log: telemetry::Settings::default(),
            gateway: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the file that was named, or found, and what the environment says over it.
    ///
    /// # Errors
    /// When a named file can't be read or parsed, or a value can't be used; the text names file and position.
    pub fn load(named: Option<&Path>, environment: &Environment) -> anyhow::Result<Self> {
        let mut config = Self::found(named, environment)?;
        config.overlay(environment)?;
        config.check()?;
        Ok(config)
    }

    /// What the file says, if there is one.
    fn found(named: Option<&Path>, environment: &Environment) -> anyhow::Result<Self> {
        let named = named
            .map(Path::to_path_buf)
            .or_else(|| environment.get("CLAWHAND_CONFIG").map(PathBuf::from));
        let found = named.or_else(|| Some(PathBuf::from("clawhand.toml")).filter(|path| path.is_file()));
        found.map_or_else(|| Ok(Self::default()), |path| Self::read(&path))
    }

    /// Parses one file.
    ///
    /// # Errors
    /// When it can't be read or parsed.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("can't read configuration {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in configuration {}", path.display()))
    }

    fn overlay(&mut self, environment: &Environment) -> anyhow::Result<()> {
        let text = |name: &str| environment.get(name).map(str::to_owned);
        if let Some(path) = text("CLAWHAND_DATA") {
            self.data = path.into();
        }
        if let Some(path) = text("CLAWHAND_TARGETS") {
            self.targets = path.into();
        }
        if let Some(url) = text("DATABASE_URL") {
            self.database.url = url;
        }
        if let Some(url) = text("CLAWHAND_ARTIFACTS_URL") {
            self.artifacts.url = url;
        }
        if let Some(url) = text("AWS_ENDPOINT_URL") {
            self.artifacts.endpoint = url;
        }
        if let Some(region) = text("AWS_REGION") {
            self.artifacts.region = region;
        }
        if let Some(host) = text("HOST") {
            self.http.host = host;
        }
        if let Some(port) = text("PORT") {
            self.http.port = port.parse().with_context(|| format!("PORT={port} is not a port"))?;
        }
        if let Some(url) = text("CLAWHAND_PUBLIC_URL") {
            self.http.public_url = url;
        }
        if let Some(origins) = text("CORS_ORIGINS") {
            self.http.allowed_origins = origins.split(',').map(|origin| origin.trim().to_owned()).collect();
        }
        if let Some(filter) = text("CLAWHAND_LOG") {
            self.log.filter = filter;
        }
        gateways::overlay(&mut self.gateway, environment)?;
        if self.data.as_os_str().is_empty() {
            self.data = default_data(environment);
        }
        self.data = std::path::absolute(&self.data).context("data")?;
        self.targets = std::path::absolute(&self.targets).context("targets")?;
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.worker.parallel > 0,
            "worker.parallel is 0: set worker.enabled = false to do no work"
        );
        anyhow::ensure!(
            self.worker.lease.0.as_secs() >= 3,
            "worker.lease is shorter than 3s: a busy moment would lose it"
        );
        anyhow::ensure!(self.database.max_connections > 0, "database.max_connections is 0");
        let url = &self.http.public_url;
        anyhow::ensure!(
            url.is_empty() || url.starts_with("http://") || url.starts_with("https://"),
            "http.public_url {url:?} must begin with https:// or http://"
        );
        Ok(())
    }

    /// How many executions of one owner may run at once; nothing is no limit.
    pub fn per_owner(&self) -> Option<u32> {
        Some(self.limits.max_concurrent_per_owner).filter(|limit| *limit > 0)
    }

    /// The OpenClaw gateways.
    pub fn instances(&self) -> Vec<Instance> {
        self.gateway.iter().map(GatewayTable::instance).collect()
    }

    /// The database's URL, with the default filled in.
    pub fn database_url(&self) -> String {
        match self.database.url.as_str() {
            "" => format!("sqlite://{}", self.data.join("clawhand.db").display()),
            url => url.to_owned(),
        }
    }

    /// The artifact store's URL, with the default filled in.
    pub fn artifacts_url(&self) -> String {
        match self.artifacts.url.as_str() {
            "" => format!("file://{}", self.data.join("artifacts").display()),
            url => url.to_owned(),
        }
    }

    /// The configuration as TOML, with passwords in URLs left out.
    ///
    /// # Errors
    /// When it can't be written as TOML, which would be a mistake in clawhand.
    pub fn show(&self) -> anyhow::Result<String> {
        let mut shown = self.clone();
        shown.database.url = without_password(&self.database_url());
        shown.artifacts.url = self.artifacts_url();
        Ok(toml::to_string(&shown)?)
    }
}

/// A URL with its password replaced by `***`.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    match rest.rsplit_once('@') {
        Some((user, place)) => match user.split_once(':') {
            Some((name, _)) => format!("{scheme}://{name}:***@{place}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

/// Where data is kept when nobody says: a system service has its place, a person theirs.
fn default_data(environment: &Environment) -> PathBuf {
    if crate::lifecycle::is_root() {
        return "/var/lib/clawhand".into();
    }
    match (environment.get("XDG_DATA_HOME"), environment.get("HOME")) {
        (Some(folder), _) => Path::new(folder).join("clawhand"),
        (None, Some(home)) => Path::new(home).join(".local/share/clawhand"),
        (None, None) => ".clawhand".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotated_file_says_what_the_types_say() {
        let parsed: Config = toml::from_str(DEFAULT).expect("default.toml parses");
        assert_eq!(parsed, Config::default());
        // And it names every key: serializing the defaults and the file gives the same keys.
        let keys = |text: &str| {
            let table: toml::Table = toml::from_str(text).expect("parses");
            table
                .iter()
                .flat_map(|(name, value)| match value {
                    toml::Value::Table(inner) => inner.keys().map(|key| format!("{name}.{key}")).collect(),
                    _ => vec![name.clone()],
                })
                .collect::<std::collections::BTreeSet<_>>()
        };
        let types = toml::to_string(&Config::default()).expect("serializes");
        assert_eq!(keys(DEFAULT), keys(&types));
    }

    #[test]
    fn the_environment_wins_and_passwords_are_not_shown() {
        let environment = [
            ("DATABASE_URL", "postgres://me:hunter2@db/claw"),
            ("PORT", "99"),
            ("CLAWHAND_DATA", "/d"),
            ("CORS_ORIGINS", "https://a, https://b"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
        let config = Config::load(None, &environment).expect("loads");
        assert_eq!(config.http.port, 99);
        assert_eq!(config.http.allowed_origins, ["https://a", "https://b"]);
        let shown = config.show().expect("shows");
        assert!(shown.contains("postgres://me:***@db/claw"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("hostt = 1", "unknown field `hostt`"),
            ("[http]\nport = \"x\"", "port"),
            ("[uploads]\nmax_size = \"many\"", "many"),
            ("[worker]\nlease = \"3 parsecs\"", "parsecs"),
        ];
        for (text, expected) in cases {
            let error = toml::from_str::<Config>(text).expect_err("is refused").to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
