//! The key file of an installation: 32 random bytes with mode 0600.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::domain::signing::SigningKey;

/// Reads the key file, or makes it with mode 0600. Several replicas share one file (a mounted secret).
///
/// # Errors
/// When the file can't be read, isn't 32 bytes, or can't be made.
pub fn open(path: &Path) -> anyhow::Result<SigningKey> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let bytes: [u8; 32] = bytes
                .try_into()
                .map_err(|_| anyhow::anyhow!("{} is not a key of 32 bytes", path.display()))?;
            Ok(SigningKey::from_bytes(bytes))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(path),
        Err(error) => Err(error).with_context(|| format!("can't read the key file {}", path.display())),
    }
}

/// Makes the file under another name first, so that two processes that start together agree on one key and
/// nobody ever reads half of it.
fn create(path: &Path) -> anyhow::Result<SigningKey> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
    written.with_context(|| format!("can't make the key file {}", path.display()))?;
    let linked = std::fs::hard_link(&fresh, path);
    let _ = std::fs::remove_file(&fresh);
    match linked {
        Ok(()) => Ok(SigningKey::from_bytes(bytes)),
        // Somebody else was faster: theirs holds.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => open(path),
        Err(error) => Err(error).with_context(|| format!("can't make the key file {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_that_start_together_agree() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret.key");
        let first = open(&path).expect("made");
        let second = open(&path).expect("read");
        assert_eq!(first.sign("a", b"m"), second.sign("a", b"m"));
        assert_ne!(first.sign("a", b"m"), first.sign("b", b"m"));
        assert!(first.verify("a", b"m", &second.sign("a", b"m")));
        assert!(!first.verify("a", b"m", b"short"));
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("there").permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}
