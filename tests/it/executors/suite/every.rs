//! The core: what holds of every kind, whether it runs processes or not. Nothing here speaks of one.

use std::time::Duration;

use clawhand::domain::{AttemptId, ExecutionId};
use clawhand::executors::{AttemptState, CollectLimit, ExecutorError, ExitReport, Handle};

use super::files::collected;
use super::work::success;
use super::{ALL, LONG, Run, SECRET, System, Work};

/// Longer than ending anything takes.
const GRACE: Duration = Duration::from_secs(10);

/// A report without what differs each time.
fn outcome(report: &ExitReport) -> ExitReport {
    ExitReport {
        duration_ms: 0,
        ..report.clone()
    }
}

/// Where an attempt stands when somebody observes it to its end, which may be known already.
async fn end_of(run: &Run, handle: &Handle) -> AttemptState {
    super::super::rig::follow(&*run.executor, handle).await.1
}

pub async fn success_and_failure_are_told_apart(system: &dyn System) {
    let run = Run::new(system).await;
    let text = b"one\ntwo words\n\nno line break".to_vec();
    for (work, expected) in [(Work::Gives(text), success()), (Work::Fails, system.failure())] {
        let handle = run.start(&system.attempt(&work)).await;
        let (output, report) = run.end_of(&handle).await;
        let exactly = system.output(handle.attempt, &work);
        assert_eq!(String::from_utf8_lossy(&output), String::from_utf8_lossy(&exactly));
        assert_eq!(outcome(&report), expected, "{work:?}");
    }
    run.over(system).await;
}

pub async fn the_end_is_told_again_to_whoever_asks(system: &dyn System) {
    let mut run = Run::new(system).await;
    let handle = run.start(&system.attempt(&Work::Fails)).await;
    let end = run.end_of(&handle).await;
    assert_eq!(run.end_of(&handle).await, end);
    run.executor = system.executor();
    assert_eq!(run.end_of(&handle).await, end, "told by another process");
    run.over(system).await;
}

pub async fn any_part_can_be_read_again(system: &dyn System) {
    let run = Run::new(system).await;
    let handle = run.start(&system.attempt(&Work::Gives(b"one\ntwo\n".to_vec()))).await;
    let (output, report) = run.end_of(&handle).await;
    assert_eq!(
        output,
        system.output(handle.attempt, &Work::Gives(b"one\ntwo\n".to_vec()))
    );
    let (ended, size) = (AttemptState::Ended(report), output.len());
    let windows = (0..=size)
        .map(|from| (from, 3))
        .chain([(0, 1), (1, size), (0, size), (size, 1), (size, 0)]);
    for (from, max) in windows {
        let seen = run
            .executor
            .observe(&handle, from as u64, max, LONG)
            .await
            .expect("observes");
        let part = &output[from..size.min(from + max)];
        assert_eq!(seen.output, part, "from {from}, at most {max}");
        let is_all = from + part.len() == size;
        assert_eq!(
            seen.state == ended,
            is_all,
            "from {from}, at most {max}: {:?}",
            seen.state
        );
    }
    run.over(system).await;
}

pub async fn every_byte_is_given_as_it_is(system: &dyn System) {
    let run = Run::new(system).await;
    // Up and down again, so that each byte stands beside others, and no text in any encoding.
    let bytes: Vec<u8> = (0..=255)
        .chain((0..=255).rev())
        .chain((0..=255).map(|n| n ^ 0x55))
        .collect();
    let work = Work::Gives(bytes.clone());
    let handle = run.start(&system.attempt(&work)).await;
    let (given, report) = system.given(&run, &handle).await;
    assert_eq!((given == bytes, outcome(&report)), (true, success()), "{given:?}");
    assert_eq!(run.end_of(&handle).await.0, system.output(handle.attempt, &work));
    run.over(system).await;
}

pub async fn a_hundred_mebibytes_are_all_there(system: &dyn System) {
    const SIZE: usize = 100 << 20;
    let run = Run::new(system).await;
    let mut start = system.attempt(&Work::GivesMuch(SIZE));
    start.max_output_bytes = 2 * SIZE as u64;
    let handle = run.start(&start).await;
    let (given, report) = system.given(&run, &handle).await;
    assert_eq!(outcome(&report), success());
    assert_eq!(given.len(), SIZE);
    let wrong = given.chunks(16).position(|line| line != b"0123456789abcde\n");
    assert_eq!(wrong.map(|line| 16 * line), None, "so many bytes are right");
    run.over(system).await;
}

