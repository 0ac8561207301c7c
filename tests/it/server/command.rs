//! The command line beside a running server: answering approvals, following, cancelling, fetching, checking.

use std::process::Output;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::caller::text;
use super::gate::{Gate, must};
use super::on_both_servers;
use super::place::{LAB, Place};

on_both_servers!(
    a_person_answers_approvals,
    an_execution_is_followed_and_cancelled,
    artifacts_are_listed_and_fetched,
    an_installation_is_checked,
    a_mistake_in_a_target_is_told_with_its_place,
    a_configuration_is_checked_and_shown,
);

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn a_person_answers_approvals(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let caller = server.caller();
    let mut waiting = Vec::new();
    for word in ["allowed", "denied"] {
        let task = caller.submit("guarded").await;
        caller
            .upload(&task, "one.sh", &gate.script(&format!("gate {word}")))
            .await;
        let started = caller.ok("start_execution", json!({"task_id": task})).await;
        assert_eq!(started["state"], "awaiting_approval", "{started}");
        let question = text(&started, "/approval/question");
        assert!(question.contains("guarded") && question.contains("lab"), "{question}");
        waiting.push((text(&started, "/execution_id"), text(&started, "/approval/id")));
    }
    let own = json!({"approval_id": waiting[0].1, "decision": "allow_once"});
    assert_eq!(caller.refused("respond_to_approval", own).await["code"], "not_allowed");
    let listed = place.ok(&["approvals", "list"]).await;
    assert!(
        waiting.iter().all(|(_, approval)| listed.contains(approval)),
        "{listed}"
    );
    let listed = parsed(&place.ok(&["approvals", "list", "--json"]).await);
    assert_eq!(listed.as_array().expect("a list").len(), 2, "{listed}");

    let said = place
        .ok(&["approvals", "allow", &waiting[0].1, "--reason", "looks good"])
        .await;
    assert_eq!(said, "allowed; the execution is queued\n");
    // The server hears of it and starts at once.
    gate.expect("allowed").await.open().await;
    assert_eq!(caller.followed(&waiting[0].0).await.1["state"], "succeeded");
    let said = place
        .ok(&["approvals", "deny", &waiting[1].1, "--reason", "not on a Friday"])
        .await;
    assert_eq!(said, "denied; the execution is denied\n");
    let (_, result) = caller.followed(&waiting[1].0).await;
    assert_eq!(result["state"], "denied", "{result}");
    assert!(result["reason"].to_string().contains("not on a Friday"), "{result}");
    let again = place.command(&["approvals", "allow", &waiting[1].1]).await;
    assert_eq!(again.status.code(), Some(3), "{}", stderr(&again));
    assert!(stderr(&again).contains("[already_ended]"), "{}", stderr(&again));
    assert!(gate.is_quiet(), "what was denied ran");
    server.stop().await;
}

async fn an_execution_is_followed_and_cancelled(place: &mut Place) {
    let gate = Gate::new().await;
    let server = place.serve().await;
    let caller = server.caller();
    let execution = caller
        .run(&gate.script("echo one; gate here; seq 1 3000; echo two"))
        .await;
    let here = gate.expect("here").await;
    let mut following = place.spawn(&["executions", "logs", "-f", &execution]);
    let mut stdout = following.stdout.take().expect("piped");
    let head = "== step 1 of 1: one (do the first part)\none\n";
    let mut seen = vec![0; head.len()];
    must("it follows", stdout.read_exact(&mut seen)).await.expect("reads");
    here.open().await;
    must("it ends", stdout.read_to_end(&mut seen)).await.expect("reads");
    let status = must("it ends", following.wait()).await.expect("waits");
    assert!(status.success(), "{status}");
    let (log, _) = caller.followed(&execution).await;
    assert_eq!(String::from_utf8(seen).expect("UTF-8"), log);
    assert_eq!(place.ok(&["executions", "logs", &execution]).await, log);

    let execution = caller.run(&gate.script("gate there")).await;
    let there = gate.expect("there").await;
    let said = place
        .ok(&["executions", "cancel", &execution, "--reason", "enough", "--json"])
        .await;
    assert!(parsed(&said)["state"].is_string(), "{said}");
    there.gone().await;
    assert_eq!(caller.followed(&execution).await.1["state"], "cancelled");

    let shown = parsed(&place.ok(&["executions", "show", &execution, "--json"]).await);
    assert_eq!(shown["state"], "cancelled", "{shown}");
    let listed = parsed(
        &place
            .ok(&["executions", "list", "--state", "cancelled", "--json"])
            .await,
    );
    assert_eq!(
        (listed.as_array().expect("a list").len(), &listed[0]["execution_id"]),
        (1, &json!(execution))
    );
    let tasks = parsed(&place.ok(&["tasks", "--json"]).await);
    assert_eq!(tasks["tasks"].as_array().expect("a list").len(), 2, "{tasks}");
    let wrong = place
        .command(&["executions", "show", "exe_00000000000070008000000000000000"])
        .await;
    assert_eq!(wrong.status.code(), Some(3), "{}", stderr(&wrong));
    let wrong = place.command(&["executions", "list", "--state", "flying"]).await;
    assert!(stderr(&wrong).contains("flying"), "{}", stderr(&wrong));
    server.stop().await;
}

