//! What every executor must do.

use std::collections::BTreeMap;
use std::time::Duration;

use clawhand::domain::{AttemptId, ExecutionId};
use clawhand::executors::scripted::Move;
use clawhand::executors::{
    AttemptState, CollectLimit, Executor, ExecutorError, ExitReport, Handle, Scripted, StartAttempt,
};

use super::rig::{LONG, Rig, attempt, follow, sh, until_printed};

/// What an executor is made to do in these stories, in its own words.
struct Story {
    prints_and_exits_3: StartAttempt,
    runs_until_cancelled: StartAttempt,
    leaves_a_report: StartAttempt,
}

/// The stories that hold of any executor.
async fn keeps_the_contract(executor: &dyn Executor, story: &Story) {
    let execution = ExecutionId::random();
    let workspace = executor.prepare(execution, &[]).await.expect("prepares");
    assert_eq!(
        executor.prepare(execution, &[]).await.expect("prepares again"),
        workspace
    );

    // The end is told once all output was read, and again as often as somebody asks.
    let handle = executor
        .start(&workspace, &story.prints_and_exits_3)
        .await
        .expect("starts");
    let (output, state) = follow(executor, &handle).await;
    assert_eq!(output, b"one\ntwo\n");
    let AttemptState::Ended(ExitReport {
        exit_code: Some(3),
        signal: None,
        ..
    }) = state
    else {
        panic!("ended as {state:?}");
    };
    for (from, max, part) in [(0, 4, "one\n"), (4, 100, "two\n"), (2, 3, "e\nt"), (8, 10, "")] {
        let seen = executor.observe(&handle, from, max, LONG).await.expect("observes");
        assert_eq!(seen.output, part.as_bytes(), "from {from}, at most {max}");
        assert_eq!(
            seen.state == state,
            from + part.len() as u64 == 8,
            "from {from}, at most {max}"
        );
    }

    // A second start of the same attempt finds the first.
    let again = executor
        .start(&workspace, &story.prints_and_exits_3)
        .await
        .expect("starts again");
    assert_eq!(again, handle);
    assert_eq!(follow(executor, &again).await, (output, state));

    // Cancelling is asked for once and seen by observing.
    let handle = executor
        .start(&workspace, &story.runs_until_cancelled)
        .await
        .expect("starts");
    let waited = executor
        .observe(&handle, 0, 10, Duration::ZERO)
        .await
        .expect("observes");
    assert_eq!(waited.state, AttemptState::Running);
    executor
        .cancel(&handle, Duration::from_secs(10))
        .await
        .expect("cancels");
    let AttemptState::Ended(ExitReport {
        cancelled: true,
        timed_out: false,
        ..
    }) = follow(executor, &handle).await.1
    else {
        panic!("cancelling was not seen");
    };
    executor
        .cancel(&handle, Duration::ZERO)
        .await
        .expect("cancels what has ended");

    let handle = executor
        .start(&workspace, &story.leaves_a_report)
        .await
        .expect("starts");
    follow(executor, &handle).await;
    let limit = CollectLimit { files: 10, bytes: 100 };
    let found = executor
        .collect(&workspace, &["**/*.xml".to_owned()], limit)
        .await
        .expect("collects");
    let names: Vec<_> = found.files.iter().map(|file| (file.name.as_str(), file.size)).collect();
    assert_eq!(names, [("report.xml", 7)]);

    executor.clean_up(execution).await.expect("cleans up");
    executor.clean_up(execution).await.expect("cleans up what is gone");
}

#[tokio::test]
async fn the_local_executor_keeps_it() {
    let rig = Rig::new().await;
    let story = Story {
        prints_and_exits_3: sh("echo one; echo two >&2; exit 3"),
        runs_until_cancelled: attempt(&["sleep", "1000"]),
        leaves_a_report: sh("printf '<junit>' > report.xml"),
    };
    keeps_the_contract(&rig.executor, &story).await;
}

