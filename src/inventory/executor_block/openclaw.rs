//! `kind = "openclaw"`: an agent behind an OpenClaw gateway.

use crate::domain::target::{Conversation, ExecutorBlock, OpenclawBlock};
use crate::inventory::fields::Section;

/// The longest key of a session, as callers may write one.
const SESSION_MAX: usize = 256;

pub(super) fn read(section: &Section<'_, '_>) -> ExecutorBlock {
    let name = |key: &'static str, hint: &str| {
        let name = section.text(key)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.value.is_empty() || name.value.len() > 64 || !name.value.chars().all(plain) {
            let message = format!("'{}' can't be the name of an {key}", name.value);
            section.source().problem(name.at, message, hint);
        }
        Some(name.value)
    };
    let instance = name("instance", "write the name of a [[gateway]] of the configuration");
    let agent = name("agent", "write the id of an agent of the gateway, such as \"main\"");
    let session = section.text("session").map_or(Conversation::Own, |session| {
        let key = session.value.trim();
        if key.is_empty() || key.len() > SESSION_MAX || key.chars().any(char::is_control) {
            section.source().problem(
                session.at,
                "this can't be the key of a session",
                "write \"new\" for a conversation of its own for each run, or the key of one that all runs share",
            );
        }
        match key {
            "new" => Conversation::Own,
            key => Conversation::Shared(key.to_owned()),
        }
    });
    ExecutorBlock::Openclaw(OpenclawBlock {
        instance,
        agent,
        session,
    })
}
