//! The folder of targets and recipes: what it is read to, and how edits of it are seen.

use std::fs;
use std::path::Path;
use std::time::Duration;

use clawhand::domain::target::{ApprovalRule, Conversation, ExecutorBlock, OpenclawBlock, SecretRef};
use clawhand::inventory::{self, Inventory, Problem, Snapshot};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A target file without a mistake.
pub const GOOD: &str = r#"name = "one"
description = "The first"
intents = ["test"]

[executor]
kind = "local"
"#;

/// A recipe file without a mistake.
pub const RECIPE: &str = r#"name = "mine"
title = "a project of mine"
intents = ["test"]

[detect]
any_files = ["mine.txt"]

[parameters.args]
type = "list"
description = "arguments"

[[variants]]
name = "only"
needs = [{ tool = "mine", hint = "install mine" }]

[[variants.steps]]
name = "test"
summary = "test it"
argv = ["mine", "{args}"]
effects = ["runs_code"]
"#;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().expect("a folder");
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("writes");
    }
    dir
}

/// What these files are read to.
pub fn loaded(files: &[(&str, &str)]) -> Result<Snapshot, Vec<Problem>> {
    inventory::load(folder(files).path())
}

/// The problems, a line each.
pub fn told(files: &[(&str, &str)]) -> Vec<String> {
    match loaded(files) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(Problem::to_string).collect(),
    }
}

#[test]
fn the_shipped_targets_and_recipes_are_good() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
    let snapshot = match inventory::load(&shipped) {
        Ok(snapshot) => snapshot,
        Err(problems) => panic!("{}", problems.iter().map(|p| format!("{p}\n")).collect::<String>()),
    };
    let names: Vec<&str> = snapshot.targets.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["deploy-example", "sandbox", "vault-staging"]);
    let names: Vec<&str> = snapshot.recipes.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "go",
            "make",
            "maven",
            "node",
            "python",
            "python-script",
            "rust",
            "shell"
        ]
    );
    let vault = snapshot.target("vault-staging").expect("vault-staging");
    assert!(vault.intents.iter().any(|intent| intent == "install_and_test"));
    assert!(matches!(&vault.executor, ExecutorBlock::Local(local) if local.network));
}

#[test]
fn the_examples_of_each_kind_are_good_and_not_loaded() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/examples");
    let snapshot = inventory::load(&examples).unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut kinds: Vec<&str> = snapshot.targets.iter().map(|target| target.executor.kind()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["docker", "group", "http", "kubernetes", "openclaw", "ssh"]);
}

#[test]
fn the_built_in_recipes_are_the_shipped_ones() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
    let built_in = loaded(&[]).expect("loads").recipes;
    assert_eq!(built_in, inventory::load(&shipped).expect("loads").recipes);
}

#[test]
fn the_examples_of_the_reference_are_good() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/TARGETS.md");
    let page = fs::read_to_string(page).expect("reads");
    let mut examples = page
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default());
    let target = examples.next().expect("a target");
    let recipe = examples.find(|example| example.starts_with("name")).expect("a recipe");
    assert_eq!(
        told(&[("vault-staging.toml", target), ("recipes/terraform.toml", recipe)]),
        [""; 0]
    );
}

