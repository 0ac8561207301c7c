//! Files on their way into and out of a workspace.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clawhand::domain::ExecutionId;
use clawhand::domain::target::LocalBlock;
use clawhand::executors::{CollectLimit, Executor as _, ExecutorError, Input, LocalExecutor};

use super::rig::{Rig, data_folder, settings};

const ALL: CollectLimit = CollectLimit {
    files: 100,
    bytes: 1 << 20,
};

fn globs(globs: &[&str]) -> Vec<String> {
    globs.iter().map(|glob| (*glob).to_owned()).collect()
}

fn input(folder: &Path, name: &str, content: &str) -> Input {
    let file: PathBuf = folder.join(format!("source-{}", ExecutionId::random()));
    std::fs::write(&file, content).expect("writes");
    Input {
        name: name.to_owned(),
        file,
        archive: false,
        mode: 0o644,
    }
}

#[tokio::test]
async fn inputs_are_laid_where_the_work_can_use_and_change_them() {
    let sources = data_folder();
    let mut script = input(
        sources.path(),
        "bin/run",
        "#!/bin/sh\necho ran in $PWD with $(cat data/a/b.txt)\n",
    );
    script.mode = 0o4777;
    let inputs = [script, input(sources.path(), "data/a/b.txt", "data")];
    let rig = Rig::with(LocalBlock::default(), &inputs).await;
    let mut start = super::rig::attempt(&["bin/run"]);
    let handle = rig.start(&start).await;
    let (output, _) = rig.end_of(&handle).await;
    assert_eq!(
        String::from_utf8_lossy(&output),
        format!("ran in {} with data\n", rig.workspace.place)
    );
    let (output, _) = rig
        .run("stat -c %a bin/run data/a/b.txt; echo more >> data/a/b.txt && rm -r data && echo changed")
        .await;
    assert_eq!(String::from_utf8_lossy(&output), "755\n644\nchanged\n");

    // A program with a slash is relative to the workspace wherever the step stands.
    start = super::rig::attempt(&["bin/run"]);
    start.cwd = "bin".to_owned();
    let handle = rig.start(&start).await;
    let (output, _) = rig.end_of(&handle).await;
    assert!(String::from_utf8_lossy(&output).contains(&format!("ran in {}/bin", rig.workspace.place)));
}

#[tokio::test]
async fn prepared_again_it_starts_anew_until_work_was_done_in_it() {
    let rig = Rig::new().await;
    let stray = Path::new(&rig.workspace.place).join("half-laid");
    std::fs::write(&stray, "").expect("writes");
    let inputs = [input(rig.data.path(), "file", "input")];
    rig.executor
        .prepare(rig.execution, &inputs)
        .await
        .expect("prepares again");
    assert!(!stray.exists());
    rig.run("echo work > file").await;
    assert_eq!(
        rig.executor.prepare(rig.execution, &inputs).await.expect("finds it"),
        rig.workspace
    );
    assert_eq!(rig.run("cat file").await.0, b"work\n");
}

#[tokio::test]
async fn names_that_leave_the_workspace_are_refused() {
    let data = data_folder();
    let executor = LocalExecutor::new(settings(data.path()), LocalBlock::default());
    for name in ["../out", "/etc/out", "a/../../out", "", ".", "a//b", "a/", "nul\0byte"] {
        let inputs = [input(data.path(), name, "x")];
        let result = executor.prepare(ExecutionId::random(), &inputs).await;
        assert!(
            matches!(result, Err(ExecutorError::Refused(_))),
            "{name:?} gave {result:?}"
        );
    }
    assert!(!data.path().join("out").exists());
}

#[tokio::test]
async fn archives_are_unpacked_and_later_inputs_win() {
    let sources = data_folder();
    let path = sources.path().join("source.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&path).expect("creates"));
    for (name, content) in [("a.txt", "from the archive"), ("deep/b.txt", "from the archive")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, name, content.as_bytes()).expect("appends");
    }
    tar.finish().expect("finishes");
    let archive = Input {
        name: "source.tar".to_owned(),
        file: path,
        archive: true,
        mode: 0o644,
    };
    let inputs = [archive, input(sources.path(), "deep/b.txt", "on its own")];
    let rig = Rig::with(LocalBlock::default(), &inputs).await;
    let (output, _) = rig.run("cat a.txt deep/b.txt; echo x > a.txt && echo changed").await;
    assert_eq!(String::from_utf8_lossy(&output), "from the archiveon its ownchanged\n");
}

