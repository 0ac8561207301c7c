//! `respond_to_approval`, and the operator's answers: who may say yes, and what a yes does.

use super::contract::{ApprovalAnswered, DecisionArg, RespondToApproval, StateView};
use super::validate::{self, Lines};
use super::{Answer, Control, require};
use crate::domain::{
    Actor, Approval, ApprovalId, ApprovalState, Code, Decision, Door, Event, Outcome, Reason, Refusal, RunQuestion,
    Scope,
};
use crate::store::{Decide, Decided, Grant};

impl Control {
    /// Answers an approval. The one that asked is refused, and so is every model's door without the scope for it.
    pub async fn respond_to_approval(&self, actor: &Actor, args: RespondToApproval) -> Answer {
        let result = self.respond(actor, args).await;
        self.answer(result)
    }

    async fn respond(&self, actor: &Actor, args: RespondToApproval) -> Result<ApprovalAnswered, Refusal> {
        validate::optional("reason", args.reason.as_deref(), 2000, Lines::Many)?;
        let id: ApprovalId = validate::id("approval", &args.approval_id)?;
        let approval = self.approval_seen(actor, id).await?;
        may_answer(actor, &approval)?;
        let decision = match args.decision {
            DecisionArg::AllowOnce => Decision::AllowOnce,
            DecisionArg::AllowAlways => Decision::AllowAlways,
            DecisionArg::Deny => Decision::Deny,
        };
        let takes = |asked: &RunQuestion| asked.may_always || decision != Decision::AllowAlways;
        if !approval.of_run.as_ref().is_none_or(takes) {
            return Err(Refusal::invalid(
                "the run asks anew each time: it doesn't take allow_always",
                "answer allow_once or deny",
            ));
        }
        self.decide(actor, &approval, decision, args.reason).await
    }

    /// The approval, if it exists for this actor: its own, or any for those who answer.
    async fn approval_seen(&self, actor: &Actor, id: ApprovalId) -> Result<Approval, Refusal> {
        let approval = self.store().approval_get(id).await?;
        approval
            .filter(|approval| actor.sees(&approval.owner) || actor.has(Scope::Approve))
            .ok_or_else(|| Refusal::not_found("approval"))
    }

    async fn decide(
        &self,
        actor: &Actor,
        approval: &Approval,
        decision: Decision,
        reason: Option<String>,
    ) -> Result<ApprovalAnswered, Refusal> {
        let now = self.now();
        if now >= approval.expires_at {
            return Err(already(ApprovalState::Expired));
        }
        let denied = denied_outcome(reason.as_deref());
        let (event, state) = match decision {
            Decision::Deny => (Event::Denied, ApprovalState::Denied),
            Decision::AllowOnce | Decision::AllowAlways => (Event::Allowed, ApprovalState::Allowed),
        };
        let decided = self
            .store()
            .approval_decide(&Decide {
                approval: approval.id,
                event,
                decision: Some(decision),
                state,
                by: &actor.subject,
                reason: reason.as_deref(),
                now,
                outcome: (decision == Decision::Deny).then_some(&denied),
                // What a run asks is remembered where the run is.
                grant: (decision == Decision::AllowAlways && approval.of_run.is_none()).then(|| Grant {
                    owner: approval.owner.clone(),
                    plan_digest: approval.plan_digest,
                    target: approval.target.clone(),
                    intent: approval.intent.clone(),
                    granted_by: actor.subject.clone(),
                    at: now,
                }),
            })
            .await?;
        match decided {
            Decided::Done(execution) => {
                tracing::info!(
                    approval.id = %approval.id, execution.id = %approval.execution, actor.subject = actor.subject,
                    decision = decision.as_str(), "approval answered"
                );
                Ok(ApprovalAnswered {
                    approval: StateView {
                        state: state.as_str().into(),
                    },
                    execution: StateView {
                        state: execution.as_str().into(),
                    },
                })
            }
            Decided::AlreadyDecided(approval) => Err(already(approval.state)),
            Decided::NotFound => Err(Refusal::not_found("approval")),
        }
    }
}

/// The model that asked can never be the one that allows it: neither its own subject, nor a door that models use
/// without a key made for answering.
fn may_answer(actor: &Actor, approval: &Approval) -> Result<(), Refusal> {
    if actor.door == Door::Cli && actor.has(Scope::Operator) {
        return Ok(());
    }
    if actor.subject == approval.owner {
        return Err(Refusal::new(
            Code::NotAllowed,
            "who asked for an execution can't answer its approval",
            format!(
                "a person answers it: the operator with `clawhand approvals allow {}`",
                approval.id
            ),
        ));
    }
    require(actor, Scope::Approve)
}

fn already(state: ApprovalState) -> Refusal {
    Refusal::new(
        Code::AlreadyEnded,
        format!("this approval is {} already", state.as_str()),
        "start the task again to ask anew",
    )
}

fn denied_outcome(reason: Option<&str>) -> Outcome {
    let said = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    Outcome {
        exit_code: None,
        summary: format!("a person denied it{said}"),
        tests: None,
        reason: Some(Reason {
            code: "denied".into(),
            message: format!("the approval was denied{said}"),
            retryable: false,
            hint: "talk to the person who denied it before you ask again".into(),
        }),
    }
}
