//! Breaks every rule on purpose, and keeps them all once: a rule that cannot complain would protect nothing.

use super::*;

impl Tree {
    fn of(files: &[(&str, &str)]) -> Self {
        let files: BTreeMap<_, _> = files
            .iter()
            .map(|(path, text)| (path.to_string(), text.to_string()))
            .collect();
        let folders = files
            .keys()
            .flat_map(|path| path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
        let paths = folders.chain(files.keys().cloned()).collect();
        Self { files, paths }
    }
}

/// What one rule says about files; each case below breaks exactly one rule in exactly one way.
fn complaints(rule: Rule, files: &[(&str, &str)]) -> String {
    rule(&Tree::of(files)).join("\n")
}

#[test]
fn an_arrow_that_points_up_or_sideways_is_found() {
    let cases = [
        (
            "src/domain/task.rs",
            "\nuse crate::store::Store;",
            "domain/task.rs:2: domain (floor 0) must not import store",
        ),
        (
            "src/planner/mod.rs",
            "fn f() -> crate::inventory::Snapshot {}",
            "planner (floor 1) must not import inventory",
        ),
        (
            "src/control/task.rs",
            "use crate::{domain::Task, engine::Worker};",
            "must not import engine",
        ),
        (
            "src/store/task.rs",
            "use super::super::blobs::Blobs;",
            "must not import blobs",
        ),
        ("src/blobs.rs", "use super::store::Store;", "must not import store"),
        (
            "src/mcp/mod.rs",
            "use crate::http;",
            "mcp (floor 3) must not import http",
        ),
        ("src/attic/mod.rs", "", "the room attic has no floor"),
        (
            "src/store/mod.rs",
            "use crate::Everything;",
            "crate::Everything is no room",
        ),
    ];
    for (path, text, expected) in cases {
        let found = complaints(arrows_point_down, &[(path, text)]);
        assert!(found.contains(expected), "{path}: {found:?}");
    }
}

#[test]
fn an_arrow_that_points_down_is_allowed() {
    let files = [
        (
            "src/mcp/mod.rs",
            "use crate::{control::Control, domain::{self, Task}};\n// crate::http\nconst A: &str = \"crate::http\";",
        ),
        (
            "src/cli/run.rs",
            "use crate::app; use super::Command; use crate::cli::Output;",
        ),
        (
            "src/store/task.rs",
            "mod tests { use super::super::Store; use super::*; }",
        ),
        ("src/main.rs", "fn main() { clawhand::cli::main() }"),
    ];
    assert_eq!(complaints(arrows_point_down, &files), "");
}

#[test]
fn a_crate_outside_its_room_is_found() {
    let cases = [
        ("src/control/mod.rs", "use sqlx::Row;", "sqlx belongs in store only"),
        (
            "src/executors/local.rs",
            "fn f(e: tar::Entry) {}",
            "tar belongs in executors/archive, executors/posix, cli/pack only",
        ),
        ("src/executors/archives.rs", "fn f(e: tar::Entry) {}", "tar belongs"),
        (
            "src/engine/mod.rs",
            "use toml;",
            "toml belongs in config, inventory, planner/manifests only",
        ),
        ("src/store/mod.rs", "use {std::fs, nix::unistd};", "nix belongs"),
        ("src/store/mod.rs", "use ::nix::unistd;", "nix belongs"),
    ];
    for (path, text, expected) in cases {
        let found = complaints(crates_stay_in_their_room, &[(path, text)]);
        assert!(found.contains(expected), "{path}: {found:?}");
    }
    let fine = [
        ("src/store/mod.rs", "use sqlx::Row;"),
        ("src/executors/archive.rs", "use tar::Archive;"),
        ("src/executors/archive/zip.rs", "use ::zip::ZipArchive;"),
        ("src/inventory/file.rs", "use toml as format;"),
        (
            "src/engine/mod.rs",
            "// sqlx::Row\nlet toml = self.toml; crate::inventory::toml::read(); let sqlx_like = 1;",
        ),
    ];
    assert_eq!(complaints(crates_stay_in_their_room, &fine), "");
}

#[test]
fn each_rule_finds_what_it_forbids() {
    for (rule, path, text, expected) in BREACHES {
        let found = complaints(*rule, &[(path, text)]);
        assert!(found.contains(expected), "{path}: {found:?}");
    }
    let long = "//! Long.\n".repeat(MAX_LINES + 1);
    assert!(complaints(files_are_small, &[("src/store/task.rs", &long)]).contains("601 lines"));
}

/// The rule that is broken, a path and a text that break it, and what the rule then says.
const BREACHES: &[(Rule, &str, &str, &str)] = &[
    (
        rooms_say_what_they_are_for,
        "src/store/mod.rs",
        "// Not it.\n",
        "store/mod.rs:1",
    ),
    (
        rooms_say_what_they_are_for,
        "src/blobs.rs",
        "use std::io;\n//! Late.",
        "blobs.rs:1",
    ),
    (names_say_something, "src/store/utils.rs", "", "store/utils.rs"),
    (names_say_something, "src/store/db_common.rs", "", "says nothing"),
    (
        names_say_something,
        "src/auth/key.rs",
        "\npub struct KeyManager;",
        "key.rs:2: KeyManager",
    ),
    (names_say_something, "tests/it/main.rs", "mod helpers;", "helpers"),
    (
        nothing_is_left_for_later,
        "src/blobs.rs",
        "// TODO: more",
        "blobs.rs:1: TODO",
    ),
    (nothing_is_left_for_later, "src/blobs.rs", "fn f() { todo!() }", "todo!"),
    (
        nothing_is_left_for_later,
        "src/blobs.rs",
        "#[ignore = \"slow\"]\nfn f() {}",
        "#[ignore",
    ),
    (
        tests_do_not_sleep,
        "tests/it/run.rs",
        "\n\ntokio::time::sleep(one).await",
        "run.rs:3: a test sleeps",
    ),
    (
        tests_do_not_sleep,
        "src/blobs.rs",
        "#[cfg(test)]\nmod tests {\n fn f() { sleep(1) } }",
        "blobs.rs:3",
    ),
    (
        migrations_are_parallel,
        "migrations/sqlite/0001_start.sql",
        "",
        "the other dialect has no such file",
    ),
    (
        migrations_are_parallel,
        "migrations/postgres/0002_more.sql",
        "",
        "the other dialect has no such file",
    ),
    (
        versions_agree,
        "charts/clawhand/Chart.yaml",
        "version: 1.0.0\n",
        "version: 1.0.0",
    ),
];

#[test]
fn each_rule_lets_the_rest_pass() {
    let files = [
        ("Cargo.toml", "[package]\nname = \"clawhand\"\nversion = \"0.3.0\"\n"),
        (
            "charts/clawhand/Chart.yaml",
            "name: clawhand\nversion: 0.3.0\nappVersion: \"0.3.0\"\n",
        ),
        ("migrations/postgres/0001_start.sql", ""),
        ("migrations/sqlite/0001_start.sql", ""),
        (
            "src/domain/mod.rs",
            "//! Words.\npub struct Commons;\nconst A: &str = \"todo!() // TODO\";\n",
        ),
        (
            "src/domain/pause.rs",
            "fn f() { sleep(1) }\n#[cfg(test)]\nmod tests { fn g() { run(\"sleep(1)\") } }",
        ),
    ];
    let tree = Tree::of(&files);
    let found: Vec<String> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_map_that_lags_behind_is_found() {
    let map = "# Map\n\n```\nsrc/\n  store/    state\n  cellar/   gone\n```\nStart in `store/task.rs`, not in `store/attic.rs`.\n";
    let files = [
        ("docs/ARCHITECTURE.md", map),
        ("src/store/task.rs", ""),
        ("src/blobs.rs", ""),
    ];
    let found = complaints(the_map_is_true, &files);
    let expected = [
        "docs/ARCHITECTURE.md: does not name the room blobs",
        "docs/ARCHITECTURE.md:6: names cellar/, which is not there",
        "docs/ARCHITECTURE.md:8: names store/attic.rs, which is not there",
    ];
    assert_eq!(found, expected.join("\n"));
}
