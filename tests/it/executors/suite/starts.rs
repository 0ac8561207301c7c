//! Starting: once, with exactly what was given.

use std::collections::BTreeMap;

use super::{Run, System, sh};

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

pub async fn there_is_nothing_to_read_on_stdin(system: &dyn System) {
    let run = Run::new(system).await;
    let (output, report) = run.sh("cat; echo over").await;
    assert_eq!((output.as_str(), report.exit_code), ("over\n", Some(0)));
    run.over(system).await;
}
