//! The contract, story by story, for every kind of executor on a real system.
//!
//! A kind joins by implementing [`System`] and naming itself in `keeps_the_contract!`, which makes one test of each story.
//! A story knows nothing of the kind: what it can't see through the executor it asks the system.

pub mod ends;
pub mod files;
pub mod output;
pub mod starts;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clawhand::domain::{AttemptId, ExecutionId};
use clawhand::executors::{
    AttemptState, CollectLimit, Executor, ExitReport, Handle, Input, ProcessLimits, StartAttempt, Workspace,
};

pub use super::rig::LONG;

/// Plenty for what stories leave.
pub const ALL: CollectLimit = CollectLimit {
    files: 100,
    bytes: 256 << 20,
};

/// A real system with an executor on it.
#[async_trait]
pub trait System: Send + Sync {
    /// A new executor for the same system, as another process of clawhand would make it: nothing in memory is shared.
    fn executor(&self) -> Arc<dyn Executor>;

    /// The processes of an attempt that are there now, for people; without the supervisor and its own.
    async fn processes(&self, handle: &Handle) -> Vec<String>;

    /// What is left of an execution anywhere, for people: folders, containers, volumes, objects.
    async fn remains(&self, execution: ExecutionId) -> Vec<String>;

    /// Whatever others than the step and its user could read of an attempt: command lines, the object's spec, files.
    async fn in_sight(&self, handle: &Handle) -> String;
}

/// One execution on a system.
pub struct Run {
    pub executor: Arc<dyn Executor>,
    pub execution: ExecutionId,
    pub workspace: Workspace,
}

impl Run {
    pub async fn new(system: &dyn System) -> Self {
        Self::with(system, &[]).await
    }

    pub async fn with(system: &dyn System, inputs: &[Input]) -> Self {
        let executor = system.executor();
        let execution = ExecutionId::random();
        let workspace = executor.prepare(execution, inputs).await.expect("prepares");
        Self {
            executor,
            execution,
            workspace,
        }
    }

    pub async fn start(&self, start: &StartAttempt) -> Handle {
        self.executor.start(&self.workspace, start).await.expect("starts")
    }

    /// Runs a shell script to its end.
    pub async fn sh(&self, script: &str) -> (String, ExitReport) {
        let handle = self.start(&sh(script)).await;
        let (output, report) = self.end_of(&handle).await;
        (String::from_utf8_lossy(&output).into_owned(), report)
    }

    /// Observes to the end.
    pub async fn end_of(&self, handle: &Handle) -> (Vec<u8>, ExitReport) {
        let (output, state) = super::rig::follow(&*self.executor, handle).await;
        match state {
            AttemptState::Ended(report) => (output, report),
            other => panic!("ended as {other:?}, after {:?}", String::from_utf8_lossy(&output)),
        }
    }

    /// Observes until the output contains `text`.
    pub async fn until_printed(&self, handle: &Handle, text: &str) -> String {
        super::rig::until_printed(&*self.executor, handle, text).await
    }

    pub async fn cancel(&self, handle: &Handle, grace: Duration) {
        self.executor.cancel(handle, grace).await.expect("cancels");
    }

    /// Ends the story: nothing may be left of it.
    pub async fn over(self, system: &dyn System) {
        self.executor.clean_up(self.execution).await.expect("cleans up");
        self.executor
            .clean_up(self.execution)
            .await
            .expect("cleans up what is gone");
        let remains = system.remains(self.execution).await;
        assert!(remains.is_empty(), "left behind: {remains:?}");
        let leftovers = self.executor.leftovers().await.expect("lists leftovers");
        assert!(!leftovers.contains(&self.execution), "{leftovers:?}");
    }
}

/// An attempt that runs a program.
pub fn attempt(argv: &[&str]) -> StartAttempt {
    StartAttempt {
        attempt: AttemptId::random(),
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        cwd: String::new(),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        timeout: LONG,
        grace: Duration::from_secs(10),
        max_output_bytes: 1 << 20,
        limits: ProcessLimits::default(),
        call: None,
    }
}

/// An attempt that runs a shell script.
pub fn sh(script: &str) -> StartAttempt {
    attempt(&["sh", "-c", script])
}

/// Whether a report tells of this signal: by its number, or, where the system knows no better, as a shell does.
pub fn is_signal(report: &ExitReport, signal: i32) -> bool {
    report.signal == Some(signal) && matches!(report.exit_code, None | Some(128..))
}

/// A file on clawhand's machine as an input.
pub fn input(folder: &std::path::Path, name: &str, content: &[u8], mode: u32) -> Input {
    let file: PathBuf = folder.join(format!("source-{}", ExecutionId::random()));
    std::fs::write(&file, content).expect("writes");
    Input {
        archive: name.ends_with(".tar.gz") || name.ends_with(".zip"),
        name: name.to_owned(),
        file,
        mode,
    }
}

/// One test a story, on the system that `$system` makes: an expression with the value of an `async` block that answers
/// `Option<impl System>`; without one the story is left out, which was said where it was found out.
macro_rules! keeps_the_contract {
    ($system:expr) => {
        $crate::executors::suite::keeps_the_contract!($system;
            ends::the_exit_code_is_exact,
            ends::what_cannot_be_executed_is_told,
            ends::a_signal_is_told,
            ends::a_timeout_ends_all_of_it,
            ends::cancelling_ends_all_of_it,
            ends::cancelled_while_it_starts_it_ends,
            ends::those_who_ignore_term_are_killed_after_the_grace,
            ends::work_may_end_in_its_own_way_within_the_grace,
            ends::what_is_left_behind_is_ended,
            files::inputs_are_laid_where_the_work_can_use_and_change_them,
            files::archives_are_unpacked_and_later_inputs_win,
            files::a_large_input_arrives_whole,
            files::outputs_are_found_by_globs_and_links_are_refused,
            files::outputs_are_bounded,
            files::names_that_are_not_utf_8_are_left_out,
            files::the_workspace_goes_on_from_step_to_step,
            output::it_is_exact_and_in_order,
            output::any_part_can_be_read_again,
            output::a_hundred_mebibytes_are_all_there,
            output::what_is_too_much_keeps_its_beginning_and_end,
            output::it_comes_while_the_step_runs,
            output::places_can_be_scrubbed,
            starts::the_environment_is_what_was_given_and_nothing_else,
            starts::secrets_are_nowhere_in_sight,
            starts::there_is_nothing_to_read_on_stdin,
            starts::started_twice_at_once_it_runs_once,
            starts::another_process_goes_on_where_one_ended,
            starts::many_at_once_keep_apart,
            starts::impossible_starts_are_refused,
            starts::a_probe_finds_what_steps_can_use,
        );
    };
    ($system:expr; $($room:ident::$story:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                if let Some(system) = $system.await {
                    $crate::executors::suite::$room::$story(&system).await;
                }
            }
        )*
    };
}
pub(crate) use keeps_the_contract;
