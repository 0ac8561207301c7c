//! Steps that misbehave: what callers are told of them is true, bounded and whole, and nothing of them stays.

use serde_json::{Value, json};

use super::caller::{Caller, text};
use super::gate::Gate;
use super::on_both_servers;
use super::place::Place;

on_both_servers!(
    a_grandchild_that_left_is_ended_with_its_step,
    work_that_ignores_term_is_ended_by_a_cancel,
    work_that_ignores_term_is_ended_by_its_timeout,
    a_flood_of_output_is_bounded,
    bytes_that_are_no_text_are_shown_as_such,
    nobody_waits_for_input_or_for_a_held_pipe,
);

const HEAD: &str = "== step 1 of 1: one (do the first part)\n";

/// A step of two processes, the second a daemon: another session, another parent, deaf to TERM and HUP.
fn with_a_daemon(gate: &Gate, rest: &str) -> String {
    let daemon = gate.script("trap '' TERM HUP; gate daemon; echo never");
    let quoted = daemon.replace('\'', "'\\''");
    gate.script(&format!("(setsid bash -c '{quoted}' &) & wait; trap '' TERM; {rest}"))
}

async fn a_grandchild_that_left_is_ended_with_its_step(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let execution = server.caller().run(&with_a_daemon(&gate, "gate main; echo done")).await;
    let (one, other) = (gate.visit().await, gate.visit().await);
    let (main, daemon) = if one.said == "main" { (one, other) } else { (other, one) };
    main.open().await;
    let (log, result) = server.caller().followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert_eq!(log, format!("{HEAD}done\n"));
    daemon.gone().await;
    server.stop().await;
}

async fn work_that_ignores_term_is_ended_by_a_cancel(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let caller = server.caller();
    let execution = caller
        .run(&with_a_daemon(&gate, "echo deaf; gate main; echo never"))
        .await;
    let (one, other) = (gate.visit().await, gate.visit().await);
    let cancelled = caller
        .ok(
            "cancel_execution",
            json!({"execution_id": execution, "reason": "enough"}),
        )
        .await;
    assert!(
        ["running", "cancelled"].contains(&cancelled["state"].as_str().expect("a word")),
        "{cancelled}"
    );
    let (log, result) = caller.followed(&execution).await;
    assert_eq!(result["state"], "cancelled", "{result}");
    assert_eq!(result["reason"]["code"], "cancelled", "{result}");
    assert_eq!(result["steps"][0]["state"], "cancelled", "{result}");
    assert_eq!(log, format!("{HEAD}deaf\n"));
    one.gone().await;
    other.gone().await;
    let again = caller.ok("cancel_execution", json!({"execution_id": execution})).await;
    assert_eq!(again["state"], "cancelled", "a second cancel tells how it ended");
    server.stop().await;
}

async fn work_that_ignores_term_is_ended_by_its_timeout(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let caller = server.caller();
    let task = caller.submit_with("run", json!({"timeout_s": 1})).await;
    let script = with_a_daemon(&gate, "echo slow; gate main; echo never");
    caller.upload(&task, "one.sh", &script).await;
    let execution = caller.start(&task).await;
    let (one, other) = (gate.visit().await, gate.visit().await);
    let (log, result) = caller.followed(&execution).await;
    assert_eq!(result["state"], "timed_out", "{result}");
    assert_eq!(result["reason"]["code"], "timeout", "{result}");
    assert_eq!(log, format!("{HEAD}slow\n"));
    one.gone().await;
    other.gone().await;
    server.stop().await;
}

/// The most memory that a process ever had, in bytes.
fn peak(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("told");
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number");
    kib * 1024
}

async fn a_flood_of_output_is_bounded(place: &mut Place) {
    const PRINTED: u64 = 256 << 20;
    const KEPT: u64 = 4 << 20;
    let server = place.serve().await;
    let caller = server.caller();
    let script = format!("echo first; yes 0123456789abcde | head -c {}; echo last.", PRINTED - 12);
    // What it needs to know of the target is known before memory is compared.
    let task = caller.submit("run").await;
    caller.upload(&task, "one.sh", &script).await;
    let before = peak(server.pid());
    let execution = caller.start(&task).await;
    caller.until(&execution, "succeeded").await;
    let grown = peak(server.pid()).saturating_sub(before);
    assert!(grown < 64 << 20, "the server grew by {grown} bytes");

    let (log, result) = caller.followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert!(log.starts_with(&format!("{HEAD}first\n0123456789abcde\n")));
    assert!(log.ends_with("0123456789abcde\n0123last.\n"), "the end is kept");
    let (begin, rest) = log.split_once("\n[... ").expect("it says that something was left out");
    let (dropped, end) = rest.split_once(" bytes of output left out ...]\n").expect("how much");
    let kept = (begin.len() - HEAD.len() + end.len()) as u64;
    assert_eq!(kept, KEPT, "what the target allows is kept");
    assert_eq!(
        kept + dropped.parse::<u64>().expect("a number"),
        PRINTED,
        "every byte is accounted for"
    );
    server.stop().await;
}

async fn bytes_that_are_no_text_are_shown_as_such(place: &mut Place) {
    let server = place.serve().await;
    let caller = server.caller();
    let script = r"printf 'a\000b\377\376c\033[31mred\033[0m\r\n\303\244 \342\202\254 \360\237\230\200 \303\n'; head -c 3 /dev/zero; echo end";
    let execution = caller.run(script).await;
    let (log, result) = caller.followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    let expected = "a\0b\u{fffd}\u{fffd}c\u{1b}[31mred\u{1b}[0m\r\nä € 😀 \u{fffd}\n\0\0\0end\n";
    assert_eq!(log, format!("{HEAD}{expected}"));
    server.stop().await;
}

async fn ended_as(caller: &Caller, script: &str) -> (String, Value) {
    let execution = caller.run(script).await;
    caller.followed(&execution).await
}

async fn nobody_waits_for_input_or_for_a_held_pipe(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let caller = server.caller();
    let (log, result) = ended_as(&caller, "read -r line; echo \"read: $?\"; wc -c").await;
    assert_eq!(
        (text(&result, "/state"), log),
        ("succeeded".into(), format!("{HEAD}read: 1\n0\n"))
    );

    let (log, result) = ended_as(&caller, "exec 0<&- 1>&- 2>&-; exit 4").await;
    assert_eq!((text(&result, "/state"), log), ("failed".into(), HEAD.to_owned()));
    assert_eq!(result["exit_code"], 4, "{result}");

    let execution = caller
        .run(&gate.script("(gate holder; echo never) & echo out; exit 3"))
        .await;
    let holder = gate.visit().await;
    let (log, result) = caller.followed(&execution).await;
    assert_eq!(
        (text(&result, "/state"), log),
        ("failed".into(), format!("{HEAD}out\n"))
    );
    assert_eq!(result["exit_code"], 3, "{result}");
    holder.gone().await;

    let (_, result) = ended_as(&caller, "kill -9 $$").await;
    assert_eq!(result["state"], "failed", "{result}");
    assert!(text(&result, "/reason/message").contains("signal 9"), "{result}");
    server.stop().await;
}
