//! Named blobs, addressed by their content.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::{ArtifactId, CopyId, ExecutionId, TaskId, UnixMs};

/// A SHA-256 digest, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Wraps the 32 bytes that a hasher gave.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 64 hexadecimal digits without the prefix.
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: expected sha256: followed by 64 hexadecimal digits")]
pub struct BadDigest;

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
        if hex.len() != 64 {
            return Err(BadDigest);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let digit = |c: u8| (c as char).to_digit(16).ok_or(BadDigest);
            *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).map_err(|_| BadDigest)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether an artifact went in or came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactRole {
    /// Attached to a task by its caller.
    Input,
    /// Collected from an execution.
    Output,
}

impl ArtifactRole {
    /// The word that is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// What the planner may know of an input: the files in it and the text of the manifests among them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Paths relative to the workspace, with `/`, sorted, each with its size in bytes.
    pub files: BTreeMap<String, u64>,
    /// The text of manifest files (`pyproject.toml`, `package.json`, ...) by path; only UTF-8 files of at most
    /// [`Listing::MANIFEST_MAX`] bytes.
    pub manifests: BTreeMap<String, String>,
}

impl Listing {
    /// A larger manifest is listed as a file only.
    pub const MANIFEST_MAX: u64 = 256 * 1024;

    /// The files whose text a recipe may look at.
    pub const MANIFEST_NAMES: [&'static str; 18] = [
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "requirements.txt",
        "requirements-dev.txt",
        "tox.ini",
        "pytest.ini",
        "package.json",
        "Cargo.toml",
        "go.mod",
        "pom.xml",
        "Makefile",
        "makefile",
        "GNUmakefile",
        "build.gradle",
        "CMakeLists.txt",
        "justfile",
        "Dockerfile",
    ];

    /// Adds what another artifact brings; where both have a path, `other` wins, as it does in the workspace.
    pub fn overlay(&mut self, other: &Self) {
        for path in other.files.keys() {
            self.manifests.remove(path);
        }
        self.files.extend(other.files.clone());
        self.manifests.extend(other.manifests.clone());
    }
}

/// Where the bytes of some content are: one copy of them, under a name that no other copy ever has. A copy that was
/// deleted never comes back, so deleting it, however late, can't meet bytes that are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob {
    /// Of the content.
    pub digest: Digest,
    /// Which copy.
    pub copy: CopyId,
}

/// A named blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its id.
    pub id: ArtifactId,
    /// The task it belongs to.
    pub task: TaskId,
    /// The execution that made it; none for an input.
    pub execution: Option<ExecutionId>,
    /// Whose it is.
    pub owner: String,
    /// Input or output.
    pub role: ArtifactRole,
    /// A relative path, or the name of an archive.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Of its content.
    pub digest: Digest,
    /// Where the content is.
    pub copy: CopyId,
    /// A media type (RFC 6838).
    pub media_type: String,
    /// What is inside, for an input.
    pub listing: Listing,
    /// When it was complete.
    pub created_at: UnixMs,
}

impl Artifact {
    /// Where its bytes are.
    pub const fn blob(&self) -> Blob {
        Blob {
            digest: self.digest,
            copy: self.copy,
        }
    }

    /// Whether it is an archive that is unpacked into the workspace rather than laid there as a file.
    pub fn is_archive(name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        [".tar.gz", ".tgz", ".zip", ".tar"]
            .iter()
            .any(|ending| name.ends_with(ending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_text() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            digest.to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        assert_eq!(digest.hex().to_uppercase().parse::<Digest>(), Ok(digest));
        assert!("sha256:zz".parse::<Digest>().is_err());
        assert!("é".repeat(32).parse::<Digest>().is_err());
    }
}
