//! What the work can't do.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use clawhand::domain::ExecutionId;
use clawhand::domain::target::LocalBlock;
use clawhand::executors::local::RUN_USER;
use clawhand::executors::{Executor as _, ExecutorError, LocalExecutor, ProcessLimits};

use super::rig::{Rig, attempt, data_folder, is_root, settings, sh, until_printed};

/// What is enforced on this machine: the tests below hold only where the kernel has the means.
async fn isolation(rig: &Rig) -> Vec<String> {
    let handle = rig.start(&sh("true")).await;
    rig.end_of(&handle).await;
    let note = std::fs::read(Path::new(&handle.place).join("exit.json")).expect("reads");
    let note: serde_json::Value = serde_json::from_slice(&note).expect("is JSON");
    serde_json::from_value(note["isolation"].clone()).expect("is a list")
}

async fn has_landlock(rig: &Rig) -> bool {
    let has = isolation(rig).await.contains(&"landlock".to_owned());
    if !has {
        eprintln!("left out: this kernel has no landlock");
    }
    has
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim().to_owned()
}

#[tokio::test]
async fn it_runs_as_its_own_user_without_privileges() {
    let rig = Rig::new().await;
    let (output, report) = rig
        .run("id -u; id -G; umask; grep -E '^(NoNewPrivs|Seccomp|CapEff|CapBnd):' /proc/self/status")
        .await;
    let text = text(&output);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(report.exit_code, Some(0), "{text}");
    if is_root() {
        let number = RUN_USER.to_string();
        assert_eq!(lines[..2], [[number.as_str()], [number.as_str()]], "{text}");
    }
    assert_eq!(lines[2], ["0022"]);
    let status: Vec<[&str; 2]> = lines[3..].iter().map(|line| [line[0], line[1]]).collect();
    assert!(status.contains(&["CapEff:", "0000000000000000"]), "{text}");
    assert!(
        status.contains(&["NoNewPrivs:", "1"]) && status.contains(&["Seccomp:", "2"]),
        "{text}"
    );
}

#[tokio::test]
async fn the_run_user_can_be_named_but_is_never_root() {
    if !is_root() {
        eprintln!("left out: only root runs steps as somebody else");
        return;
    }
    let named = LocalBlock {
        user: Some("nobody".to_owned()),
        ..LocalBlock::default()
    };
    let rig = Rig::with(named, &[]).await;
    let (output, _) = rig.run("id -un; touch mine; stat -c %U mine $HOME $TMPDIR").await;
    assert_eq!(text(&output), ["nobody"; 4].join("\n"));
    let shown = rig.executor.private_texts(rig.execution);
    assert!(shown.contains(&("nobody".to_owned(), "[user]".to_owned())), "{shown:?}");
    for user in ["root", "0", "no-such-user"] {
        let block = LocalBlock {
            user: Some(user.to_owned()),
            ..LocalBlock::default()
        };
        let executor = LocalExecutor::new(settings(rig.data.path()), block);
        let refused = executor.prepare(ExecutionId::random(), &[]).await;
        assert!(
            matches!(refused, Err(ExecutorError::Refused(_))),
            "{user} gave {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_data_folder_that_the_run_user_cant_get_to_is_refused_with_the_reason() {
    if !is_root() {
        eprintln!("left out: only root runs steps as somebody else");
        return;
    }
    let data = data_folder();
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o700)).expect("sets the mode");
    let executor = LocalExecutor::new(settings(data.path()), LocalBlock::default());
    let refused = executor.prepare(ExecutionId::random(), &[]).await;
    let Err(ExecutorError::Refused(text)) = refused else {
        panic!("gave {refused:?}")
    };
    assert!(text.contains(&data.path().display().to_string()), "{text}");
}

/// Connects to itself over loopback, then to a port of the machine.
const CONNECT: &str = "import socket, sys
own = socket.create_server(('127.0.0.1', 0))
socket.create_connection(own.getsockname(), 5).close()
print('loopback', flush=True)
socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5).close()
print('machine')";

