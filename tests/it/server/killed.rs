//! The server or the supervisor dies, at every stage: the same execution goes on and is told truly, or it ends as
//! unknown; it never runs twice.

use std::fmt::Write as _;

use nix::sys::signal::Signal;
use serde_json::json;

use super::caller::{Caller, text};
use super::compared::{assert_log, many_files};
use super::gate::{Gate, Visit, must};
use super::on_both_servers;
use super::place::{Place, Server};
use super::process;

on_both_servers!(
    a_killed_server_goes_on_where_it_was,
    a_server_killed_again_and_again_loses_no_line,
    servers_killed_as_soon_as_they_begin_start_nothing_twice,
    a_server_killed_while_preparing_prepares_again,
    a_step_that_ends_while_no_server_lives_is_not_lost,
    a_server_killed_while_collecting_collects_again,
    a_killed_supervisor_is_unknown_and_never_runs_twice,
    a_killed_server_and_supervisor_are_unknown,
    what_may_be_repeated_is_started_again,
    a_server_that_is_asked_to_stop_hands_over,
);

const HEAD: &str = "== step 1 of 1: one (do the first part)\n";

/// Lines with their numbers.
fn lines(from: u32, to: u32) -> String {
    (from..=to).fold(String::new(), |mut all, number| {
        let _ = writeln!(all, "line {number}");
        all
    })
}

/// A script that prints 1000 lines between one gate and the next.
fn counting(gate: &Gate, gates: u32) -> String {
    let body = format!(
        "for part in $(seq 1 {gates}); do gate \"at $part\"; seq -f 'line %.0f' $((part * 1000 - 999)) $((part * 1000)); done"
    );
    gate.script(&body)
}

fn assert_counted(log: &str, gates: u32) {
    let expected = format!("{HEAD}{}", lines(1, gates * 1000));
    assert_log(log, &expected);
}

async fn a_killed_server_goes_on_where_it_was(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let execution = server.caller().run(&counting(&gate, 2)).await;
    gate.expect("at 1").await.open().await;
    let second = gate.expect("at 2").await;
    server.kill().await;

    let server = place.serve().await;
    second.open().await;
    let (log, result) = server.caller().followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert_counted(&log, 2);
    assert!(gate.is_quiet(), "it was started twice");
    server.stop().await;
}

async fn a_server_killed_again_and_again_loses_no_line(place: &mut Place) {
    let gate = Gate::new().await;
    let mut server = place.serve().await;
    let execution = server.caller().run(&counting(&gate, 6)).await;
    for part in 1..=5 {
        let visit = gate.expect(&format!("at {part}")).await;
        // It has the work in its hands again before it is killed in the midst of the next lines.
        server.caller().until(&execution, "running").await;
        visit.open().await;
        server.kill().await;
        server = place.serve().await;
    }
    gate.expect("at 6").await.open().await;
    let (log, result) = server.caller().followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert_counted(&log, 6);
    assert!(gate.is_quiet(), "it was started twice");
    server.stop().await;
}

async fn servers_killed_as_soon_as_they_begin_start_nothing_twice(place: &mut Place) {
    const EXECUTIONS: usize = 8;
    let gate = Gate::new().await;
    let server = place.serve().await;
    let caller = server.caller();
    let mut executions = Vec::new();
    for number in 0..EXECUTIONS {
        executions.push(
            caller
                .run(&gate.script(&format!("gate {number}; echo done {number}")))
                .await,
        );
    }
    server.log.until("driving").await;
    server.kill().await;
    // The next one takes over whatever stage each is in, and dies of the same.
    let server = place.serve().await;
    server.log.until("driving").await;
    server.kill().await;

    let server = place.serve().await;
    let mut said = Vec::new();
    for _ in 0..EXECUTIONS {
        let visit = gate.visit().await;
        said.push(visit.said.clone());
        visit.open().await;
    }
    for (number, execution) in executions.iter().enumerate() {
        let (log, result) = server.caller().followed(execution).await;
        assert_eq!(result["state"], "succeeded", "{result}");
        assert_eq!(log, format!("{HEAD}done {number}\n"));
    }
    said.sort();
    said.dedup();
    assert_eq!(said.len(), EXECUTIONS, "one was started twice: {said:?}");
    assert!(gate.is_quiet(), "one was started twice");
    server.stop().await;
}

async fn what_may_be_repeated_is_started_again(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let caller = server.caller();
    let task = caller.submit("careless").await;
    caller
        .upload(&task, "one.sh", &gate.script("echo before; gate here; echo after"))
        .await;
    let execution = caller.start(&task).await;
    let lost = gate.expect("here").await;
    caller.until_logged(&execution, "before\n").await;
    process::signal(place.supervisor(&execution), Signal::SIGKILL);
    lost.gone().await;
    gate.expect("here").await.open().await;
    let (log, result) = caller.followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    let head = "== step 1 of 1: again (do what may be repeated)\n";
    assert_eq!(log, format!("{head}before\n{head}before\nafter\n"));
    server.stop().await;
}

async fn a_server_killed_while_preparing_prepares_again(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let caller = server.caller();
    let task = caller.submit("run").await;
    caller
        .upload(&task, "one.sh", &gate.script("gate here; find . -type f | wc -l"))
        .await;
    let asked = caller
        .ok("upload_artifact", json!({"task_id": task, "name": "many.tar.gz"}))
        .await;
    let put = caller.http.put(text(&asked, "/upload_url")).body(many_files(20_000));
    let (status, body) = caller.fetched(put).await;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    let execution = caller.start(&task).await;
    caller.until(&execution, "preparing").await;
    server.kill().await;

    let server = place.serve().await;
    gate.expect("here").await.open().await;
    let (log, result) = server.caller().followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert_eq!(
        log,
        format!("{HEAD}20001\n"),
        "one file too many or too few was laid out"
    );
    assert!(gate.is_quiet(), "it was started twice");
    server.stop().await;
}

