//! The server is killed with -9 at each stage of an execution on each kind of system. The next one goes on: the log is
//! whole, the work ran once, the result is what it is without a death.

use serde_json::{Value, json};

use super::docker::Containers;
use super::kubernetes::Pods;
use super::proxy::Proxy;
use super::site::{HEAD, Site, both_halves, has_entries, place_at, submit, tell, two_halves, until};
use super::ssh::Host;
use crate::server::caller::{Caller, text};
use crate::server::compared::{assert_log, many_files, settle};
use crate::server::gate::Gate;
use crate::server::place::{Place, Server};

/// Lines before the gate, and after it.
const LINES: u32 = 1000;
/// What a step writes to be collected: so much that collecting takes a while.
const BIG: u64 = 200_000_000;

/// Makes of `async fn name(site: &dyn Site)` a test on each kind of system.
macro_rules! on_every_kind {
    ($($name:ident),* $(,)?) => {
        mod on_ssh {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(site) = super::Host::new() else { return };
                super::$name(&site).await;
            })*
        }
        mod on_docker {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(site) = super::Containers::find().await else { return };
                super::$name(&site).await;
            })*
        }
        mod on_kubernetes {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(site) = super::Pods::find().await else { return };
                super::$name(&site).await;
            })*
        }
    };
}

on_every_kind!(
    a_server_killed_while_a_step_runs_goes_on,
    a_server_killed_while_collecting_collects_again,
);

/// Follows an execution through its gate to the end, and compares it with one that nothing happened to.
async fn assert_as_without_a_death(site: &dyn Site, caller: &Caller, execution: &str) {
    let unharmed = tell(caller, &two_halves(site, LINES)).await;
    caller.until_logged(&unharmed, "at the gate\n").await;
    site.open_gate(&unharmed).await;
    let (log, mut expected) = caller.followed(&unharmed).await;
    assert_eq!(expected["state"], "succeeded", "{expected}\n{log}");
    assert_log(&log, &both_halves(LINES));

    let (log, mut result) = caller.followed(execution).await;
    assert_log(&log, &both_halves(LINES));
    settle(&mut expected, &[]);
    settle(&mut result, &[]);
    assert_eq!(result, expected);
    assert_eq!(expected["artifacts"][0]["text"], "run\n", "{expected}");
    assert_eq!(site.begun(execution).await, 1, "it was started twice");
}

async fn a_server_killed_while_a_step_runs_goes_on(site: &dyn Site) {
    let place = place_at(site);
    let server = place.serve().await;
    let execution = tell(&server.caller(), &two_halves(site, LINES)).await;
    server.caller().until_logged(&execution, "at the gate\n").await;
    server.kill().await;

    let server = place.serve().await;
    site.open_gate(&execution).await;
    assert_as_without_a_death(site, &server.caller(), &execution).await;
    server.stop().await;
    place.end().await;
}

async fn a_server_killed_while_collecting_collects_again(site: &dyn Site) {
    let place = place_at(site);
    let server = place.serve().await;
    let script = format!(
        "echo run >>runs; {}; mkdir out; head -c {BIG} /dev/zero >out/big.bin; cp runs out/small.txt; cat runs",
        site.count()
    );
    let execution = tell(&server.caller(), &script).await;
    server.caller().until(&execution, "collecting").await;
    server.kill().await;

    let server = place.serve().await;
    let (log, result) = server.caller().followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert_eq!(log, format!("{HEAD}run\n"));
    let mut artifacts: Vec<Value> = result["artifacts"].as_array().expect("a list").clone();
    artifacts.sort_by_key(|artifact| text(artifact, "/name"));
    assert_eq!(artifacts.len(), 2, "each output once: {result}");
    assert_eq!(artifacts[0]["size"], BIG, "{result}");
    assert_eq!(artifacts[1]["text"], "run\n", "{result}");
    assert_eq!(site.begun(&execution).await, 1, "it was started twice");
    server.stop().await;
    place.end().await;
}

/// A task with many files, of which its step counts those that it finds.
async fn with_many_files(site: &dyn Site, caller: &Caller) -> String {
    let script = format!(
        "echo run >>runs; {}; find . -type f -name '[0-9]*' | wc -l; cat runs",
        site.count()
    );
    let task = submit(caller, "far", &script).await;
    let asked = caller
        .ok("upload_artifact", json!({"task_id": task, "name": "many.tar.gz"}))
        .await;
    let put = caller.http.put(text(&asked, "/upload_url")).body(many_files(10_000));
    let (status, body) = caller.fetched(put).await;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    task
}

