//! What an attempt prints, byte for byte.

use std::time::Duration;

use clawhand::executors::AttemptState;

use super::{LONG, Run, System, input, sh};

pub async fn it_is_exact_and_in_order(system: &dyn System) {
    let folder = tempfile::tempdir().expect("makes a folder");
    // Every byte after every other, so that no encoding survives that isn't the identity.
    let bytes: Vec<u8> = (0..=255_u8)
        .flat_map(|a| (0..=255_u8).flat_map(move |b| [a, b]))
        .collect();
    let run = Run::with(system, &[input(folder.path(), "all.bin", &bytes, 0o644)]).await;
    let handle = run
        .start(&sh("cat all.bin; echo out; echo err >&2; printf 'no line break'"))
        .await;
    let (output, report) = run.end_of(&handle).await;
    let expected = [bytes.as_slice(), b"out\nerr\nno line break"].concat();
    assert!(
        output == expected,
        "{} of {} bytes, or other ones",
        output.len(),
        expected.len()
    );
    assert_eq!((report.exit_code, report.output_dropped), (Some(0), 0));
    run.over(system).await;
}

pub async fn any_part_can_be_read_again(system: &dyn System) {
    let run = Run::new(system).await;
    let handle = run.start(&sh("echo one; echo two >&2; exit 3")).await;
    let (output, report) = run.end_of(&handle).await;
    assert_eq!(output, b"one\ntwo\n");
    let ended = AttemptState::Ended(report);
    for (from, max, part) in [(0, 4, "one\n"), (4, 100, "two\n"), (2, 3, "e\nt"), (8, 10, "")] {
        let seen = run.executor.observe(&handle, from, max, LONG).await.expect("observes");
        assert_eq!(seen.output, part.as_bytes(), "from {from}, at most {max}");
        let is_all = from + part.len() as u64 == 8;
        assert_eq!(
            seen.state == ended,
            is_all,
            "from {from}, at most {max}: {:?}",
            seen.state
        );
    }
    run.over(system).await;
}

pub async fn a_hundred_mebibytes_are_all_there(system: &dyn System) {
    const SIZE: u64 = 100 << 20;
    let run = Run::new(system).await;
    let mut start = sh("yes 0123456789abcde | head -c 104857600");
    start.max_output_bytes = 2 * SIZE;
    let handle = run.start(&start).await;
    let mut read = 0;
    loop {
        let seen = run
            .executor
            .observe(&handle, read, 1 << 20, LONG)
            .await
            .expect("observes");
        // A period of 16 bytes: a lost or doubled piece of any other length shows.
        let phase = usize::try_from(read % 16).expect("fits");
        let expected = b"0123456789abcde\n".iter().cycle().skip(phase);
        assert!(
            seen.output.iter().eq(expected.take(seen.output.len())),
            "after {read} bytes"
        );
        read += seen.output.len() as u64;
        match seen.state {
            AttemptState::Running => assert!(!seen.output.is_empty(), "nothing happened for a long time"),
            AttemptState::Ended(report) => {
                assert_eq!((report.exit_code, report.output_dropped), (Some(0), 0));
                break;
            }
            other => panic!("ended as {other:?}"),
        }
    }
    assert_eq!(read, SIZE);
    run.over(system).await;
}

pub async fn what_is_too_much_keeps_its_beginning_and_end(system: &dyn System) {
    let run = Run::new(system).await;
    let mut start = sh("echo first; head -c 33554432 /dev/zero; echo last");
    start.max_output_bytes = 1 << 20;
    let handle = run.start(&start).await;
    let (output, report) = run.end_of(&handle).await;
    assert_eq!(report.exit_code, Some(0), "{report:?}");
    assert!(output.starts_with(b"first\n") && output.ends_with(b"last\n"));
    let text = String::from_utf8_lossy(&output);
    let line = text
        .lines()
        .find(|line| line.starts_with("[... "))
        .expect("says that bytes are missing");
    assert_eq!(
        line,
        format!("[... {} bytes of output left out ...]", report.output_dropped)
    );
    let kept = (6 + 33_554_432 + 5) - report.output_dropped;
    assert!((1 << 19..=1 << 20).contains(&kept), "kept {kept}");
    assert_eq!(output.len() as u64, kept + line.len() as u64 + 2);
    run.over(system).await;
}

pub async fn it_comes_while_the_step_runs(system: &dyn System) {
    let run = Run::new(system).await;
    let handle = run.start(&sh("echo begun; sleep 3; echo over")).await;
    run.until_printed(&handle, "begun").await;
    // Asked without patience it answers at once, and says that it runs.
    let seen = run
        .executor
        .observe(&handle, 6, 100, Duration::ZERO)
        .await
        .expect("observes");
    assert_eq!((seen.output.as_ref(), seen.state), (&b""[..], AttemptState::Running));
    assert_eq!(run.end_of(&handle).await.0, b"begun\nover\n");
    run.over(system).await;
}

pub async fn places_can_be_scrubbed(system: &dyn System) {
    let run = Run::new(system).await;
    let (output, _) = run.sh("pwd; echo $HOME; echo $TMPDIR").await;
    let rules = run.executor.private_texts(run.execution).into_iter();
    let rules = rules.fold(clawhand::redact::Rules::builder(), |rules, (text, shown)| {
        rules.private(&text, &shown)
    });
    let clean = rules.build().text(&output).into_inner();
    assert_eq!(clean, "/workspace\n/home\n/tmp\n", "{output}");
    run.over(system).await;
}
