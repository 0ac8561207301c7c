//! What a run asks while it goes on: kept for people to answer, and their answers told to it.

use super::Halt;
use super::driver::{Driver, Place};
use crate::domain::RunQuestion;
use crate::executors::{ExecutorError, Handle, Question};
use crate::store::{NewQuestion, Topic, Watch};

/// What is known of the questions of an attempt.
#[derive(Debug)]
pub(super) struct Questions {
    asked: Vec<Question>,
    /// Tells of answers while there is something to answer.
    answers: Option<Watch>,
    /// A worker before may have kept some that aren't asked any more.
    is_resumed: bool,
}

impl Questions {
    pub(super) fn new(is_resumed: bool) -> Self {
        Self {
            asked: Vec::new(),
            answers: None,
            is_resumed,
        }
    }

    /// Returns when somebody may have answered. Dropping the future loses nothing.
    pub(super) async fn answered(&mut self) {
        match &mut self.answers {
            Some(answers) => answers.changed().await,
            None => std::future::pending().await,
        }
    }
}

impl Driver {
    /// Keeps what the attempt asks now, and tells it what people answered.
    pub(super) async fn questions(&self, place: &Place, handle: &Handle, known: &mut Questions) -> Result<(), Halt> {
        let Some(asked) = place.executor.questions(handle).await else {
            return match known.is_resumed {
                true => self.tell_answers(place, handle).await,
                false => Ok(()),
            };
        };
        if asked.is_empty() && known.asked.is_empty() && !known.is_resumed {
            return Ok(());
        }
        if asked != known.asked || known.is_resumed {
            self.keep_questions(place, &asked).await?;
            let changes = self.shared.rooms.store.changes();
            // Before it is looked for answers, so that none comes unnoticed.
            let watch = (!asked.is_empty()).then(|| changes.watch(Topic::Execution(self.execution.id)));
            *known = Questions {
                asked,
                answers: watch,
                is_resumed: false,
            };
        }
        self.tell_answers(place, handle).await
    }

    async fn keep_questions(&self, place: &Place, asked: &[Question]) -> Result<(), Halt> {
        let store = &self.shared.rooms.store;
        let rules = place.privacy.rules();
        let asked: Vec<_> = asked
            .iter()
            .map(|question| NewQuestion {
                of_run: RunQuestion {
                    key: question.key.clone(),
                    may_always: question.may_always,
                },
                text: rules.text(&question.text).into_inner(),
                digest: question.digest,
                expires_at: question.expires_at,
            })
            .collect();
        let keep = || async {
            store
                .questions_keep(&self.lease, &self.execution, &asked, self.now())
                .await
        };
        if self.stored(keep).await? {
            tracing::info!(execution.id = %self.execution.id, open = asked.len(), "what a run asks has changed");
        }
        Ok(())
    }

    async fn tell_answers(&self, place: &Place, handle: &Handle) -> Result<(), Halt> {
        let store = &self.shared.rooms.store;
        let answered = self
            .stored(|| async { store.questions_answered(self.execution.id).await })
            .await?;
        for answer in answered {
            let told = place.executor.answer(handle, &answer.key, answer.decision).await;
            let unheard = match told {
                Ok(true) => None,
                Ok(false) => Some("it was answered or taken back before, where the run is"),
                Err(error @ ExecutorError::Unreachable(_)) => {
                    // It waits there as well as here, and is told at the next look.
                    tracing::warn!(execution.id = %self.execution.id, %error, "a run can't be told an answer now");
                    return Ok(());
                }
                Err(error) => {
                    tracing::error!(execution.id = %self.execution.id, %error, "a run doesn't take an answer");
                    Some("the run doesn't take the answer; the operator's log has the details")
                }
            };
            tracing::info!(
                execution.id = %self.execution.id, approval.id = %answer.approval, unheard,
                decision = answer.decision.as_str(), "a run was told an answer"
            );
            let told = || async {
                store
                    .question_told(&self.lease, answer.approval, unheard, self.now())
                    .await
            };
            self.stored(told).await?;
        }
        Ok(())
    }
}