/// The server that is held up while it prepares is killed, and the next one lays everything and runs it once.
async fn prepares_again(site: &dyn Site, (place, held_up): (&Place, Server), execution: &str, let_go: impl FnOnce()) {
    assert_eq!(held_up.caller().status(execution).await["state"], "preparing");
    held_up.kill().await;
    let_go();
    let server = place.serve().await;
    let (log, result) = server.caller().followed(execution).await;
    assert_eq!(result["state"], "succeeded", "{result}\n{log}");
    assert_eq!(
        log,
        format!("{HEAD}10000\nrun\n"),
        "a file too many or too few was laid out"
    );
    assert_eq!(site.begun(execution).await, 1, "it was started twice");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_it_prepares_an_ssh_host_prepares_again() {
    let Some(host) = Host::new() else { return };
    let place = place_at(&host);
    let server = place.serve().await;
    let caller = server.caller();
    let task = with_many_files(&host, &caller).await;
    let execution = caller.start(&task).await;
    let work = host.run_folder(&execution).join("work");
    until("the first file is there", || has_entries(&work)).await;
    // So that the last doesn't come before the server is killed.
    host.way.stand_still();
    prepares_again(&host, (&place, server), &execution, || host.way.open()).await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_it_prepares_a_docker_volume_prepares_again() {
    let Some(mut site) = Containers::find().await else {
        return;
    };
    let mut proxy = Proxy::to(&site.endpoint);
    site.endpoint = proxy.endpoint.clone();
    let place = place_at(&site);
    let server = place.serve().await;
    let caller = server.caller();
    let task = with_many_files(&site, &caller).await;
    proxy.hold("PUT /");
    let execution = caller.start(&task).await;
    proxy.holds().await;
    prepares_again(&site, (&place, server), &execution, || proxy.lose()).await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_it_prepares_a_pod_of_kubernetes_prepares_again() {
    let Some(site) = Pods::find().await else { return };
    let place = place_at(&site);
    let server = place.serve().await;
    let caller = server.caller();
    let task = with_many_files(&site, &caller).await;
    let execution = caller.start(&task).await;
    // It has yet to come up, and to be given ten thousand files.
    site.seen.until(&format!("inputs {execution}")).await;
    prepares_again(&site, (&place, server), &execution, || {}).await;
    place.end().await;
}

/// What a step says that is about to be started when the server dies.
fn short_tale(site: &dyn Site) -> String {
    format!(
        "echo run >>runs; {}; mkdir out; cp runs out/runs.txt; cat runs",
        site.count()
    )
}

async fn assert_ran_once(site: &dyn Site, server: &Server, execution: &str) {
    let (log, result) = server.caller().followed(execution).await;
    assert_eq!(result["state"], "succeeded", "{result}\n{log}");
    assert_eq!(log, format!("{HEAD}run\n"));
    assert_eq!(result["artifacts"][0]["text"], "run\n", "{result}");
    assert_eq!(site.begun(execution).await, 1, "it was started twice");
}

/// A host on which supervisors knock before they begin, and wait until they are let in.
async fn slow_host() -> Option<(Host, Gate)> {
    let mut host = Host::new()?;
    let gate = Gate::new().await;
    host.supervise_with(&gate.script("gate start"));
    Some((host, gate))
}

/// Starts an execution of which the supervisor knocks; that of the probe is over by then.
async fn start_slowly(host: &Host, server: &Server) -> String {
    let caller = server.caller();
    let task = submit(&caller, "far", &short_tale(host)).await;
    host.slow_down();
    caller.start(&task).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_over_ssh_that_ends_without_its_server_is_found() {
    let Some((host, gate)) = slow_host().await else { return };
    let place = place_at(&host);
    let server = place.serve().await;
    let execution = start_slowly(&host, &server).await;
    let starting = gate.expect("start").await;
    server.kill().await;
    starting.open().await;
    let server = place.serve().await;
    // It can't know, and asks.
    gate.expect("start").await.open().await;
    assert_ran_once(&host, &server, &execution).await;
    assert!(gate.is_quiet(), "it was asked a third time");
    server.stop().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_over_ssh_that_is_late_is_no_second_one() {
    let Some((host, gate)) = slow_host().await else { return };
    let place = place_at(&host);
    let server = place.serve().await;
    let execution = start_slowly(&host, &server).await;
    let late = gate.expect("start").await;
    server.kill().await;
    let server = place.serve().await;
    let second = gate.expect("start").await;
    let third = async {
        second.open().await;
        late.open().await;
    };
    let (_, ()) = tokio::join!(assert_ran_once(&host, &server, &execution), third);
    server.stop().await;
    place.end().await;
}

/// A step of Docker's that is started when the server dies, and what becomes of the request.
async fn killed_at_a_start_of_docker(then: impl FnOnce(&Proxy)) {
    let Some(mut site) = Containers::find().await else {
        return;
    };
    let mut proxy = Proxy::to(&site.endpoint);
    site.endpoint = proxy.endpoint.clone();
    let place = place_at(&site);
    let server = place.serve().await;
    let caller = server.caller();
    let task = submit(&caller, "far", &short_tale(&site)).await;
    proxy.hold("/start");
    let execution = caller.start(&task).await;
    proxy.holds().await;
    assert_eq!(caller.status(&execution).await["state"], "running");
    server.kill().await;
    then(&proxy);
    let server = place.serve().await;
    let (log, result) = server.caller().followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}\n{log}");
    assert_eq!(log, format!("{HEAD}run\n"));
    assert_eq!(result["artifacts"][0]["text"], "run\n", "{result}");
    // A container that was started without its job did nothing and is removed.
    assert!(site.begun(&execution).await <= 2, "it was started too often");
    server.stop().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_of_docker_that_is_lost_with_its_server_is_made_again() {
    killed_at_a_start_of_docker(Proxy::lose).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_of_docker_that_outlives_its_server_runs_nothing_twice() {
    killed_at_a_start_of_docker(Proxy::let_through).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_a_pod_of_kubernetes_comes_up_starts_it_once() {
    let Some(site) = Pods::find().await else { return };
    let place = place_at(&site);
    let server = place.serve().await;
    let execution = tell(&server.caller(), &short_tale(&site)).await;
    site.seen.until(&format!("attempt {execution}")).await;
    assert_eq!(site.begun(&execution).await, 0, "it has not begun yet");
    server.kill().await;
    let server = place.serve().await;
    assert_ran_once(&site, &server, &execution).await;
    server.stop().await;
    place.end().await;
}
