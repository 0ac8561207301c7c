//! The fake keeps the core of the contract: what is tested with it meets what it would meet of a real system.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clawhand::domain::{AttemptId, ExecutionId};
use clawhand::executors::scripted::Move;
use clawhand::executors::{AttemptState, Executor, ExecutorError, ExitReport, Handle, Scripted, StartAttempt};

use super::rig::{follow, sh};
use super::suite::{Run, SECRET, System, Work, attempt, keeps_the_core, work};

struct Fake(Scripted);

impl Fake {
    fn moves(&self, work: &Work) -> Vec<Move> {
        let begun = Move::Print(self.begun().into());
        match work {
            Work::Gives(_) | Work::GivesMuch(_) => vec![Move::Print(work::printed(work))],
            Work::Fails => vec![Move::Print(work::printed(work)), Move::Exit(3)],
            Work::Holds | Work::KnowsASecret => vec![begun, Move::Wait("never")],
            // It knows no time.
            Work::TakesTooLong => {
                let report = ExitReport {
                    signal: Some(15),
                    timed_out: true,
                    ..ExitReport::default()
                };
                vec![begun, Move::End(report)]
            }
            Work::GoesOn => vec![begun, Move::Wait("go"), Move::Print(b"over\n".into())],
            Work::LeavesFiles => {
                let files = self.files().into_iter();
                files.map(|(name, content)| Move::Leave(name, content)).collect()
            }
        }
    }
}

#[async_trait]
impl System for Fake {
    /// Clones share everything: it is the system, too.
    fn executor(&self) -> Arc<dyn Executor> {
        Arc::new(self.0.clone())
    }

    async fn processes(&self, handle: &Handle) -> Vec<String> {
        let going_on = self.0.going_on().into_iter();
        going_on
            .filter(|attempt| *attempt == handle.attempt)
            .map(|attempt| attempt.to_string())
            .collect()
    }

    async fn remains(&self, execution: ExecutionId) -> Vec<String> {
        let left = self.0.leftovers().await.expect("lists").into_iter();
        left.filter(|one| *one == execution)
            .map(|one| one.to_string())
            .collect()
    }

    /// Of an attempt of the fake only what the engine stores is outside of the process.
    async fn in_sight(&self, handle: &Handle) -> String {
        format!("{handle:?}")
    }

    fn attempt(&self, work: &Work) -> StartAttempt {
        let mut start = attempt(&["scripted"]);
        self.0.script_for(start.attempt, self.moves(work));
        if *work == Work::KnowsASecret {
            start.secrets = BTreeMap::from([("TOKEN".to_owned(), SECRET.to_owned())]);
        }
        start
    }

    fn let_go(&self) {
        self.0.open("go");
    }

    async fn times(&self, _: &Run, attempt: AttemptId) -> usize {
        let started = self.0.started();
        started.iter().filter(|start| start.attempt == attempt).count()
    }
}

keeps_the_core!(async { Some(Fake(Scripted::new())) });

#[tokio::test]
async fn the_fake_waits_is_lost_and_is_out_of_reach_as_told() {
    let fake = Scripted::new();
    let workspace = fake.prepare(ExecutionId::random(), &[]).await.expect("prepares");
    fake.fail_start(ExecutorError::Unreachable("down".into()));
    assert!(fake.start(&workspace, &sh("")).await.is_err());
    fake.script([
        Move::Unreachable(1),
        Move::Wait("go"),
        Move::Print(b"x".into()),
        Move::Lose("gone".into()),
    ]);
    let handle = fake.start(&workspace, &sh("")).await.expect("starts");
    assert!(fake.observe(&handle, 0, 10, Duration::ZERO).await.is_err());
    let other = fake.clone();
    let (end, ()) = tokio::join!(follow(&fake, &handle), async { other.open("go") });
    assert_eq!(end, (b"x".to_vec(), AttemptState::Lost("gone".into())));
    fake.until(|fake| fake.started().len() == 1).await;
}
