//! Keeps the house in order: fails the build when a rule of docs/ARCHITECTURE.md or of the style is broken.
//!
//! Every rule is a function from a [`Tree`] to complaints, so each has a test in `cases` that feeds it a tree that breaks it.
//! Start with [`RULES`]; what a room may import is in [`FLOORS`], [`EXCEPTIONS`] and [`THIRD_PARTY`].

mod cases;
mod source;

use source::{code_of, comments_of, is_word, line_of, root_paths, test_modules, word_at, words};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A room imports only from rooms of a lower floor.
const FLOORS: &[(&str, u8)] = &[
    ("domain", 0),
    // These two know nothing of ours, and everybody may know them.
    ("lifecycle", 0),
    ("telemetry", 0),
    ("blobs", 1),
    ("executors", 1),
    ("gateway", 1),
    ("inventory", 1),
    ("planner", 1),
    ("redact", 1),
    ("registry", 1),
    ("store", 1),
    ("auth", 2),
    ("control", 2),
    ("engine", 2),
    ("http", 3),
    ("mcp", 3),
    // Composes the settings of every room.
    ("config", 4),
    ("app", 5),
    // The command line starts the wiring, so it is above it.
    ("cli", 6),
    ("main", 7),
    ("lib", 7),
];

/// Imports that the floors forbid and that are allowed all the same: from, to, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "executors",
    "gateway",
    "an agent behind a gateway is one of the things that run a step, and conversations need the same connection",
)];

/// Third-party crates that only these places under src/ may name.
const THIRD_PARTY: &[(&str, &[&str])] = &[
    ("aho_corasick", &["redact"]),
    ("anstream", &["cli", "main"]),
    ("anstyle", &["cli", "main"]),
    ("anyhow", &["app", "cli", "config", "lifecycle", "main", "telemetry"]),
    ("axum", &["app", "auth", "http", "mcp"]),
    ("bollard", &["executors"]),
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli", "main"]),
    ("ed25519_dalek", &["gateway"]),
    ("flate2", &["executors/archive", "cli/pack"]),
    ("hyper_rustls", &["executors/docker"]),
    ("hyper_util", &["executors/docker"]),
    ("ignore", &["cli"]),
    ("indicatif", &["cli", "main"]),
    ("kube", &["executors"]),
    ("landlock", &["executors"]),
    ("libc", &["executors", "lifecycle"]),
    ("mimalloc", &["main"]),
    ("nix", &["executors", "lifecycle"]),
    ("notify", &["inventory"]),
    ("object_store", &["blobs"]),
    ("oauth2", &["executors/http"]),
    ("openssh", &["executors"]),
    ("quick_xml", &["planner/readers"]),
    ("regex", &["inventory", "planner"]),
    ("rmcp", &["mcp", "registry"]),
    ("rustls_platform_verifier", &["gateway"]),
    ("seccompiler", &["executors"]),
    ("sqlx", &["store"]),
    (
        "tar",
        &["executors/archive", "executors/docker", "executors/posix", "cli/pack"],
    ),
    ("tokio_tungstenite", &["gateway"]),
    ("toml", &["config", "inventory", "planner/manifests"]),
    ("tower_http", &["app", "auth", "http", "mcp"]),
    ("tracing_subscriber", &["telemetry"]),
    ("zip", &["executors/archive"]),
];

const MAX_LINES: usize = 600;
const VAGUE: &[&str] = &["common", "helper", "helpers", "manager", "misc", "util", "utils"];

type Rule = fn(&Tree) -> Vec<String>;
const RULES: &[Rule] = &[
    arrows_point_down,
    crates_stay_in_their_room,
    files_are_small,
    rooms_say_what_they_are_for,
    names_say_something,
    nothing_is_left_for_later,
    tests_do_not_sleep,
    migrations_are_parallel,
    the_map_is_true,
    versions_agree,
];

/// The files that the rules read, by path from the root of the repository, and the names of all paths there.
struct Tree {
    files: BTreeMap<String, String>,
    paths: BTreeSet<String>,
}

impl Tree {
    fn read(root: &Path) -> Self {
        let mut tree = Self {
            files: BTreeMap::new(),
            paths: BTreeSet::new(),
        };
        for top in ["src", "tests/it", "migrations", "docs", "charts", "benches", "targets"] {
            tree.add(root, top);
        }
        tree.add(root, "Cargo.toml");
        tree
    }

    fn add(&mut self, root: &Path, path: &str) {
        let full = root.join(path);
        if let Ok(entries) = std::fs::read_dir(&full) {
            self.paths.insert(path.to_owned());
            for entry in entries.map(|entry| entry.expect("an entry of a folder")) {
                let name = entry.file_name().into_string().expect("a file name in UTF-8");
                self.add(root, &format!("{path}/{name}"));
            }
        } else if full.exists() {
            self.paths.insert(path.to_owned());
            if let Ok(text) = std::fs::read_to_string(&full) {
                self.files.insert(path.to_owned(), text);
            }
        }
    }