pub async fn what_is_too_much_keeps_its_beginning_and_end(system: &dyn System) {
    const MAX: usize = 8 << 10;
    let run = Run::new(system).await;
    let work = Work::GivesMuch((4 << 20) + 7);
    let mut start = system.attempt(&work);
    start.max_output_bytes = MAX as u64;
    let handle = run.start(&start).await;
    let (output, report) = run.end_of(&handle).await;
    assert_eq!(report.exit_code, Some(0), "{report:?}");
    let line = format!("\n[... {} bytes of output left out ...]\n", report.output_dropped);
    let at = output.windows(line.len()).position(|part| part == line.as_bytes());
    let (beginning, rest) = output.split_at(at.expect("says that bytes are missing"));
    let end = &rest[line.len()..];
    let all = system.output(handle.attempt, &work);
    assert!(all.starts_with(beginning) && all.ends_with(end));
    let kept = beginning.len() + end.len();
    assert_eq!(all.len() as u64, report.output_dropped + kept as u64, "{report:?}");
    assert!(
        (MAX / 2..=MAX).contains(&kept) && end.len() >= MAX / 4,
        "kept {kept}, {} of the end",
        end.len()
    );
    run.over(system).await;
}

pub async fn it_is_seen_while_the_work_goes_on(system: &dyn System) {
    let run = Run::new(system).await;
    let handle = run.start(&system.attempt(&Work::GoesOn)).await;
    let printed = run.until_printed(&handle, system.begun()).await;
    // Asked without patience it answers at once, and says that it runs.
    let from = printed.len() as u64;
    let seen = run
        .executor
        .observe(&handle, from, 100, Duration::ZERO)
        .await
        .expect("observes");
    assert_eq!((seen.output.as_ref(), seen.state), (&b""[..], AttemptState::Running));
    system.let_go();
    let (output, report) = run.end_of(&handle).await;
    assert!(output.starts_with(printed.as_bytes()) && output.len() > printed.len());
    assert_eq!(output, system.output(handle.attempt, &Work::GoesOn));
    assert_eq!(outcome(&report), success());
    run.over(system).await;
}

pub async fn a_timeout_ends_all_of_it(system: &dyn System) {
    let run = Run::new(system).await;
    let handle = run.start(&system.attempt(&Work::TakesTooLong)).await;
    let (output, report) = run.end_of(&handle).await;
    let exactly = system.output(handle.attempt, &Work::TakesTooLong);
    assert_eq!(String::from_utf8_lossy(&output), String::from_utf8_lossy(&exactly));
    assert!(report.timed_out && !report.cancelled, "{report:?}");
    assert_eq!(system.processes(&handle).await, Vec::<String>::new());
    run.over(system).await;
}

pub async fn cancelling_ends_all_of_it(system: &dyn System) {
    let run = Run::new(system).await;
    let handle = run.start(&system.attempt(&Work::Holds)).await;
    run.until_printed(&handle, system.begun()).await;
    assert_ne!(
        system.processes(&handle).await,
        Vec::<String>::new(),
        "sees nothing of it"
    );
    run.cancel(&handle, GRACE).await;
    let (_, report) = run.end_of(&handle).await;
    assert!(report.cancelled && !report.timed_out, "{report:?}");
    assert_eq!(system.processes(&handle).await, Vec::<String>::new());
    // Of what has ended nothing more can be ended, which is no error.
    run.cancel(&handle, Duration::ZERO).await;
    assert_eq!(run.end_of(&handle).await.1, report);
    run.over(system).await;
}

pub async fn cancelled_while_it_starts_it_ends(system: &dyn System) {
    let run = Run::new(system).await;
    let handle = run.start(&system.attempt(&Work::Holds)).await;
    run.cancel(&handle, Duration::from_secs(1)).await;
    match end_of(&run, &handle).await {
        AttemptState::Ended(report) => assert!(report.cancelled, "{report:?}"),
        AttemptState::NeverStarted(_) => {}
        other => panic!("ended as {other:?}"),
    }
    assert_eq!(system.processes(&handle).await, Vec::<String>::new());
    run.over(system).await;
}

