//! Ending the whole tree, whatever it does to get away.

use std::time::{Duration, Instant};

use clawhand::executors::{AttemptState, Executor as _};

use super::rig::{Rig, processes_of, sh, until_printed};

/// Eight processes: in the background, in sessions of their own, forked twice with nothing of their parents' left
/// open, and with their environment thrown away.
const TREE: &str = "sleep 1000 & \
    setsid sleep 1000 & \
    (setsid sleep 1000 </dev/null >/dev/null 2>&1 &) ; \
    (env -i /usr/bin/setsid /bin/sleep 1000 </dev/null >/dev/null 2>&1 &) ; \
    nohup sh -c 'sleep 1000' </dev/null >/dev/null 2>&1 & \
    sh -c 'sleep 1000 & wait' & ";

#[tokio::test]
async fn cancelling_ends_all_of_it() {
    let rig = Rig::new().await;
    let handle = rig.start(&sh(&format!("{TREE} echo ready; wait"))).await;
    until_printed(&rig.executor, &handle, "ready").await;
    rig.executor
        .cancel(&handle, Duration::from_secs(10))
        .await
        .expect("cancels");
    let (_, report) = rig.end_of(&handle).await;
    assert!(report.cancelled && !report.timed_out, "{report:?}");
    assert_eq!(report.signal, Some(15));
    assert!(nobody_sleeps_in(&rig));
}

#[tokio::test]
async fn time_out_ends_all_of_it_and_says_so() {
    let rig = Rig::new().await;
    let mut start = sh(&format!("{TREE} wait"));
    start.timeout = Duration::from_millis(300);
    let handle = rig.start(&start).await;
    let (_, report) = rig.end_of(&handle).await;
    assert!(report.timed_out && !report.cancelled, "{report:?}");
    assert!(report.duration_ms >= 300, "{report:?}");
    assert!(nobody_sleeps_in(&rig));
}

#[tokio::test]
async fn those_who_ignore_term_are_killed_after_the_grace() {
    let rig = Rig::new().await;
    let mut start = sh("trap '' TERM; setsid sh -c \"trap '' TERM; echo ready; while :; do sleep 1; done\" & wait");
    start.grace = Duration::from_millis(200);
    let handle = rig.start(&start).await;
    until_printed(&rig.executor, &handle, "ready").await;
    rig.executor.cancel(&handle, start.grace).await.expect("cancels");
    let (_, report) = rig.end_of(&handle).await;
    assert_eq!((report.cancelled, report.signal), (true, Some(9)), "{report:?}");
    assert!(nobody_sleeps_in(&rig));
}

#[tokio::test]
async fn a_second_canceller_may_be_less_patient() {
    let rig = Rig::new().await;
    let handle = rig
        .start(&sh("trap 'echo asked' TERM; echo ready; while :; do sleep 0.01; done"))
        .await;
    until_printed(&rig.executor, &handle, "ready").await;
    rig.executor
        .cancel(&handle, Duration::from_secs(1000))
        .await
        .expect("cancels");
    until_printed(&rig.executor, &handle, "asked").await;
    rig.executor.cancel(&handle, Duration::ZERO).await.expect("cancels");
    assert_eq!(rig.end_of(&handle).await.1.signal, Some(9));
}

#[tokio::test]
async fn work_may_end_in_its_own_way_within_the_grace() {
    let rig = Rig::new().await;
    let handle = rig
        .start(&sh(
            "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.01; done",
        ))
        .await;
    until_printed(&rig.executor, &handle, "ready").await;
    rig.executor
        .cancel(&handle, Duration::from_secs(30))
        .await
        .expect("cancels");
    let (output, report) = rig.end_of(&handle).await;
    // The shell may say that its own child was asked to end as well.
    assert!(output.ends_with(b"bye\n"), "{}", String::from_utf8_lossy(&output));
    assert_eq!((report.exit_code, report.cancelled), (Some(4), true));
}