/// Two steps, of which the first is about to end.
async fn at_the_end_of_the_first(caller: &Caller, gate: &Gate) -> String {
    let task = caller.submit("both").await;
    caller
        .upload(&task, "one.sh", &gate.script("echo a; gate one; echo b"))
        .await;
    caller.upload(&task, "two.sh", &gate.script("gate two; echo c")).await;
    caller.start(&task).await
}

async fn a_step_that_ends_while_no_server_lives_is_not_lost(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let execution = at_the_end_of_the_first(&server.caller(), &gate).await;
    let first = gate.expect("one").await;
    let supervisor = place.supervisor(&execution);
    // It sees nothing any more, so that the step surely ends between the two servers.
    server.signal(Signal::SIGSTOP);
    first.open().await;
    process::ended(supervisor).await;
    server.kill().await;

    let server = place.serve().await;
    gate.expect("two").await.open().await;
    let (log, result) = server.caller().followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    let expected = "== step 1 of 2: one (do the first part)\na\nb\n== step 2 of 2: two (do the second part)\nc\n";
    assert_eq!(log, expected);
    assert!(gate.is_quiet(), "a step was started twice");
    server.stop().await;
}

async fn a_server_killed_while_collecting_collects_again(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let caller = server.caller();
    let script =
        gate.script("mkdir out; head -c 200000000 /dev/zero > out/big.bin; echo small > out/small.txt; gate made");
    let execution = caller.run(&script).await;
    gate.expect("made").await.open().await;
    caller.until(&execution, "collecting").await;
    server.kill().await;

    let server = place.serve().await;
    let (_, result) = server.caller().followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    let mut artifacts: Vec<_> = result["artifacts"].as_array().expect("a list").clone();
    artifacts.sort_by_key(|artifact| text(artifact, "/name"));
    assert_eq!(artifacts.len(), 2, "each output once: {result}");
    assert_eq!(artifacts[0]["size"], 200_000_000, "{result}");
    assert_eq!(artifacts[1]["text"], "small\n", "{result}");
    assert!(gate.is_quiet(), "it was started twice");
    server.stop().await;
}

/// What is known of an execution whose supervisor is gone.
async fn assert_lost(server: &Server, execution: &str) {
    let (log, result) = server.caller().followed(execution).await;
    let state = text(&result, "/state");
    assert!(["unknown", "infra_failed"].contains(&state.as_str()), "{result}");
    assert!(
        log.starts_with(&format!("{HEAD}before\n")),
        "what it said is kept: {log:?}"
    );
    assert!(!log.contains("after"), "{log:?}");
    assert_eq!(result["reason"]["retryable"], false, "{result}");
    assert!(!text(&result, "/reason/hint").is_empty(), "{result}");
}

/// A step with a child in a session of its own; both stand at the gate, and what was said before is kept.
async fn astray(server: &Server, gate: &Gate) -> (String, [Visit; 2]) {
    let caller = server.caller();
    let execution = caller.run(&with_a_stray(gate)).await;
    let visits = [gate.visit().await, gate.visit().await];
    // What is still in the pipe goes with the supervisor.
    caller.until_logged(&execution, "before\n").await;
    (execution, visits)
}

fn with_a_stray(gate: &Gate) -> String {
    let stray = gate.script("gate stray");
    let quoted = stray.replace('\'', "'\\''");
    gate.script(&format!(
        "echo before; setsid bash -c '{quoted}' & gate main; echo after"
    ))
}

async fn a_killed_supervisor_is_unknown_and_never_runs_twice(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let (execution, [one, other]) = astray(&server, &gate).await;
    process::signal(place.supervisor(&execution), Signal::SIGKILL);
    one.gone().await;
    other.gone().await;
    assert_lost(&server, &execution).await;
    assert!(gate.is_quiet(), "it was started twice");
    server.stop().await;
}

async fn a_killed_server_and_supervisor_are_unknown(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let (execution, [one, other]) = astray(&server, &gate).await;
    let supervisor = place.supervisor(&execution);
    server.signal(Signal::SIGSTOP);
    process::signal(supervisor, Signal::SIGKILL);
    server.kill().await;
    let server = place.serve().await;
    assert_lost(&server, &execution).await;
    one.gone().await;
    other.gone().await;
    assert!(gate.is_quiet(), "it was started twice");
    server.stop().await;
}

async fn a_server_that_is_asked_to_stop_hands_over(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let execution = server.caller().run(&counting(&gate, 2)).await;
    gate.expect("at 1").await.open().await;
    let second = gate.expect("at 2").await;
    // Somebody waits for news of it, and must not hold the stop up.
    let status = server.caller().status(&execution).await;
    let cursor = text(&status, "/log/next_cursor");
    let ask = json!({"execution_id": execution, "cursor": cursor, "wait_ms": 25_000});
    let caller = server.caller();
    let waiting = caller.raw("get_status", ask);
    let stopping = must("the server stops", server.stop());
    let (_, waited) = tokio::join!(stopping, waiting);
    // An answer or a closed connection; but no answer that is wrong.
    if let Ok((status, body)) = waited {
        assert!(!body.contains("\"done\":true"), "{status}: {body}");
    }

    let server = place.serve().await;
    second.open().await;
    let (log, result) = server.caller().followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert_counted(&log, 2);
    assert!(gate.is_quiet(), "it was started twice");
    server.stop().await;
}
