//! What is configured about one gateway.

use std::fmt;
use std::time::Duration;

use reqwest::Url;

use crate::domain::target::SecretRef;

/// The longest name of an instance.
const NAME_MAX: usize = 64;

/// A gateway that clawhand knows. Its token is read when it is needed and never printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// What callers call it.
    pub name: Name,
    /// Where it is.
    pub address: Address,
    /// What proves to it that clawhand may ask.
    pub credential: Option<Credential>,
    /// The agent that answers when nobody names one: `openclaw`, `openclaw/<agent>` or `agent:<agent>`.
    pub model: String,
    /// How long it may say nothing.
    pub idle_timeout: Duration,
    /// The longest reply, in bytes.
    pub max_reply: u64,
    /// How many chats in the background run at once.
    pub max_concurrent: u32,
    /// How long a chat in the background may take in all.
    pub task_timeout: Duration,
    /// Whether it is meant when a caller names none.
    pub is_default: bool,
    /// Whether to ask it for the scope `operator.admin`.
    pub admin: bool,
    /// Whether a caller that may talk to its agents may also answer their approvals.
    pub self_approval: bool,
    /// Whether callers may read where it is.
    pub show_url: bool,
    /// The one certificate that it must show; without it the usual authorities decide.
    pub fingerprint: Option<Fingerprint>,
}

impl Instance {
    /// An instance with the defaults for everything that is not said.
    pub fn new(name: Name, address: Address) -> Self {
        Self {
            name,
            address,
            credential: None,
            model: "openclaw".to_owned(),
            idle_timeout: Duration::from_secs(120),
            max_reply: 10 << 20,
            max_concurrent: 3,
            task_timeout: Duration::from_secs(60 * 60),
            is_default: false,
            admin: false,
            self_approval: false,
            show_url: false,
            fingerprint: None,
        }
    }

    /// The agent that [`Instance::model`] names, in any of the forms that a gateway takes; none for its default.
    pub fn agent(&self) -> Option<&str> {
        let model = self.model.trim();
        let named = |prefix: &str| {
            let (head, agent) = model.split_at_checked(prefix.len())?;
            head.eq_ignore_ascii_case(prefix).then_some(agent)
        };
        let agent = named("openclaw/").or(named("openclaw:")).or(named("agent:"))?;
        Some(agent).filter(|agent| !agent.is_empty() && !agent.eq_ignore_ascii_case("default"))
    }

    /// What tells where it is. A name without a dot is left out: it is a word that replies use.
    pub fn private_texts(&self) -> Vec<String> {
        if self.show_url {
            return Vec::new();
        }
        self.address.private_texts()
    }
}

/// The name of an instance: letters, digits, `-` and `_`, beginning with a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Takes a name.
    ///
    /// # Errors
    /// When it isn't one; the text says what one is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let goes_on = text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if starts && goes_on && text.len() <= NAME_MAX {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "{text:?} is no name: 1 to {NAME_MAX} letters, digits, - and _, beginning with a letter or a digit"
        ))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a gateway is: `http://`, `https://`, `ws://` or `wss://`, perhaps below a path. The same port serves both
/// protocols.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// Takes an address.
    ///
    /// # Errors
    /// When it isn't one; the text says why and repeats no password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let secure = [("ws://", "http://"), ("wss://", "https://")];
        let text = text.trim();
        let changed = secure
            .iter()
            .find_map(|(socket, plain)| Some(format!("{plain}{}", text.strip_prefix(socket)?)));
        let url = Url::parse(changed.as_deref().unwrap_or(text)).map_err(|error| format!("it is no url: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err("it must begin with http://, https://, ws:// or wss://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it must not contain a user or a password: use token or password".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("it must end with the path: no ? and no #".to_owned());
        }
        Ok(Self(url))
    }

    /// The URL of `path`, which begins with a slash, over HTTP.
    pub fn http(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let below = format!("{}{path}", url.path().trim_end_matches('/'));
        url.set_path(&below);
        url
    }

    /// The URL of a path with its query, as the gateway itself gives them; `None` for one that leads elsewhere.
    pub fn below(&self, path: &str) -> Option<Url> {
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(path, query)| (path, Some(query)));
        // Two slashes would begin a host.
        if !path.starts_with('/') || path.starts_with("//") || path.contains(['\\', '#']) {
            return None;
        }
        let mut url = self.http(path);
        url.set_query(query);
        Some(url)
    }

    /// The URL of the WebSocket.
    pub fn socket(&self) -> String {
        let rest = self.0.as_str().trim_start_matches(self.0.scheme());
        match self.is_secure() {
            true => format!("wss{rest}"),
            false => format!("ws{rest}"),
        }
    }

    /// Whether it is reached over TLS.
    pub fn is_secure(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }

    /// As a caller who may know it reads it: without a slash at the end.
    pub fn shown(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    fn private_texts(&self) -> Vec<String> {
        let host = self.0.host_str().unwrap_or_default();
        let mut texts = vec![self.shown().to_owned()];
        if let Some(port) = self.0.port() {
            texts.push(format!("{host}:{port}"));
        }
        if !self.is_loopback() && host.contains(['.', ':']) {
            texts.push(host.to_owned());
        }
        texts
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

/// What proves that clawhand may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// The gateway's token.
    Token(Secret),
    /// The gateway's password.
    Password(Secret),
}

impl Credential {
    /// What is behind it, whichever it is.
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Token(secret) | Self::Password(secret) => secret,
        }
    }
}

