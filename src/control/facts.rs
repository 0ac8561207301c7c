//! Facts of targets: what is known, and learning it when it isn't.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Control;
use crate::domain::{Code, Digest, Facts, Refusal, Target};
use crate::executors::{ExecutorError, Trouble};

/// How long a caller waits for a probe before it is told to come back.
const PROBE: Duration = Duration::from_secs(20);

/// One lock a target, so that many callers cause one probe.
#[derive(Default)]
pub(super) struct Probes(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Probes {
    fn lock_of(&self, target: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        locks.entry(target.to_owned()).or_default().clone()
    }
}

/// Facts are of a connection: when an operator points the name elsewhere, the old ones say nothing.
fn connection_digest(target: &Target) -> Digest {
    Digest::of(format!("{} {:?}", env!("CARGO_PKG_VERSION"), target.executor).as_bytes())
}

fn not_now(target: &Target) -> Refusal {
    Refusal {
        retryable: true,
        ..Refusal::new(
            Code::MissingFacts,
            format!("target `{}` can't be looked at now", target.name),
            "try again in a moment; if it stays so, the operator runs `clawhand targets probe`",
        )
    }
}

impl Control {
    /// The facts of `target`, learned now if none are known or they are too old.
    pub(super) async fn facts_of(&self, target: &Target) -> Result<Facts, Refusal> {
        if let Some(facts) = self.known_facts(target).await? {
            return Ok(facts);
        }
        let lock = self.0.probes.lock_of(&target.name);
        let learned = async {
            let _one_at_a_time = lock.lock().await;
            match self.known_facts(target).await? {
                Some(facts) => Ok(facts),
                None => self.probe(target).await,
            }
        };
        // Waiting behind other callers' probes counts: each of them may take all of the time.
        let learned = tokio::time::timeout(PROBE, learned).await;
        learned.unwrap_or_else(|_| Err(not_now(target)))
    }

    /// Learns the facts of `target` and keeps them.
    async fn probe(&self, target: &Target) -> Result<Facts, Refusal> {
        self.diagnose(target).await?.map_err(|trouble| {
            tracing::warn!(target.name = target.name, %trouble, hint = trouble.hint, "a target can't be probed");
            not_now(target)
        })
    }

    /// Learns the facts of `target` and keeps them; for the operator, who may read what is wrong with it.
    ///
    /// # Errors
    /// A refusal when the facts can't be stored; the inner error when the target can't be used as it is.
    pub async fn diagnose(&self, target: &Target) -> Result<Result<Facts, Trouble>, Refusal> {
        let executor = self.0.rooms.executors.for_target(target);
        let probed = match tokio::time::timeout(PROBE, executor.probe()).await {
            Ok(probed) => probed,
            Err(_) => Err(ExecutorError::Unreachable("the probe took too long".into()).into()),
        };
        let facts = match probed {
            Ok(facts) => facts,
            Err(trouble) => return Ok(Err(trouble)),
        };
        self.store()
            .facts_put(&target.name, connection_digest(target), &facts)
            .await?;
        Ok(Ok(facts))
    }

    async fn known_facts(&self, target: &Target) -> Result<Option<Facts>, Refusal> {
        let known = self.store().facts_get(&target.name).await?;
        let fresh = |facts: &Facts| self.now().since(facts.learned_at) < self.0.settings.facts_max_age;
        Ok(known
            .filter(|(digest, facts)| *digest == connection_digest(target) && fresh(facts))
            .map(|(_, facts)| facts))
    }

    /// Learns what isn't known of the targets that take tasks; what can't be learned is logged and left for later.
    pub async fn refresh_facts(&self) {
        for target in &self.0.rooms.inventory.snapshot().targets {
            // What a group offers is what its members offer.
            if target.disabled || target.group().is_some() {
                continue;
            }
            if let Err(refusal) = self.facts_of(target).await {
                tracing::warn!(target.name = target.name, %refusal, "no facts of a target");
            }
        }
    }
}
