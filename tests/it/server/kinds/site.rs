//! A system with a target on it, and what a test does there behind clawhand's back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::task::JoinSet;

use crate::server::caller::{Caller, text};
use crate::server::gate::must;
use crate::server::place::Place;

/// The target that stories run on.
const TARGET: &str = r#"
name = "far"
description = "Somewhere else"
intents = ["tell", "tell_on"]

[limits]
timeout = "5m"
max_output = "4 MiB"
max_concurrent = 20
"#;

/// For any POSIX shell, as the smallest images have it.
const TALE: &str = r#"
name = "tale"
title = "a tale"
intents = ["tell", "tell_on"]
priority = 1000
outputs = ["out/**"]

[detect]
any_files = ["tale.sh"]

[[variants]]
name = "only"

[[variants.steps]]
name = "tell"
summary = "tell the tale"
argv = ["sh", "tale.sh"]
intents = ["tell", "tell_on"]
effects = ["workspace"]

[[variants.steps]]
name = "end"
summary = "end the tale"
argv = ["sh", "end.sh"]
intents = ["tell_on"]
effects = ["workspace"]
"#;

/// The first line of every log.
pub const HEAD: &str = "== step 1 of 1: tell (tell the tale)\n";

/// What a test needs of a system beside clawhand's way to it.
#[async_trait]
pub trait Site: Send + Sync {
    /// The executor's table in a target file.
    fn tables(&self) -> String;

    /// Lets a step go on that reads from the pipe `gate` in its workspace; waits until it does.
    async fn open_gate(&self, execution: &str);

    /// How often the work of an execution was begun, as the system itself counts.
    async fn begun(&self, execution: &str) -> usize;

    /// A line of shell by which a step is counted outside of its workspace, where it can reach such a place.
    fn count(&self) -> String {
        ":".to_owned()
    }
}

/// A place whose only target of interest is on this system.
pub fn place_at(site: &dyn Site) -> Place {
    let place = Place::on_sqlite();
    // What is learned of it when a server is killed is none of these stories.
    std::fs::remove_file(place.targets().join("lab.toml")).expect("removes");
    place.write_target("recipes/tale.toml", TALE);
    write_far(&place, "far", &site.tables());
    place
}

/// Another target of the same sort.
pub fn write_far(place: &Place, name: &str, tables: &str) {
    let target = TARGET.replace("\"far\"", &format!("{name:?}"));
    place.write_target(&format!("{name}.toml"), &format!("{target}\n{tables}"));
}

/// A task of one step on this target. A busy system is not looked at within a call's time; then a caller is told to try
/// again in a moment, and does.
pub async fn submit(caller: &Caller, target: &str, script: &str) -> String {
    let ask = json!({
        "project_name": "tales", "goal": "hear a tale", "target_ref": target, "execution_intent": "tell",
    });
    let submitted = must("a target is looked at", async {
        loop {
            match caller.call("submit_task", ask.clone()).await {
                Err(refusal) if refusal["code"] == "missing_facts" && refusal["retryable"] == true => {}
                answer => return answer.unwrap_or_else(|refusal| panic!("submit_task is refused: {refusal}")),
            }
        }
    })
    .await;
    let task = text(&submitted, "/task_id");
    caller.upload(&task, "tale.sh", script).await;
    task
}

/// An execution of one step.
pub async fn tell(caller: &Caller, script: &str) -> String {
    let task = submit(caller, "far", script).await;
    caller.start(&task).await
}

/// A script that prints so many lines, counts itself, waits at its gate, and prints as many again.
pub fn two_halves(site: &dyn Site, lines: u32) -> String {
    let count = site.count();
    format!(
        "lines() {{ n=$1; while [ $n -lt $2 ]; do n=$((n + 1)); echo \"line $n\"; done; }}\n\
         echo run >>runs; {count}; mkfifo gate; lines 0 {lines}; echo at the gate; read -r word <gate; \
         lines {lines} {}; cat runs; mkdir out; cp runs out/runs.txt\n",
        2 * lines
    )
}

/// What is in its log.
pub fn both_halves(lines: u32) -> String {
    let part = |from: u32, to: u32| -> String { (from..=to).map(|n| format!("line {n}\n")).collect() };
    let (first, second) = (part(1, lines), part(lines + 1, 2 * lines));
    format!("{HEAD}{first}at the gate\n{second}run\n")
}

/// Writes a line to a pipe, once somebody reads it.
pub async fn write_to_pipe(pipe: PathBuf) {
    let written = tokio::task::spawn_blocking(move || std::fs::write(pipe, "go\n"));
    must("a step reads from its gate", written)
        .await
        .expect("ends")
        .expect("writes");
}

/// Waits until it is so; looked at often, for nobody tells.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    must(what, async {
        while !is_so() {
            looks.tick().await;
        }
    })
    .await;
}

/// Whether a folder has anything in it.
pub fn has_entries(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// What a system says while a test runs; listens until it is dropped.
pub struct Watched {
    heard: Arc<Mutex<BTreeSet<String>>>,
    _listener: JoinSet<()>,
}

impl Watched {
    pub fn new<F: Future<Output = ()> + Send + 'static>(listen: impl FnOnce(Hear) -> F) -> Self {
        let heard = Arc::<Mutex<BTreeSet<String>>>::default();
        let listener = JoinSet::from_iter([listen(Hear(heard.clone()))]);
        Self {
            heard,
            _listener: listener,
        }
    }

    pub fn all(&self) -> Vec<String> {
        self.heard.lock().expect("is not poisoned").iter().cloned().collect()
    }

    pub fn count(&self, start: &str) -> usize {
        let heard = self.heard.lock().expect("is not poisoned");
        heard.iter().filter(|text| text.starts_with(start)).count()
    }

    /// Waits until something was heard that begins so.
    pub async fn until(&self, start: &str) {
        until(start, || self.count(start) > 0).await;
    }
}

/// Where a listener puts what it hears.
#[derive(Clone)]
pub struct Hear(Arc<Mutex<BTreeSet<String>>>);

impl Hear {
    pub fn add(&self, text: impl Into<String>) {
        self.0.lock().expect("is not poisoned").insert(text.into());
    }
}
