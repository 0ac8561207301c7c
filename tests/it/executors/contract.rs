//! Where the local executor is more exact than the contract asks of every kind.

use std::collections::BTreeMap;

use clawhand::domain::AttemptId;
use clawhand::executors::{AttemptState, Handle};

use super::rig::{Rig, attempt, follow, sh};

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