#[tokio::test]
async fn files_are_found_by_their_names_in_order() {
    let rig = Rig::new().await;
    let script = "mkdir -p r/deep .clawhand/reports other; echo 1 > r/b.xml; echo 22 > r/a.xml; echo 333 > r/deep/c.xml; \
        echo x > .clawhand/reports/d.xml; echo x > other/e.txt; echo x > .hidden.xml; chmod 400 r/a.xml; echo x > 'r/ä ö.xml'";
    rig.run(script).await;
    let cases: [(&[&str], &[&str]); 7] = [
        (
            &["**/*.xml"],
            &[".hidden.xml", "r/a.xml", "r/b.xml", "r/deep/c.xml", "r/ä ö.xml"],
        ),
        (&["r/*.xml"], &["r/a.xml", "r/b.xml", "r/ä ö.xml"]),
        (&["r/{a,b}.xml", "r/a.xml"], &["r/a.xml", "r/b.xml"]),
        (&[".clawhand/**/*.xml"], &[".clawhand/reports/d.xml"]),
        (&["other"], &[]),
        (
            &["**"],
            &[
                ".hidden.xml",
                "other/e.txt",
                "r/a.xml",
                "r/b.xml",
                "r/deep/c.xml",
                "r/ä ö.xml",
            ],
        ),
        (&[], &[]),
    ];
    for (patterns, expected) in cases {
        let found = rig
            .executor
            .collect(&rig.workspace, &globs(patterns), ALL)
            .await
            .expect("collects");
        let names: Vec<&str> = found.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, expected, "{patterns:?} left out {:?}", found.left_out);
    }
    let result = rig.executor.collect(&rig.workspace, &globs(&["a["]), ALL).await;
    assert!(matches!(result, Err(ExecutorError::Refused(_))), "{result:?}");
}

#[tokio::test]
async fn links_and_special_files_are_left_out_with_the_reason() {
    let rig = Rig::new().await;
    std::fs::write(rig.data.path().join("outside"), "secret").expect("writes");
    let outside = rig.data.path().display();
    let script = format!(
        "echo real > real; ln -s {outside}/outside to-file; ln -s {outside} to-folder; ln -s real to-real; \
        mkfifo pipe; python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('socket')\"; ln -s nowhere dangling"
    );
    rig.run(&script).await;
    let found = rig
        .executor
        .collect(&rig.workspace, &globs(&["**"]), ALL)
        .await
        .expect("collects");
    let names: Vec<&str> = found.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["real"]);
    let left_out: Vec<(&str, &str)> = found
        .left_out
        .iter()
        .map(|(name, why)| (name.as_str(), why.as_str()))
        .collect();
    assert_eq!(
        left_out,
        [
            ("dangling", "it is a link"),
            ("pipe", "it is not a regular file"),
            ("socket", "it is not a regular file"),
            ("to-file", "it is a link"),
            ("to-folder", "it is a link"),
            ("to-real", "it is a link"),
        ]
    );
    // What was opened stays what it was, whatever becomes of the name.
    let mut file = found.files.into_iter().next().expect("was found").file;
    std::fs::remove_file(Path::new(&rig.workspace.place).join("real")).expect("removes");
    let mut content = String::new();
    file.read_to_string(&mut content).expect("reads");
    assert_eq!(content, "real\n");
}

#[tokio::test]
async fn too_much_is_left_out_with_the_reason() {
    let rig = Rig::new().await;
    rig.run("for i in 1 2 3 4; do printf 12345 > f$i; done; p=.; for i in $(seq 70); do p=$p/d; done; mkdir -p $p; echo x > $p/f").await;
    let cases = [(100, 12, 2), (3, 100, 3), (0, 100, 0), (100, 0, 0), (100, 20, 4)];
    for (files, bytes, expected) in cases {
        let limit = CollectLimit { files, bytes };
        let found = rig
            .executor
            .collect(&rig.workspace, &globs(&["f*"]), limit)
            .await
            .expect("collects");
        assert_eq!(found.files.len(), expected, "{limit:?}");
        let reasons = found
            .left_out
            .iter()
            .filter(|(name, why)| name.starts_with('f') && why.starts_with("more than"));
        assert_eq!(reasons.count(), 4 - expected, "{limit:?}");
    }
    let found = rig
        .executor
        .collect(&rig.workspace, &globs(&["**/f"]), ALL)
        .await
        .expect("collects");
    assert!(found.files.is_empty());
    assert!(
        found.left_out.iter().any(|(_, why)| why == "too many folders deep"),
        "{:?}",
        found.left_out
    );
}

#[tokio::test]
async fn others_cant_look_into_the_folders_of_a_run() {
    let rig = Rig::new().await;
    rig.run("true").await;
    let mode = |path: &Path| std::fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    let run = rig.run_folder();
    for private in ["work", "home", "tmp", "attempts"] {
        assert_eq!(mode(&run.join(private)), 0o700, "{private}");
    }
    for entry in std::fs::read_dir(run.join("attempts")).expect("lists").flatten() {
        assert_eq!(mode(&entry.path()), 0o700);
        for file in std::fs::read_dir(entry.path()).expect("lists").flatten() {
            assert_eq!(mode(&file.path()) & 0o077, 0, "{:?}", file.path());
        }
    }
    assert_eq!((mode(&run), mode(run.parent().expect("has one"))), (0o711, 0o711));
}
