//! What only a host over SSH can go through: a way that is cut, a key that changes, a supervisor that is lost.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clawhand::domain::ExecutionId;
use clawhand::executors::posix::StartedNote;
use clawhand::executors::{AttemptState, Executor, ExecutorError, Handle, Observation};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::rig::{LONG, follow, processes_of, sh, until_printed};
use super::ssh_rig::{SHELLS, Sshd};
use super::ssh_way::Way;

/// Observes as the engine does: what can't be reached is asked again.
async fn patiently(executor: &dyn Executor, handle: &Handle, from: usize) -> (Vec<u8>, AttemptState, u32) {
    let (mut output, mut unreached) = (Vec::new(), 0);
    loop {
        let from = (from + output.len()) as u64;
        match executor.observe(handle, from, 1 << 20, LONG).await {
            Ok(Observation { output: more, state }) => {
                output.extend_from_slice(&more);
                if state != AttemptState::Running {
                    return (output, state, unreached);
                }
            }
            Err(ExecutorError::Unreachable(_)) => unreached += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_loses_no_line_and_runs_nothing_twice() {
    let Some(sshd) = Sshd::start() else { return };
    let way = Way::to(sshd.port);
    sshd.know(&[way.port]);
    let mut block = sshd.block("dash");
    block.port = way.port;
    let executor = sshd.executor(&block);
    let execution = ExecutionId::random();
    let workspace = executor.prepare(execution, &[]).await.expect("prepares");
    let script = "echo run >> runs; i=0; while [ $i -lt 80 ]; do i=$((i+1)); echo line $i; sleep 0.1; done; cat runs";
    let start = sh(script);
    let handle = executor.start(&workspace, &start).await.expect("starts");
    let before = until_printed(&executor, &handle, "line 5\n").await;
    way.cut();
    // Out of reach: whatever is asked now, several times over.
    for _ in 0..3 {
        let seen = executor.observe(&handle, before.len() as u64, 1 << 20, LONG).await;
        assert!(matches!(seen, Err(ExecutorError::Unreachable(_))), "{seen:?}");
        let again = executor.start(&workspace, &start).await;
        assert!(matches!(again, Err(ExecutorError::Unreachable(_))), "{again:?}");
    }
    way.open();
    // Asked again whether it started, as one that never heard of it would ask.
    assert_eq!(executor.start(&workspace, &start).await.expect("finds it"), handle);
    let (after, state, _) = patiently(&executor, &handle, before.len()).await;
    let expected: String = (1..=80)
        .map(|n| format!("line {n}\n"))
        .chain(["run\n".to_owned()])
        .collect();
    assert_eq!(before + &String::from_utf8_lossy(&after), expected);
    assert!(matches!(state, AttemptState::Ended(report) if report.exit_code == Some(0)));
    executor.clean_up(execution).await.expect("cleans up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_stands_still_is_noticed() {
    let Some(sshd) = Sshd::start() else { return };
    let way = Way::to(sshd.port);
    sshd.know(&[way.port]);
    let mut block = sshd.block("dash");
    block.port = way.port;
    let executor = sshd.executor(&block);
    let execution = ExecutionId::random();
    let workspace = executor.prepare(execution, &[]).await.expect("prepares");
    let handle = executor
        .start(&workspace, &sh("echo begun; sleep 1000"))
        .await
        .expect("starts");
    until_printed(&executor, &handle, "begun").await;
    way.stand_still();
    let seen = tokio::time::timeout(LONG, executor.observe(&handle, 6, 100, LONG)).await;
    let seen = seen.expect("does not wait for ever");
    assert!(matches!(seen, Err(ExecutorError::Unreachable(_))), "{seen:?}");
    way.cut();
    way.open();
    executor
        .cancel(&handle, Duration::from_secs(10))
        .await
        .expect("cancels");
    let (_, state, _) = patiently(&executor, &handle, 6).await;
    assert!(matches!(state, AttemptState::Ended(report) if report.cancelled));
    executor.clean_up(execution).await.expect("cleans up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_supervisor_is_a_loss_and_leaves_nothing() {
    for shell in SHELLS {
        let Some(sshd) = Sshd::start() else { return };
        let block = sshd.block(shell);
        let executor = sshd.executor(&block);
        let execution = ExecutionId::random();
        let workspace = executor.prepare(execution, &[]).await.expect("prepares");
        let script = "echo begun; setsid sleep 1000 & sleep 1000";
        let handle = executor.start(&workspace, &sh(script)).await.expect("starts");
        until_printed(&executor, &handle, "begun").await;
        let note = std::fs::read_to_string(Path::new(&handle.place).join("started")).expect("reads");
        let note = StartedNote::parse(&note).expect("parses");
        kill(Pid::from_raw(note.pid.cast_signed()), Signal::SIGKILL).expect("kills");
        let (output, state) = follow(&executor, &handle).await;
        assert_eq!(output, b"begun\n", "{shell}");
        assert_eq!(
            state,
            AttemptState::Lost("the supervisor was lost".to_owned()),
            "{shell}"
        );
        assert_eq!(
            processes_of(&[handle.attempt.to_string()]),
            Vec::<i32>::new(),
            "{shell}"
        );
        assert_eq!(marked(&format!("CLAWHAND_SUPERVISOR={}", handle.attempt)), 0, "{shell}");
        executor.clean_up(execution).await.expect("cleans up");

        // Of another boot nothing is known, not even when a process has the same number.
        let execution = ExecutionId::random();
        let workspace = executor.prepare(execution, &[]).await.expect("prepares");
        let handle = executor.start(&workspace, &sh("echo done")).await.expect("starts");
        follow(&executor, &handle).await;
        let place = Path::new(&handle.place);
        std::fs::write(place.join("exit"), " ".repeat(2048)).expect("writes");
        let note = std::fs::read_to_string(place.join("started")).expect("reads");
        std::fs::write(place.join("started"), note.replace("boot=", "boot=another-")).expect("writes");
        let (output, state) = follow(&executor, &handle).await;
        assert_eq!(
            (output.as_slice(), state),
            (&b"done\n"[..], AttemptState::Lost("the host was restarted".to_owned()))
        );
        executor.clean_up(execution).await.expect("cleans up");
        let (_, state) = follow(&executor, &handle).await;
        assert!(matches!(state, AttemptState::Lost(_)), "{shell}: {state:?}");
    }
}

fn marked(mark: &str) -> usize {
    let numbers = std::fs::read_dir("/proc").expect("lists").flatten();
    let environments = numbers.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    environments
        .filter(|environ| String::from_utf8_lossy(environ).contains(mark))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_up_ends_what_runs() {
    for shell in SHELLS {
        let Some(sshd) = Sshd::start() else { return };
        let block = sshd.block(shell);
        let executor = sshd.executor(&block);
        let execution = ExecutionId::random();
        let workspace = executor.prepare(execution, &[]).await.expect("prepares");
        let script =
            "trap '' TERM; mkdir locked; touch locked/in; chmod 0 locked; echo begun; while :; do sleep 1; done";
        let handle = executor.start(&workspace, &sh(script)).await.expect("starts");
        until_printed(&executor, &handle, "begun").await;
        assert_eq!(executor.leftovers().await.expect("lists"), [execution], "{shell}");
        executor.clean_up(execution).await.expect("cleans up");
        assert_eq!(
            processes_of(&[handle.attempt.to_string()]),
            Vec::<i32>::new(),
            "{shell}"
        );
        assert_eq!(marked(&format!("CLAWHAND_SUPERVISOR={}", handle.attempt)), 0, "{shell}");
        assert_eq!(std::fs::read_dir(&block.root).expect("lists").count(), 0, "{shell}");
        assert_eq!(executor.leftovers().await.expect("lists"), [], "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_watch_leave_room_for_those_who_start() {
    let Some(sshd) = Sshd::start() else { return };
    let executor = sshd.executor(&sshd.block("dash"));
    let execution = ExecutionId::random();
    let workspace = executor.prepare(execution, &[]).await.expect("prepares");
    let mut handles = Vec::new();
    for _ in 0..12 {
        handles.push(executor.start(&workspace, &sh("sleep 1000")).await.expect("starts"));
    }
    let watching = handles.iter().map(|handle| executor.observe(handle, 0, 100, LONG));
    let working = async {
        for _ in 0..3 {
            let handle = executor.start(&workspace, &sh("echo done")).await.expect("starts");
            assert_eq!(follow(&executor, &handle).await.0, b"done\n");
        }
    };
    tokio::select! {
        () = working => {}
        seen = futures_util::future::join_all(watching) => panic!("nothing was started meanwhile: {seen:?}"),
    }
    executor.clean_up(execution).await.expect("cleans up");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_reached_through_others() {
    let Some((near, far)) = Sshd::start().zip(Sshd::start()) else {
        return;
    };
    // The far host lets nobody in but with its own key, so both have to know the same one.
    for name in ["key", "key.pub"] {
        std::fs::copy(near.folder.path().join(name), far.folder.path().join(name)).expect("copies");
    }
    let known = |sshd: &Sshd| std::fs::read_to_string(sshd.folder.path().join("known_hosts")).expect("reads");
    std::fs::write(far.folder.path().join("known_hosts"), known(&near) + &known(&far)).expect("writes");
    let mut block = far.block("bash");
    block.jump = vec![near.jump("dash"), near.jump("busybox")];
    let executor = far.executor(&block);
    let execution = ExecutionId::random();
    let workspace = executor.prepare(execution, &[]).await.expect("prepares");
    let handle = executor.start(&workspace, &sh("id -un; exit 7")).await.expect("starts");
    let (output, state) = follow(&executor, &handle).await;
    assert_eq!(output, b"cwt-bash\n");
    assert!(matches!(state, AttemptState::Ended(report) if report.exit_code == Some(7)));
    executor.clean_up(execution).await.expect("cleans up");

    // A jump host is no less strict than the host itself.
    std::fs::write(
        far.folder.path().join("known_hosts"),
        known(&far).replace(&known(&near), ""),
    )
    .expect("writes");
    let trouble = far
        .executor(&block)
        .probe()
        .await
        .expect_err("does not know the jump host");
    assert!(trouble.what.contains("host key"), "{trouble:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_leaves_nothing_but_what_was_learned() {
    let Some(sshd) = Sshd::start() else { return };
    let good = sshd.block("dash");
    let facts = sshd.executor(&good).probe().await.expect("probes");
    assert_eq!(
        (facts.os.as_str(), facts.tools.contains_key("dash")),
        ("linux", true),
        "{facts:?}"
    );
    assert_eq!(std::fs::read_dir(&good.root).expect("lists").count(), 0);
    // What it calls itself is known from then on, also to another process of clawhand.
    let itself = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("reads");
    let private = sshd.executor(&good).private_texts(ExecutionId::random());
    assert!(
        private.contains(&(itself.trim().to_owned(), "[host]".to_owned())),
        "{private:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_apart() {
    let Some(sshd) = Sshd::start() else { return };
    let good = sshd.block("dash");
    let other = |change: &dyn Fn(&mut clawhand::domain::target::SshBlock)| {
        let mut block = good.clone();
        change(&mut block);
        block
    };
    let key = sshd
        .folder
        .path()
        .join("other_key")
        .to_str()
        .expect("is text")
        .to_owned();
    let missing = sshd.folder.path().join("missing").to_str().expect("is text").to_owned();
    let empty = sshd.folder.path().join("empty");
    std::fs::write(&empty, "").expect("writes");
    let empty = empty.to_str().expect("is text").to_owned();
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("binds")
        .local_addr()
        .expect("has one")
        .port();
    let cases: [(clawhand::domain::target::SshBlock, &str, bool); 6] = [
        (
            other(&|block| block.identity_file = Some(key.clone())),
            "authorized_keys",
            true,
        ),
        (
            other(&|block| block.identity_file = Some(missing.clone())),
            "clawhand's own machine",
            true,
        ),
        (
            other(&|block| block.known_hosts.clone_from(&empty)),
            "ssh-keyscan",
            true,
        ),
        (other(&|block| block.port = closed), "host is up", false),
        (
            other(&|block| block.host = "no-such-host.invalid".into()),
            "correct host",
            false,
        ),
        (
            other(&|block| block.user = "cwt-nobody".into()),
            "authorized_keys",
            true,
        ),
    ];
    for (block, hint, is_refused) in cases {
        let executor = sshd.executor(&block);
        let trouble = executor.probe().await.expect_err("is wrong");
        assert!(trouble.hint.contains(hint), "{trouble:?}: {}", trouble.hint);
        let prepared = executor.prepare(ExecutionId::random(), &[]).await;
        assert_eq!(
            matches!(prepared, Err(ExecutorError::Refused(_))),
            is_refused,
            "{prepared:?}"
        );
        assert_eq!(
            matches!(prepared, Err(ExecutorError::Unreachable(_))),
            !is_refused,
            "{prepared:?}"
        );
    }

    // The folder of somebody else is not taken.
    let taken = other(&|block| block.root = "/var/tmp".into());
    let prepared = sshd.executor(&taken).prepare(ExecutionId::random(), &[]).await;
    assert!(matches!(prepared, Err(ExecutorError::Refused(_))), "{prepared:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_agents_open_the_door() {
    let Some(sshd) = Sshd::start() else { return };
    let at = |name: &str| sshd.folder.path().join(name).to_str().expect("is text").to_owned();
    let run = |program: &str, args: &[&str]| {
        let status = Command::new(program)
            .args(args)
            .stderr(Stdio::null())
            .env("SSH_AUTH_SOCK", at("agent"))
            .status();
        assert!(status.expect("runs").success(), "{program} {args:?}");
    };
    // A key that the host doesn't know, with a certificate of whom it trusts.
    run(
        "ssh-keygen",
        &[
            "-q",
            "-s",
            &at("ca_key"),
            "-I",
            "test",
            "-n",
            "cwt-dash",
            &at("other_key.pub"),
        ],
    );
    // Beside the key ssh would find it by itself.
    std::fs::rename(at("other_key-cert.pub"), at("certificate.pub")).expect("moves");
    let mut block = sshd.block("dash");
    block.identity_file = Some(at("other_key"));
    assert!(sshd.executor(&block).prepare(ExecutionId::random(), &[]).await.is_err());
    block.certificate_file = Some(at("certificate.pub"));
    sshd.executor(&block)
        .prepare(ExecutionId::random(), &[])
        .await
        .expect("gets in with a certificate");

    let mut agent = Command::new("ssh-agent")
        .args(["-D", "-a", &at("agent")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts an agent");
    let mut said = String::new();
    BufReader::new(agent.stdout.take().expect("is piped"))
        .read_line(&mut said)
        .expect("is heard");
    run("ssh-add", &["-q", &at("key")]);
    let mut block = sshd.block("dash");
    (block.identity_file, block.agent) = (None, Some(at("agent")));
    let prepared = sshd.executor(&block).prepare(ExecutionId::random(), &[]).await;
    kill(Pid::from_raw(agent.id().cast_signed()), Signal::SIGTERM).expect("ends");
    agent.wait().expect("ends");
    prepared.expect("gets in with an agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_another_key_is_refused() {
    let Some(mut sshd) = Sshd::start() else { return };
    let good = sshd.block("dash");
    let before = std::fs::read_to_string(&good.known_hosts).expect("reads");
    sshd.change_key();
    let before = before.split_once(' ').expect("has a key").1;
    std::fs::write(&good.known_hosts, format!("[127.0.0.1]:{} {before}", sshd.port)).expect("writes");
    let changed = sshd.executor(&sshd.block("dash"));
    let trouble = changed.probe().await.expect_err("has changed");
    assert!(
        trouble.hint.contains("somebody may be in between"),
        "{trouble:?}: {}",
        trouble.hint
    );
    let prepared = changed.prepare(ExecutionId::random(), &[]).await;
    assert!(matches!(prepared, Err(ExecutorError::Refused(_))), "{prepared:?}");
}
