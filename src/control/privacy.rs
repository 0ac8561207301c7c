//! The rules by which answers are scrubbed: the private half of every target, and every secret that was read.

use std::sync::Mutex;

use super::{ControlSettings, Rooms};
use crate::domain::Digest;
use crate::inventory::Snapshot;
use crate::redact::{Rules, RulesBuilder};

/// What callers read in place of a private text.
const PRIVATE: &str = "[private]";

/// The rules that were built last, and what from.
#[derive(Default)]
pub(super) struct Cache(Mutex<Option<(Digest, u64, Rules)>>);

impl Cache {
    pub(super) fn rules(&self, rooms: &Rooms, settings: &ControlSettings) -> Rules {
        let snapshot = rooms.inventory.snapshot();
        let generation = rooms.vault.generation();
        let mut cached = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((digest, at, rules)) = &*cached
            && (*digest, *at) == (snapshot.digest, generation)
        {
            return rules.clone();
        }
        // Reading a target's secrets makes them known to the vault, so that they are scrubbed before any execution
        // used them. One that can't be read can't leak either.
        for reference in snapshot.targets.iter().flat_map(|target| target.secrets.values()) {
            if let Err(error) = rooms.vault.read(reference) {
                tracing::debug!(%error, "a secret can't be read now");
            }
        }
        let (generation, secrets) = rooms.vault.seen();
        let mut rules = private_of(&snapshot);
        if let Some(base) = rooms.links.base() {
            // Where callers reach this server they know. A target on the same host must not spoil the links.
            rules = rules.private(base, base);
        }
        for text in &settings.private_texts {
            rules = rules.private(text, PRIVATE);
        }
        let rules = secrets.iter().fold(rules, |rules, secret| rules.secret(secret)).build();
        *cached = Some((snapshot.digest, generation, rules.clone()));
        rules
    }
}

fn private_of(snapshot: &Snapshot) -> RulesBuilder {
    let texts = snapshot.targets.iter().flat_map(crate::domain::Target::private_texts);
    texts.fold(Rules::builder(), |rules, text| rules.private(&text, PRIVATE))
}