pub async fn started_twice_at_once_it_runs_once(system: &dyn System) {
    let run = Run::new(system).await;
    let start = system.attempt(&Work::GoesOn);
    let (first, second) = (system.executor(), system.executor());
    let (one, two, three) = tokio::join!(
        run.executor.start(&run.workspace, &start),
        first.start(&run.workspace, &start),
        second.start(&run.workspace, &start),
    );
    let [one, two, three] = [one, two, three].map(|result| result.expect("starts"));
    assert_eq!((&one, &one), (&two, &three));
    run.until_printed(&one, system.begun()).await;
    assert_eq!(run.start(&start).await, one, "while it goes on");
    system.let_go();
    let end = run.end_of(&one).await;
    assert_eq!(outcome(&end.1), success());
    // Long after its end, too.
    let again = run.start(&start).await;
    assert_eq!(run.end_of(&again).await, end);
    assert_eq!(system.times(&run, start.attempt).await, 1);
    run.over(system).await;
}

pub async fn another_process_goes_on_where_one_ended(system: &dyn System) {
    let mut run = Run::new(system).await;
    let start = system.attempt(&Work::GoesOn);
    let handle = run.start(&start).await;
    let mut output = run.until_printed(&handle, system.begun()).await.into_bytes();
    run.executor = system.executor();
    assert_eq!(run.executor.workspace(run.execution), run.workspace);
    let again = run.executor.prepare(run.execution, &[]).await.expect("finds it");
    assert_eq!(again, run.workspace);
    assert_eq!(run.start(&start).await, handle, "it may not know that it was started");
    system.let_go();
    let report = loop {
        let from = output.len() as u64;
        let seen = run
            .executor
            .observe(&handle, from, 1 << 20, LONG)
            .await
            .expect("observes");
        output.extend_from_slice(&seen.output);
        match seen.state {
            AttemptState::Running => {}
            AttemptState::Ended(report) => break report,
            other => panic!("ended as {other:?}"),
        }
    };
    assert_eq!(outcome(&report), success());
    run.executor = system.executor();
    assert_eq!(
        run.end_of(&handle).await,
        (output, report),
        "after the end, from the beginning"
    );
    assert_eq!(system.times(&run, start.attempt).await, 1);
    run.over(system).await;
}

pub async fn many_at_once_keep_apart(system: &dyn System) {
    let others = Run::new(system).await;
    let handle = others.start(&system.attempt(&Work::Holds)).await;
    others.until_printed(&handle, system.begun()).await;
    let runs = (0..8).map(async |n| {
        let run = Run::new(system).await;
        let lines: String = (n..=n + 100).map(|line| format!("{line}\n")).collect();
        let work = Work::Gives(lines.into_bytes());
        let handle = run.start(&system.attempt(&work)).await;
        let (output, report) = run.end_of(&handle).await;
        let exactly = system.output(handle.attempt, &work);
        assert_eq!(String::from_utf8_lossy(&output), String::from_utf8_lossy(&exactly));
        assert_eq!(outcome(&report), success());
        run.over(system).await;
    });
    futures_util::future::join_all(runs).await;
    // What one execution ends and removes is its own.
    assert_ne!(system.processes(&handle).await, Vec::<String>::new());
    others.cancel(&handle, GRACE).await;
    assert!(others.end_of(&handle).await.1.cancelled);
    others.over(system).await;
}

pub async fn impossible_starts_are_refused(system: &dyn System) {
    let run = Run::new(system).await;
    for start in system.impossible() {
        let result = run.executor.start(&run.workspace, &start).await;
        assert!(
            matches!(result, Err(ExecutorError::Refused(_))),
            "{start:?} gave {result:?}"
        );
        assert_eq!(system.times(&run, start.attempt).await, 0, "{start:?}");
    }
    run.over(system).await;
}

pub async fn an_attempt_that_nobody_knows_is_lost(system: &dyn System) {
    let run = Run::new(system).await;
    let known = run.start(&system.attempt(&Work::Gives(b"done\n".to_vec()))).await;
    run.end_of(&known).await;
    let attempt = AttemptId::random();
    let unknown = Handle {
        attempt,
        place: known.place.replace(&known.attempt.to_string(), &attempt.to_string()),
    };
    let state = end_of(&run, &unknown).await;
    assert!(matches!(state, AttemptState::Lost(_)), "never started: {state:?}");
    run.cancel(&unknown, Duration::ZERO).await;
    run.executor.clean_up(run.execution).await.expect("cleans up");
    let state = end_of(&run, &known).await;
    assert!(matches!(state, AttemptState::Lost(_)), "cleaned up: {state:?}");
    run.cancel(&known, Duration::ZERO).await;
    run.executor
        .clean_up(ExecutionId::random())
        .await
        .expect("cleans up what never was");
    run.over(system).await;
}

