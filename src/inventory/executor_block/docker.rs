//! `kind = "docker"`: containers of a Docker daemon, or of whatever speaks its API.

use super::{check_absolute, ssh};
use crate::domain::target::{DockerBlock, DockerSsh, DockerTls, ExecutorBlock, PullPolicy, SshBlock};
use crate::inventory::fields::{At, Section};
use crate::inventory::problem::suggest;
use crate::inventory::target_file;

const ENDPOINTS: &str = "write \"unix:///var/run/docker.sock\", \"tcp://HOST:2376\" or \"ssh://USER@HOST\"";

pub(super) fn read(section: &Section<'_, '_>) -> ExecutorBlock {
    let image = section.required("image", "\"registry.example/python:3.12\"");
    if let Some(image) = image.as_ref().filter(|image| !is_image(&image.value)) {
        let message = format!("'{}' can't be the name of an image", image.value);
        section
            .source()
            .problem(image.at, message, "write NAME:TAG or NAME@sha256:...");
    }
    let defaults = DockerBlock::of_image(image.map(|image| image.value).unwrap_or_default());
    let defaults = connection(section, &defaults);
    let path = section.text("path");
    let entries = path
        .iter()
        .flat_map(|path| path.value.split(':').map(|value| At { value, at: path.at }));
    check_absolute(section, entries);
    ExecutorBlock::Docker(DockerBlock {
        pull: pull(section),
        user: user(section).unwrap_or(defaults.user),
        network: network(section),
        cpus_milli: cpus(section),
        tmp_bytes: target_file::size(section, "tmp").unwrap_or(defaults.tmp_bytes),
        path: path.map(|path| path.value),
        runtime: section.text("runtime").map(|runtime| runtime.value),
        ..defaults
    })
}

/// What an image's name may be made of; whether there is such an image only the daemon knows.
fn is_image(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed)
}

/// Where the daemon is, and how it is reached there.
fn connection(section: &Section<'_, '_>, defaults: &DockerBlock) -> DockerBlock {
    let tls = section.table("tls").and_then(tls_files);
    let endpoint = section.text("endpoint");
    let scheme = endpoint.as_ref().and_then(|endpoint| endpoint.value.split_once("://"));
    let scheme = scheme.map_or("", |(scheme, _)| scheme);
    for (table, wanted) in [("tls", "tcp"), ("ssh", "ssh")] {
        if section.place(table).is_some() && scheme != wanted && (endpoint.is_none() || is_scheme(scheme)) {
            let at = endpoint.as_ref().map_or(section.at(), |endpoint| endpoint.at);
            let hint = if endpoint.is_none() {
                ENDPOINTS.to_owned()
            } else {
                format!("remove the table {table}")
            };
            let message = format!("{table} is for an endpoint with {wanted}://");
            section.source().problem(at, message, hint);
        }
    }
    let ssh = match (section.table("ssh"), &endpoint) {
        (Some(table), Some(endpoint)) => {
            let ssh = host(&endpoint.value).map(|(user, host, port, socket)| DockerSsh {
                host: ssh::login(&table, host, port, user),
                socket,
            });
            if ssh.is_some() {
                table.close();
            }
            ssh.map(Box::new)
        }
        _ => None,
    };
    if let Some(endpoint) = &endpoint {
        check_endpoint(section, endpoint);
    }
    DockerBlock {
        endpoint: endpoint.map_or_else(|| defaults.endpoint.clone(), |endpoint| endpoint.value),
        tls,
        ssh,
        ..defaults.clone()
    }
}

fn tls_files(tls: Section<'_, '_>) -> Option<DockerTls> {
    let files = ["ca", "cert", "key"].map(|key| tls.required(key, "\"/absolute/path.pem\""));
    let named = files.iter().flatten().map(|file| At {
        value: file.value.as_str(),
        at: file.at,
    });
    check_absolute(&tls, named);
    tls.close();
    let [ca, cert, key] = files.map(|file| file.map(|file| file.value));
    Some(DockerTls {
        ca: ca?,
        cert: cert?,
        key: key?,
    })
}

fn is_scheme(scheme: &str) -> bool {
    matches!(scheme, "unix" | "tcp" | "ssh")
}

fn check_endpoint(section: &Section<'_, '_>, endpoint: &At<String>) {
    let complain = |message: String, hint: &str| section.source().problem(endpoint.at, message, hint);
    let shown = &endpoint.value;
    match shown.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => {}
        Some(("ssh", _)) if host(shown).is_some() => {
            if section.place("ssh").is_none() {
                let message = format!("nothing says how to log in at '{shown}'");
                complain(message, "add [executor.ssh] with known_hosts and identity_file");
            }
        }
        Some(("tcp", place))
            if place
                .rsplit_once(':')
                .is_some_and(|(host, port)| is_port(port) && !host.is_empty()) =>
        {
            let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
            let is_near = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
            if section.place("tls").is_none() && !is_near {
                let message = format!("'{shown}' would be used without TLS, and whoever can reach it is root there");
                complain(message, "add [executor.tls] with ca, cert and key, or use ssh://");
            }
        }
        _ => complain(format!("'{shown}' is not the endpoint of a daemon"), ENDPOINTS),
    }
}

