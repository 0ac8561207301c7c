//! A group's execution whose server dies, on targets of this machine: each member is run once, and one result comes.

use serde_json::json;

use super::caller::text;
use super::gate::Gate;
use super::on_both_servers;
use super::place::{LAB, Place};

on_both_servers!(
    a_server_killed_in_the_middle_of_a_group_starts_no_member_twice,
    a_server_killed_again_and_again_ends_the_group_all_the_same,
    the_command_line_runs_a_group,
);

const GROUP: &str = r#"
name = "fleet"
description = "both"
intents = ["run"]

[executor]
kind = "group"
members = ["a", "b", "c"]
at_once = 2
"#;

/// The only targets are those of the group: planning waits for what is learned of them, so that no server is killed
/// while it looks at a target.
fn with_group(place: &Place) {
    std::fs::remove_file(place.targets().join("lab.toml")).expect("removed");
    for name in ["a", "b", "c"] {
        let member = LAB.replace("name = \"lab\"", &format!("name = \"{name}\""));
        place.write_target(&format!("{name}.toml"), &member);
    }
    place.write_target("fleet.toml", GROUP);
}

async fn started(server: &super::place::Server, script: &str) -> String {
    let caller = server.caller();
    let arguments = json!({
        "project_name": "story", "goal": "see what happens", "target_ref": "fleet", "execution_intent": "run",
    });
    let task = text(&caller.ok("submit_task", arguments).await, "/task_id");
    caller.upload(&task, "one.sh", script).await;
    caller.start(&task).await
}

async fn a_server_killed_in_the_middle_of_a_group_starts_no_member_twice(place: &mut Place) {
    with_group(place);
    let gate = Gate::new().await;
    let server = place.serve().await;
    let execution = started(&server, &gate.script("gate here; mkdir -p out; echo done > out/it.txt")).await;
    let (first, second) = (gate.expect("here").await, gate.expect("here").await);
    server.kill().await;
    // One ends while nobody lives.
    first.open().await;

    let server = place.serve().await;
    let third = gate.expect("here").await;
    second.open().await;
    third.open().await;
    let (log, result) = server.caller().followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert_eq!(result["members"].as_array().map(Vec::len), Some(3));
    assert_eq!(result["artifacts"].as_array().map(Vec::len), Some(3));
    let told = (log.matches("started as").count(), log.matches(": succeeded").count());
    assert_eq!(told, (3, 3), "{log}");
    assert!(gate.is_quiet(), "a member was started twice");
    server.stop().await;
}

async fn a_server_killed_again_and_again_ends_the_group_all_the_same(place: &mut Place) {
    with_group(place);
    let gate = Gate::new().await;
    let server = place.serve().await;
    let execution = started(&server, &gate.script("gate here")).await;
    server.log.until("driving").await;
    server.kill().await;
    // Each dies when it has just begun: wherever the group stands then, the next goes on from there.
    for _ in 0..3 {
        let server = place.serve().await;
        server.log.until("driving").await;
        server.kill().await;
    }
    let server = place.serve().await;
    for _ in 0..3 {
        gate.expect("here").await.open().await;
    }
    let (log, result) = server.caller().followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert_eq!(log.matches("started as").count(), 3, "{log}");
    assert!(gate.is_quiet(), "a member was started twice");
    server.stop().await;
}

async fn the_command_line_runs_a_group(place: &mut Place) {
    with_group(place);
    let project = place.folder().join("project");
    std::fs::create_dir_all(&project).expect("made");
    for (script, code, words) in [
        ("echo fine", 0, "3 of 3 members succeeded"),
        ("exit 4", 1, "c was skipped"),
    ] {
        std::fs::write(project.join("one.sh"), script).expect("written");
        let output = place
            .command(&[
                "run",
                "--target",
                "fleet",
                "--intent",
                "run",
                &project.display().to_string(),
            ])
            .await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(said.contains("\n  a: ") && said.contains("\n  b: "), "{said}");
    }
}
