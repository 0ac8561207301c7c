//! The same task on another kind of target: the same result, and no word of where it ran.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};

use super::docker::Containers;
use super::kubernetes::Pods;
use super::private::assert_unseen;
use super::ssh::Host;
use crate::server::caller::{Caller, text};
use crate::server::compared::settle;
use crate::server::place::Place;

const HEAD: &str = r#"
name = "vault-staging"
description = "Staging environment of Vault"
intents = ["install_and_test"]
"#;

/// The wheels that the task installs, where every user can read them.
fn wheels() -> tempfile::TempDir {
    let from = crate::executors::variable("CLAWHAND_TEST_WHEELS").expect("tests/run.sh names the wheels");
    let folder = tempfile::tempdir().expect("made");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("sets the mode");
    for wheel in std::fs::read_dir(from).expect("lists").flatten() {
        std::fs::copy(wheel.path(), folder.path().join(wheel.file_name())).expect("copied");
    }
    folder
}

/// What makes pip do with the wheels in a folder.
fn offline(wheels: &Path) -> String {
    format!("[environment]\nPIP_NO_INDEX = \"1\"\nPIP_FIND_LINKS = {wheels:?}\n")
}

/// Runs the README's task on clawhand's own machine and on a target with these tables, each through a server of its own.
/// `private` gives the texts that tell where that is, once it was run.
async fn gives_what_a_local_one_gives(tables: &str, private: impl AsyncFnOnce(&str) -> Vec<String>) {
    let wheels = wheels();
    let folder = wheels.path();
    let local = format!(
        "[executor]\nkind = \"local\"\nread_paths = [{folder:?}]\n{}",
        offline(folder)
    );
    let expected = result_on(&local, async |_| vec![folder.display().to_string()]).await;
    assert_eq!(expected["state"], "succeeded", "{expected}");
    assert_eq!(expected["tests"]["passed"], 15, "{expected}");
    assert_eq!(result_on(tables, private).await, expected);
}

/// The structured result without what differs from one time to the next.
async fn result_on(tables: &str, private: impl AsyncFnOnce(&str) -> Vec<String>) -> Value {
    let place = Place::on_sqlite();
    place.write_target("vault-staging.toml", &format!("{HEAD}\n{tables}"));
    let server = place.serve().await;
    let caller = server.caller();
    let execution = start(&caller).await;
    let (log, mut result) = caller.followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}\n{log}");
    assert!(log.contains("rootdir: /workspace"), "{log}");
    for artifact in result["artifacts"].as_array().expect("a list") {
        let url = artifact["download_url"].as_str().expect("a link");
        caller.fetched(caller.http.get(url)).await;
    }
    caller.refused("submit_task", json!({"project_name": "x", "goal": "x", "target_ref": "elsewhere", "execution_intent": "install_and_test"})).await;
    for arguments in [["executions", "logs", &execution], ["executions", "show", &execution]] {
        place.ok(&arguments).await;
    }
    server.stop().await;
    assert_unseen(&place, &private(&execution).await);
    place.end().await;
    // The report among the artifacts has times in it, and the name that the host gives itself.
    settle(&mut result, &["digest", "size", "text"]);
    result
}

async fn start(caller: &Caller) -> String {
    let ask = json!({
        "project_name": "vault-cert-client", "goal": "Test Python client against staging",
        "target_ref": "vault-staging", "execution_intent": "install_and_test",
    });
    let task = text(&caller.ok("submit_task", ask).await, "/task_id");
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vault-cert-client");
    let content = base64::engine::general_purpose::STANDARD.encode(packed(&project));
    let ask = json!({"task_id": task, "name": "vault-cert-client.tar.gz", "content_base64": content});
    caller.ok("upload_artifact", ask).await;
    caller.start(&task).await
}

/// A folder as a .tar.gz; the caches that another test may have left in it stay out.
fn packed(folder: &Path) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut todo = vec![folder.to_path_buf()];
    while let Some(next) = todo.pop() {
        for entry in std::fs::read_dir(&next).expect("lists").flatten() {
            let path = entry.path();
            if path.ends_with("__pycache__") || path.extension().is_some_and(|ending| ending == "pyc") {
                continue;
            }
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("is below it");
                tar.append_path_with_name(&path, name).expect("appends");
            }
        }
    }
    tar.into_inner().expect("finishes").finish().expect("finishes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ssh_target_gives_what_a_local_one_gives() {
    let Some(host) = Host::at_other_address() else { return };
    let wheels = wheels();
    let tables = format!("{}{}", Host::tables_of(&host.block), offline(wheels.path()));
    gives_what_a_local_one_gives(&tables, async |_| {
        let mut private = host.private();
        private.push(wheels.path().display().to_string());
        private
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_docker_target_gives_what_a_local_one_gives() {
    let Some(mut site) = Containers::find().await else {
        return;
    };
    site.image = crate::executors::variable("CLAWHAND_TEST_PYTHON_IMAGE").expect("an image with Python");
    let tables = Containers::tables_with(&site.endpoint, &site.image);
    let tables = format!("{tables}{}", offline(Path::new("/opt/wheels")));
    gives_what_a_local_one_gives(&tables, async |execution| site.private(&[execution.to_owned()]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubernetes_target_gives_what_a_local_one_gives() {
    let Some(site) = Pods::find().await else { return };
    let image = crate::executors::variable("CLAWHAND_TEST_PYTHON_IMAGE").expect("an image with Python");
    let tables = site.tables_with(&site.namespace.name, &image);
    let tables = format!("{tables}{}", offline(Path::new("/opt/wheels")));
    gives_what_a_local_one_gives(&tables, async |_| {
        let mut private = site.private().await;
        private.push(image.clone());
        private
    })
    .await;
}
