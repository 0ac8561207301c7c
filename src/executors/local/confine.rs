//! Whom steps run as and what they may reach: the spec's half of the confinement, which the supervisor enforces.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};

use super::LocalExecutor;
use crate::executors::contract::ExecutorError;
use crate::executors::folder::{Confine, RunFolder};

/// The user and group number that steps run as when clawhand is root and the target names no user. It has no name,
/// no password, no home, and nothing on a common system is its own.
pub const RUN_USER: u32 = 64_917;

/// Folders with people's and services' secrets in them. What a PATH entry in a home needs is allowed apart.
const HIDDEN: [&str; 6] = [
    "/root",
    "/home",
    "/run/secrets",
    "/run/user",
    "/run/credentials",
    "/var/run/secrets",
];

/// Keys to registries that lie beside the tools that PATH leads to.
const HIDDEN_BESIDE_TOOLS: [&str; 3] = [".cargo/credentials", ".cargo/credentials.toml", ".local/share/keyrings"];

impl LocalExecutor {
    /// User and group number of the run user, when it is another one than clawhand's.
    pub(super) fn run_user(&self) -> Result<Option<(u32, u32)>, ExecutorError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let Some(wanted) = &self.block.user else {
            return Ok(Some((RUN_USER, RUN_USER)));
        };
        let unknown = || ExecutorError::Refused(format!("the run user {wanted:?} is unknown on this machine"));
        let known = match wanted.parse() {
            Ok(number) => match User::from_uid(Uid::from_raw(number)) {
                Ok(Some(user)) => (number, user.gid.as_raw()),
                _ => (number, number),
            },
            Err(_) => match User::from_name(wanted) {
                Ok(Some(user)) => (user.uid.as_raw(), user.gid.as_raw()),
                _ => return Err(unknown()),
            },
        };
        if known.0 == 0 {
            return Err(ExecutorError::Refused("steps never run as root".to_owned()));
        }
        Ok(Some(known))
    }

    /// The name of the run user, if it has one.
    pub(super) fn run_user_name(&self) -> Option<String> {
        let number = match self.run_user().ok()? {
            Some((user, _)) => Uid::from_raw(user),
            None => geteuid(),
        };
        User::from_uid(number).ok().flatten().map(|user| user.name)
    }

    /// What a step of this execution may reach.
    pub(super) fn confine(&self, run: &RunFolder) -> Result<Confine, ExecutorError> {
        let mut hidden: Vec<PathBuf> = HIDDEN.into_iter().map(PathBuf::from).collect();
        // Beside the runs there are clawhand's database and blobs.
        hidden.push(self.settings.runs.clone());
        hidden.extend(self.settings.runs.parent().map(Path::to_path_buf));
        let mut readable: Vec<PathBuf> = self.block.read_paths.iter().map(PathBuf::from).collect();
        for home in homes(self.path()) {
            hidden.extend(HIDDEN_BESIDE_TOOLS.iter().map(|name| home.join(name)));
            readable.extend(tool_folders(&home, self.path()));
        }
        // Whatever is needed below /tmp must not be covered by another one.
        let mut needed = self
            .path()
            .split(':')
            .map(Path::new)
            .chain(self.block.read_paths.iter().map(Path::new));
        let is_free = !run.path().starts_with("/tmp") && !needed.any(|path| path.starts_with("/tmp"));
        Ok(Confine {
            user: self.run_user()?,
            network: self.block.network,
            tmp: is_free.then(|| run.tmp()),
            writable: vec![run.work(), run.home(), run.tmp()],
            readable,
            hidden,
        })
    }

    /// What rustup needs to know when HOME is not where it was installed.
    pub(super) fn rustup_home(&self) -> Option<String> {
        let entry = self.path().split(':').find(|entry| entry.ends_with("/.cargo/bin"))?;
        let rustup = Path::new(entry).parent()?.parent()?.join(".rustup");
        // Only where a step could read it.
        let reachable = self.check_passable(&rustup).is_ok() && rustup.is_dir();
        reachable.then(|| rustup.to_string_lossy().into_owned())
    }

    /// Refuses a folder that the run user can't get to, with the folder that is in the way.
    pub(super) fn check_passable(&self, folder: &Path) -> Result<(), ExecutorError> {
        let Some((user, group)) = self.run_user()? else {
            return Ok(());
        };
        for above in folder.ancestors().skip(1) {
            let Ok(meta) = std::fs::metadata(above) else { continue };
            let bit = match (meta.uid() == user, meta.gid() == group) {
                (true, _) => 0o100,
                (_, true) => 0o010,
                _ => 0o001,
            };
            if meta.mode() & bit == 0 {
                return Err(ExecutorError::Refused(format!(
                    "the run user {user} can't pass through {}: keep the data folder where every user may pass \
                     (mode o+x on each folder above it), or run clawhand as an ordinary user",
                    above.display()
                )));
            }
        }
        Ok(())
    }
}

/// The homes that PATH entries lie in.
fn homes(path: &str) -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = path.split(':').filter_map(|entry| home_of(Path::new(entry))).collect();
    homes.sort();
    homes.dedup();
    homes
}

fn home_of(entry: &Path) -> Option<PathBuf> {
    if entry.starts_with("/root") {
        return Some(PathBuf::from("/root"));
    }
    let name = entry.strip_prefix("/home").ok()?.components().next()?;
    Some(Path::new("/home").join(name))
}

/// What the tools in a home's PATH entries need: for `~/.pyenv/shims` all of `~/.pyenv`, since the programs in an
/// entry rarely stand alone. `~/.local` is everybody's, so of it only the parts that hold programs.
fn tool_folders(home: &Path, path: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for entry in path.split(':').map(Path::new) {
        let Ok(inside) = entry.strip_prefix(home) else { continue };
        let Some(first) = inside.components().next() else {
            continue;
        };
        match first.as_os_str().to_str() {
            Some(".local") => {
                let parts = [
                    ".local/bin",
                    ".local/lib",
                    ".local/share/uv",
                    ".local/share/pipx",
                    ".local/share/pnpm",
                ];
                folders.extend(parts.map(|part| home.join(part)));
            }
            Some(".cargo") => folders.extend([home.join(".cargo"), home.join(".rustup")]),
            _ => folders.push(home.join(first)),
        }
    }
    folders.sort();
    folders.dedup();
    folders
}

/// Gives a tree to the run user, links themselves and not what they lead to.
pub(super) fn give_to(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let Some((user, group)) = owner else { return Ok(()) };
    std::os::unix::fs::lchown(path, Some(user), Some(group))?;
    if std::fs::symlink_metadata(path)?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give_to(&entry?.path(), owner)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_in_a_home_bring_what_they_need_and_nothing_else_of_it() {
        let path = "/usr/bin:/home/ann/.pyenv/shims:/home/ann/.cargo/bin:/home/ann/.local/bin:/home/ann";
        assert_eq!(homes(path), [PathBuf::from("/home/ann")]);
        let folders = tool_folders(Path::new("/home/ann"), path);
        for wanted in [".pyenv", ".cargo", ".rustup", ".local/bin", ".local/share/uv"] {
            assert!(
                folders.contains(&Path::new("/home/ann").join(wanted)),
                "{wanted} is missing"
            );
        }
        assert!(!folders.contains(&PathBuf::from("/home/ann")));
        assert!(!folders.contains(&PathBuf::from("/home/ann/.local")));
    }
}