#[tokio::test]
async fn cancelled_right_at_the_start_it_ends_as_well() {
    let rig = Rig::new().await;
    for _ in 0..10 {
        let handle = rig.start(&sh("sleep 1000")).await;
        rig.executor
            .cancel(&handle, Duration::from_secs(10))
            .await
            .expect("cancels");
        let (_, report) = rig.end_of(&handle).await;
        assert!(report.cancelled && report.exit_code != Some(0), "{report:?}");
        // One that is born while the others are told must be told as well, and not be left to wait for its KILL.
        assert!(report.duration_ms < 10_000, "{report:?}");
    }
}

#[tokio::test]
async fn cancelled_before_the_supervisor_lives_it_never_runs() {
    let rig = Rig::new().await;
    let start = sh("echo ran");
    let place = rig.run_folder().join("attempts").join(start.attempt.to_string());
    std::fs::create_dir(&place).expect("makes the folder");
    let handle = clawhand::executors::Handle {
        attempt: start.attempt,
        place: place.display().to_string(),
    };
    rig.executor
        .cancel(&handle, Duration::ZERO)
        .await
        .expect("leaves the note");
    assert_eq!(rig.start(&start).await, handle);
    let (output, report) = rig.end_of(&handle).await;
    assert_eq!(
        (output.as_slice(), report.cancelled, report.exit_code),
        (&b""[..], true, None)
    );
}

#[tokio::test]
async fn pipes_held_open_after_the_exit_hold_nobody_up() {
    let rig = Rig::new().await;
    let began = Instant::now();
    let (output, report) = rig.run("sleep 1000 & sleep 1000 & echo done; exit 5").await;
    assert_eq!((output.as_slice(), report.exit_code), (&b"done\n"[..], Some(5)));
    assert_eq!(report.leftovers, 2);
    assert!(!report.cancelled && !report.timed_out);
    assert!(began.elapsed() < Duration::from_secs(30), "waited for the sleepers");
    assert!(nobody_sleeps_in(&rig));
}

#[tokio::test]
async fn what_ends_by_itself_in_time_is_no_leftover() {
    let rig = Rig::new().await;
    let (output, report) = rig
        .run("(while kill -0 $$ 2>/dev/null; do :; done; echo late) & echo early")
        .await;
    assert_eq!(String::from_utf8_lossy(&output), "early\nlate\n");
    assert_eq!(report.leftovers, 0);
}

#[tokio::test]
async fn daemons_without_any_pipe_are_ended_too() {
    let rig = Rig::new().await;
    let (_, report) = rig
        .run("(setsid sleep 1000 </dev/null >/dev/null 2>&1 &); exit 0")
        .await;
    assert_eq!((report.exit_code, report.leftovers), (Some(0), 1));
    assert!(nobody_sleeps_in(&rig));
}

#[tokio::test]
async fn clean_up_ends_what_runs_and_leaves_no_file() {
    let rig = Rig::new().await;
    let handle = rig
        .start(&sh(&format!(
            "{TREE} trap '' TERM; mkdir -p a/b; chmod 0 a/b a; echo ready; wait"
        )))
        .await;
    until_printed(&rig.executor, &handle, "ready").await;
    let began = Instant::now();
    rig.executor.clean_up(rig.execution).await.expect("cleans up");
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "the grace of the step was waited for"
    );
    assert!(processes_of(&[handle.attempt.to_string()]).is_empty());
    assert!(nobody_sleeps_in(&rig));
    assert!(!rig.run_folder().exists());
    rig.executor
        .clean_up(rig.execution)
        .await
        .expect("cleans up what is gone");
    let seen = rig
        .executor
        .observe(&handle, 0, 10, Duration::ZERO)
        .await
        .expect("observes");
    assert!(matches!(seen.state, AttemptState::Lost(_)), "{seen:?}");
}

/// Whether no process stands in the run folder: this sees those without the mark as well.
pub fn nobody_sleeps_in(rig: &Rig) -> bool {
    let folder = rig.run_folder();
    let standing = std::fs::read_dir("/proc")
        .expect("lists")
        .flatten()
        .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder)));
    standing.count() == 0
}