#[tokio::test]
async fn the_fake_keeps_it() {
    let fake = Scripted::new();
    fake.script([
        Move::Print(b"one\n".into()),
        Move::Print(b"two\n".into()),
        Move::Exit(3),
    ]);
    fake.script([Move::Wait("never")]);
    fake.script([Move::Leave("report.xml".into(), b"<junit>".into())]);
    let story = Story {
        prints_and_exits_3: sh(""),
        runs_until_cancelled: sh(""),
        leaves_a_report: sh(""),
    };
    keeps_the_contract(&fake, &story).await;
    assert_eq!(
        (fake.started().len(), fake.start_calls(), fake.cleaned().len()),
        (3, 4, 2)
    );
}

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

#[tokio::test]
async fn tells_how_it_ended() {
    let rig = Rig::new().await;
    let cases: [(&[&str], Option<i32>, Option<i32>); 9] = [
        (&["true"], Some(0), None),
        (&["sh", "-c", "exit 1"], Some(1), None),
        (&["sh", "-c", "exit 126"], Some(126), None),
        (&["sh", "-c", "exit 127"], Some(127), None),
        (&["sh", "-c", "exit 255"], Some(255), None),
        (&["sh", "-c", "kill -9 $$"], None, Some(9)),
        (&["sh", "-c", "kill -11 $$"], None, Some(11)),
        (&["no-such-program"], Some(127), None),
        (&["/etc/passwd"], Some(126), None),
    ];
    for (argv, code, signal) in cases {
        let handle = rig.start(&attempt(argv)).await;
        let (output, report) = rig.end_of(&handle).await;
        assert_eq!(
            (report.exit_code, report.signal),
            (code, signal),
            "{argv:?} gave {report:?}"
        );
        assert_eq!(output, b"", "{argv:?}");
        let is_no_program = matches!(argv[0], "no-such-program" | "/etc/passwd");
        assert_eq!(report.exec_error.is_some(), is_no_program, "{argv:?} gave {report:?}");
        assert!(
            !report.timed_out && !report.cancelled && report.leftovers == 0,
            "{argv:?} gave {report:?}"
        );
    }
    let mut elsewhere = sh("true");
    elsewhere.cwd = "missing".to_owned();
    let handle = rig.start(&elsewhere).await;
    let (_, report) = rig.end_of(&handle).await;
    assert_eq!(report.exit_code, Some(126));
    assert!(report.exec_error.is_some_and(|error| error.contains("missing")));
}

#[tokio::test]
async fn refuses_what_no_process_can_be_given() {
    let rig = Rig::new().await;
    let mut starts = Vec::new();
    starts.push(attempt(&[]));
    starts.push(attempt(&[""]));
    starts.push(attempt(&["echo", "a\0b"]));
    for cwd in ["..", "/etc", "a/../..", "a//b"] {
        let mut start = sh("true");
        start.cwd = cwd.to_owned();
        starts.push(start);
    }
    for (name, value) in [("", "x"), ("A=B", "x"), ("A", "x\0y")] {
        let mut start = sh("true");
        start.secrets = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        starts.push(start);
    }
    for start in starts {
        let result = rig.executor.start(&rig.workspace, &start).await;
        assert!(
            matches!(result, Err(ExecutorError::Refused(_))),
            "{start:?} gave {result:?}"
        );
    }
}