#[tokio::test]
async fn without_the_network_there_is_a_loopback_of_its_own_and_nothing_else() {
    let outside = TcpListener::bind("127.0.0.1:0").expect("listens");
    let port = outside.local_addr().expect("has one").port().to_string();
    let rig = Rig::new().await;
    let handle = rig.start(&attempt(&["python3", "-c", CONNECT, &port])).await;
    let (output, report) = rig.end_of(&handle).await;
    let said = text(&output);
    assert!(!said.contains("machine") && report.exit_code == Some(1), "{said}");
    if isolation(&rig).await.contains(&"network_namespace".to_owned()) {
        assert!(said.starts_with("loopback\n"), "{said}");
        let (output, _) = rig.run("tail -n +3 /proc/net/dev | cut -d: -f1").await;
        assert_eq!(text(&output), "lo");
    } else {
        eprintln!("left out: without namespaces there is no loopback, and no socket for one");
        assert!(said.contains("Operation not permitted"), "{said}");
    }

    let networked = LocalBlock {
        network: true,
        ..LocalBlock::default()
    };
    let rig = Rig::with(networked, &[]).await;
    let handle = rig.start(&attempt(&["python3", "-c", CONNECT, &port])).await;
    assert_eq!(text(&rig.end_of(&handle).await.0), "loopback\nmachine");
}

#[tokio::test]
async fn it_reads_and_writes_only_where_it_may() {
    let extra = data_folder();
    std::fs::write(extra.path().join("readable"), "may").expect("writes");
    let rig = Rig::new().await;
    if !has_landlock(&rig).await {
        return;
    }
    // Readable for all as far as modes go: it is the fence that is tested.
    let secret = rig.data.path().join("database");
    std::fs::write(&secret, "secret").expect("writes");
    let other = ExecutionId::random();
    let other = rig.executor.prepare(other, &[]).await.expect("prepares");
    let handle = rig
        .executor
        .start(&other, &sh("echo secret > file; chmod 644 file; chmod 755 ."))
        .await
        .expect("starts");
    rig.end_of(&handle).await;
    let place = &other.place;
    let outside = std::env::temp_dir().join(format!("{}", rig.execution));
    let (data, outside) = (rig.data.path().display(), outside.display());
    let denied = [
        format!("cat {data}/database"),
        format!("cat {place}/file"),
        format!("ls {place}"),
        format!("ls {data}/runs"),
        format!("cat {}/spec.json", handle.place),
        format!("echo x > {place}/new"),
        format!("echo x > {outside}"),
        "ls /root".to_owned(),
        "ls /home".to_owned(),
        format!("ln {place}/file linked"),
        "ln -s / root && ls root/root".to_owned(),
        "mknod device c 1 3".to_owned(),
    ];
    for command in denied {
        let (output, report) = rig.run(&command).await;
        assert_ne!(report.exit_code, Some(0), "{command} worked: {}", text(&output));
        assert!(!text(&output).contains("secret\n"), "{command}");
    }
    assert!(!Path::new(&outside.to_string()).exists());
    let allowed = [
        "echo x > a && mkdir d && mv a d/b && cat d/b".to_owned(),
        "echo x > $HOME/a && ln $HOME/a $TMPDIR/b".to_owned(),
        "echo x > /dev/null && head -c 1 /dev/urandom > b && echo x > /dev/shm/$$ && rm /dev/shm/$$".to_owned(),
        "cat /etc/passwd /proc/self/stat /proc/cpuinfo > /dev/null && ls /usr/lib > /dev/null".to_owned(),
        "echo x > /dev/stderr && echo y > /dev/stdout".to_owned(),
        format!("cat {}/readable", extra.path().display()),
    ];
    for command in allowed {
        let (output, report) = rig.run(&command).await;
        assert_eq!(report.exit_code, Some(0), "{command} did not work: {}", text(&output));
    }
}

#[tokio::test]
async fn what_is_hidden_can_be_made_readable_by_the_target() {
    let data = data_folder();
    let shown = data.path().join("shown");
    std::fs::create_dir(&shown).expect("makes a folder");
    std::fs::write(shown.join("file"), "seen").expect("writes");
    for (read_paths, works) in [(vec![shown.display().to_string()], true), (vec![], false)] {
        let block = LocalBlock {
            read_paths,
            ..LocalBlock::default()
        };
        let executor = LocalExecutor::new(settings(data.path()), block);
        let execution = ExecutionId::random();
        let workspace = executor.prepare(execution, &[]).await.expect("prepares");
        let start = attempt(&["cat", &shown.join("file").display().to_string()]);
        let handle = executor.start(&workspace, &start).await.expect("starts");
        let (output, _) = super::rig::follow(&executor, &handle).await;
        assert_eq!(output == b"seen", works, "{}", text(&output));
        executor.clean_up(execution).await.expect("cleans up");
    }
}