#[test]
fn every_key_of_a_target_is_read() {
    let snapshot = loaded(&[(
        "full.toml",
        r#"
name = "full"
description = " Everything "
aliases = ["All Of It"]
capabilities = ["gpu"]
disabled = true
intents = ["test", "delegate"]
approval_expires = "90m"
labels = { env = "x", "a.b" = "c d" }
[approval]
test = "always"
delegate = "never"
[executor]
kind = "local"
user = "nobody"
path = "/usr/bin:/bin"
network = true
read_paths = ["/opt/tools"]
[environment]
LANG = "C.UTF-8"
[secrets]
TOKEN = { env = "MY_TOKEN" }
[secrets.KEY]
file = "/run/secrets/key"
[limits]
timeout = "1h 30m"
max_output = "1 MiB"
max_artifacts = "2 GiB"
max_file = "3 KiB"
max_memory = "4 GiB"
max_processes = 64
max_concurrent = 2
"#,
    )])
    .unwrap_or_else(|problems| panic!("{problems:?}"));
    let full = snapshot.target("full").expect("full");
    assert_eq!((full.description.as_str(), full.disabled), ("Everything", true));
    assert_eq!((full.labels["env"].as_str(), full.labels["a.b"].as_str()), ("x", "c d"));
    assert_eq!(
        (full.approval_for("test"), full.approval_for("delegate")),
        (ApprovalRule::Always, ApprovalRule::Never)
    );
    assert_eq!(full.approval_expires, Duration::from_secs(5400));
    let ExecutorBlock::Local(local) = &full.executor else {
        panic!("{:?}", full.executor);
    };
    assert_eq!(
        (local.user.as_deref(), local.path.as_deref()),
        (Some("nobody"), Some("/usr/bin:/bin"))
    );
    assert!(local.network && local.read_paths == ["/opt/tools"]);
    assert_eq!(full.environment["LANG"], "C.UTF-8");
    assert_eq!(full.secrets["TOKEN"], SecretRef::Env("MY_TOKEN".to_owned()));
    assert_eq!(full.secrets["KEY"], SecretRef::File("/run/secrets/key".to_owned()));
    assert_eq!(full.limits.timeout, Duration::from_secs(5400));
    assert_eq!(
        (full.limits.max_output_bytes, full.limits.max_artifact_bytes),
        (1 << 20, 2 << 30)
    );
    assert_eq!(
        (full.limits.max_file_bytes, full.limits.max_memory_bytes),
        (Some(3 << 10), Some(4 << 30))
    );
    assert_eq!((full.limits.max_processes, full.limits.max_concurrent), (Some(64), 2));
}

const LEAST_SSH: &str = "kind = \"ssh\"\nhost = \"h\"\nuser = \"u\"\nknown_hosts = \"/k\"\nidentity_file = \"/i\"\n";

fn target_with(executor: &str) -> String {
    format!(
        "name = \"a\"\ndescription = \"A\"\nintents = [\"test\"]\n[executor]\n{}",
        executor.trim_start()
    )
}

#[test]
fn every_key_of_a_host_over_ssh_is_read() {
    let executor = r#"
kind = "ssh"
host = "build1.example.com"
port = 2222
user = "ci"
identity_file = "/keys/ci"
certificate_file = "/keys/ci-cert.pub"
agent = "/run/agent.sock"
known_hosts = "/keys/known_hosts"
jump = ["door@gate.example.com:2200", "inner"]
config = "/keys/ssh_config"
root = "/srv/clawhand/"
path = "/opt/bin:/usr/bin"
names = ["build-internal"]
"#;
    let snapshot = loaded(&[("a.toml", &target_with(executor))]).unwrap_or_else(|problems| panic!("{problems:?}"));
    let ExecutorBlock::Ssh(ssh) = &snapshot.targets[0].executor else {
        panic!("{:?}", snapshot.targets[0].executor);
    };
    assert_eq!(
        (ssh.host.as_str(), ssh.port, ssh.user.as_str()),
        ("build1.example.com", 2222, "ci")
    );
    assert_eq!(
        (ssh.root.as_str(), ssh.path.as_str()),
        ("/srv/clawhand", "/opt/bin:/usr/bin")
    );
    let jumps: Vec<_> = ssh
        .jump
        .iter()
        .map(|jump| (jump.user.as_str(), jump.host.as_str(), jump.port))
        .collect();
    assert_eq!(jumps, [("door", "gate.example.com", 2200), ("ci", "inner", 22)]);
    let private = snapshot.targets[0].private_texts();
    for text in [
        "build1.example.com",
        "ci",
        "/keys/ci",
        "gate.example.com",
        "door",
        "/srv/clawhand",
        "build-internal",
    ] {
        assert!(private.iter().any(|private| private == text), "{text} in {private:?}");
    }
}

