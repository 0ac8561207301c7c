//! How an attempt ends, and that all of it does.

use std::time::Duration;

use super::{Run, System, attempt, is_signal, sh};

pub async fn the_exit_code_is_exact(system: &dyn System) {
    let run = Run::new(system).await;
    for code in [0, 1, 2, 126, 127, 255] {
        let (output, report) = run.sh(&format!("exit {code}")).await;
        assert_eq!((output.as_str(), report.exit_code), ("", Some(code)), "{report:?}");
        assert!(
            report.signal.is_none() && report.exec_error.is_none() && !report.timed_out && !report.cancelled,
            "exit {code} gave {report:?}"
        );
        assert_eq!(report.leftovers, 0, "exit {code} gave {report:?}");
    }
    run.over(system).await;
}

pub async fn what_cannot_be_executed_is_told(system: &dyn System) {
    let run = Run::new(system).await;
    for (argv, code) in [("no-such-program", 127), ("/etc/passwd", 126)] {
        let handle = run.start(&attempt(&[argv])).await;
        let (_, report) = run.end_of(&handle).await;
        assert_eq!(report.exit_code, Some(code), "{argv} gave {report:?}");
        assert!(report.exec_error.is_some(), "{argv} gave {report:?}");
    }
    let mut elsewhere = sh("true");
    elsewhere.cwd = "missing".to_owned();
    let handle = run.start(&elsewhere).await;
    let (_, report) = run.end_of(&handle).await;
    assert_eq!(report.exit_code, Some(126), "{report:?}");
    assert!(report.exec_error.is_some_and(|error| error.contains("missing")));
    run.over(system).await;
}

pub async fn a_signal_is_told(system: &dyn System) {
    let run = Run::new(system).await;
    for signal in [9, 11, 15] {
        let (_, report) = run.sh(&format!("kill -{signal} $$")).await;
        assert!(is_signal(&report, signal), "{signal} gave {report:?}");
        assert!(!report.timed_out && !report.cancelled, "{signal} gave {report:?}");
    }
    run.over(system).await;
}

pub async fn those_who_ignore_term_are_killed_after_the_grace(system: &dyn System) {
    let run = Run::new(system).await;
    let script = "trap '' TERM; setsid sh -c \"trap '' TERM; echo begun; while :; do sleep 1; done\" & wait";
    let handle = run.start(&sh(script)).await;
    run.until_printed(&handle, "begun").await;
    run.cancel(&handle, Duration::from_millis(500)).await;
    let (_, report) = run.end_of(&handle).await;
    assert!(report.cancelled && is_signal(&report, 9), "{report:?}");
    assert_eq!(system.processes(&handle).await, Vec::<String>::new());
    run.over(system).await;
}

pub async fn work_may_end_in_its_own_way_within_the_grace(system: &dyn System) {
    let run = Run::new(system).await;
    let script = "trap 'echo bye; exit 4' TERM; echo begun; while :; do sleep 0.1; done";
    let handle = run.start(&sh(script)).await;
    run.until_printed(&handle, "begun").await;
    run.cancel(&handle, Duration::from_secs(30)).await;
    let (output, report) = run.end_of(&handle).await;
    // In between the shell may say that TERM ended its own sleep.
    assert!(
        output.starts_with(b"begun\n") && output.ends_with(b"bye\n"),
        "{}",
        String::from_utf8_lossy(&output)
    );
    assert_eq!((report.cancelled, report.exit_code), (true, Some(4)), "{report:?}");
    run.over(system).await;
}

pub async fn what_is_left_behind_is_ended(system: &dyn System) {
    let run = Run::new(system).await;
    // One of them keeps the output open, which must hold nobody up.
    let script = "setsid sleep 1000 & (setsid sleep 1000 </dev/null >/dev/null 2>&1 &); echo done; exit 3";
    let handle = run.start(&sh(script)).await;
    let (output, report) = run.end_of(&handle).await;
    assert_eq!(String::from_utf8_lossy(&output), "done\n");
    assert_eq!(report.exit_code, Some(3), "{report:?}");
    assert!(report.leftovers >= 1, "{report:?}");
    assert_eq!(system.processes(&handle).await, Vec::<String>::new());
    run.over(system).await;
}
