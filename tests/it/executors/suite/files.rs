//! Files on their way into and out of a workspace.

use std::io::{Read as _, Write as _};

use clawhand::executors::CollectLimit;
use sha2::{Digest as _, Sha256};

use super::{ALL, Run, System, attempt, input};

fn globs(globs: &[&str]) -> Vec<String> {
    globs.iter().map(|glob| (*glob).to_owned()).collect()
}

/// What is collected: names and contents; and the names that were left out.
pub async fn collected(run: &Run, wanted: &[&str], limit: CollectLimit) -> (Vec<(String, Vec<u8>)>, Vec<String>) {
    let found = run
        .executor
        .collect(&run.workspace, &globs(wanted), limit)
        .await
        .expect("collects");
    let files = found.files.into_iter().map(|mut file| {
        let mut content = Vec::new();
        file.file.read_to_end(&mut content).expect("reads");
        assert_eq!(content.len() as u64, file.size, "{}", file.name);
        (file.name, content)
    });
    (
        files.collect(),
        found.left_out.into_iter().map(|(name, _)| name).collect(),
    )
}

pub async fn inputs_are_laid_where_the_work_can_use_and_change_them(system: &dyn System) {
    let folder = tempfile::tempdir().expect("makes a folder");
    let script = b"#!/bin/sh\necho ran in ${PWD##*/} with $(cat data/a/b.txt || cat ../data/a/b.txt) 2>/dev/null\n";
    let inputs = [
        input(folder.path(), "bin/run", script, 0o4777),
        input(folder.path(), "data/a/b.txt", b"data", 0o644),
    ];
    let run = Run::with(system, &inputs).await;
    let handle = run.start(&attempt(&["bin/run"])).await;
    assert_eq!(
        String::from_utf8_lossy(&run.end_of(&handle).await.0),
        "ran in work with data\n"
    );
    let (output, _) = run
        .sh("ls -l bin/run data/a/b.txt | cut -c1-10; echo more >> data/a/b.txt && rm -r data && echo changed")
        .await;
    assert_eq!(output, "-rwxr-xr-x\n-rw-r--r--\nchanged\n");
    // A program with a slash is relative to the workspace wherever the step stands.
    let mut start = attempt(&["bin/run"]);
    start.cwd = "bin".to_owned();
    let handle = run.start(&start).await;
    let (output, report) = run.end_of(&handle).await;
    assert!(String::from_utf8_lossy(&output).contains("ran in bin"), "{report:?}");
    run.over(system).await;
}

/// A .tar.gz with these files.
fn archive(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, content, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_cksum();
        tar.append_data(&mut header, name, *content).expect("appends");
    }
    let mut gzip = tar.into_inner().expect("finishes");
    gzip.flush().expect("flushes");
    gzip.finish().expect("finishes")
}

pub async fn archives_are_unpacked_and_later_inputs_win(system: &dyn System) {
    let folder = tempfile::tempdir().expect("makes a folder");
    let packed = archive(&[
        ("a.txt", b"from the archive", 0o644),
        ("deep/er/b.txt", b"from the archive", 0o600),
        ("deep/run.sh", b"#!/bin/sh\necho from the archive\n", 0o755),
    ]);
    let inputs = [
        input(folder.path(), "source.tar.gz", &packed, 0o644),
        input(folder.path(), "a.txt", b"from the file", 0o644),
    ];
    let run = Run::with(system, &inputs).await;
    let (output, _) = run
        .sh("cat a.txt; echo; cat deep/er/b.txt; echo; deep/run.sh; ls")
        .await;
    assert_eq!(
        output,
        "from the file\nfrom the archive\nfrom the archive\na.txt\ndeep\n"
    );
    run.over(system).await;
}

