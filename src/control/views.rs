//! Domain values as callers see them.

use super::contract::{ApprovalView, NeedView, PlanView, QueueView, StepView, TargetView};
use crate::domain::plan::{Effect, Need, Risk};
use crate::domain::queue::Place;
use crate::domain::{Approval, Plan, PlanStep, Target};

pub(super) fn target(target: &Target) -> TargetView {
    TargetView {
        name: target.name.clone(),
        description: target.description.clone(),
    }
}

pub(super) fn plan(plan: &Plan) -> PlanView {
    PlanView {
        digest: plan.digest().to_string(),
        recipe: plan.recipe.clone(),
        steps: steps(plan),
        risk: match plan.risk {
            Risk::Low => "low",
            Risk::Medium => "medium",
            Risk::High => "high",
        }
        .into(),
        explanation: plan.explanation.clone(),
    }
}

/// The steps of a plan; of a group those of each member, with its name.
fn steps(plan: &Plan) -> Vec<StepView> {
    let own = plan.steps.iter().map(|step| step_view(step, None));
    let members = plan.group.iter().flat_map(|group| &group.members);
    let theirs = members.flat_map(|member| member.steps.iter().map(|step| step_view(step, Some(&member.target))));
    own.chain(theirs).collect()
}

fn step_view(step: &PlanStep, member: Option<&str>) -> StepView {
    let effects = step.effects.iter().map(|effect| effect_word(*effect).to_owned());
    StepView {
        name: match member {
            Some(member) => format!("{member}: {}", step.name),
            None => step.name.clone(),
        },
        summary: step.summary.clone(),
        effects: effects.collect(),
    }
}

fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Workspace => "workspace",
        Effect::Network => "network",
        Effect::RunsCode => "runs_code",
        Effect::Target => "target",
    }
}

pub(super) fn need(need: &Need) -> NeedView {
    NeedView {
        code: need.code.clone(),
        message: need.message.clone(),
        hint: need.hint.clone(),
    }
}

pub(super) fn approval(approval: &Approval) -> ApprovalView {
    ApprovalView {
        id: approval.id.to_string(),
        state: approval.state.as_str().into(),
        question: Some(approval.question.clone()),
        expires_at: Some(approval.expires_at.to_string()),
    }
}

pub(super) fn queue(place: Place) -> QueueView {
    QueueView {
        before: place.before,
        waits_for: place.waits_for.as_str().into(),
        message: place.words(),
    }
}
