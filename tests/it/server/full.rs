//! The disk under the data folder is full: callers are told so, what was acknowledged stays, and once there is room
//! again everything goes on.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::caller::{Caller, text};
use super::gate::Gate;
use super::on_both_servers;
use super::place::Place;

on_both_servers!(a_full_disk_is_told_and_loses_nothing);

/// A small file system of the test's own; gone with it.
struct Small(PathBuf);

impl Small {
    fn mount(folder: PathBuf) -> Option<Self> {
        std::fs::create_dir(&folder).expect("made");
        if !nix::unistd::geteuid().is_root() {
            eprintln!("left out: only root can make a small file system");
            return None;
        }
        let mut mount = std::process::Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=16m,mode=0711", "none"])
            .arg(&folder);
        assert!(
            mount.status().expect("runs").success(),
            "a small file system can be made"
        );
        Some(Self(folder))
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut filler = std::fs::OpenOptions::new();
        let mut filler = filler.create(true).append(true).open(self.filler()).expect("opens");
        for size in [1 << 16, 1 << 12, 1] {
            let piece = vec![b'x'; size];
            while filler.write_all(&piece).is_ok() {}
        }
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).expect("removed");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Submits until it is refused because of the full disk; the tasks that were acknowledged.
async fn submit_until_full(caller: &Caller) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let submit =
        json!({"project_name": "p", "goal": "g".repeat(9_000), "target_ref": "lab", "execution_intent": "run"});
    for _ in 0..1000 {
        match caller.call("submit_task", submit.clone()).await {
            Ok(task) => acknowledged.push(text(&task, "/task_id")),
            Err(refusal) => {
                assert_eq!(
                    (&refusal["code"], &refusal["retryable"]),
                    (&json!("storage_full"), &json!(true)),
                    "{refusal}"
                );
                return acknowledged;
            }
        }
    }
    panic!("a full disk takes everything");
}

async fn a_full_disk_is_told_and_loses_nothing(place: &mut Place) {
    let Some(small) = Small::mount(place.folder().join("small")) else {
        place.serve().await.stop().await;
        return;
    };
    place.put_data(small.0.join("data"));
    let server = place.serve().await;
    let caller = server.caller();
    let gate = Gate::new().await;
    let done = caller.run("mkdir out; echo kept > out/kept.txt; echo done").await;
    let (log, result) = caller.followed(&done).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    let task = caller.submit("run").await;
    caller.upload(&task, "one.sh", "echo later").await;
    let running = caller
        .run(&gate.script("echo before; gate here; seq 1 20000; exit 7"))
        .await;
    let here = gate.expect("here").await;
    caller.until_logged(&running, "before\n").await;

    small.fill();
    let content = "y".repeat(200_000);
    let upload = json!({"task_id": task, "name": "more.txt", "content": content});
    let refusal = caller.refused("upload_artifact", upload.clone()).await;
    assert_eq!(
        (&refusal["code"], &refusal["retryable"]),
        (&json!("storage_full"), &json!(true)),
        "{refusal}"
    );
    let acknowledged = match small_database(place) {
        true => submit_until_full(&caller).await,
        false => vec![caller.submit("run").await],
    };
    here.open().await;
    // What was acknowledged is there.
    let (again, told) = caller.followed(&done).await;
    assert_eq!((again, &told["summary"]), (log, &result["summary"]));
    let kept = caller.http.get(text(&result, "/artifacts/0/download_url"));
    assert_eq!(caller.fetched(kept).await.1, b"kept\n");

    small.free();
    caller.ok("upload_artifact", upload).await;
    for task in acknowledged {
        caller.upload(&task, "one.sh", "echo kept").await;
    }
    let (log, result) = caller.followed(&running).await;
    assert_eq!(
        (text(&result, "/state"), &result["exit_code"]),
        ("failed".into(), &json!(7)),
        "{result}"
    );
    assert!(log.contains(")\nbefore\n"), "{log}");
    let later = caller.start(&task).await;
    assert!(caller.followed(&later).await.0.ends_with("later\n"));
    server.stop().await;
    // All the same after a restart.
    let server = place.serve().await;
    assert_eq!(server.caller().result(&done).await["state"], "succeeded");
    server.stop().await;
    check_nothing_is_left(place, &small.0);
}

/// Whether the database is on the full disk, too.
fn small_database(place: &Place) -> bool {
    place.data().join("clawhand.db").exists()
}

fn check_nothing_is_left(place: &mut Place, small: &Path) {
    assert_eq!(place.runs(), Vec::<String>::new());
    let scratch = std::fs::read_dir(small.join("data/scratch")).expect("a folder");
    assert_eq!(scratch.count(), 0, "half a file stays in scratch");
    let left = super::process::carrying(&small.display().to_string());
    assert!(left.is_empty(), "left running: {left:?}");
    // The small file system goes before the place looks at what is left.
    place.put_data(place.folder().join("data"));
}