    /// Rust files under a folder: path and text.
    fn rust<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.starts_with(folder) && path.ends_with(".rs"))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn rooms(&self) -> BTreeSet<&str> {
        self.rust("src/").map(|(path, _)| room_of(path)).collect()
    }
}

/// The room of a path under src/: its first folder, or the name of the file.
fn room_of(path: &str) -> &str {
    let path = path.trim_start_matches("src/");
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

/// How many modules below the crate's root the file's own module is.
fn depth_of(path: &str) -> usize {
    let path = path
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod");
    path.split('/').count()
}

fn floor_of(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn arrows_point_down(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.rust("src/") {
        let (code, room) = (code_of(text), room_of(path));
        let Some(floor) = floor_of(room) else {
            complaints.push(format!(
                "{path}: the room {room} has no floor; give it one in tests/it/tidy.rs"
            ));
            continue;
        };
        for (at, target) in root_paths(&code, depth_of(path)) {
            let by_name = code[at..].starts_with("crate");
            let excepted = EXCEPTIONS.iter().any(|(from, to, _)| *from == room && *to == target);
            match floor_of(&target) {
                _ if target == room || excepted => {}
                Some(other) if other < floor => {}
                None if !by_name => {}
                None => complaints.push(format!("{path}:{}: crate::{target} is no room", line_of(&code, at))),
                Some(other) => complaints.push(format!(
                    "{path}:{}: {room} (floor {floor}) must not import {target} (floor {other})",
                    line_of(&code, at)
                )),
            }
        }
    }
    complaints
}

fn crates_stay_in_their_room(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.rust("src/") {
        let code = code_of(text);
        for (name, places) in THIRD_PARTY {
            let at_home = places.iter().any(|place| {
                let place = format!("src/{place}");
                path.strip_prefix(&place)
                    .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            });
            let found = words(&code, name).find(|&at| names_a_crate(&code, at, name));
            if let Some(at) = found.filter(|_| !at_home) {
                let places = places.join(", ");
                complaints.push(format!(
                    "{path}:{}: {name} belongs in {places} only",
                    line_of(&code, at)
                ));
            }
        }
    }
    complaints
}

/// Whether the word at `at` is a crate: the head of a path, or all of a `use`.
fn names_a_crate(code: &str, at: usize, name: &str) -> bool {
    let before = code[..at].trim_end();
    let after = code[at + name.len()..].trim_start();
    // `a::tar::b` continues a path; `::tar::b` starts one.
    let continues = |path: &str| path.ends_with(|c| is_word(c) || c == '>');
    let is_head = !before.strip_suffix("::").is_some_and(continues);
    let in_use = before.ends_with("use") && (after.starts_with(';') || after.starts_with("as "));
    (is_head && after.starts_with("::")) || in_use
}

fn files_are_small(tree: &Tree) -> Vec<String> {
    tree.rust("src/")
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines, {MAX_LINES} are allowed"))
        .collect()
}

fn rooms_say_what_they_are_for(tree: &Tree) -> Vec<String> {
    tree.rust("src/")
        .filter(|(path, _)| path.ends_with("/mod.rs") || depth_of(path) == 1)
        .filter(|(_, text)| !text.trim_start().starts_with("//!"))
        .map(|(path, _)| format!("{path}:1: does not open with a //! that says what it is for"))
        .collect()
}

fn names_say_something(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.rust("src/").chain(tree.rust("tests/it/")) {
        let stem = path.trim_end_matches(".rs");
        if stem.split(['/', '_']).any(|part| VAGUE.contains(&part)) {
            complaints.push(format!("{path}: a name that says nothing"));
        }
        let code = code_of(text);
        for keyword in ["mod", "struct", "enum", "trait", "type"] {
            for at in words(&code, keyword) {
                let name = word_at(&code, (at + keyword.len() + 1).min(code.len()));
                if parts_of(name).iter().any(|part| VAGUE.contains(&part.as_str())) {
                    complaints.push(format!(
                        "{path}:{}: {name} is a name that says nothing",
                        line_of(&code, at)
                    ));
                }
            }
        }
    }
    complaints
}

/// The lower-case words of a name: `KeyManager` and `key_manager` are `key`, `manager`.
fn parts_of(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            parts.push(String::new());
        }
        if let Some(last) = parts.last_mut().filter(|_| c != '_') {
            last.extend(c.to_lowercase());
        }
    }
    parts
}

