//! Target files are edited while the server runs.

use serde_json::json;

use super::caller::text;
use super::on_both_servers;
use super::place::{LAB, Place, Server};

on_both_servers!(a_bad_edit_keeps_the_last_good_targets_and_a_good_one_is_used);

async fn description(server: &Server) -> String {
    text(
        &server.caller().ok("list_targets", json!({})).await,
        "/targets/0/description",
    )
}

async fn a_bad_edit_keeps_the_last_good_targets_and_a_good_one_is_used(place: &mut Place) {
    let server = place.serve().await;
    // Once it watches, it reads everything once more.
    server.log.until_counted("targets were read anew", 1).await;
    place.write_target("lab.toml", &LAB.replace("where stories happen", "the first edit"));
    server.log.until_counted("targets were read anew", 2).await;
    assert_eq!(description(&server).await, "the first edit");

    let bad = LAB
        .replace("where stories happen", "a bad edit")
        .replace("network = true", "netwrok = true");
    place.write_target("lab.toml", &bad);
    let told = server.log.until("the targets have a mistake").await;
    let line = bad.lines().position(|line| line.starts_with("netwrok")).expect("there") + 1;
    assert!(told.contains(&format!("lab.toml:{line}:1")), "{told}");
    assert!(told.contains("netwrok"), "{told}");
    assert_eq!(
        description(&server).await,
        "the first edit",
        "the last good one is kept"
    );
    let execution = server.caller().run("echo still works").await;
    assert!(server.caller().followed(&execution).await.0.ends_with("still works\n"));

    place.write_target("lab.toml", &LAB.replace("where stories happen", "corrected"));
    server.log.until_counted("targets were read anew", 3).await;
    assert_eq!(description(&server).await, "corrected");
    let execution = server.caller().run("echo works").await;
    assert!(server.caller().followed(&execution).await.0.ends_with("works\n"));
    server.stop().await;
}
