//! `kind = "http"`: an API and its operations.

mod operation;
mod parameter;

use std::time::Duration;

use super::check_absolute;
use crate::domain::target::http::{ClientCertificate, HttpAuth, HttpBlock, Network};
use crate::domain::target::{ExecutorBlock, SecretRef};
use crate::inventory::fields::{At, Section};
use crate::inventory::problem::suggest;
use crate::inventory::target_file::{duration, secret};
use crate::inventory::words;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
const OUTAGE: Duration = Duration::from_secs(2 * 60);

pub(super) fn read(section: &Section<'_, '_>) -> ExecutorBlock {
    let plaintext = section.flag("plaintext").unwrap_or(false);
    let base_url = section.required("base_url", "\"https://api.example.com/v1\"");
    if let Some(url) = &base_url {
        check_url(section, url, plaintext);
    }
    let ca = section.text("ca");
    check_absolute(section, ca.iter().map(borrowed));
    let operations = operation::operations(section, &headers_taken(section));
    let probe = section.text("probe");
    if let Some(probe) = &probe {
        let fits = operations
            .get(&probe.value)
            .map(|operation| operation.method.is_safe() && operation.parameters.values().all(|p| !p.required));
        let names: Vec<&str> = operations.keys().map(String::as_str).collect();
        let (message, hint) = match fits {
            Some(true) => (None, String::new()),
            Some(false) => (
                Some(format!("the operation '{}' can't be a probe", probe.value)),
                "a probe is a GET or HEAD that needs no parameter".to_owned(),
            ),
            None => (
                Some(format!("there is no operation '{}'", probe.value)),
                suggest(&probe.value, &names),
            ),
        };
        if let Some(message) = message {
            section.source().problem(probe.at, message, hint);
        }
    }
    ExecutorBlock::Http(Box::new(HttpBlock {
        base_url: base_url
            .map(|url| url.value.trim_end_matches('/').to_owned())
            .unwrap_or_default(),
        plaintext,
        ca: ca.map(|ca| ca.value),
        client_certificate: client_certificate(section),
        auth: auth(section, plaintext),
        allow_private: networks(section),
        redirect_hosts: hosts(section),
        connect_timeout: duration(section, "connect_timeout").unwrap_or(CONNECT_TIMEOUT),
        idle_timeout: duration(section, "idle_timeout").unwrap_or(IDLE_TIMEOUT),
        outage: duration(section, "outage").unwrap_or(OUTAGE),
        probe: probe.map(|probe| probe.value),
        operations,
    }))
}

fn borrowed(text: &At<String>) -> At<&str> {
    At {
        value: text.value.as_str(),
        at: text.at,
    }
}

/// Complains of a URL that could not be what is meant, or that would send secrets for everybody to read.
fn check_url(section: &Section<'_, '_>, url: &At<String>, plaintext: bool) {
    let source = section.source();
    let is_url = url.value.parse::<::http::Uri>().is_ok_and(|parsed| {
        parsed.host().is_some_and(|host| !host.is_empty())
            && matches!(parsed.scheme_str(), Some("https" | "http"))
            && parsed.query().is_none()
    });
    // What stands before an '@' may be a password: the text is not repeated.
    if !is_url || url.value.contains(['@', '#', '{', '}', '?']) {
        source.problem(
            url.at,
            "this is not the URL of an API",
            "write https://HOST/PATH, without user, query and fragment",
        );
    } else if !plaintext && !url.value.starts_with("https://") {
        source.problem(
            url.at,
            "without TLS everybody on the way reads and changes what is sent",
            "write https://, or plaintext = true if that is meant",
        );
    }
}

/// The header that the credentials use, which no operation may set.
fn headers_taken(section: &Section<'_, '_>) -> Vec<String> {
    let mut taken = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
    ]
    .map(str::to_owned)
    .to_vec();
    if let Some(auth) = section.table("auth") {
        let own = auth.text("name").map(|name| name.value.to_ascii_lowercase());
        taken.push(own.unwrap_or_else(|| "authorization".to_owned()));
    }
    taken
}

fn client_certificate(section: &Section<'_, '_>) -> Option<ClientCertificate> {
    let certificate = section.text("client_certificate");
    check_absolute(section, certificate.iter().map(borrowed));
    let key = reference(section, "client_key");
    let whole = section.place("client_certificate").is_some() == section.place("client_key").is_some();
    if !whole {
        section.source().problem(
            section.at(),
            "client_certificate and client_key belong together",
            "write both or none",
        );
    }
    Some(ClientCertificate {
        certificate: certificate?.value,
        key: key?,
    })
}

