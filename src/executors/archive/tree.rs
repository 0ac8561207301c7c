//! The tree that an archive would unpack to, and everything that is refused about it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;

use super::read::{Entry, What};
use super::{ArchiveError, ArchiveLimits};
use crate::domain::Listing;

/// Longest path, and longest target of a link, in bytes.
const PATH_MAX: usize = 1024;
/// All names and targets together; they are kept in memory.
const NAMES_MAX: usize = 32 * 1024 * 1024;
/// The text of all manifests together; the deepest are left out first.
const MANIFESTS_MAX: usize = 4 * 1024 * 1024;
/// Names that are walked to find out where links lead.
const STEPS_MAX: usize = 2_000_000;
/// Links that may follow one another, as in the kernel.
const HOPS_MAX: usize = 40;

/// Something that will be made.
pub(super) enum Node {
    Folder {
        mode: u32,
    },
    /// `entry` is the number of the entry that has its content.
    File {
        mode: u32,
        size: u64,
        entry: usize,
    },
    /// To a file of the tree, by path.
    HardLink {
        target: String,
    },
    /// As it will be written.
    Symlink {
        target: String,
    },
}

/// What was safe to unpack.
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    manifests: BTreeMap<String, String>,
    content: HashMap<usize, String>,
    steps: usize,
}

/// Collects the entries.
pub(super) struct Survey {
    limits: ArchiveLimits,
    entries: Vec<(Vec<String>, Node)>,
    seen: usize,
    names: usize,
    /// By depth and path.
    manifests: BTreeMap<(usize, String), String>,
    manifests_size: usize,
}

impl Survey {
    pub(super) fn new(limits: &ArchiveLimits) -> Self {
        Self {
            limits: *limits,
            entries: Vec::new(),
            seen: 0,
            names: 0,
            manifests: BTreeMap::new(),
            manifests_size: 0,
        }
    }

