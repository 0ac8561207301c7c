//! What an attempt prints, byte for byte.

use super::{Run, System, input, sh};

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
