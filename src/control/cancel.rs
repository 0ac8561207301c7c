//! `cancel_execution`: ends what waits at once, and asks the worker to end what runs.

use super::contract::{CancelExecution, StateView};
use super::validate::{self, Lines};
use super::{Answer, Control, require};
use crate::domain::{Actor, ExecutionId, Refusal, Scope};

impl Control {
    /// Cancels an execution. Of one that has ended it tells how.
    pub async fn cancel_execution(&self, actor: &Actor, args: CancelExecution) -> Answer {
        let result = self.cancel(actor, args).await;
        self.answer(result)
    }

    async fn cancel(&self, actor: &Actor, args: CancelExecution) -> Result<StateView, Refusal> {
        require(actor, Scope::Tasks)?;
        validate::optional("reason", args.reason.as_deref(), 2000, Lines::Many)?;
        let id: ExecutionId = validate::id("execution", &args.execution_id)?;
        self.view_for(actor, id).await?;
        let state = self
            .store()
            .execution_cancel(id, args.reason.as_deref(), &actor.subject, self.now())
            .await?
            .ok_or_else(|| Refusal::not_found("execution"))?;
        tracing::info!(execution.id = %id, actor.subject = actor.subject, state = state.as_str(), "cancel requested");
        Ok(StateView {
            state: state.as_str().into(),
        })
    }
}
