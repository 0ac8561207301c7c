//! Starting: once, with exactly what was given.

use std::collections::BTreeMap;
use std::time::Duration;

use clawhand::executors::{AttemptState, ExecutorError};

use super::{LONG, Run, System, attempt, sh};

pub async fn the_environment_is_what_was_given_and_nothing_else(system: &dyn System) {
    let run = Run::new(system).await;
    // A line for each variable, and a value with a line break counts as one of its own.
    // Not `< /proc/self/environ`: a shell that opens it and then becomes the program has none by then.
    let mut start = sh("cat /proc/self/environ | tr '\\000' '|'");
    start.env = BTreeMap::from([
        ("GIVEN".into(), "two\nlines; $(not run) 'quoted' \\".into()),
        ("LANG".into(), "de_DE.UTF-8".into()),
    ]);
    start.secrets = BTreeMap::from([("TOKEN".into(), "s3cret'value".into())]);
    let handle = run.start(&start).await;
    let (output, _) = run.end_of(&handle).await;
    let text = String::from_utf8(output).expect("is text");
    let mut found: BTreeMap<&str, &str> = text
        .split_terminator('|')
        .filter_map(|entry| entry.split_once('='))
        .collect();
    // What a shell sets by itself.
    for name in ["PWD", "OLDPWD", "SHLVL", "_"] {
        found.remove(name);
    }
    assert_eq!(
        found.remove("GIVEN"),
        Some("two\nlines; $(not run) 'quoted' \\"),
        "{text}"
    );
    assert_eq!(found.remove("LANG"), Some("de_DE.UTF-8"));
    assert_eq!(found.remove("TOKEN"), Some("s3cret'value"));
    assert_eq!(
        found.remove("CLAWHAND_ATTEMPT"),
        Some(start.attempt.to_string().as_str())
    );
    for name in ["HOME", "PATH", "TMPDIR"] {
        assert!(
            found.remove(name).is_some_and(|value| value.starts_with('/')),
            "{name} in {text}"
        );
    }
    assert_eq!(found, BTreeMap::new());
    let (output, _) = run.sh("touch $HOME/a $TMPDIR/b c && echo written; ls -A | wc -l").await;
    assert_eq!(
        output.split_whitespace().collect::<Vec<_>>(),
        ["written", "1"],
        "the workspace begins empty"
    );
    run.over(system).await;
}

pub async fn secrets_are_nowhere_in_sight(system: &dyn System) {
    let run = Run::new(system).await;
    let mut start = sh("echo length ${#TOKEN}; sleep 1000");
    start.secrets = BTreeMap::from([("TOKEN".into(), "s3cret-value".into())]);
    let handle = run.start(&start).await;
    run.until_printed(&handle, "length 12").await;
    let sight = system.in_sight(&handle).await;
    assert!(
        sight.contains(&start.attempt.to_string()),
        "sees nothing of the attempt"
    );
    assert!(!sight.contains("s3cret-value"), "{sight}");
    run.cancel(&handle, Duration::from_secs(10)).await;
    run.end_of(&handle).await;
    let sight = system.in_sight(&handle).await;
    assert!(!sight.contains("s3cret-value"), "{sight}");
    run.over(system).await;
}

pub async fn there_is_nothing_to_read_on_stdin(system: &dyn System) {
    let run = Run::new(system).await;
    let (output, report) = run.sh("cat; echo over").await;
    assert_eq!((output.as_str(), report.exit_code), ("over\n", Some(0)));
    run.over(system).await;
}

pub async fn started_twice_at_once_it_runs_once(system: &dyn System) {
    let run = Run::new(system).await;
    let start = sh("echo line >> count; wc -l < count");
    let (first, second) = (system.executor(), system.executor());
    let (one, two, three) = tokio::join!(
        run.executor.start(&run.workspace, &start),
        first.start(&run.workspace, &start),
        second.start(&run.workspace, &start),
    );
    for handle in [one, two, three].map(|result| result.expect("starts")) {
        assert_eq!(String::from_utf8_lossy(&run.end_of(&handle).await.0).trim(), "1");
    }
    // Long after its end, too.
    let again = run.start(&start).await;
    assert_eq!(String::from_utf8_lossy(&run.end_of(&again).await.0).trim(), "1");
    run.over(system).await;
}

pub async fn another_process_goes_on_where_one_ended(system: &dyn System) {
    let mut run = Run::new(system).await;
    let script = "for n in 1 2 3; do echo line $n; done; sleep 3; echo line 4; exit 5";
    let handle = run.start(&sh(script)).await;
    let before = run.until_printed(&handle, "line 3\n").await;
    run.executor = system.executor();
    assert_eq!(run.executor.workspace(run.execution), run.workspace);
    let again = run.executor.prepare(run.execution, &[]).await.expect("finds it");
    assert_eq!(again, run.workspace);
    let mut output = before.into_bytes();
    let report = loop {
        let seen = run
            .executor
            .observe(&handle, output.len() as u64, 1 << 20, LONG)
            .await
            .expect("observes");
        output.extend_from_slice(&seen.output);
        match seen.state {
            AttemptState::Running => {}
            AttemptState::Ended(report) => break report,
            other => panic!("ended as {other:?}"),
        }
    };
    assert_eq!(String::from_utf8_lossy(&output), "line 1\nline 2\nline 3\nline 4\n");
    assert_eq!(report.exit_code, Some(5), "{report:?}");
    run.over(system).await;
}

pub async fn many_at_once_keep_apart(system: &dyn System) {
    let runs = (0..8).map(async |n| {
        let run = Run::new(system).await;
        let (output, report) = run.sh(&format!("seq {n} {}", n + 100)).await;
        let expected: String = (n..=n + 100).map(|line| format!("{line}\n")).collect();
        assert_eq!((output, report.exit_code), (expected, Some(0)));
        run.over(system).await;
    });
    futures_util::future::join_all(runs).await;
}

pub async fn impossible_starts_are_refused(system: &dyn System) {
    let run = Run::new(system).await;
    let mut starts = vec![attempt(&[]), attempt(&[""]), attempt(&["echo", "a\0b"])];
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
        let result = run.executor.start(&run.workspace, &start).await;
        assert!(
            matches!(result, Err(ExecutorError::Refused(_))),
            "{start:?} gave {result:?}"
        );
    }
    run.over(system).await;
}

pub async fn a_probe_finds_what_steps_can_use(system: &dyn System) {
    let executor = system.executor();
    let facts = tokio::time::timeout(LONG + Duration::from_secs(60), executor.probe());
    let facts = facts
        .await
        .expect("answers")
        .unwrap_or_else(|trouble| panic!("{trouble}: {}", trouble.hint));
    assert_eq!(facts.os, "linux");
    assert!(facts.tools.contains_key("sh"), "{facts:?}");
    assert!(!facts.tools.contains_key("no-such-tool"));
}
