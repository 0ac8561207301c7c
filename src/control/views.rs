//! Domain values as callers see them.

use super::contract::{ApprovalView, NeedView, PlanView, QueueView, StepView, TargetView};
use crate::domain::plan::{Effect, Need, Risk};
use crate::domain::queue::Place;
use crate::domain::{Approval, Plan, Target};

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
        steps: plan
            .steps
            .iter()
            .map(|step| StepView {
                name: step.name.clone(),
                summary: step.summary.clone(),
                effects: step
                    .effects
                    .iter()
                    .map(|effect| effect_word(*effect).to_owned())
                    .collect(),
            })
            .collect(),
        risk: match plan.risk {
            Risk::Low => "low",
            Risk::Medium => "medium",
            Risk::High => "high",
        }
        .into(),
        explanation: plan.explanation.clone(),
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
