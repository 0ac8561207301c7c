//! `clawhand approvals`: the operator's answers.

use clap::Subcommand;
use serde::Deserialize;

use super::output::{self, Form};
use crate::app::Home;
use crate::control::contract::{ApprovalAnswered, DecisionArg, RespondToApproval};
use crate::domain::Actor;

/// What to do with approvals.
#[derive(Debug, Subcommand)]
pub enum ApprovalsCommand {
    /// List what waits for an answer.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let an execution run.
    Allow {
        /// The approval's id.
        id: String,
        /// Don't ask again when the same owner starts exactly this plan.
        #[arg(long)]
        always: bool,
        /// Why, for the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Don't let it run.
    Deny {
        /// The approval's id.
        id: String,
        /// Why; the caller reads it.
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Deserialize)]
struct Row {
    approval_id: String,
    owner: String,
    question: String,
    plan_digest: String,
    expires_at: String,
}

pub(super) async fn execute(command: ApprovalsCommand, home: &Home) -> anyhow::Result<u8> {
    let (id, decision, reason) = match command {
        ApprovalsCommand::List { json } => return list(home, Form::of(json)).await,
        ApprovalsCommand::Allow {
            id,
            always: true,
            reason,
        } => (id, DecisionArg::AllowAlways, reason),
        ApprovalsCommand::Allow {
            id,
            always: false,
            reason,
        } => (id, DecisionArg::AllowOnce, reason),
        ApprovalsCommand::Deny { id, reason } => (id, DecisionArg::Deny, reason),
    };
    let respond = RespondToApproval {
        approval_id: id,
        decision,
        reason,
    };
    let answer = home
        .control(None)
        .respond_to_approval(&Actor::operator(), respond)
        .await;
    output::answer(Form::Text, answer, |answered: ApprovalAnswered| {
        output::text(&format!(
            "{}; the execution is {}\n",
            answered.approval.state, answered.execution.state
        ));
    })
}

async fn list(home: &Home, form: Form) -> anyhow::Result<u8> {
    let answer = home.control(None).list_approvals(&Actor::operator()).await;
    output::answer(form, answer, |rows: Vec<Row>| {
        if rows.is_empty() {
            output::note("nothing waits for an answer");
        }
        for row in rows {
            output::text(&format!(
                "{}\n  {}\n  asked by {}, until {}\n  plan {}\n",
                output::styled(output::BOLD, &row.approval_id),
                row.question,
                row.owner,
                row.expires_at,
                row.plan_digest
            ));
        }
    })
}