#[tokio::test]
async fn the_environment_is_what_was_given_and_nothing_else() {
    let rig = Rig::new().await;
    let mut start = attempt(&["env", "-0"]);
    start.env = BTreeMap::from([
        ("GIVEN".into(), "two\nlines".into()),
        ("LANG".into(), "de_DE.UTF-8".into()),
    ]);
    start.secrets = BTreeMap::from([("TOKEN".into(), "s3cret-value".into())]);
    let handle = rig.start(&start).await;
    let (output, _) = rig.end_of(&handle).await;
    let text = String::from_utf8(output).expect("is text");
    let found: BTreeMap<&str, &str> = text
        .split_terminator('\0')
        .filter_map(|entry| entry.split_once('='))
        .collect();
    let run = rig.run_folder();
    let (home, tmp) = (run.join("home"), run.join("tmp"));
    let expected = BTreeMap::from([
        ("GIVEN", "two\nlines".to_owned()),
        ("LANG", "de_DE.UTF-8".to_owned()),
        ("TOKEN", "s3cret-value".to_owned()),
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("HOME", home.display().to_string()),
        ("TMPDIR", tmp.display().to_string()),
        ("CLAWHAND_ATTEMPT", start.attempt.to_string()),
    ]);
    assert_eq!(
        found,
        expected.iter().map(|(name, value)| (*name, value.as_str())).collect()
    );
}

#[tokio::test]
async fn secrets_are_in_no_file_and_no_argument() {
    let rig = Rig::new().await;
    let mut start = sh("echo ready; read x");
    start.argv = ["sh", "-c", "echo ready; sleep 1000"].map(str::to_owned).to_vec();
    start.secrets = BTreeMap::from([("TOKEN".into(), "s3cret-value".into())]);
    let handle = rig.start(&start).await;
    until_printed(&rig.executor, &handle, "ready").await;
    let grep = |folder: &std::path::Path| {
        let found = std::process::Command::new("grep")
            .args(["-rl", "s3cret-value"])
            .arg(folder)
            .output();
        String::from_utf8(found.expect("greps").stdout).expect("is text")
    };
    assert_eq!(grep(rig.data.path()), "");
    for entry in std::fs::read_dir("/proc").expect("lists").flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        assert!(
            !line.contains("s3cret-value") || line.starts_with("grep"),
            "in the arguments {line:?}"
        );
    }
    rig.executor.cancel(&handle, Duration::ZERO).await.expect("cancels");
    rig.end_of(&handle).await;
    assert_eq!(grep(rig.data.path()), "");
}

#[tokio::test]
async fn started_twice_at_once_it_runs_once() {
    let rig = Rig::new().await;
    let start = sh("echo line >> count; wc -l < count");
    let (one, two, three) = tokio::join!(
        rig.executor.start(&rig.workspace, &start),
        rig.executor.start(&rig.workspace, &start),
        rig.executor.start(&rig.workspace, &start),
    );
    let handles = [one, two, three].map(|result| result.expect("starts"));
    for handle in &handles {
        assert_eq!(rig.end_of(handle).await.0, b"1\n");
    }
}

#[tokio::test]
async fn an_attempt_nobody_started_is_known_as_such() {
    let rig = Rig::new().await;
    let attempt = AttemptId::random();
    let place = rig.run_folder().join("attempts").join(attempt.to_string());
    let handle = Handle {
        attempt,
        place: place.display().to_string(),
    };
    assert!(matches!(follow(&rig.executor, &handle).await.1, AttemptState::Lost(_)));
    std::fs::create_dir(&place).expect("makes the folder");
    assert!(matches!(
        follow(&rig.executor, &handle).await.1,
        AttemptState::NeverStarted(_)
    ));
}

#[tokio::test]
async fn many_at_once_keep_apart() {
    let rig = Rig::new().await;
    let starts: Vec<StartAttempt> = (0..24).map(|n| sh(&format!("seq {n} {}", n + 100))).collect();
    let runs = starts.iter().enumerate().map(async |(n, start)| {
        let handle = rig.start(start).await;
        let (output, report) = rig.end_of(&handle).await;
        let expected: String = (n..=n + 100).map(|line| format!("{line}\n")).collect();
        assert_eq!(
            (String::from_utf8_lossy(&output).into_owned(), report.exit_code),
            (expected, Some(0))
        );
    });
    futures_util::future::join_all(runs).await;
}
