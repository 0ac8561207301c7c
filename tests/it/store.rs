//! The store on both databases: each test in the list runs on an SQLite file of its own and in a PostgreSQL database
//! of its own.
//!
//! CLAWHAND_TEST_POSTGRES is the address of a database of a cluster in which databases may be made. Without it the
//! PostgreSQL half is left out, which is an error where CI is set. CLAWHAND_TEST_SMALL_DIR is for the full disk.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; the lints know only functions marked as tests"
)]

mod basics;
mod changes;
mod driving;
mod failures;
mod groups;
mod keeping;
mod questions;
mod queue;
mod races;
mod schema;

use std::collections::BTreeMap;

use clawhand::domain::approval::ApprovalState;
use clawhand::domain::execution::ExecutionState;
use clawhand::domain::plan::{Effect, Plan, PlanStep, ResultReader, Risk};
use clawhand::domain::queue::AtOnce;
use clawhand::domain::task::{Constraints, TaskSpec};
use clawhand::domain::{
    Approval, ApprovalId, Artifact, ArtifactId, ArtifactRole, CopyId, Digest, Execution, ExecutionId, Listing, Task,
    TaskId, UnixMs,
};
use clawhand::store::{Changes, Claim, ExecutionInsert, Lease, NewExecution, Store, StoreSettings, TaskInsert};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::database::Base;

/// A migrated database with a handle on it.
pub struct World {
    pub store: Store,
    pub settings: StoreSettings,
    pub base: Base,
}

impl World {
    pub async fn on(base: Base) -> Self {
        let settings = StoreSettings {
            url: base.url().to_owned(),
            max_connections: 8,
        };
        let store = Store::open(&settings, Changes::new()).await.expect("opens");
        store.migrate().await.expect("migrates");
        Self { store, settings, base }
    }

    /// Another handle on the same database, as another process has it.
    pub async fn another(&self) -> Store {
        Store::open(&self.settings, Changes::new()).await.expect("opens again")
    }

    /// A connection of the test's own to the PostgreSQL database.
    pub async fn raw_postgres(&self) -> PgConnection {
        PgConnection::connect(&self.settings.url).await.expect("connects")
    }

    pub async fn end(self) {
        self.store.close().await;
        self.base.end().await;
    }
}

/// Makes of `async fn name(world: &World)` a test on each database.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let world = $crate::store::World::on($crate::database::Base::sqlite()).await;
                super::$name(&world).await;
                world.end().await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(cluster) = $crate::database::cluster() else { return };
                let world = $crate::store::World::on($crate::database::Base::postgres(&cluster).await).await;
                super::$name(&world).await;
                world.end().await;
            })*
        }
    };
}
pub(crate) use on_both;

/// As many at once as anybody likes.
pub static NO_LIMITS: AtOnce = AtOnce {
    per_owner: None,
    per_target: BTreeMap::new(),
};

pub const NOW: UnixMs = UnixMs(1_795_000_000_000);

pub fn at(ms: i64) -> UnixMs {
    UnixMs(NOW.0 + ms)
}

pub fn task(owner: &str) -> Task {
    Task {
        id: TaskId::random(),
        owner: owner.into(),
        client: "test".into(),
        spec: TaskSpec {
            project_name: "vault-cert-client".into(),
            goal: "prüfe \"alles\" \u{1f600}".into(),
            target_ref: "vault-staging".into(),
            execution_intent: "install_and_test".into(),
            context: None,
            constraints: Constraints {
                timeout_s: Some(5),
                max_output_bytes: None,
            },
            inputs: BTreeMap::from([("marker".into(), serde_json::json!(["a", 1, null]))]),
        },
        target: "vault-staging".into(),
        idempotency_key: None,
        request_digest: Digest::of(b"request"),
        created_at: NOW,
    }
}

pub fn artifact(task: &Task, name: &str, content: &[u8]) -> Artifact {
    Artifact {
        id: ArtifactId::random(),
        task: task.id,
        execution: None,
        owner: task.owner.clone(),
        role: ArtifactRole::Input,
        name: name.into(),
        size: content.len() as u64,
        digest: Digest::of(content),
        copy: CopyId::random(),
        media_type: "text/plain".into(),
        listing: Listing {
            files: BTreeMap::from([(name.into(), content.len() as u64)]),
            manifests: BTreeMap::new(),
        },
        created_at: NOW,
    }
}

pub fn plan(target: &str) -> Plan {
    let step = |name: &str| PlanStep {
        name: name.into(),
        summary: format!("{name} it"),
        argv: vec!["true".into()],
        call: None,
        cwd: String::new(),
        env: BTreeMap::new(),
        effects: vec![Effect::Workspace],
        repeatable: true,
        timeout_s: 60,
        max_output_bytes: 1 << 20,
        reader: ResultReader::ExitCode,
        accepted_exit_codes: vec![],
    };
    Plan {
        target: target.into(),
        intent: "test".into(),
        recipe: "python".into(),
        variant: "venv".into(),
        steps: vec![step("venv"), step("install"), step("test")],
        outputs: vec!["report.xml".into()],
        inputs: BTreeMap::from([("a.py".into(), Digest::of(b"a"))]),
        binding: None,
        risk: Risk::Medium,
        approval: None,
        group: None,
        explanation: "because".into(),
    }
}

pub fn execution(task: &Task, state: ExecutionState) -> NewExecution {
    let plan = plan(&task.target);
    let id = ExecutionId::random();
    let plan_digest = plan.digest();
    let approval = (state == ExecutionState::AwaitingApproval).then(|| Approval {
        id: ApprovalId::random(),
        execution: id,
        task: task.id,
        owner: task.owner.clone(),
        plan_digest,
        target: plan.target.clone(),
        intent: plan.intent.clone(),
        question: "may it?".into(),
        state: ApprovalState::Open,
        created_at: NOW,
        expires_at: at(1000),
        decided_by: None,
        decided_at: None,
        reason: None,
        of_run: None,
    });
    NewExecution {
        inputs: None,
        priority: 0,
        session: None,
        execution: Execution {
            id,
            task: task.id,
            owner: task.owner.clone(),
            state,
            plan_digest,
            plan,
            created_at: NOW,
            started_at: None,
            ended_at: None,
            cancel_requested_at: None,
            cancel_reason: None,
            log_size: 0,
            epoch: 0,
            outcome: None,
        },
        idempotency_key: None,
        request_digest: Digest::of(b"start"),
        approval,
    }
}

impl World {
    /// A stored task.
    pub async fn task(&self, owner: &str) -> Task {
        let task = task(owner);
        assert_eq!(self.store.task_insert(&task).await, Ok(TaskInsert::Inserted));
        task
    }

    /// A stored execution of a new task.
    pub async fn execution(&self, state: ExecutionState) -> NewExecution {
        let task = self.task("operator").await;
        let new = execution(&task, state);
        assert_eq!(self.store.execution_insert(&new).await, Ok(ExecutionInsert::Inserted));
        new
    }

    /// An execution that a worker took at `now`, for ten milliseconds.
    pub async fn claimed(&self) -> (Execution, Lease) {
        let new = self.execution(ExecutionState::Queued).await;
        self.claim(new.execution.id, "worker-a", 0).await.expect("can be taken")
    }

    /// Takes this execution at a time, for ten milliseconds.
    pub async fn claim(&self, id: ExecutionId, worker: &str, now: i64) -> Option<(Execution, Lease)> {
        let claim = Claim {
            worker,
            now: at(now),
            until: at(now + 10),
            only: Some(id),
            at_once: &NO_LIMITS,
        };
        self.store.execution_claim(&claim).await.expect("claims")
    }
}