    /// Checks an entry by itself and remembers it.
    pub(super) fn add(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<(), ArchiveError> {
        let number = self.seen;
        self.seen += 1;
        let path = parse(&entry.name)?;
        if is_ignored(&path) {
            return Ok(());
        }
        let name = path.join("/");
        self.count(name.len())?;
        let node = match &entry.what {
            What::Folder => Node::Folder { mode: entry.mode },
            _ if path.is_empty() => return Err(refuse(&entry.name, "has no name")),
            What::File => Node::File {
                mode: entry.mode,
                size: self.take(&path, name, body)?,
                entry: number,
            },
            What::HardLink(target) => {
                let target = parse(target)?.join("/");
                self.count(target.len())?;
                Node::HardLink { target }
            }
            What::Symlink(target) => {
                let target = text(target)?.to_owned();
                self.count(target.len())?;
                Node::Symlink { target }
            }
            What::Special(what) => return Err(refuse(&entry.name, &format!("is no file, folder or link but {what}"))),
        };
        if !path.is_empty() {
            self.entries.push((path, node));
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), ArchiveError> {
        self.names += bytes;
        if self.names > NAMES_MAX {
            return Err(ArchiveError::Unsafe("its names are too long".into()));
        }
        Ok(())
    }

    /// Reads a file's content: its size, and its text if it is a manifest.
    fn take(&mut self, path: &[String], name: String, body: &mut dyn Read) -> Result<u64, ArchiveError> {
        let is_manifest = path
            .last()
            .is_some_and(|last| Listing::MANIFEST_NAMES.contains(&last.as_str()));
        let mut start = Vec::new();
        if is_manifest {
            body.take(Listing::MANIFEST_MAX + 1).read_to_end(&mut start)?;
        }
        let size = start.len() as u64 + std::io::copy(body, &mut std::io::sink())?;
        let key = (path.len(), name);
        // The last entry of a name wins, with or without text.
        if let Some(old) = self.manifests.remove(&key) {
            self.manifests_size -= old.len();
        }
        if is_manifest
            && size <= Listing::MANIFEST_MAX
            && let Ok(text) = String::from_utf8(start)
        {
            self.manifests_size += text.len();
            self.manifests.insert(key, text);
        }
        while self.manifests_size > MANIFESTS_MAX
            && let Some((_, deepest)) = self.manifests.pop_last()
        {
            self.manifests_size -= deepest.len();
        }
        Ok(size)
    }

    /// Checks the entries together and lays them out as they will be.
    pub(super) fn finish(self) -> Result<Tree, ArchiveError> {
        let top = top_folder(&self.entries).map(|top| format!("{top}/"));
        let strip = |path: String| match &top {
            Some(top) => path.strip_prefix(top.as_str()).map(String::from),
            None => Some(path),
        };
        let mut tree = Tree {
            nodes: BTreeMap::new(),
            manifests: BTreeMap::new(),
            content: HashMap::new(),
            steps: 0,
        };
        for (path, mut node) in self.entries {
            let Some(path) = strip(path.join("/")) else { continue };
            if let Node::HardLink { target } = &mut node {
                *target = strip(std::mem::take(target)).unwrap_or_default();
            }
            tree.insert(path, node)?;
            if tree.nodes.len() > self.limits.entries {
                return Err(ArchiveError::Unsafe(format!(
                    "it holds more than {} entries",
                    self.limits.entries
                )));
            }
        }
        for ((_, path), text) in self.manifests {
            tree.manifests.extend(strip(path).map(|path| (path, text)));
        }
        tree.check()?;
        Ok(tree)
    }
}

impl Tree {
    /// Everything that will be made; a folder comes before what is in it.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.iter()
    }

    /// Which file an entry's content belongs to, with its mode; none if it is no file or a later entry replaces it.
    pub(super) fn content_of(&self, entry: usize) -> Option<(&str, u32)> {
        let path = self.content.get(&entry)?;
        match self.nodes.get(path) {
            Some(Node::File { mode, .. }) => Some((path, *mode)),
            _ => None,
        }
    }

    /// What the planner may know of it. A link to a file counts as that file.
    pub(super) fn listing(mut self) -> Listing {
        let mut listing = Listing {
            manifests: std::mem::take(&mut self.manifests),
            ..Listing::default()
        };
        let paths: Vec<String> = self.nodes.keys().cloned().collect();
        self.steps = 0;
        for path in paths {
            // Where links lead was walked before, so it can be walked again.
            let Some(file) = self.file_behind(&path) else { continue };
            if let Some(Node::File { size, .. }) = self.nodes.get(&file) {
                listing.files.insert(path.clone(), *size);
            }
            if let Some(text) = listing.manifests.get(&file).filter(|_| is_manifest(&path)).cloned() {
                listing.manifests.insert(path, text);
            }
        }
        listing
    }

    fn file_behind(&mut self, path: &str) -> Option<String> {
        let file = match self.nodes.get(path)? {
            Node::File { .. } => path.to_owned(),
            Node::Folder { .. } => return None,
            Node::HardLink { target } => target.clone(),
            Node::Symlink { target } => {
                let target = target.clone();
                self.lead(path, &target).ok()?
            }
        };
        match self.nodes.get(&file)? {
            Node::HardLink { target } => Some(target.clone()),
            Node::File { .. } => Some(file),
            Node::Folder { .. } | Node::Symlink { .. } => None,
        }
    }

    /// A later entry of the same name replaces an earlier one, as long as it is of the same kind.
    fn insert(&mut self, path: String, node: Node) -> Result<(), ArchiveError> {
        for (end, _) in path.match_indices('/') {
            match self.nodes.get(&path[..end]) {
                Some(Node::Folder { .. }) => {}
                Some(_) => return Err(refuse(path.as_bytes(), "lies below what is no folder")),
                None => {
                    self.nodes.insert(path[..end].to_owned(), Node::Folder { mode: 0o755 });
                }
            }
        }
        match (self.nodes.get(&path), &node) {
            (None, _)
            | (Some(Node::Folder { .. }), Node::Folder { .. })
            | (Some(Node::File { .. }), Node::File { .. })
            | (Some(Node::HardLink { .. }), Node::HardLink { .. })
            | (Some(Node::Symlink { .. }), Node::Symlink { .. }) => {}
            _ => return Err(refuse(path.as_bytes(), "is there twice, as different things")),
        }
        if let Node::File { entry, .. } = node {
            self.content.insert(entry, path.clone());
        }
        if let Some(Node::File { entry, .. }) = self.nodes.insert(path, node) {
            self.content.remove(&entry);
        }
        Ok(())
    }

    /// Checks what only the whole tree shows: where links lead.
    fn check(&mut self) -> Result<(), ArchiveError> {
        let mut symlinks = Vec::new();
        let mut hard_links = Vec::new();
        for (path, node) in &self.nodes {
            match node {
                Node::Symlink { target } => symlinks.push((path.clone(), target.clone())),
                Node::HardLink { target } => hard_links.push((path.clone(), target.clone())),
                Node::Folder { .. } | Node::File { .. } => {}
            }
        }
        if !self.nodes.values().any(|node| matches!(node, Node::File { .. })) {
            return Err(ArchiveError::Broken("it holds no files".into()));
        }
        for (path, target) in symlinks {
            self.lead(&path, &target)?;
        }
        for (path, mut target) in hard_links {
            // A link to a link of the same file is written by no usual program, but harmless.
            for _ in 0..HOPS_MAX {
                match self.nodes.get(&target) {
                    Some(Node::HardLink { target: next }) => target = next.clone(),
                    _ => break,
                }
            }
            if !matches!(self.nodes.get(&target), Some(Node::File { .. })) {
                return Err(refuse(
                    path.as_bytes(),
                    "is a hard link to what is no file of the archive",
                ));
            }
            self.nodes.insert(path, Node::HardLink { target });
        }
        Ok(())
    }

    /// Where the kernel would arrive from the link at `path`; refused if that is, even on the way, outside the tree.
    fn lead(&mut self, path: &str, target: &str) -> Result<String, ArchiveError> {
        let out = || refuse(path.as_bytes(), "is a link that leads out of the archive or nowhere");
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let mut at = parent.to_owned();
        let mut todo: Vec<String> = vec![target.to_owned()];
        let mut hops = 0;
        while let Some(way) = todo.pop() {
            if way.starts_with('/') || way.is_empty() {
                return Err(out());
            }
            let (name, rest) = way.split_once('/').unwrap_or((&way, ""));
            let rest = rest.trim_start_matches('/');
            if !rest.is_empty() {
                todo.push(rest.to_owned());
            }
            self.steps += 1;
            if self.steps > STEPS_MAX || at.len() > 4 * PATH_MAX {
                return Err(ArchiveError::Unsafe(
                    "its links are too many or too long to follow".into(),
                ));
            }
            match name {
                "." => {}
                // Up only from folders of this archive: what else lies there may be a link by then.
                ".." => match self.nodes.get(&at) {
                    Some(Node::Folder { .. }) => at.truncate(at.rfind('/').unwrap_or(0)),
                    _ => return Err(out()),
                },
                name => {
                    let before = at.len();
                    at = if at.is_empty() {
                        name.to_owned()
                    } else {
                        format!("{at}/{name}")
                    };
                    if let Some(Node::Symlink { target }) = self.nodes.get(&at) {
                        hops += 1;
                        if hops > HOPS_MAX {
                            return Err(out());
                        }
                        todo.push(target.clone());
                        at.truncate(before);
                    }
                }
            }
        }
        Ok(at)
    }
}

/// The one folder that everything lies below.
fn top_folder(entries: &[(Vec<String>, Node)]) -> Option<String> {
    let tops: BTreeSet<&str> = entries
        .iter()
        .filter_map(|(path, _)| path.first())
        .map(String::as_str)
        .take(2)
        .collect();
    let top = entries.first()?.0.first()?;
    let all_below = entries
        .iter()
        .all(|(path, node)| path.first() == Some(top) && (path.len() > 1 || matches!(node, Node::Folder { .. })));
    (tops.len() == 1 && all_below).then(|| top.clone())
}

fn is_manifest(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    Listing::MANIFEST_NAMES.contains(&name)
}

/// What macOS adds.
fn is_ignored(path: &[String]) -> bool {
    path.first().is_some_and(|first| first == "__MACOSX") || path.last().is_some_and(|last| last == ".DS_Store")
}

/// The names of a relative path that can't lead out; empty for the root of the archive.
fn parse(name: &[u8]) -> Result<Vec<String>, ArchiveError> {
    let path = text(name)?;
    let drive = path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic();
    if path.starts_with('/') || drive {
        return Err(refuse(name, "is an absolute path"));
    }
    let names: Vec<String> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .map(String::from)
        .collect();
    if names.iter().any(|part| part == "..") {
        return Err(refuse(name, "leads out of the archive"));
    }
    if names.iter().any(|part| part.len() > 255) {
        return Err(refuse(&name[..64], "is too long"));
    }
    Ok(names)
}

/// A name or a target as text.
fn text(bytes: &[u8]) -> Result<&str, ArchiveError> {
    if bytes.len() > PATH_MAX {
        return Err(refuse(&bytes[..64], "is too long"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| refuse(bytes, "is not UTF-8"))?;
    if text.contains(|c: char| c.is_control() || c == '\\') {
        return Err(refuse(bytes, "holds a control character or a backslash"));
    }
    Ok(text)
}

fn refuse(name: &[u8], why: &str) -> ArchiveError {
    ArchiveError::Unsafe(format!("{:?} {why}", String::from_utf8_lossy(name)))
}