/// A secret at a key, by reference.
fn reference(section: &Section<'_, '_>, key: &'static str) -> Option<SecretRef> {
    section.place(key)?;
    let hint = format!("write {key} = {{ env = \"VARIABLE\" }} or {{ file = \"/path\" }}; secrets never stand here");
    let Some(table) = section.secret_table(key) else {
        let message = format!("the secret {key} is written into the file, or is no reference");
        section.source().problem(section.at(), message, hint);
        return None;
    };
    let found = secret(&table, key, &hint);
    table.close();
    found
}

/// A secret that must be there.
fn required_reference(section: &Section<'_, '_>, key: &'static str) -> Option<SecretRef> {
    if section.place(key).is_none() {
        section.source().problem(
            section.at(),
            format!("{key} is missing"),
            format!("write {key} = {{ env = \"VARIABLE\" }} or {{ file = \"/path\" }}"),
        );
    }
    reference(section, key)
}

fn auth(section: &Section<'_, '_>, plaintext: bool) -> Option<HttpAuth> {
    let auth = section.table("auth")?;
    let kind = auth.required("kind", "\"bearer\"");
    let read = match kind.as_ref().map(|kind| kind.value.as_str()) {
        Some("bearer") => required_reference(&auth, "token").map(HttpAuth::Bearer),
        Some("basic") => {
            let user = auth.required("user", "\"clawhand\"");
            let password = required_reference(&auth, "password");
            user.zip(password).map(|(user, password)| HttpAuth::Basic {
                user: user.value,
                password,
            })
        }
        Some("header") => {
            let name = auth.required("name", "\"X-Api-Key\"");
            if let Some(name) = name.as_ref().filter(|name| !is_header(&name.value)) {
                auth.source().problem(name.at, "this can't be the name of a header", "");
            }
            let value = required_reference(&auth, "value");
            name.zip(value).map(|(name, value)| HttpAuth::Header {
                name: name.value,
                value,
            })
        }
        Some("oauth2") => oauth(&auth, plaintext),
        _ => None,
    };
    if let Some(kind) = kind.filter(|kind| !["bearer", "basic", "header", "oauth2"].contains(&kind.value.as_str())) {
        let hint = suggest(&kind.value, &["bearer", "basic", "header", "oauth2"]);
        let message = format!("there is no auth of the kind '{}'", kind.value);
        auth.source().problem(kind.at, message, hint);
        return None;
    }
    auth.close();
    read
}

fn oauth(auth: &Section<'_, '_>, plaintext: bool) -> Option<HttpAuth> {
    let token_url = auth.required("token_url", "\"https://login.example.com/oauth2/token\"");
    if let Some(url) = &token_url {
        check_url(auth, url, plaintext);
    }
    let client_id = auth.required("client_id", "\"clawhand\"");
    let client_secret = required_reference(auth, "client_secret");
    let scopes = words::plain(auth.texts("scopes"));
    Some(HttpAuth::OAuth {
        token_url: token_url?.value,
        client_id: client_id?.value,
        client_secret: client_secret?,
        scopes,
    })
}

/// Whether a text can be the name of a header.
fn is_header(name: &str) -> bool {
    ::http::HeaderName::from_bytes(name.as_bytes()).is_ok()
}

fn networks(section: &Section<'_, '_>) -> Vec<Network> {
    let mut networks = Vec::new();
    for text in section.texts("allow_private") {
        match text.value.parse() {
            Ok(network) => networks.push(network),
            Err(_) => section.source().problem(
                text.at,
                format!("'{}' is neither an address nor a network", text.value),
                "write \"10.1.2.3\" or \"10.0.0.0/8\", with zeros behind the prefix",
            ),
        }
    }
    networks
}

fn hosts(section: &Section<'_, '_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for host in section.texts("redirect_hosts") {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b".-:[]".contains(&c);
        if host.value.is_empty() || !host.value.bytes().all(plain) {
            section.source().problem(
                host.at,
                format!("'{}' is not a host", host.value),
                "write the host alone, and its port if the URL has one: \"files.example.com\"",
            );
        }
        hosts.push(host.value.to_ascii_lowercase());
    }
    hosts
}
