//! The task of the README on a target that is a Docker daemon: the same words, the same result.

use serde_json::Value;

use super::place::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_task_of_the_readme_runs_in_a_container() {
    let Some(daemon) = crate::executors::suite_docker::Daemon::find().await else {
        return;
    };
    let place = Place::on_sqlite();
    let (endpoint, image) = (&daemon.endpoint, "clawhand-test/python:1");
    let target = format!(
        "name = \"vault-box\"\ndescription = \"a box\"\nintents = [\"install_and_test\"]\n\
         [executor]\nkind = \"docker\"\nendpoint = \"{endpoint}\"\nimage = \"{image}\"\npull = \"never\"\n\
         [environment]\nPIP_NO_INDEX = \"1\"\nPIP_FIND_LINKS = \"/opt/wheels\"\n"
    );
    place.write_target("box.toml", &target);
    let project = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vault-cert-client");
    let arguments = [
        "run",
        project,
        "--target",
        "vault-box",
        "--intent",
        "install_and_test",
        "--json",
    ];
    let child = place.spawn(&arguments);
    let output = child.wait_with_output().await.expect("ends");
    let (result, log) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    place.seen.add(result.as_ref());
    assert_eq!(output.status.code(), Some(0), "{result}\n{log}");
    let told: Value = serde_json::from_str(&result).expect("JSON");
    assert_eq!(told["state"], "succeeded", "{told}");
    let tests = &told["tests"];
    assert_eq!(
        (&tests["passed"], &tests["failed"], &tests["skipped"]),
        (&15.into(), &0.into(), &1.into()),
        "{told}"
    );
    for word in [endpoint.as_str(), image, "clawhand-test", "/clawhand/", "docker.sock"] {
        assert!(
            !result.contains(word) && !log.contains(word),
            "a caller saw {word}: {result}\n{log}"
        );
    }
    place.end().await;
}
