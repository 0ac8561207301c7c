//! A Docker daemon on a host that is reached over SSH: the sshd and the user are the test's, and so is the socket that the
//! user may use.

use clawhand::domain::target::{DockerBlock, DockerSsh, ExecutorBlock};
use clawhand::executors::{Executor as _, ExecutorError};
use nix::unistd::User;

use super::docker_doors::{Behind, Door, is_carried, socket};
use super::rig::patiently;
use super::ssh_rig::Sshd;
use super::ssh_way::Way;
use super::suite::{Run, sh};
use super::suite_docker::Daemon;

type Host = Behind<(Sshd, Door)>;

async fn on_a_host() -> Option<Host> {
    let daemon = Daemon::find().await?;
    let sshd = Sshd::start()?;
    let place = sshd.folder.path().join("docker.sock");
    let door = Door::unix(&place, socket(&daemon));
    let user = User::from_name("cwt-dash").expect("looks").expect("is there");
    std::os::unix::fs::chown(&place, Some(user.uid.as_raw()), None).expect("gives it away");
    std::fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("sets the mode");
    let ssh = DockerSsh {
        host: sshd.block("dash"),
        socket: place.display().to_string(),
    };
    let block = DockerBlock {
        endpoint: format!("ssh://cwt-dash@127.0.0.1:{}{}", sshd.port, place.display()),
        ssh: Some(Box::new(ssh)),
        ..daemon.block()
    };
    let way = (sshd, door);
    Some(Behind { daemon, block, way })
}

is_carried!(on_a_host());

#[test]
fn the_way_to_a_host_is_read_from_a_target() {
    let text = "name = \"box\"\ndescription = \"far\"\nintents = [\"test\"]\n[executor]\nkind = \"docker\"\nimage = \"x:1\"\n\
        endpoint = \"ssh://ci@build1:2222/run/docker.sock\"\n[executor.ssh]\nknown_hosts = \"/k\"\nidentity_file = \"/i\"\n\
        jump = [\"gate\"]\n";
    let snapshot = crate::recipes::loaded(&[("box.toml", text)]).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let executor = &snapshot.targets[0].executor;
    let private = executor.private_texts();
    for text in ["build1", "gate", "/k", "/i"] {
        assert!(
            private.iter().any(|private| private == text),
            "{text} is not in {private:?}"
        );
    }
    assert!(!private.contains(&String::new()));
    let ExecutorBlock::Docker(block) = executor else {
        panic!("{executor:?}");
    };
    let DockerSsh { host, socket } = &**block.ssh.as_ref().expect("has a way");
    assert_eq!(
        (host.user.as_str(), host.host.as_str(), host.port),
        ("ci", "build1", 2222)
    );
    assert_eq!(
        (host.known_hosts.as_str(), host.identity_file.as_deref()),
        ("/k", Some("/i"))
    );
    assert_eq!(
        (host.jump[0].user.as_str(), socket.as_str()),
        ("ci", "/run/docker.sock")
    );
}

fn through(host: &Host, change: impl Fn(&mut DockerSsh)) -> DockerBlock {
    let mut block = host.block.clone();
    block.ssh.iter_mut().for_each(|ssh| change(ssh));
    block
}

#[tokio::test]
async fn an_operator_reads_what_is_wrong_with_the_host() {
    let Some(host) = on_a_host().await else { return };
    let sshd = &host.way.0;
    let file = |name: &str, text: &str| {
        let path = sshd.folder.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path.display().to_string()
    };
    let nobody = file("nobody_known", "");
    let other_key = sshd.folder.path().join("other_key").display().to_string();
    let roots_own = sshd.folder.path().join("roots.sock");
    let _roots = Door::unix(&roots_own, socket(&host.daemon));
    std::fs::set_permissions(&roots_own, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("sets the mode");
    for (block, what, hint) in [
        (
            through(&host, |ssh| ssh.host.known_hosts = nobody.clone()),
            "Host key verification failed",
            "ssh-keyscan",
        ),
        (
            through(&host, |ssh| ssh.host.identity_file = Some(other_key.clone())),
            "Permission denied",
            "authorized_keys",
        ),
        (through(&host, |ssh| ssh.host.port = 1), "refused", "sshd listens"),
        (
            through(&host, |ssh| ssh.socket = "/nowhere/docker.sock".to_owned()),
            "",
            "AllowStreamLocalForwarding",
        ),
        (
            through(&host, |ssh| ssh.socket = roots_own.display().to_string()),
            "",
            "the user may use the socket",
        ),
    ] {
        let executor = host.daemon.with(block);
        let trouble = executor.probe().await.expect_err("is wrong");
        assert!(trouble.what.contains(what), "{what}: {trouble:?}");
        assert!(trouble.hint.contains(hint), "{hint}: {trouble:?}");
    }
    let stranger = host
        .daemon
        .with(through(&host, |ssh| ssh.host.known_hosts = nobody.clone()));
    let refused = stranger.leftovers().await;
    assert!(matches!(refused, Err(ExecutorError::Refused(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_costs_no_line() {
    let Some(mut host) = on_a_host().await else { return };
    let sshd = &host.way.0;
    let way = Way::to(sshd.port);
    sshd.know(&[way.port]);
    host.block = through(&host, |ssh| ssh.host.port = way.port);
    let run = Run::new(&host).await;
    let script = "echo run >> count; for n in 1 2 3 4 5 6 7 8; do echo line $n; sleep 1; done; wc -l < count; exit 3";
    let handle = run.start(&sh(script)).await;
    let mut output = run.until_printed(&handle, "line 2\n").await.into_bytes();
    way.cut();
    let asked = run.executor.leftovers().await;
    assert!(matches!(asked, Err(ExecutorError::Unreachable(_))), "{asked:?}");
    way.open();
    let (report, unreached) = patiently(&*run.executor, &handle, &mut output).await;
    println!("{unreached} looks found the way cut");
    let lines: String = (1..=8).map(|n| format!("line {n}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&output), format!("{lines}1\n"));
    assert_eq!(report.exit_code, Some(3), "{report:?}");
    run.over(&host).await;
}
