//! Reads a folder of targets and recipes into one snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use super::fields::Source;
use super::problem::Problem;
use super::target_file::{self, TargetFile};
use super::{builtin, groups, recipe_file};
use crate::domain::queue::AtOnce;
use crate::domain::{Digest, Recipe, Target};

/// The subfolder of recipes.
const RECIPES: &str = "recipes";
/// No file of the inventory is larger.
const FILE_MAX: u64 = 1024 * 1024;

/// All targets and recipes as they were at one moment. Immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// In the order of their names.
    pub targets: Vec<Target>,
    /// Built-in ones and the operator's, in the order of their names.
    pub recipes: Vec<Recipe>,
    /// Those that clawhand has by itself and no file describes. No reference means one of them.
    pub builtin: Vec<Target>,
    /// Of all that it was read from.
    pub digest: Digest,
}

impl Snapshot {
    /// The target of exactly this name, built-in ones included.
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.all().find(|target| target.name == name)
    }

    /// Every target, built-in ones included.
    pub fn all(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().chain(&self.builtin)
    }

    /// How many executions may run at once: on each target as its file says, of one owner as the caller says.
    pub fn at_once(&self, per_owner: Option<u32>) -> AtOnce {
        let limit = |target: &Target| (target.name.clone(), target.limits.max_concurrent);
        AtOnce {
            per_owner,
            per_target: self.all().map(limit).collect(),
        }
    }
}

/// Reads the targets in `dir` and the recipes in `dir/recipes`, or tells every mistake in them. The order in which
/// the folder lists its files never matters.
pub fn load(dir: &Path) -> Result<Snapshot, Vec<Problem>> {
    let mut problems = Vec::new();
    let target_files = read_folder(dir, "", &mut problems);
    let mut recipe_files: BTreeMap<String, String> = builtin::RECIPES
        .iter()
        .map(|(name, text)| (format!("{RECIPES}/{name}"), (*text).to_owned()))
        .collect();
    if dir.join(RECIPES).is_dir() {
        recipe_files.extend(read_folder(&dir.join(RECIPES), &format!("{RECIPES}/"), &mut problems));
    }
    let recipes = recipes(&recipe_files, &mut problems);
    let served: BTreeSet<&str> = recipes.iter().flat_map(|r| &r.intents).map(String::as_str).collect();
    // A broken recipe would make every target that uses it look wrong.
    let served = problems.iter().all(|p| !p.file.starts_with(RECIPES)).then_some(&served);
    let targets = targets(&target_files, served, &mut problems);
    if !problems.is_empty() {
        problems.sort();
        problems.dedup();
        return Err(problems);
    }
    let digest = digest(target_files.iter().chain(&recipe_files));
    Ok(Snapshot {
        targets,
        recipes,
        builtin: Vec::new(),
        digest,
    })
}

/// The TOML files of a folder, by name. Hidden ones are left out: editors and mounted volumes keep their own there.
fn read_folder(dir: &Path, prefix: &str, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let names = match names(dir) {
        Ok(names) => names,
        Err(why) => {
            let file = if prefix.is_empty() { "targets folder" } else { prefix };
            problems.push(Problem::whole(
                file,
                format!("can't be read: {why}"),
                "make the folder, with a file per target",
            ));
            return files;
        }
    };
    for name in names {
        match read_file(&dir.join(&name)) {
            Ok(text) => {
                files.insert(format!("{prefix}{name}"), text);
            }
            // It went away after the folder was listed: then it is not there.
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => {
                problems.push(Problem::whole(
                    format!("{prefix}{name}"),
                    format!("can't be read: {why}"),
                    "",
                ));
            }
        }
    }
    files
}

fn names(dir: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".toml") && !name.starts_with('.') && entry.path().is_file() {
            names.insert(name);
        }
    }
    Ok(names)
}

fn read_file(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > FILE_MAX {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    String::from_utf8(fs::read(path)?).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

fn recipes(files: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Vec<Recipe> {
    let mut recipes = Vec::new();
    for (file, text) in files {
        let stem = file
            .rsplit('/')
            .next()
            .and_then(|name| name.strip_suffix(".toml"))
            .unwrap_or(file);
        let source = Source::new(file, text);
        recipes.extend(recipe_file::read(&source, stem));
        problems.extend(source.into_problems());
    }
    recipes.sort_by(|a, b| a.name.cmp(&b.name));
    recipes
}

fn targets(
    files: &BTreeMap<String, String>,
    served: Option<&BTreeSet<&str>>,
    problems: &mut Vec<Problem>,
) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut sources = BTreeMap::new();
    // Which file a name belongs to.
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for (file, text) in files {
        let source = Source::new(file, text);
        if let Some(TargetFile { target, names }) = target_file::read(&source, served) {
            for name in names {
                match taken.get(&name.value) {
                    None => {
                        taken.insert(name.value, file);
                    }
                    Some(other) if *other == file => {
                        source.problem(name.at, format!("'{}' is there twice", name.value), "remove one");
                    }
                    Some(other) => {
                        let message = format!("'{}' is a name in {other} already", name.value);
                        source.problem(name.at, message, "names and aliases are unique; rename one");
                    }
                }
            }
            sources.insert(target.name.clone(), (file.clone(), text.clone()));
            targets.push(target);
        }
        problems.extend(source.into_problems());
    }
    // A file with a mistake would make groups look wrong that have its target as a member.
    if problems.is_empty() {
        problems.extend(groups::settle(&mut targets, &sources));
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    targets
}

/// Of names and texts, each with its length before it, so that no two inventories have the same bytes.
fn digest<'a>(files: impl Iterator<Item = (&'a String, &'a String)>) -> Digest {
    let mut bytes = Vec::new();
    for (name, text) in files {
        for part in [name, text] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
    }
    Digest::of(&bytes)
}
