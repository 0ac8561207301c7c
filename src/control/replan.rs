//! Making a task's plan anew from what is known now: its inputs, the target's facts, the recipes.

use std::collections::BTreeMap;

use super::Control;
use super::contract::{NeedView, PlanView};
use super::views;
use crate::domain::plan::Need;
use crate::domain::target::{ExecutorBlock, GroupBlock};
use crate::domain::{Artifact, Code, Listing, Plan, Refusal, Target, Task};
use crate::planner::{self, Planned};

/// A task's plan as of now.
pub(super) struct Replanned {
    pub(super) target: Target,
    pub(super) plan: Option<Plan>,
    pub(super) needs: Vec<Need>,
    pub(super) approvals: Vec<String>,
}

impl Replanned {
    /// A plan that can't be made is shown as something it needs: more files, another intent, a tool.
    pub(super) fn lacking(target: Target, refusal: Refusal) -> Self {
        Self {
            target,
            plan: None,
            needs: vec![Need {
                code: refusal.code.as_str().into(),
                message: refusal.message,
                hint: refusal.hint,
            }],
            approvals: Vec::new(),
        }
    }

    pub(super) fn plan_view(&self) -> Option<PlanView> {
        self.plan.as_ref().map(views::plan)
    }

    pub(super) fn need_views(&self) -> Vec<NeedView> {
        self.needs.iter().map(views::need).collect()
    }
}

impl Control {
    /// The target that a task is bound to, which must still be there under exactly this name: what a reference might
    /// mean was decided when the task was submitted, and another target is never a substitute. The planner refuses one
    /// that is switched off.
    pub(super) fn target_of(&self, name: &str) -> Result<Target, Refusal> {
        let snapshot = self.0.rooms.inventory.snapshot();
        snapshot.target(name).cloned().ok_or_else(|| {
            Refusal::new(
                Code::UnknownTarget,
                format!("the target {name} of this task is no longer there"),
                "choose another with list_targets and submit the task again",
            )
        })
    }

    /// The plan of `task` with the inputs it has now.
    ///
    /// # Errors
    /// What the planner refuses.
    pub(super) async fn replan(&self, task: &Task) -> Result<Replanned, Refusal> {
        let inputs = self.store().artifact_inputs(task.id).await?;
        let target = self.target_of(&task.target)?;
        self.plan_with(task, target, &inputs).await
    }

    /// The same, with a refusal of the planner shown among the needs.
    pub(super) async fn replan_leniently(&self, task: &Task) -> Result<Replanned, Refusal> {
        let inputs = self.store().artifact_inputs(task.id).await?;
        let target = self.target_of(&task.target)?;
        match self.plan_with(task, target.clone(), &inputs).await {
            Ok(replanned) => Ok(replanned),
            Err(refusal) if refusal.retryable => Err(refusal),
            Err(refusal) => Ok(Replanned::lacking(target, refusal)),
        }
    }

    pub(super) async fn plan_with(
        &self,
        task: &Task,
        target: Target,
        inputs: &[Artifact],
    ) -> Result<Replanned, Refusal> {
        let Planned { plan, needs, approvals } = match target.group() {
            Some(group) => self.plan_members(task, &target, group, inputs).await?,
            None => self.plan_one(task, &target, inputs).await?,
        };
        let binding = target.binding(&self.0.rooms.signing);
        Ok(Replanned {
            target,
            plan: plan.map(|plan| Plan {
                binding: Some(binding),
                ..plan
            }),
            needs,
            approvals,
        })
    }

    /// The plan on a group: one on each member, with its own facts, rules and binding.
    async fn plan_members(
        &self,
        task: &Task,
        target: &Target,
        group: &GroupBlock,
        inputs: &[Artifact],
    ) -> Result<Planned, Refusal> {
        planner::may_fan_out(&task.spec, target, group, self.0.settings.max_group_members)?;
        let mut members = Vec::with_capacity(group.members.len());
        for name in &group.members {
            let planned = async {
                let member = self.target_of(name)?;
                let planned = self.plan_one(task, &member, inputs).await?;
                let binding = Some(member.binding(&self.0.rooms.signing));
                Ok(Planned {
                    plan: planned.plan.map(|plan| Plan { binding, ..plan }),
                    ..planned
                })
            };
            let planned = planned.await.map_err(|refusal| planner::refused_by(name, refusal))?;
            members.push(planned);
        }
        Ok(planner::plan_group(&task.spec, target, group, members))
    }

    async fn plan_one(&self, task: &Task, target: &Target, inputs: &[Artifact]) -> Result<Planned, Refusal> {
        // What an agent can do isn't learned by looking, and its gateway may be back when it is its turn.
        let facts = match target.executor {
            ExecutorBlock::Openclaw(_) => None,
            _ => Some(self.facts_of(target).await?),
        };
        let mut listing = Listing::default();
        // In the order in which they will be laid, which no database's collation decides.
        let mut ordered: Vec<_> = inputs.iter().collect();
        ordered.sort_by(|a, b| a.name.cmp(&b.name));
        for artifact in ordered {
            listing.overlay(&artifact.listing);
        }
        let digests: BTreeMap<_, _> = inputs.iter().map(|input| (input.name.clone(), input.digest)).collect();
        let snapshot = self.0.rooms.inventory.snapshot();
        planner::plan(&planner::Request {
            task: &task.spec,
            target,
            facts: facts.as_ref(),
            listing: &listing,
            inputs: &digests,
            recipes: &snapshot.recipes,
        })
    }
}
