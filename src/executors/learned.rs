//! What executors learn of where an execution runs once it runs there: the ids and addresses that its system gave.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::ExecutionId;

/// The most executions of which something is kept: more than run at once. Some are taken over and end elsewhere.
const MOST: usize = 4096;
/// The shortest part of an id by which people and programs name what has it.
const SHORT: usize = 12;

/// By execution, the texts that it may print, each with what callers read instead. Only a saving: all of it can be asked
/// for again.
#[derive(Debug, Default)]
pub(super) struct Learned(Mutex<BTreeMap<ExecutionId, BTreeMap<String, &'static str>>>);

impl Learned {
    /// Notes a text; what is no name of anything is left out.
    pub(super) fn add(&self, execution: ExecutionId, text: &str, shown: &'static str) {
        if !is_telling(text) {
            return;
        }
        let mut known = self.lock();
        known.entry(execution).or_default().insert(text.to_owned(), shown);
        if known.len() > MOST {
            // Ids begin with the time: the first is the oldest.
            let oldest = known.keys().copied().find(|other| *other != execution);
            oldest.map(|oldest| known.remove(&oldest));
        }
    }

    /// Notes an id in hexadecimal: whole, short, and as the names of control groups have it.
    pub(super) fn add_id(&self, execution: ExecutionId, id: &str, shown: &'static str) {
        let id = id.rsplit(['/', ':']).next().unwrap_or_default();
        if id.len() <= SHORT || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return;
        }
        for id in [id, &id[..SHORT]] {
            self.add(execution, id, shown);
            // A hyphen makes one word of it.
            for engine in ["docker", "libpod", "cri-containerd", "crio"] {
                self.add(execution, &format!("{engine}-{id}"), shown);
            }
        }
    }

    pub(super) fn knows(&self, execution: ExecutionId, text: &str) -> bool {
        self.lock()
            .get(&execution)
            .is_some_and(|texts| texts.contains_key(text))
    }

    pub(super) fn of(&self, execution: ExecutionId) -> Vec<(String, String)> {
        let known = self.lock();
        let texts = known.get(&execution).into_iter().flatten();
        texts.map(|(text, shown)| (text.clone(), (*shown).to_owned())).collect()
    }

    pub(super) fn forget(&self, execution: ExecutionId) {
        self.lock().remove(&execution);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ExecutionId, BTreeMap<String, &'static str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a name or an address tells one system from others.
pub(super) fn is_telling(text: &str) -> bool {
    if matches!(text, "" | "localhost" | "localhost.localdomain" | "/" | "(none)") {
        return false;
    }
    match text.parse::<std::net::IpAddr>() {
        Ok(address) => !address.is_loopback() && !address.is_unspecified(),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_in_all_its_forms() {
        let (learned, execution) = (Learned::default(), ExecutionId::random());
        let id = "0c902d4d1154c0ec1d70314a2ce008d64f1c89cc94c64678a2394ca58c527f0b";
        learned.add_id(execution, &format!("sha256:{id}"), "[image]");
        for text in [id, &id[..12], &format!("docker-{id}")] {
            assert!(learned.knows(execution, text), "{text}");
        }
        learned.add_id(execution, "bookworm", "[image]");
        learned.add(execution, "127.0.0.1", "[address]");
        learned.add(execution, "localhost", "[host]");
        assert_eq!(learned.of(execution).len(), 10);
        assert_eq!(learned.of(ExecutionId::random()), []);
        learned.forget(execution);
        assert_eq!(learned.of(execution), []);
    }
}