pub async fn secrets_are_nowhere_in_sight(system: &dyn System) {
    let run = Run::new(system).await;
    let handle = run.start(&system.attempt(&Work::KnowsASecret)).await;
    run.until_printed(&handle, system.begun()).await;
    let sight = system.in_sight(&handle).await;
    assert!(
        sight.contains(&handle.attempt.to_string()),
        "sees nothing of the attempt"
    );
    assert!(!sight.contains(SECRET), "{sight}");
    run.cancel(&handle, GRACE).await;
    let (output, _) = run.end_of(&handle).await;
    let sight = system.in_sight(&handle).await;
    assert!(!sight.contains(SECRET), "{sight}");
    assert!(!String::from_utf8_lossy(&output).contains(SECRET));
    run.over(system).await;
}

pub async fn outputs_are_found_and_bounded(system: &dyn System) {
    let run = Run::new(system).await;
    let handle = run.start(&system.attempt(&Work::LeavesFiles)).await;
    assert_eq!(outcome(&run.end_of(&handle).await.1), success());
    let files = system.files();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let (found, left_out) = collected(&run, &names, ALL).await;
    assert_eq!(
        (&found, left_out),
        (&files, Vec::new()),
        "all, in the order of their names"
    );
    let glob = format!("?{}", &names[1][1..]);
    assert_eq!(collected(&run, &[&glob], ALL).await.0, files[1..2], "one by {glob:?}");
    assert_eq!(
        collected(&run, &["no/such/*", "nothing.*"], ALL).await,
        (Vec::new(), Vec::new())
    );
    assert_eq!(collected(&run, &[], ALL).await, (Vec::new(), Vec::new()));
    let fewer = CollectLimit { files: 2, ..ALL };
    let (found, left_out) = collected(&run, &names, fewer).await;
    assert_eq!((found.len(), left_out.len()), (2, 1), "{left_out:?}");
    let all: usize = files.iter().map(|(_, content)| content.len()).sum();
    let smaller = CollectLimit {
        bytes: all as u64 - 1,
        ..ALL
    };
    let (found, left_out) = collected(&run, &names, smaller).await;
    assert_eq!((found.len(), left_out.len()), (2, 1), "{left_out:?}");
    run.over(system).await;
}

/// Cleans up while the work goes on: it ends, and nothing is left.
async fn cleaned_up(run: Run, handle: &Handle, system: &dyn System) {
    assert!(run.executor.leftovers().await.expect("lists").contains(&run.execution));
    run.executor.clean_up(run.execution).await.expect("cleans up");
    assert_eq!(system.processes(handle).await, Vec::<String>::new());
    assert_eq!(system.remains(run.execution).await, Vec::<String>::new());
    let state = end_of(&run, handle).await;
    assert!(matches!(state, AttemptState::Lost(_)), "{state:?}");
    run.over(system).await;
}

pub async fn cleaning_up_ends_what_goes_on(system: &dyn System) {
    let run = Run::new(system).await;
    let handle = run.start(&system.attempt(&Work::Holds)).await;
    run.until_printed(&handle, system.begun()).await;
    cleaned_up(run, &handle, system).await;
}

pub async fn another_process_cleans_up_what_goes_on(system: &dyn System) {
    // The first process has ended, or only seemed to.
    for has_ended in [true, false] {
        let mut run = Run::new(system).await;
        let handle = run.start(&system.attempt(&Work::Holds)).await;
        run.until_printed(&handle, system.begun()).await;
        let mut first = Some(std::mem::replace(&mut run.executor, system.executor()));
        if has_ended {
            first = None;
        }
        cleaned_up(run, &handle, system).await;
        drop(first);
    }
}

pub async fn a_probe_finds_what_is_there(system: &dyn System) {
    let executor = system.executor();
    let facts = tokio::time::timeout(LONG + Duration::from_secs(60), executor.probe());
    let facts = facts
        .await
        .expect("answers")
        .unwrap_or_else(|trouble| panic!("{trouble}: {}", trouble.hint));
    let (os, tools) = system.facts();
    assert_eq!(facts.os, os);
    assert!(tools.iter().all(|tool| facts.tools.contains_key(*tool)), "{facts:?}");
    assert!(!facts.tools.contains_key("no-such-tool"));
}
