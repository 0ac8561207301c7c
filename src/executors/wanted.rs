//! Which files of a workspace are collected, the same on every kind of executor.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::contract::ExecutorError;

/// clawhand's own folder in a workspace, of which only what is asked for by name is collected.
const INTERNAL: &str = ".clawhand";

/// The files that globs ask for.
#[derive(Debug)]
pub(super) struct Wanted {
    globs: GlobSet,
    internal: GlobSet,
}

impl Wanted {
    pub(super) fn new(globs: &[String]) -> Result<Self, ExecutorError> {
        Ok(Self {
            globs: set(globs.iter())?,
            internal: set(globs.iter().filter(|glob| glob.starts_with(INTERNAL)))?,
        })
    }

    /// Whether a path relative to the workspace is asked for.
    pub(super) fn matches(&self, path: &str) -> bool {
        let is_internal = path.split('/').next() == Some(INTERNAL);
        if is_internal {
            self.internal.is_match(path)
        } else {
            self.globs.is_match(path)
        }
    }
}

fn set<'a>(globs: impl Iterator<Item = &'a String>) -> Result<GlobSet, ExecutorError> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let glob = GlobBuilder::new(glob)
            .literal_separator(true)
            .build()
            .map_err(|error| ExecutorError::Refused(format!("the glob {glob:?} can't be used: {}", error.kind())))?;
        set.add(glob);
    }
    set.build()
        .map_err(|error| ExecutorError::Refused(format!("the globs can't be used: {error}")))
}
