//! The contract, story by story, for every kind of executor on a real system.
//!
//! Its core speaks of [`Work`] and of no process: it holds for every kind. What only processes can do are stories of
//! their own. A kind joins by implementing [`System`] and naming itself in `keeps_the_contract!`, which makes one test of
//! each story, or in `keeps_the_core!` if it runs no processes. A story knows nothing of the kind: what it can't see
//! through the executor it asks the system. docs/TESTING.md tells which story keeps which line of the contract.

pub mod ends;
pub mod every;

pub mod files;
pub mod machine;
pub mod output;
pub mod starts;
pub mod work;

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
pub use work::{SECRET, Work};

/// Plenty for what stories leave.
pub const ALL: CollectLimit = CollectLimit {
    files: 100,
    bytes: 256 << 20,
};

/// A real system with an executor on it, or the fake in place of one. What is asked of work has an answer already for
/// kinds that run processes: a shell script does it.
#[async_trait]
pub trait System: Send + Sync {
    /// A new executor for the same system, as another process of clawhand would make it: nothing in memory is shared.
    fn executor(&self) -> Arc<dyn Executor>;

    /// What of an attempt goes on now, for people: its processes, without the supervisor and its own; of an API the
    /// work that clawhand knows it has begun.
    async fn processes(&self, handle: &Handle) -> Vec<String>;

    /// What is left of an execution anywhere, for people: folders, containers, volumes, objects.
    async fn remains(&self, execution: ExecutionId) -> Vec<String>;

    /// Whatever others than the step and its user could read of an attempt: command lines, the object's spec, files.
    async fn in_sight(&self, handle: &Handle) -> String;

    /// An attempt that does this.
    fn attempt(&self, work: &Work) -> StartAttempt {
        work::by_shell(work, &self.files())
    }

    /// Exactly what stands in the output of such an attempt.
    fn output(&self, _: AttemptId, work: &Work) -> Vec<u8> {
        work::printed(work)
    }

    /// What such an attempt prints once its work has begun.
    fn begun(&self) -> &'static str {
        "begun\n"
    }

    /// Lets [`Work::GoesOn`] go on to its end.
    fn let_go(&self) {}

    /// Follows an attempt to its end and takes what its work gave, byte for byte.
    async fn given(&self, run: &Run, handle: &Handle) -> (Vec<u8>, ExitReport) {
        run.end_of(handle).await
    }

    /// How often the work of an attempt that has ended was really done.
    async fn times(&self, run: &Run, attempt: AttemptId) -> usize {
        let (files, _) = files::collected(run, &[&work::mark(&attempt.to_string())], ALL).await;
        files
            .iter()
            .map(|(_, content)| content.iter().filter(|byte| **byte == b'\n').count())
            .sum()
    }

    /// How work ends that failed: its exit code and its error are what counts.
    fn failure(&self) -> ExitReport {
        ExitReport {
            exit_code: Some(3),
            ..ExitReport::default()
        }
    }

    /// The files that [`Work::LeavesFiles`] leaves, in the order of their names.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let files: [(&str, &[u8]); 3] = [
            ("out/a.txt", b"one\n"),
            ("out/b.txt", b"two two\n"),
            ("out/deep/c.txt", b"\0\xff"),
        ];
        files
            .map(|(name, content)| (name.to_owned(), content.to_vec()))
            .to_vec()
    }

    /// Starts that the kind refuses.
    fn impossible(&self) -> Vec<StartAttempt> {
        work::impossible()
    }

    /// What a probe finds: the system, and some of its tools.
    fn facts(&self) -> (&'static str, &'static [&'static str]) {
        ("linux", &["sh"])
    }
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
        $crate::executors::suite::keeps_the_core!($system);
        $crate::executors::suite::goes_through!($system;
            ends::the_exit_code_is_exact,
            ends::what_cannot_be_executed_is_told,
            ends::a_signal_is_told,
            ends::those_who_ignore_term_are_killed_after_the_grace,
            ends::work_may_end_in_its_own_way_within_the_grace,
            ends::what_is_left_behind_is_ended,
            files::inputs_are_laid_where_the_work_can_use_and_change_them,
            files::archives_are_unpacked_and_later_inputs_win,
            files::a_large_input_arrives_whole,
            files::outputs_are_found_by_globs_and_links_are_refused,
            files::names_that_are_not_utf_8_are_left_out,
            files::the_workspace_goes_on_from_step_to_step,
            output::it_is_exact_and_in_order,
            output::places_can_be_scrubbed,
            starts::the_environment_is_what_was_given_and_nothing_else,
            starts::there_is_nothing_to_read_on_stdin,
        );
    };
}
pub(crate) use keeps_the_contract;

/// The same for a kind that runs no processes.
macro_rules! keeps_the_core {
    ($system:expr) => {
        $crate::executors::suite::goes_through!($system;
            every::success_and_failure_are_told_apart,
            every::the_end_is_told_again_to_whoever_asks,
            every::any_part_can_be_read_again,
            every::every_byte_is_given_as_it_is,
            every::a_hundred_mebibytes_are_all_there,
            every::what_is_too_much_keeps_its_beginning_and_end,
            every::it_is_seen_while_the_work_goes_on,
            every::a_timeout_ends_all_of_it,
            every::cancelling_ends_all_of_it,
            every::cancelled_while_it_starts_it_ends,
            every::started_twice_at_once_it_runs_once,
            every::another_process_goes_on_where_one_ended,
            every::many_at_once_keep_apart,
            every::impossible_starts_are_refused,
            every::an_attempt_that_nobody_knows_is_lost,
            every::secrets_are_nowhere_in_sight,
            every::outputs_are_found_and_bounded,
            every::cleaning_up_ends_what_goes_on,
            every::another_process_cleans_up_what_goes_on,
            every::a_probe_finds_what_is_there,
        );
    };
}
pub(crate) use keeps_the_core;

/// Some of the stories, for another way to a system that keeps all of the contract.
macro_rules! goes_through {
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
pub(crate) use goes_through;