#[test]
fn every_key_of_an_agent_is_read_and_mistakes_have_a_place() {
    let read = |executor: &str| {
        let snapshot = loaded(&[("a.toml", &target_with(executor))]).unwrap_or_else(|problems| panic!("{problems:?}"));
        let ExecutorBlock::Openclaw(block) = snapshot.targets[0].executor.clone() else {
            panic!("{:?}", snapshot.targets[0].executor);
        };
        (block, snapshot.targets[0].private_texts())
    };
    assert_eq!(
        read("kind = \"openclaw\"\nsession = \"new\"").0,
        OpenclawBlock::default()
    );
    let all = "kind = \"openclaw\"\ninstance = \"lab-2\"\nagent = \"smith\"\nsession = \"agent:smith:team\"";
    let (block, private) = read(all);
    assert_eq!(
        (block.instance.as_deref(), block.agent.as_deref()),
        (Some("lab-2"), Some("smith"))
    );
    assert_eq!(block.session, Conversation::Shared("agent:smith:team".to_owned()));
    assert_eq!(private, ["agent:smith:team"]);
    let wrong =
        "kind = \"openclaw\"\ninstance = \"a b\"\nsession = \" \"\nmodel = \"x\"\n[secrets]\nA = { env = \"B\" }";
    let expected = [
        "a.toml:6:12: 'a b' can't be the name of an instance (write the name of a [[gateway]] of the configuration)",
        "a.toml:7:11: this can't be the key of a session (write \"new\" for a conversation of its own for each run, or the key of one that all runs share)",
        "a.toml:8:1: unknown key executor.model (known are: agent, instance, kind, session)",
        "a.toml:9:2: an agent has no secrets of its own (what its tools need is set up at the gateway)",
    ];
    assert_eq!(told(&[("a.toml", &target_with(wrong))]), expected);
}

#[test]
fn mistakes_in_a_host_over_ssh_have_a_place() {
    let snapshot = loaded(&[("a.toml", &target_with(LEAST_SSH))]).unwrap_or_else(|problems| panic!("{problems:?}"));
    let ExecutorBlock::Ssh(ssh) = &snapshot.targets[0].executor else {
        panic!("{:?}", snapshot.targets[0].executor);
    };
    assert_eq!((ssh.port, ssh.root.as_str()), (22, "/var/tmp/clawhand-u"));
    for (instead, with, place) in [
        ("host = \"h\"", "host = \"-oProxyCommand=x\"", "a.toml:6:"),
        ("host = \"h\"", "host = \"a b\"", "a.toml:6:"),
        ("user = \"u\"\n", "", "a.toml:4:"),
        ("known_hosts = \"/k\"\n", "", "a.toml:4:"),
        ("known_hosts = \"/k\"", "known_hosts = \"k\"", "a.toml:8:"),
        ("identity_file = \"/i\"\n", "", "a.toml:4:"),
        ("identity_file = \"/i\"", "identity_file = \"/i\\\"x\"", "a.toml:9:"),
        ("host = \"h\"", "host = \"h\"\nport = 0", "a.toml:7:"),
        ("host = \"h\"", "host = \"h\"\nroot = \"runs\"", "a.toml:7:"),
        ("host = \"h\"", "host = \"h\"\nroot = \"/a/../b\"", "a.toml:7:"),
        ("host = \"h\"", "host = \"h\"\njump = [\"a b\"]", "a.toml:7:"),
        ("host = \"h\"", "host = \"h\"\npassword = \"x\"", "a.toml:7:"),
    ] {
        let wrong = told(&[("a.toml", &target_with(&LEAST_SSH.replace(instead, with)))]);
        assert!(wrong.len() == 1 && wrong[0].starts_with(place), "{with}: {wrong:?}");
    }
}