fn nothing_is_left_for_later(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.rust("src/") {
        let (code, comments) = (code_of(text), comments_of(text));
        for mark in ["TODO", "FIXME", "XXX"] {
            complaints.extend(words(&comments, mark).map(|at| format!("{path}:{}: {mark}", line_of(&comments, at))));
        }
        for mark in ["todo!", "unimplemented!", "#[ignore"] {
            let found = code.match_indices(mark);
            complaints.extend(found.map(|(at, _)| format!("{path}:{}: {mark}", line_of(&code, at))));
        }
    }
    complaints
}

fn tests_do_not_sleep(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.rust("src/").chain(tree.rust("tests/it/")) {
        let code = code_of(text);
        let all_test = path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/");
        let tests = if all_test {
            std::iter::once(0..code.len()).collect()
        } else {
            test_modules(&code)
        };
        for at in words(&code, "sleep").filter(|&at| code[at..].starts_with("sleep(")) {
            if tests.iter().any(|range| range.contains(&at)) {
                complaints.push(format!(
                    "{path}:{}: a test sleeps; wait for an event",
                    line_of(&code, at)
                ));
            }
        }
    }
    complaints
}

fn migrations_are_parallel(tree: &Tree) -> Vec<String> {
    let names = |dialect: &str| -> BTreeSet<&str> {
        let folder = format!("migrations/{dialect}/");
        tree.files
            .keys()
            .filter_map(|path| path.strip_prefix(folder.as_str()))
            .collect()
    };
    let (sqlite, postgres) = (names("sqlite"), names("postgres"));
    let only = |one: &BTreeSet<&str>, other: &BTreeSet<&str>, place: &str| -> Vec<String> {
        one.difference(other)
            .map(|name| format!("migrations/{place}/{name}: the other dialect has no such file"))
            .collect()
    };
    [only(&sqlite, &postgres, "sqlite"), only(&postgres, &sqlite, "postgres")].concat()
}

/// Every room is in docs/ARCHITECTURE.md, and every source file and folder that it names is there.
fn the_map_is_true(tree: &Tree) -> Vec<String> {
    const MAP: &str = "docs/ARCHITECTURE.md";
    let Some(text) = tree.files.get(MAP) else {
        return Vec::new();
    };
    let names = names_in_map(text);
    let mut complaints = Vec::new();
    for room in tree.rooms() {
        let forms = [
            format!("{room}/"),
            format!("{room}.rs"),
            format!("src/{room}/"),
            format!("src/{room}.rs"),
        ];
        if !names.iter().any(|(_, name)| forms.contains(name)) {
            complaints.push(format!("{MAP}: does not name the room {room}"));
        }
    }
    for (line, name) in &names {
        let path = name.trim_end_matches('/');
        let places = [path.to_owned(), format!("src/{path}"), format!("tests/it/{path}")];
        if !places.iter().any(|place| tree.paths.contains(place)) {
            complaints.push(format!("{MAP}:{line}: names {name}, which is not there"));
        }
    }
    complaints
}

/// The files `x.rs` named anywhere, and the folders `x/` that begin a line of the drawn map.
fn names_in_map(text: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let mut in_drawing = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_drawing = !in_drawing;
        }
        let is_path = |c: char| is_word(c) || matches!(c, '.' | '/' | '-');
        let first = line
            .trim_start_matches(|c: char| !is_path(c))
            .split(|c| !is_path(c))
            .next()
            .unwrap_or("");
        if in_drawing && first.ends_with('/') && !first.starts_with('/') {
            names.push((index + 1, first.to_owned()));
        }
        let files = line
            .split(|c| !is_path(c))
            .filter(|word| word.ends_with(".rs") && !word.starts_with('.'));
        names.extend(files.map(|word| (index + 1, word.to_owned())));
    }
    names
}

fn versions_agree(tree: &Tree) -> Vec<String> {
    let value = |text: &str, key: &str| -> Option<String> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_matches([' ', '=', ':', '"', '\'']).to_owned())
    };
    let version = tree.files.get("Cargo.toml").and_then(|text| value(text, "version"));
    let mut complaints = Vec::new();
    for (path, text) in tree
        .files
        .iter()
        .filter(|(path, _)| path.starts_with("charts/") && path.ends_with("/Chart.yaml"))
    {
        for key in ["version:", "appVersion:"] {
            let found = value(text, key);
            if found != version {
                let (found, version) = (found.unwrap_or_default(), version.as_deref().unwrap_or_default());
                complaints.push(format!("{path}: {key} {found}, but Cargo.toml says {version}"));
            }
        }
    }
    complaints
}

#[test]
fn the_house_is_tidy() {
    let tree = Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(tree.rooms().contains("domain"), "the sources were not found");
    let complaints: Vec<String> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_exception_is_needed_and_has_a_reason() {
    for (from, to, reason) in EXCEPTIONS {
        assert!(
            floor_of(from) <= floor_of(to),
            "{from} may import {to} without an exception"
        );
        assert!(reason.len() > 20, "{from} -> {to}: say why");
    }
}
