//! `kind = "ssh"`: a host that is reached over SSH.

use super::check_absolute;
use crate::domain::target::{ExecutorBlock, JumpHost, SshBlock};
use crate::inventory::fields::{At, Section};
use crate::inventory::words;

pub(super) fn read(section: &Section<'_, '_>) -> ExecutorBlock {
    let host = section.required("host", "\"build1.example.com\"");
    check_names(section, host.iter());
    let user = section.required("user", "\"ci\"");
    check_names(section, user.iter());
    let user = user.map(|user| user.value).unwrap_or_default();
    let names = section.texts("names");
    let path = section.text("path");
    let entries = path
        .iter()
        .flat_map(|path| path.value.split(':').map(|value| At { value, at: path.at }));
    check_absolute(section, entries);
    let host = host.map(|host| host.value).unwrap_or_default();
    ExecutorBlock::Ssh(Box::new(SshBlock {
        root: root(section, &user),
        path: path.map_or_else(|| SshBlock::PATH.to_owned(), |path| path.value),
        names: words::plain(names),
        ..login(section, host, port(section), user)
    }))
}

/// How to log in to a host that is named elsewhere: the keys of both sides, and what is passed through.
pub(super) fn login(section: &Section<'_, '_>, host: String, port: u16, user: String) -> SshBlock {
    let block = SshBlock {
        host,
        port,
        identity_file: file(section, "identity_file"),
        certificate_file: file(section, "certificate_file"),
        agent: file(section, "agent"),
        known_hosts: known_hosts(section),
        jump: jumps(section, &user),
        config: file(section, "config"),
        root: String::new(),
        path: SshBlock::PATH.to_owned(),
        names: Vec::new(),
        user,
    };
    if block.identity_file.is_none() && block.agent.is_none() && block.config.is_none() {
        section.source().problem(
            section.at(),
            "nothing says which key to log in with",
            "write identity_file = \"/path/to/key\", or agent = \"/path/to/agent.sock\"",
        );
    }
    block
}

fn known_hosts(section: &Section<'_, '_>) -> String {
    let file = section.required(
        "known_hosts",
        "\"/etc/clawhand/known_hosts\", made by ssh-keyscan and checked",
    );
    check_files(section, file.iter());
    file.map(|file| file.value).unwrap_or_default()
}

fn file(section: &Section<'_, '_>, key: &'static str) -> Option<String> {
    let file = section.text(key);
    check_files(section, file.iter());
    file.map(|file| file.value)
}

fn port(section: &Section<'_, '_>) -> u16 {
    let Some(port) = section.number("port") else {
        return SshBlock::PORT;
    };
    u16::try_from(port.value)
        .ok()
        .filter(|port| *port > 0)
        .unwrap_or_else(|| {
            section.source().problem(
                port.at,
                format!("{} is no port", port.value),
                "ports go from 1 to 65535",
            );
            SshBlock::PORT
        })
}

fn root(section: &Section<'_, '_>, user: &str) -> String {
    let Some(root) = section.text("root") else {
        return SshBlock::usual_root(user);
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let climbs = root.value.split('/').any(|part| part == "..");
    if !root.value.starts_with('/') || root.value.len() < 2 || !root.value.chars().all(is_plain) || climbs {
        section.source().problem(
            root.at,
            format!("'{}' can't be the folder for executions", root.value),
            "write an absolute path of letters, digits, '.', '_' and '-'",
        );
    }
    root.value.trim_end_matches('/').to_owned()
}

/// `user@host:port`, of which only the host must be there.
fn jumps(section: &Section<'_, '_>, usual_user: &str) -> Vec<JumpHost> {
    let texts = section.texts("jump");
    let read = |text: &At<String>| {
        let (user, rest) = text.value.split_once('@').unwrap_or((usual_user, &text.value));
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, port.parse().ok()?),
            _ => (rest, SshBlock::PORT),
        };
        (is_name(user) && is_name(host)).then(|| JumpHost {
            user: user.to_owned(),
            host: host.to_owned(),
            port,
        })
    };
    let mut jumps = Vec::new();
    for text in &texts {
        match read(text) {
            Some(jump) => jumps.push(jump),
            None => section.source().problem(
                text.at,
                format!("'{}' is no host to jump through", text.value),
                "write \"user@host:port\", \"user@host\" or \"host\"",
            ),
        }
    }
    jumps
}

/// Whether it can stand in a configuration of ssh and mean nothing but itself.
pub(super) fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain)
}

fn check_names<'a>(section: &Section<'_, '_>, names: impl Iterator<Item = &'a At<String>>) {
    for name in names.filter(|name| !is_name(&name.value)) {
        let message = format!("'{}' can't be the name of a host or user", name.value);
        let hint = "letters, digits, '.', '_', '-' and ':' are possible; a port has a key of its own";
        section.source().problem(name.at, message, hint);
    }
}

fn check_files<'a>(section: &Section<'_, '_>, files: impl Iterator<Item = &'a At<String>>) {
    for file in files {
        check_absolute(
            section,
            std::iter::once(At {
                value: file.value.as_str(),
                at: file.at,
            }),
        );
        // ssh gives them a meaning in its configuration.
        if file
            .value
            .contains(|c: char| c.is_control() || matches!(c, '"' | '%' | '\\' | '$' | '*' | '?' | '['))
        {
            let message = format!("'{}' can't be told to ssh", file.value);
            section.source().problem(
                file.at,
                message,
                "use a path without quotes, '%', '\\', '$' and wildcards",
            );
        }
    }
}