/// User, host, port and socket of `ssh://user@host:port/socket`, of which the last two may be missing.
fn host(endpoint: &str) -> Option<(String, String, u16, String)> {
    let place = endpoint.strip_prefix("ssh://")?;
    let (login, socket) = match place.find('/') {
        Some(end) => place.split_at(end),
        None => (place, ""),
    };
    let (user, host) = login.split_once('@')?;
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
        None => (host, SshBlock::PORT),
    };
    let socket = match socket.trim_end_matches('/') {
        "" => DockerBlock::SOCKET,
        socket => socket,
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    (ssh::is_name(user) && ssh::is_name(host) && socket.chars().all(is_plain)).then(|| {
        let socket = socket.to_owned();
        (user.to_owned(), host.to_owned(), port, socket)
    })
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn pull(section: &Section<'_, '_>) -> PullPolicy {
    let Some(pull) = section.text("pull") else {
        return PullPolicy::default();
    };
    match pull.value.as_str() {
        "never" => PullPolicy::Never,
        "missing" => PullPolicy::Missing,
        "always" => PullPolicy::Always,
        other => {
            let hint = suggest(other, &["never", "missing", "always"]);
            let message = format!("'{other}' is not a rule for pulling images");
            section.source().problem(pull.at, message, hint);
            PullPolicy::default()
        }
    }
}

/// Numbers, because a name means what the image says it means. Root is refused: steps never run as root.
fn user(section: &Section<'_, '_>) -> Option<(u32, u32)> {
    let user = section.text("user")?;
    let (uid, gid) = user.value.split_once(':').unwrap_or((&user.value, &user.value));
    match (uid.parse::<u32>(), gid.parse::<u32>()) {
        (Ok(uid), Ok(gid)) if uid > 0 && gid > 0 => Some((uid, gid)),
        (Ok(_), Ok(_)) => {
            let hint = "write user = \"1000:1000\" with the numbers of another user";
            section.source().problem(user.at, "steps never run as root", hint);
            None
        }
        _ => {
            let message = format!("'{}' is not a user and a group number", user.value);
            section.source().problem(user.at, message, "write user = \"1000:1000\"");
            None
        }
    }
}

fn network(section: &Section<'_, '_>) -> Option<String> {
    const HINT: &str = "write network = \"NAME\" with the name of a network of the daemon, such as \"bridge\"";
    if section.is_flag("network") {
        if section.flag("network") == Some(true) {
            let at = section.place("network").unwrap_or(section.at());
            section.source().problem(at, "network doesn't say which one", HINT);
        }
        return None;
    }
    let network = section.text("network")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if network.value == "host" || network.value.is_empty() || !network.value.chars().all(allowed) {
        let message = format!("steps can't join the network '{}'", network.value);
        section.source().problem(network.at, message, HINT);
        return None;
    }
    (network.value != "none").then_some(network.value)
}

/// A number with up to three decimals, in a text.
fn cpus(section: &Section<'_, '_>) -> Option<u32> {
    section.place("cpus")?;
    let cpus = section.quantity("cpus", "a number of processors", "\"1.5\"")?;
    let milli = milli(&cpus.value).filter(|milli| *milli >= 10);
    if milli.is_none() {
        let message = format!("'{}' is not a number of processors", cpus.value);
        let hint = "write cpus = \"2\" or cpus = \"0.5\"; at least \"0.01\"";
        section.source().problem(cpus.at, message, hint);
    }
    milli
}

fn milli(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| (1..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let part = format!("{part:0<3}").parse::<u32>().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_in_thousandths() {
        for (text, wanted) in [
            ("2", Some(2000)),
            ("0.5", Some(500)),
            ("1.25", Some(1250)),
            ("1.0005", None),
            ("", None),
            (".5", None),
            ("-1", None),
            ("two", None),
        ] {
            assert_eq!(milli(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_host_is_found_in_an_endpoint() {
        let found =
            |endpoint| host(endpoint).map(|(user, host, port, socket)| format!("{user} {host} {port} {socket}"));
        for (endpoint, wanted) in [
            ("ssh://ci@build1", Some("ci build1 22 /var/run/docker.sock")),
            ("ssh://ci@build1:2222/", Some("ci build1 2222 /var/run/docker.sock")),
            (
                "ssh://ci@10.0.0.1/run/user/5/podman.sock",
                Some("ci 10.0.0.1 22 /run/user/5/podman.sock"),
            ),
            ("ssh://build1", None),
            ("ssh://ci@build1:0", None),
            ("ssh://ci@-oProxyCommand=x", None),
            ("ssh://ci@build1/a b", None),
        ] {
            assert_eq!(found(endpoint).as_deref(), wanted, "{endpoint}");
        }
    }

    #[test]
    fn images_look_like_images() {
        for name in ["python", "python:3.12", "registry.example:5000/team/app@sha256:00ff"] {
            assert!(is_image(name), "{name}");
        }
        for name in ["", "-v", "a b", "a\"b", "../x y"] {
            assert!(!is_image(name), "{name}");
        }
    }
}
