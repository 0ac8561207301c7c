//! The rules by which everything that an execution prints is scrubbed. They grow while it runs: what a container or a
//! pod is called only its system knows, and only once it is there.

use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ExecutionId;
use crate::executors::Executor;
use crate::redact::Rules;

/// What an execution on its target must not tell.
pub(super) struct Privacy {
    executor: Arc<dyn Executor>,
    execution: ExecutionId,
    /// Of the target.
    texts: Vec<String>,
    secrets: Vec<String>,
    built: Mutex<Built>,
}

/// Rules, and what the executor knew when they were built.
struct Built {
    known: Vec<(String, String)>,
    rules: Rules,
}

impl Privacy {
    pub(super) fn new(
        executor: Arc<dyn Executor>,
        execution: ExecutionId,
        texts: Vec<String>,
        secrets: Vec<String>,
    ) -> Self {
        let known = executor.private_texts(execution);
        let rules = build(&known, &texts, &secrets);
        Self {
            executor,
            execution,
            texts,
            secrets,
            built: Mutex::new(Built { known, rules }),
        }
    }

    /// The rules with all that the executor knows by now. To be asked after it gave something that is shown.
    pub(super) fn rules(&self) -> Rules {
        let known = self.executor.private_texts(self.execution);
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if built.known != known {
            built.rules = build(&known, &self.texts, &self.secrets);
            built.known = known;
        }
        built.rules.clone()
    }
}

fn build(known: &[(String, String)], texts: &[String], secrets: &[String]) -> Rules {
    let mut rules = Rules::builder();
    for (text, shown) in known {
        rules = rules.private(text, shown);
    }
    for text in texts {
        rules = rules.private(text, "[private]");
    }
    secrets.iter().fold(rules, |rules, secret| rules.secret(secret)).build()
}