#[tokio::test]
async fn it_reaches_no_process_but_its_own() {
    let rig = Rig::new().await;
    if !has_landlock(&rig).await {
        return;
    }
    let other = ExecutionId::random();
    let workspace = rig.executor.prepare(other, &[]).await.expect("prepares");
    let mut start = sh("echo pid $$; exec sleep 1000");
    start.secrets = [("TOKEN".to_owned(), "s3cret-value".to_owned())].into();
    let handle = rig.executor.start(&workspace, &start).await.expect("starts");
    let printed = until_printed(&rig.executor, &handle, "\n").await;
    let pid = printed.trim().strip_prefix("pid ").expect("is printed").to_owned();
    for command in [
        format!("kill -0 {pid}"),
        format!("kill -9 {pid}"),
        format!("cat /proc/{pid}/environ"),
    ] {
        let (output, report) = rig.run(&command).await;
        assert_ne!(report.exit_code, Some(0), "{command} worked");
        assert!(!text(&output).contains("s3cret"));
    }
    rig.executor
        .cancel(&handle, Duration::from_secs(10))
        .await
        .expect("cancels");
    assert_eq!(rig.end_of(&handle).await.1.signal, Some(15));
    rig.executor.clean_up(other).await.expect("cleans up");
}

#[tokio::test]
async fn its_processes_have_limits() {
    let rig = Rig::new().await;
    let limits = ProcessLimits {
        max_file_bytes: Some(1 << 20),
        max_memory_bytes: Some(1 << 30),
        max_processes: Some(200),
    };
    let mut start = attempt(&["cat", "/proc/self/limits"]);
    start.limits = limits;
    let handle = rig.start(&start).await;
    let shown = text(&rig.end_of(&handle).await.0);
    for (name, value) in [
        ("core file size", 0),
        ("file size", 1 << 20),
        ("address space", 1 << 30),
        ("processes", 200),
    ] {
        let line = shown
            .lines()
            .find(|line| line.starts_with(&format!("Max {name}")))
            .expect("is shown");
        let numbers: Vec<&str> = line
            .split_whitespace()
            .filter(|word| word.parse::<u64>().is_ok())
            .collect();
        assert_eq!(numbers, [value.to_string(), value.to_string()], "{line}");
    }
    let mut start = attempt(&["dd", "if=/dev/zero", "of=large", "bs=1M", "count=3"]);
    start.limits = limits;
    let handle = rig.start(&start).await;
    let (output, report) = rig.end_of(&handle).await;
    assert_eq!(
        report.signal,
        Some(25),
        "SIGXFSZ was expected, not {report:?} with {:?}",
        text(&output)
    );
}

#[tokio::test]
async fn a_probe_lists_what_steps_can_use() {
    let data = data_folder();
    let executor = LocalExecutor::new(settings(data.path()), LocalBlock::default());
    let facts = executor.probe().await.expect("probes");
    assert_eq!(
        (facts.os.as_str(), facts.arch.as_str()),
        ("linux", std::env::consts::ARCH)
    );
    assert_eq!(facts.tools.get("sh").map(|tool| tool.version.as_str()), Some(""));
    let tar = &facts.tools.get("tar").expect("is there").version;
    assert!(tar.starts_with("1."), "tar {tar}");
    assert!(!facts.tools.contains_key("no-such-tool"));
    assert!(facts.isolation.contains(&"network_isolation".to_owned()), "{facts:?}");
    assert_eq!(facts.isolation.contains(&"own_user".to_owned()), is_root());
    assert_eq!(
        std::fs::read_dir(data.path().join("runs")).expect("lists").count(),
        0,
        "the probe left something"
    );
}

#[tokio::test]
async fn programs_that_insist_on_common_folders_find_their_own() {
    // Not below /tmp itself, where the run folder would be covered.
    let data = tempfile::tempdir_in("/var/tmp").expect("makes a folder");
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o711)).expect("sets the mode");
    let executor = LocalExecutor::new(settings(data.path()), LocalBlock::default());
    let execution = ExecutionId::random();
    let workspace = executor.prepare(execution, &[]).await.expect("prepares");
    let name = format!("/tmp/{execution}");
    let start = sh(&format!(
        "echo x > {name} && cat $TMPDIR/{execution} && ls /tmp && echo x > /dev/shm/{execution}"
    ));
    let handle = executor.start(&workspace, &start).await.expect("starts");
    let (output, _) = super::rig::follow(&executor, &handle).await;
    if text(&output).contains("denied") {
        eprintln!("left out: without namespaces there is no /tmp of its own");
    } else {
        assert_eq!(text(&output), format!("x\n{execution}"));
    }
    assert!(!Path::new(&name).exists());
    if is_root() {
        assert!(!Path::new("/dev/shm").join(execution.to_string()).exists());
    }
    executor.clean_up(execution).await.expect("cleans up");
}