async fn artifacts_are_listed_and_fetched(place: &mut Place) {
    let server = place.serve().await;
    let caller = server.caller();
    let execution = caller.run("mkdir out; printf 'a\\000b' > out/file.bin").await;
    caller.followed(&execution).await;
    let listed = parsed(&place.ok(&["artifacts", "list", &execution, "--json"]).await);
    let listed = listed.as_array().expect("a list");
    let roles: Vec<_> = listed
        .iter()
        .map(|row| (text(row, "/role"), text(row, "/name")))
        .collect();
    assert_eq!(
        roles,
        [
            ("input".into(), "one.sh".to_owned()),
            ("output".into(), "out/file.bin".to_owned())
        ]
    );
    let id = text(&listed[1], "/artifact_id");
    assert_eq!(place.ok(&["artifacts", "get", &id]).await, "a\0b");
    let to = place.folder().join("fetched.bin");
    let to = to.to_str().expect("UTF-8");
    place.ok(&["artifacts", "get", &id, "-o", to]).await;
    assert_eq!(std::fs::read(to).expect("there"), b"a\0b");
    let again = place.command(&["artifacts", "get", &id, "-o", to]).await;
    assert!(!again.status.success(), "nothing is overwritten: {}", stderr(&again));
    server.stop().await;
}

async fn an_installation_is_checked(place: &mut Place) {
    let version = place.ok(&["migrate"]).await;
    assert!(version.starts_with("the database is at version "), "{version}");
    assert_eq!(place.ok(&["migrate"]).await, version, "a second time changes nothing");
    let told = String::from_utf8(place.command_unseen(&["doctor"]).await.stdout).expect("UTF-8");
    for part in ["configuration", "targets", "database", "artifacts", "target lab"] {
        assert!(told.contains(&format!("ok   {part}: ")), "no {part} in {told}");
    }
    let told = place.command_unseen(&["doctor", "--json"]).await;
    assert_eq!(told.status.code(), Some(0), "{}", stderr(&told));
    let told = parsed(&String::from_utf8(told.stdout).expect("UTF-8"));
    assert!(
        told.as_array().expect("a list").iter().all(|part| part["ok"] == true),
        "{told}"
    );
    let completions = place.ok(&["completions", "bash"]).await;
    assert!(completions.contains("clawhand") && completions.contains("approvals"));

    place.write_target("lab.toml", "name = 7");
    let told = place.command_unseen(&["doctor"]).await;
    assert_eq!(told.status.code(), Some(3), "{}", stderr(&told));
    assert!(
        String::from_utf8_lossy(&told.stdout).contains("FAIL targets: "),
        "{told:?}"
    );
    place.write_target("lab.toml", LAB);
}

async fn a_mistake_in_a_target_is_told_with_its_place(place: &mut Place) {
    let good = place.ok(&["targets", "check"]).await;
    assert!(
        good.starts_with("1 targets and ") && good.ends_with(" no mistakes\n"),
        "{good}"
    );
    let server = place.serve().await;
    let bad = LAB
        .replace("kind = \"local\"", "kind = \"locla\"")
        .replace("timeout = \"2m\"", "timeout = \"soon\"");
    place.write_target("lab.toml", &bad);
    let told = place.command(&["targets", "check"]).await;
    assert_eq!(told.status.code(), Some(3), "{}", stderr(&told));
    let told = String::from_utf8(told.stdout).expect("UTF-8");
    for (begin, column, hint) in [("kind = ", 8, "local"), ("timeout = ", 11, "15m")] {
        let line = bad.lines().position(|line| line.starts_with(begin)).expect("there") + 1;
        let place = format!("lab.toml:{line}:{column}: ");
        let found = told
            .split("lab.toml:")
            .any(|part| part.starts_with(place.strip_prefix("lab.toml:").expect("just made")) && part.contains(hint));
        assert!(found, "no {place} with {hint} in {told}");
    }
    place.write_target("lab.toml", LAB);
    let explained = place.ok(&["targets", "explain", "lab"]).await;
    assert!(explained.contains("this one lab"), "{explained}");
    let probed = parsed(&place.ok(&["targets", "probe", "lab", "--json"]).await);
    assert!(probed["tools"]["bash"].is_object(), "{probed}");
    server.stop().await;
}

async fn a_configuration_is_checked_and_shown(place: &mut Place) {
    let default = place.ok(&["config", "default"]).await;
    assert!(default.contains("[worker]") && default.contains("# "), "{default}");
    assert!(place.command(&["config", "check"]).await.status.success());
    let shown = String::from_utf8(place.command_unseen(&["config", "show"]).await.stdout).expect("UTF-8");
    assert!(shown.contains("lease = \"3s\""), "what was configured: {shown}");
    assert!(shown.contains("max_request = \"8 MiB\""), "and what was not: {shown}");

    place.configure("[http]\nprot = 1\n");
    let told = place.command(&["config", "check"]).await;
    assert_eq!(told.status.code(), Some(3), "{}", stderr(&told));
    for word in ["clawhand.toml", "line 8", "prot", "port"] {
        assert!(stderr(&told).contains(word), "no {word} in {}", stderr(&told));
    }
    place.configure("");
}
