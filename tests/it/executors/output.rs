//! Output: in order, byte by byte, bounded on disk and in memory.

use std::path::Path;
use std::time::Duration;

use clawhand::executors::{Executor as _, StartAttempt};
use nix::sys::stat::Mode;

use super::rig::{LONG, Rig, follow, is_root, sh, until_printed};

#[tokio::test]
async fn stdin_is_at_its_end() {
    let rig = Rig::new().await;
    let (output, report) = rig.run("cat; wc -c; read x || echo none").await;
    assert_eq!(
        (String::from_utf8_lossy(&output).trim(), report.exit_code),
        ("0\nnone", Some(0))
    );
}

#[tokio::test]
async fn every_byte_comes_through_in_the_order_of_both_streams() {
    let rig = Rig::new().await;
    let script =
        "i=0; while [ $i -lt 300 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done; printf '\\000\\377\\376\\r'";
    let (output, _) = rig.run(script).await;
    let mut expected: Vec<u8> = (0..300)
        .flat_map(|i| format!("out{i}\nerr{i}\n").into_bytes())
        .collect();
    expected.extend([0, 255, 254, b'\r']);
    assert_eq!(output, expected);
}

#[tokio::test]
async fn it_is_seen_while_the_work_runs() {
    let rig = Rig::new().await;
    let handle = rig.start(&sh("echo first; sleep 1000")).await;
    until_printed(&rig.executor, &handle, "first\n").await;
    rig.executor.cancel(&handle, Duration::ZERO).await.expect("cancels");
    rig.end_of(&handle).await;
}

/// `seq` up to this prints a bit more than 100 MiB.
const LAST: u64 = 13_000_000;

#[tokio::test]
async fn of_a_hundred_mebibytes_the_beginning_and_the_end_are_kept_in_order() {
    let rig = Rig::new().await;
    let mut start = sh(&format!("seq {LAST}"));
    start.max_output_bytes = 8 * 1024 * 1024;
    let handle = rig.start(&start).await;
    let (output, report) = rig.end_of(&handle).await;
    let text = String::from_utf8(output).expect("is text");
    let (head, rest) = text.split_once("\n[... ").expect("says what is missing");
    let (dropped, tail) = rest
        .split_once(" bytes of output left out ...]\n")
        .expect("says how much");
    assert_eq!(dropped.parse(), Ok(report.output_dropped));
    assert_eq!(tail.len(), 64 * 1024);
    assert_eq!(head.len() + tail.len(), 8 * 1024 * 1024);
    let (whole_lines, _) = head.rsplit_once('\n').expect("has lines");
    let mut lines = whole_lines.lines().enumerate();
    assert!(
        lines.all(|(index, line)| line == (index + 1).to_string()),
        "the beginning is out of order"
    );
    let mut backwards = tail.lines().rev();
    let whole = tail.lines().count() as u64 - 1;
    assert!(
        (0..whole).all(|back| backwards.next() == Some(&(LAST - back).to_string())),
        "the end is out of order"
    );
}

#[tokio::test]
async fn a_gibibyte_takes_the_supervisor_little_memory() {
    let rig = Rig::new().await;
    let gate = Path::new(&rig.workspace.place).join("gate");
    nix::unistd::mkfifo(&gate, Mode::S_IRWXU).expect("makes a pipe");
    std::fs::set_permissions(&gate, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("sets the mode");
    let handle = rig.start(&sh("head -c 1073741824 /dev/zero; read x < gate")).await;
    // Opening it waits for the reader, which comes when all has been printed.
    let opened = tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(gate));
    let gate = opened.await.expect("runs").expect("opens");
    let started = std::fs::read_to_string(Path::new(&handle.place).join("started")).expect("reads");
    let started: serde_json::Value = serde_json::from_str(&started).expect("is JSON");
    let status = std::fs::read_to_string(format!("/proc/{}/status", started["supervisor"]["pid"])).expect("lives");
    let kibibytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("has it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("is a number")
    };
    // Without the program's own file, of which a build without optimization maps a lot.
    let peak = kibibytes("VmHWM:").saturating_sub(kibibytes("RssFile:"));
    drop(gate);
    let (output, report) = rig.end_of(&handle).await;
    assert_eq!(report.output_dropped, (1 << 30) - (1 << 20));
    assert!(output.len() < (1 << 20) + 100);
    assert!(peak < 16 * 1024, "the supervisor took {peak} KiB");
}

#[tokio::test]
async fn a_full_disk_loses_output_but_not_the_exit() {
    if !is_root() {
        eprintln!("left out: a small disk can be mounted by root only");
        return;
    }
    let rig = Rig::new().await;
    let disk = SmallDisk::on(&rig.run_folder());
    let workspace = rig.executor.prepare(rig.execution, &[]).await.expect("prepares");
    let mut start = sh("cat /dev/zero > fill; echo after; head -c 3000000 /dev/zero; exit 9");
    start.max_output_bytes = 1 << 30;
    let handle = rig.executor.start(&workspace, &start).await.expect("starts");
    let (output, report) = rig.end_of(&handle).await;
    assert_eq!(report.exit_code, Some(9));
    assert!(report.output_dropped > 0, "{report:?}");
    assert!((output.len() as u64) < 3_000_000);

    // And what can't be written down is not started.
    let another: StartAttempt = sh("echo ran");
    let refused = rig.executor.start(&workspace, &another).await;
    assert!(
        matches!(refused, Err(clawhand::executors::ExecutorError::StorageFull(_))),
        "{refused:?}"
    );
    std::fs::remove_file(Path::new(&workspace.place).join("fill")).expect("makes room");
    let handle = rig
        .executor
        .start(&workspace, &another)
        .await
        .expect("starts once there is room");
    assert_eq!(follow(&rig.executor, &handle).await.0, b"ran\n");
    drop(disk);
}

/// A disk of 2 MiB in place of a folder, for as long as this lives.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn on(folder: &Path) -> Self {
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0711", "tmpfs"])
            .arg(folder)
            .status();
        assert!(done.expect("runs").success(), "mounts");
        Self(folder.to_path_buf())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn waiting_for_nothing_returns_in_time_and_loses_nothing() {
    let rig = Rig::new().await;
    let handle = rig.start(&sh("read x; sleep 0.2; echo late; sleep 1000")).await;
    let short = rig
        .executor
        .observe(&handle, 0, 100, Duration::from_millis(1))
        .await
        .expect("observes");
    assert!(short.output.is_empty());
    drop(tokio::time::timeout(Duration::from_millis(1), rig.executor.observe(&handle, 0, 100, LONG)).await);
    until_printed(&rig.executor, &handle, "late").await;
    rig.executor.cancel(&handle, Duration::ZERO).await.expect("cancels");
    rig.end_of(&handle).await;
}
