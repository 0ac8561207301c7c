//! Learning what a target offers is cut off: nothing of it stays.

use std::os::unix::fs::PermissionsExt as _;

use super::gate::Gate;
use super::on_both_servers;
use super::place::{LAB, Place};

on_both_servers!(a_probe_that_is_cut_off_leaves_nothing);

async fn a_probe_that_is_cut_off_leaves_nothing(place: &mut Place) {
    let gate = Gate::new().await;
    // A tool that takes its time to tell its version.
    let tools = place.folder().join("tools");
    std::fs::create_dir(&tools).expect("made");
    let tool = tools.join("git");
    std::fs::write(&tool, format!("#!/bin/bash\n{}", gate.script("gate asked"))).expect("written");
    for path in [&tools, &tool] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("set");
    }
    let path = format!("network = true\npath = \"{}:/usr/bin:/bin\"", tools.display());
    place.write_target("lab.toml", &LAB.replace("network = true", &path));

    let server = place.serve().await;
    let asked = gate.expect("asked").await;
    server.stop().await;
    asked.gone().await;
    assert_eq!(place.runs(), Vec::<String>::new(), "after a stop");

    let server = place.serve().await;
    let asked = gate.expect("asked").await;
    server.kill().await;
    let server = place.serve().await;
    // The next start cleans up after the one that was killed, and asks anew.
    asked.gone().await;
    gate.expect("asked").await.open().await;
    let execution = server.caller().run("echo hello").await;
    server.caller().followed(&execution).await;
    server.stop().await;
}