pub async fn a_large_input_arrives_whole(system: &dyn System) {
    let folder = tempfile::tempdir().expect("makes a folder");
    let content: Vec<u8> = (0..251_u8).cycle().take(64 << 20).collect();
    let run = Run::with(system, &[input(folder.path(), "big.bin", &content, 0o644)]).await;
    let (output, _) = run.sh("sha256sum < big.bin").await;
    let expected: String = Sha256::digest(&content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(output.split_whitespace().next(), Some(expected.as_str()));
    // And out again.
    let (files, left_out) = collected(&run, &["big.bin"], ALL).await;
    assert!(files.len() == 1 && files[0].1 == content, "{left_out:?}");
    run.over(system).await;
}

pub async fn outputs_are_found_by_globs_and_links_are_refused(system: &dyn System) {
    let run = Run::new(system).await;
    let script = "mkdir -p reports/deep dist .clawhand hidden/.git; echo 1 > reports/a.xml; echo 2 > reports/deep/b.xml; \
        echo 3 > dist/c.whl; echo 4 > other.txt; echo 5 > .clawhand/junit.xml; echo 6 > .clawhand/secret.xml; \
        ln -s /etc/passwd reports/link.xml; ln -s /etc linked; mkfifo reports/pipe.xml; : > reports/empty.xml";
    let (output, report) = run.sh(script).await;
    assert_eq!((output.as_str(), report.exit_code), ("", Some(0)));
    let wanted = [
        ".clawhand/junit.xml",
        "reports/**",
        "dist/**",
        "coverage.xml",
        "linked/passwd",
    ];
    let (files, left_out) = collected(&run, &wanted, ALL).await;
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_slice()))
        .collect();
    let expected: [(&str, &[u8]); 5] = [
        (".clawhand/junit.xml", b"5\n"),
        ("dist/c.whl", b"3\n"),
        ("reports/a.xml", b"1\n"),
        ("reports/deep/b.xml", b"2\n"),
        ("reports/empty.xml", b""),
    ];
    assert_eq!(files, expected);
    assert_eq!(left_out, ["reports/link.xml", "reports/pipe.xml"]);
    // clawhand's own folder is only opened where it is named.
    let (files, _) = collected(&run, &["**/*.xml"], ALL).await;
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["reports/a.xml", "reports/deep/b.xml", "reports/empty.xml"]);
    run.over(system).await;
}

pub async fn names_that_are_not_utf_8_are_left_out(system: &dyn System) {
    let run = Run::new(system).await;
    let script = "mkdir out; echo x > \"out/$(printf 'bad\\377name')\"; echo y > \"out/with space; \\$(x) 'q'\"; \
        echo z > 'out/two\nlines'";
    let (output, report) = run.sh(script).await;
    assert_eq!((output.as_str(), report.exit_code), ("", Some(0)));
    let (files, left_out) = collected(&run, &["out/*"], ALL).await;
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"out/with space; $(x) 'q'"), "{names:?}");
    assert!(left_out.iter().any(|name| name.contains("bad")), "{left_out:?}");
    // A name with a line break is found or said to be left out.
    let told = names
        .iter()
        .chain(left_out.iter().map(String::as_str).collect::<Vec<_>>().iter())
        .count();
    assert_eq!(told, 3, "{names:?} {left_out:?}");
    run.over(system).await;
}

pub async fn the_workspace_goes_on_from_step_to_step(system: &dyn System) {
    let run = Run::new(system).await;
    run.sh(
        "mkdir -p venv/bin; printf '#!/bin/sh\\necho tool\\n' > venv/bin/tool; chmod 755 venv/bin/tool; \
            ln -s tool venv/bin/link; echo home > $HOME/.config; echo tmp > $TMPDIR/t",
    )
    .await;
    let (output, _) = run.sh("venv/bin/link; cat $HOME/.config $TMPDIR/t; pwd").await;
    let first = output.lines().last().unwrap_or_default().to_owned();
    assert_eq!(output, format!("tool\nhome\ntmp\n{first}\n"));
    let (output, _) = run.sh("pwd").await;
    assert_eq!(output.trim_end(), first, "the same place each time");
    run.over(system).await;
}
