//! Drives the execution of a group: starts an execution on each member, waits for them, makes one result of theirs.
//!
//! The children go through the queue like any other, so limits, leases and takeovers are theirs; here is only what is
//! between them. What is stored decides: which members have a child, how each ended, of which end the log tells. So
//! whoever takes over goes on where the last one was, and a child is never started twice.

mod rule;

use std::collections::BTreeSet;

use super::Halt;
use super::driver::Driver;
use super::outcome;
use crate::domain::plan::GroupPlan;
use crate::domain::{Artifact, ArtifactId, Event, Execution, ExecutionId, ExecutionState, Plan};
use crate::store::{Child, Topic};
use rule::Todo;

impl Driver {
    /// Drives a group's execution to its end, or until it must let go.
    pub(super) async fn run_group(&mut self, group: &GroupPlan) -> Result<(), Halt> {
        if self.execution.state == ExecutionState::Preparing {
            if let Some((event, outcome)) = self.cannot_begin() {
                return self.store_end(event, &outcome, &[]).await;
            }
            self.advance(Event::Prepared).await?;
        }
        if self.execution.state == ExecutionState::Running {
            self.members(group).await?;
            self.advance(Event::StepsOver).await?;
        }
        let children = self.children().await?;
        let (event, outcome) = rule::end(group, &children, self.cancelled().is_cancelled());
        let artifacts = self.artifacts_of(&children).await?;
        self.store_end(event, &outcome, &artifacts).await
    }

    /// The end of a group that must not begin any more: cancelled, switched off, changed, gone.
    fn cannot_begin(&self) -> Option<(Event, crate::domain::Outcome)> {
        let plan = &self.execution.plan;
        if self.cancelled().is_cancelled() {
            return Some(outcome::of(plan, outcome::StepsEnd::Cancelled, None));
        }
        let snapshot = self.shared.rooms.inventory.snapshot();
        let Some(target) = snapshot.target(&plan.target) else {
            return Some(outcome::without_target(false));
        };
        let why = self.may_begin(target).err()?;
        Some(outcome::of(
            plan,
            outcome::StepsEnd::CouldNotStart { step: None, why },
            None,
        ))
    }

    /// Starts members as long as there are some and the rule allows, until none runs any more.
    async fn members(&self, group: &GroupPlan) -> Result<(), Halt> {
        // Watched before the first look, so that no end goes unnoticed in between.
        let changes = self.shared.rooms.store.changes();
        let mut watch = changes.watch(Topic::Execution(self.execution.id));
        let cancel = self.cancelled();
        let mut asked = BTreeSet::new();
        loop {
            let children = self.children().await?;
            for child in children
                .iter()
                .filter(|child| child.state.is_terminal() && !child.is_told)
            {
                self.tell(child).await?;
            }
            let is_cancelled = cancel.is_cancelled();
            if is_cancelled {
                self.cancel_members(&children, &mut asked).await?;
            }
            match rule::todo(group, &children, is_cancelled) {
                Todo::Start(plan) => self.start_member(plan).await?,
                Todo::Wait => tokio::select! {
                    () = watch.changed() => {}
                    () = cancel.cancelled(), if !is_cancelled => {}
                    () = self.signals.stopping.cancelled() => return Err(Halt::Stopping),
                    () = self.signals.lost.cancelled() => return Err(Halt::Fenced),
                },
                Todo::Over => return Ok(()),
            }
        }
    }

    async fn children(&self) -> Result<Vec<Child>, Halt> {
        let store = &self.shared.rooms.store;
        self.stored(|| async { store.children(self.execution.id).await }).await
    }

    async fn start_member(&self, plan: &Plan) -> Result<(), Halt> {
        let child = Execution {
            id: ExecutionId::random(),
            state: ExecutionState::Queued,
            plan_digest: plan.digest(),
            plan: plan.clone(),
            created_at: self.now(),
            started_at: None,
            log_size: 0,
            epoch: 0,
            ..self.execution.clone()
        };
        let line = format!("== {}: started as {}\n", plan.target, child.id);
        let store = &self.shared.rooms.store;
        self.stored(|| async { store.child_start(&self.lease, &child, line.as_bytes()).await })
            .await
    }

    /// The summary of a child was scrubbed when it was stored.
    async fn tell(&self, child: &Child) -> Result<(), Halt> {
        let summary = child.outcome.as_ref().map_or("", |outcome| outcome.summary.as_str());
        let line = format!("== {}: {}: {summary}\n", child.member, child.state.as_str());
        let store = &self.shared.rooms.store;
        self.stored(|| async { store.child_told(&self.lease, child.id, line.as_bytes()).await })
            .await
    }

    async fn cancel_members(&self, children: &[Child], asked: &mut BTreeSet<ExecutionId>) -> Result<(), Halt> {
        let store = &self.shared.rooms.store;
        for child in children.iter().filter(|child| !child.state.is_terminal()) {
            if !asked.insert(child.id) {
                continue;
            }
            let why = Some("the execution of the group was cancelled");
            self.stored(|| async { store.execution_cancel(child.id, why, "clawhand", self.now()).await })
                .await?;
        }
        Ok(())
    }

    /// What the members made, each name with its member's before it. The content stays where it is.
    async fn artifacts_of(&self, children: &[Child]) -> Result<Vec<Artifact>, Halt> {
        let store = &self.shared.rooms.store;
        let mut artifacts = Vec::new();
        for child in children {
            let outputs = self.stored(|| async { store.artifact_outputs(child.id).await }).await?;
            artifacts.extend(outputs.into_iter().map(|artifact| Artifact {
                id: ArtifactId::random(),
                execution: Some(self.execution.id),
                name: format!("{}/{}", child.member, artifact.name),
                created_at: self.now(),
                ..artifact
            }));
        }
        Ok(artifacts)
    }
}