/// A secret by reference, or as it was given on a command line or inside another variable.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Where it is read at use.
    At(SecretRef),
    /// Itself. Never printed.
    Given(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(reference) => reference.fmt(f),
            Self::Given(_) => f.write_str("Given(***)"),
        }
    }
}

/// The SHA-256 digest of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Takes 64 hexadecimal digits, with or without `sha256:` before them and colons between them.
    ///
    /// # Errors
    /// When it isn't one; the text says what one is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no fingerprint: expected sha256: and 64 hexadecimal digits");
        let digits = text.trim().trim_start_matches("sha256:").trim_start_matches("SHA256:");
        let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b':').collect();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(wrong());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                return Err(wrong());
            };
            *byte = u8::try_from(high << 4 | low).unwrap_or_default();
        }
        Ok(Self(bytes))
    }

    /// Whether it is the digest of `certificate`, which is in DER.
    pub fn is_of(&self, certificate: &[u8]) -> bool {
        use sha2::Digest as _;
        sha2::Sha256::digest(certificate)[..] == self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "Lab-2_b", &"x".repeat(64)] {
            assert_eq!(Name::parse(good).expect(good).as_str(), good);
        }
        for bad in ["", "-a", "_a", "a b", "a.b", "é", &"x".repeat(65)] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_agent_is_read_as_a_gateway_reads_it() {
        let address = Address::parse("http://gw.example").expect("an address");
        let mut instance = Instance::new(Name::parse("a").expect("a name"), address);
        for (model, agent) in [
            ("openclaw", None),
            ("openclaw/default", None),
            ("OpenClaw/Default", None),
            ("openclaw/", None),
            ("openclaw/main", Some("main")),
            (" openclaw:help-desk ", Some("help-desk")),
            ("agent:main", Some("main")),
            ("é", None),
        ] {
            instance.model = model.to_owned();
            assert_eq!(instance.agent(), agent, "{model}");
        }
    }

    #[test]
    fn addresses_serve_both_protocols_and_keep_their_path() {
        let plain = Address::parse("http://gw.example:18789/").expect("an address");
        assert_eq!(plain.http("/readyz").as_str(), "http://gw.example:18789/readyz");
        assert_eq!(plain.socket(), "ws://gw.example:18789/");
        assert_eq!(plain.shown(), "http://gw.example:18789");
        let below = Address::parse("wss://gw.example/claw/").expect("an address");
        assert_eq!(below.http("/v1/models").as_str(), "https://gw.example/claw/v1/models");
        assert_eq!(below.socket(), "wss://gw.example/claw/");
        assert!(below.is_secure() && !below.is_loopback());
        let given = below
            .below("/api/media/agent%3Amain/1?ticket=v1.a-b_c")
            .map(String::from);
        assert_eq!(
            given.as_deref(),
            Some("https://gw.example/claw/api/media/agent%3Amain/1?ticket=v1.a-b_c")
        );
        for elsewhere in ["http://other/a", "//other/a", "a", "", "/\\other"] {
            assert_eq!(below.below(elsewhere), None, "{elsewhere}");
        }
        assert!(Address::parse("http://[::1]:1").expect("an address").is_loopback());
        for bad in ["gw", "ftp://a", "http://", "http://a:b@c", "http://a?x", "http://a#x"] {
            let why = Address::parse(bad).expect_err(bad);
            assert!(!why.contains("a:b"), "{why}");
        }
    }

    #[test]
    fn only_what_tells_where_it_is_is_private() {
        let private = |url: &str| {
            Instance::new(
                Name::parse("a").expect("a name"),
                Address::parse(url).expect("an address"),
            )
            .private_texts()
        };
        assert_eq!(
            private("http://openclaw:18789"),
            ["http://openclaw:18789", "openclaw:18789"]
        );
        assert_eq!(
            private("http://127.0.0.1:18789"),
            ["http://127.0.0.1:18789", "127.0.0.1:18789"]
        );
        assert_eq!(private("https://gw.example"), ["https://gw.example", "gw.example"]);
    }

    #[test]
    fn a_secret_that_was_given_is_not_printed() {
        let credential = Credential::Token(Secret::Given("hunter2".into()));
        assert_eq!(format!("{credential:?}"), "Token(Given(***))");
    }

    #[test]
    fn fingerprints_are_read_in_the_forms_that_tools_print() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let colons: Vec<String> = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).to_uppercase())
            .collect();
        for text in [hex.to_owned(), format!("sha256:{hex}"), colons.join(":")] {
            let fingerprint = Fingerprint::parse(&text).expect("a fingerprint");
            assert!(fingerprint.is_of(b""), "{text}");
            assert_eq!(fingerprint.to_string(), format!("sha256:{hex}"));
        }
        for bad in ["", "sha256:", "zz", &"é".repeat(32), &"g".repeat(64)] {
            assert!(Fingerprint::parse(bad).is_err(), "{bad}");
        }
    }
}