#[test]
fn a_recipe_of_the_operator_takes_the_place_of_the_built_in_one() {
    let own = RECIPE.replace("\"mine\"", "\"make\"");
    let with = loaded(&[("a.toml", GOOD), ("recipes/make.toml", &own)]).expect("loads");
    let without = loaded(&[("a.toml", GOOD)]).expect("loads");
    assert_eq!(with.recipes.len(), without.recipes.len());
    let title = |snapshot: &Snapshot| {
        snapshot
            .recipes
            .iter()
            .find(|r| r.name == "make")
            .expect("make")
            .title
            .clone()
    };
    assert_eq!(
        (title(&with).as_str(), title(&without).as_str()),
        ("a project of mine", "a project with a makefile")
    );
    assert_ne!(with.digest, without.digest);
    assert_eq!(without.digest, loaded(&[("a.toml", GOOD)]).expect("loads").digest);
    // A recipe of the operator's own may serve an intent that no other does.
    let own = RECIPE.replace("intents = [\"test\"]", "intents = [\"test\", \"fly\"]");
    let flying = GOOD.replace("[\"test\"]", "[\"fly\"]");
    assert_eq!(told(&[("a.toml", &flying)]).len(), 1);
    assert_eq!(told(&[("a.toml", &flying), ("recipes/mine.toml", &own)]), [""; 0]);
}

#[test]
fn what_is_no_target_file_is_left_out_and_what_cannot_be_read_is_told() {
    let snapshot = loaded(&[("a.toml", GOOD), (".b.toml", "x"), ("c.toml~", "x"), ("README.md", "x")]).expect("loads");
    assert_eq!(snapshot.targets.len(), 1);
    assert!(loaded(&[]).expect("an empty folder is no mistake").targets.is_empty());

    let dir = folder(&[]);
    fs::write(dir.path().join("latin.toml"), b"name = \"\xe9\"").expect("writes");
    fs::write(dir.path().join("large.toml"), vec![b'#'; (1 << 20) + 1]).expect("writes");
    let problems = inventory::load(dir.path()).expect_err("mistakes");
    let told: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(
        told,
        [
            "large.toml: can't be read: it is larger than 1 MiB",
            "latin.toml: can't be read: it is not UTF-8 text"
        ]
    );
    let problems = inventory::load(&dir.path().join("absent")).expect_err("no folder");
    assert!(
        problems[0].to_string().starts_with("targets folder: can't be read: "),
        "{problems:?}"
    );
}

#[tokio::test]
async fn an_edit_is_seen_and_a_bad_one_keeps_the_last_good_snapshot() {
    let dir = folder(&[("a.toml", GOOD)]);
    let inventory = Inventory::open(dir.path()).expect("opens");
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let mut reads = inventory.reads();
    let watching = tasks.spawn({
        let (inventory, stop) = (inventory.clone(), stop.clone());
        async move { inventory.watch(stop).await }
    });
    // The first read after the watch began: from now on no change is missed.
    reads.changed().await.expect("reads");

    let before = inventory.snapshot();
    fs::write(dir.path().join("a.toml"), GOOD.replace("The first", "Edited")).expect("writes");
    while inventory.snapshot().digest == before.digest {
        reads.changed().await.expect("reads");
    }
    assert_eq!(inventory.snapshot().targets[0].description, "Edited");
    assert_eq!(before.targets[0].description, "The first", "a snapshot never changes");

    fs::write(dir.path().join("b.toml"), "nmae = 1").expect("writes");
    while inventory.problems().is_empty() {
        reads.changed().await.expect("reads");
    }
    assert_eq!(inventory.problems()[0].file, "b.toml");
    assert_eq!(inventory.snapshot().targets[0].description, "Edited");

    fs::remove_file(dir.path().join("b.toml")).expect("removes");
    while !inventory.problems().is_empty() {
        reads.changed().await.expect("reads");
    }
    // A folder that comes later is watched as well.
    fs::create_dir(dir.path().join("recipes")).expect("makes");
    fs::write(dir.path().join("recipes/mine.toml"), RECIPE).expect("writes");
    while !inventory.snapshot().recipes.iter().any(|recipe| recipe.name == "mine") {
        reads.changed().await.expect("reads");
    }
    stop.cancel();
    watching.await.expect("joins").expect("watches");
}
