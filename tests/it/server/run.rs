//! `clawhand run`: the main job in one command, and the codes it exits with.

use std::path::PathBuf;
use std::process::Output;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::gate::{Gate, must};
use super::on_both_servers;
use super::place::{Log, Place};
use super::process;

on_both_servers!(
    how_the_work_ended_is_the_exit_code,
    what_is_refused_is_told_apart,
    a_person_may_say_no_and_time_may_run_out,
    an_interrupt_cancels_and_a_second_leaves_alone,
);

fn project(place: &Place, script: &str) -> String {
    let folder: PathBuf = place.folder().join("project");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("one.sh"), script).expect("written");
    folder.to_str().expect("UTF-8").to_owned()
}

async fn run(place: &Place, project: &str, more: &[&str]) -> Output {
    let arguments = [&["run", project, "--target", "lab", "--intent", "run"], more].concat();
    place.command(&arguments).await
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}: {}\n--\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

async fn how_the_work_ended_is_the_exit_code(place: &mut Place) {
    let good = project(place, "mkdir out; echo made > out/made.txt; echo hello");
    let ended = run(place, &good, &[]).await;
    assert_eq!(ended.status.code(), Some(0), "{}", told(&ended));
    for word in ["hello\n", "succeeded", "step one: succeeded", "artifact: out/made.txt"] {
        assert!(told(&ended).contains(word), "no {word} in {}", told(&ended));
    }
    assert!(!told(&ended).contains('\u{1b}'), "colour only on a terminal");

    let bad = project(place, "echo sorry; exit 9");
    let ended = run(place, &bad, &["--json"]).await;
    assert_eq!(ended.status.code(), Some(1), "{}", told(&ended));
    let result: Value = serde_json::from_slice(&ended.stdout).expect("JSON alone on standard output");
    assert_eq!(
        (&result["state"], &result["exit_code"]),
        (&"failed".into(), &9.into()),
        "{result}"
    );
    assert!(
        String::from_utf8_lossy(&ended.stderr).contains("sorry\n"),
        "the log goes to standard error"
    );

    let planned = run(place, &bad, &["--plan-only"]).await;
    assert_eq!(planned.status.code(), Some(0), "{}", told(&planned));
    assert!(!told(&planned).contains("sorry"), "{}", told(&planned));
}

async fn what_is_refused_is_told_apart(place: &mut Place) {
    let project = project(place, "true");
    for (arguments, code, says) in [
        (
            vec!["run", project.as_str(), "--target", "lba", "--intent", "run"],
            3,
            "unknown_target",
        ),
        (
            vec!["run", project.as_str(), "--target", "lab", "--intent", "deploy"],
            3,
            "intent_not_allowed",
        ),
        (vec!["run", project.as_str(), "--target", "lab"], 2, "--intent"),
        (
            vec!["run", "/nowhere/at/all", "--target", "lab", "--intent", "run"],
            3,
            "/nowhere/at/all",
        ),
        (vec!["fly"], 2, "fly"),
    ] {
        let refused = place.command(&arguments).await;
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {}", told(&refused));
        assert!(told(&refused).contains(says), "{arguments:?}: {}", told(&refused));
    }
    let arguments = ["run", &project, "--target", "lba", "--intent", "run", "--json"];
    let refused = place.command(&arguments).await;
    let error: Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert_eq!(error["error"]["code"], "unknown_target", "{error}");
    assert!(
        error["error"]["hint"].as_str().expect("a hint").contains("lab"),
        "{error}"
    );
}

async fn a_person_may_say_no_and_time_may_run_out(place: &mut Place) {
    let gate = Gate::new().await;
    let slow = project(place, &gate.script("gate never"));
    let (ended, visit) = tokio::join!(run(place, &slow, &["--timeout", "1s"]), gate.expect("never"));
    assert_eq!(ended.status.code(), Some(5), "{}", told(&ended));
    visit.gone().await;

    let mut asking = place.spawn(&["run", &slow, "--target", "lab", "--intent", "guarded"]);
    let log = Log::of(asking.stderr.take().expect("piped"));
    let line = log.until("clawhand approvals allow ").await;
    let approval = line.split("approvals allow ").nth(1).expect("an id").trim().to_owned();
    place.ok(&["approvals", "deny", &approval]).await;
    let ended = must("it ends", asking.wait()).await.expect("waits");
    assert_eq!(ended.code(), Some(4), "{}", log.text());
    assert!(gate.is_quiet(), "what was denied ran");
}

async fn an_interrupt_cancels_and_a_second_leaves_alone(place: &mut Place) {
    let gate = Gate::new().await;
    let slow = project(place, &gate.script("gate here; echo end"));
    let running = place.spawn(&["run", &slow, "--target", "lab", "--intent", "run"]);
    let here = gate.expect("here").await;
    let pid = i32::try_from(running.id().expect("it runs")).expect("fits");
    process::signal(pid, Signal::SIGINT);
    let ended = must("it ends", running.wait_with_output()).await.expect("waits");
    assert_eq!(ended.status.code(), Some(6), "{}", told(&ended));
    assert!(told(&ended).contains("cancelled"), "{}", told(&ended));
    here.gone().await;

    // One that was killed outright: a server does the rest of its work.
    let mut running = place.spawn(&["run", &slow, "--target", "lab", "--intent", "run"]);
    let here = gate.expect("here").await;
    running.kill().await.expect("killed");
    let server = place.serve().await;
    here.open().await;
    let tasks = place.ok(&["executions", "list", "--json", "--limit", "1"]).await;
    let tasks: Value = serde_json::from_str(&tasks).expect("JSON");
    let execution = tasks[0]["execution_id"].as_str().expect("an id");
    let followed = place.ok(&["executions", "logs", "-f", execution]).await;
    assert!(followed.ends_with("end\n"), "{followed}");
    server.stop().await;
}
