//! Secrets by reference: read at use, remembered only so that they can be scrubbed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::target::SecretRef;

/// The largest file that is taken for a secret, in bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// Why a secret can't be read. Names where it should be, never what is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// No such environment variable.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// The file can't be read.
    #[error("the secret file {path} can't be read: {why}")]
    File {
        /// Which.
        path: String,
        /// Why.
        why: String,
    },
}

/// Where secrets are read, and which were. Cheap to clone; never prints a value.
#[derive(Clone)]
pub struct Vault {
    environment: Arc<BTreeMap<String, String>>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    generation: u64,
    values: BTreeSet<String>,
}

impl Vault {
    /// A vault over the environment that the process was started with.
    pub fn new(environment: BTreeMap<String, String>) -> Self {
        Self {
            environment: Arc::new(environment),
            seen: Arc::default(),
        }
    }

    /// The value behind `reference`, read now. From here on it is scrubbed from whatever leaves.
    ///
    /// # Errors
    /// When there is no such variable or file.
    pub fn read(&self, reference: &SecretRef) -> Result<String, VaultError> {
        let value = match reference {
            SecretRef::Env(name) => self
                .environment
                .get(name)
                .cloned()
                .ok_or_else(|| VaultError::NotSet(name.clone()))?,
            SecretRef::File(path) => read_file(path)?,
        };
        self.remember(&value);
        Ok(value)
    }

    /// Scrubs from here on a value that was given and not read.
    pub fn remember(&self, value: &str) {
        let mut seen = self.lock();
        if !value.is_empty() && seen.values.insert(value.to_owned()) {
            seen.generation += 1;
        }
    }

    /// Changes whenever a value was read for the first time.
    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// The values that were read, for building rules.
    pub fn seen(&self) -> (u64, Vec<String>) {
        let seen = self.lock();
        (seen.generation, seen.values.iter().cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({} read)", self.lock().values.len())
    }
}

fn read_file(path: &str) -> Result<String, VaultError> {
    let fail = |why: String| VaultError::File {
        path: path.to_owned(),
        why,
    };
    let size = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
    if size > FILE_MAX {
        return Err(fail(format!("it has {size} bytes; {FILE_MAX} are allowed")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let value = text.strip_suffix('\n').unwrap_or(&text);
    Ok(value.strip_suffix('\r').unwrap_or(value).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_remembered_and_never_printed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "s3cret-value\n").expect("written");
        let vault = Vault::new(BTreeMap::from([("T".into(), "from-environment".into())]));
        let file = SecretRef::File(path.to_string_lossy().into_owned());
        assert_eq!(vault.read(&file).as_deref(), Ok("s3cret-value"));
        assert_eq!(
            vault.read(&SecretRef::Env("T".into())).as_deref(),
            Ok("from-environment")
        );
        assert_eq!(vault.generation(), 2);
        assert_eq!(vault.read(&file).as_deref(), Ok("s3cret-value"));
        assert_eq!(vault.generation(), 2, "reading again is no news");
        assert_eq!(format!("{vault:?}"), "Vault(2 read)");
        assert!(matches!(
            vault.read(&SecretRef::Env("U".into())),
            Err(VaultError::NotSet(_))
        ));
        assert!(matches!(
            vault.read(&SecretRef::File("/nowhere".into())),
            Err(VaultError::File { .. })
        ));
    }
}
