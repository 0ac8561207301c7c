//! The network to a host is cut for half a minute, or for good, while a step runs there.

use std::time::Duration;

use clawhand::domain::target::SshBlock;

use super::site::{HEAD, Site as _, place_at, tell, until};
use super::ssh::Host;
use crate::executors::ssh_way::Way;
use crate::server::caller::{Caller, text};
use crate::server::compared::assert_log;
use crate::server::place::Place;

/// As long as the promise says.
const CUT: Duration = Duration::from_secs(30);
/// Lines that a step prints, ten in a second: more than a cut is long.
const LINES: u32 = 450;

fn tale(host: &Host) -> String {
    format!(
        "echo run >>runs; {}; n=0; while [ $n -lt {LINES} ]; do n=$((n + 1)); echo \"line $n\"; sleep 0.1; done; cat runs\n",
        host.count()
    )
}

/// What callers are told while the host can't be reached: that the step runs, which it does. Looked at each second.
async fn stays_running(caller: &Caller, execution: &str, within: Duration) {
    let mut looks = tokio::time::interval(Duration::from_secs(1));
    let over = tokio::time::Instant::now() + within;
    while tokio::time::Instant::now() < over {
        looks.tick().await;
        let status = caller.status(execution).await;
        assert_eq!(status["state"], "running", "{status}");
        assert_eq!(status["step"], "tell", "{status}");
        assert_eq!(status["log"]["done"], false, "{status}");
    }
}

/// Runs a step that is longer than the cut, and cuts its host off in the middle.
async fn costs_nothing(cut: impl Fn(&Way)) {
    let Some(host) = Host::new() else { return };
    let place = place_at(&host);
    let server = place.serve().await;
    let caller = server.caller();
    let execution = tell(&caller, &tale(&host)).await;
    let (followed, ()) = tokio::join!(caller.followed(&execution), async {
        caller.until_logged(&execution, "line 30\n").await;
        cut(&host.way);
        stays_running(&caller, &execution, CUT).await;
        host.way.open();
    });
    let (log, result) = followed;
    assert_eq!(result["state"], "succeeded", "{result}");
    let lines: String = (1..=LINES).map(|n| format!("line {n}\n")).collect();
    assert_log(&log, &format!("{HEAD}{lines}run\n"));
    assert_eq!(host.begun(&execution).await, 1, "it was started twice");
    assert!(
        server.log.text().contains("the executor could not do it"),
        "it was cut off"
    );
    server.stop().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_minute_without_network_costs_an_ssh_target_nothing() {
    costs_nothing(Way::cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_minute_of_silence_costs_an_ssh_target_nothing() {
    costs_nothing(Way::stand_still).await;
}

/// Everything that happens with a server that gives up early.
async fn given_up(host: &Host, place: &Place) -> (String, String) {
    let server = place.serve().await;
    let caller = server.caller();
    let script = format!(
        "echo before; {}; mkfifo gate; read -r word <gate; echo after",
        host.count()
    );
    let execution = tell(&caller, &script).await;
    caller.until_logged(&execution, "before\n").await;
    until("it has counted itself", || {
        std::fs::metadata(host.run_folder(&execution).join("work/gate")).is_ok()
    })
    .await;
    host.way.cut();
    let (log, result) = caller.followed(&execution).await;
    assert_eq!(result["state"], "unknown", "{result}");
    assert_eq!(result["reason"]["code"], "lost", "{result}");
    assert_eq!(result["reason"]["retryable"], false, "{result}");
    assert!(!text(&result, "/reason/hint").is_empty(), "{result}");
    server.stop().await;
    (execution, log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ssh_target_that_is_gone_for_good_is_unknown_and_never_runs_twice() {
    let Some(host) = Host::new() else { return };
    let place = place_at(&host);
    place.configure("[worker]\nlease = \"3s\"\ngrace = \"1s\"\nunreachable = \"4s\"\n");
    let (execution, log) = given_up(&host, &place).await;
    assert_eq!(log, format!("{HEAD}before\n"), "what it said is kept");
    let folder = host.run_folder(&execution);
    assert!(folder.exists(), "nobody could remove it");

    // It comes back, and so does clawhand: what was left there is ended and removed, and nothing is started.
    host.way.open();
    let server = place.serve().await;
    until("the run folder is removed", || !folder.exists()).await;
    let caller = server.caller();
    let (log, result) = caller.followed(&execution).await;
    assert_eq!(result["state"], "unknown", "{result}");
    assert_eq!(log, format!("{HEAD}before\n"));
    assert_eq!(host.begun(&execution).await, 1, "it was started twice");
    // The host is as good as new.
    let execution = tell(&caller, "echo again").await;
    let (log, result) = caller.followed(&execution).await;
    assert_eq!(
        (log, result["state"].as_str()),
        (format!("{HEAD}again\n"), Some("succeeded"))
    );
    server.stop().await;
    place.end().await;
}

/// A host whose port nobody listens at.
pub fn unreachable(block: &SshBlock) -> SshBlock {
    let free = std::net::TcpListener::bind((block.host.as_str(), 0)).expect("binds");
    let port = free.local_addr().expect("has one").port();
    SshBlock { port, ..block.clone() }
}
