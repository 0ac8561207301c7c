//! Identifiers: a prefix that says what it names, then a UUID version 7 (RFC 9562), so that they sort by age.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// What an identifier names. One zero-sized type per noun, so that ids can't be confused.
pub trait IdKind: Send + Sync + 'static {
    /// Written before the underscore, such as `tsk`.
    const PREFIX: &'static str;
    /// The word of the design, for error texts.
    const NOUN: &'static str;
}

/// An identifier of one kind of thing, written `prefix_32hexdigits`.
pub struct Id<K: IdKind>(Uuid, PhantomData<fn() -> K>);

impl<K: IdKind> Id<K> {
    /// Wraps a UUID made by the caller (chance comes in from outside).
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid, PhantomData)
    }

    /// A new identifier: 48 bits of time in milliseconds, the rest from the operating system's random source.
    pub fn random() -> Self {
        Self::from_uuid(Uuid::now_v7())
    }
}

impl<K: IdKind> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K: IdKind> Copy for Id<K> {}
impl<K: IdKind> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K: IdKind> Eq for Id<K> {}
impl<K: IdKind> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K: IdKind> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K: IdKind> std::hash::Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<K: IdKind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", K::PREFIX, self.0.simple())
    }
}
impl<K: IdKind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {noun} id: expected {prefix}_ followed by 32 hexadecimal digits")]
pub struct BadId {
    noun: &'static str,
    prefix: &'static str,
}

impl<K: IdKind> FromStr for Id<K> {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = BadId {
            noun: K::NOUN,
            prefix: K::PREFIX,
        };
        let hex = text
            .strip_prefix(K::PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .filter(|hex| hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        match hex.and_then(|hex| Uuid::try_parse(hex).ok()) {
            Some(uuid) => Ok(Self::from_uuid(uuid)),
            None => Err(bad),
        }
    }
}

impl<K: IdKind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de, K: IdKind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Names a [`super::Task`].
#[derive(Debug)]
pub enum TaskKind {}
/// Names a [`super::Artifact`].
#[derive(Debug)]
pub enum ArtifactKind {}
/// Names a [`super::Execution`].
#[derive(Debug)]
pub enum ExecutionKind {}
/// Names one start of a step on an executor.
#[derive(Debug)]
pub enum AttemptKind {}
/// Names an [`super::Approval`].
#[derive(Debug)]
pub enum ApprovalKind {}
/// Names a bearer key.
#[derive(Debug)]
pub enum KeyKind {}
/// Names one copy of some content.
#[derive(Debug)]
pub enum CopyKind {}

impl IdKind for TaskKind {
    const PREFIX: &'static str = "tsk";
    const NOUN: &'static str = "a task";
}
impl IdKind for ArtifactKind {
    const PREFIX: &'static str = "art";
    const NOUN: &'static str = "an artifact";
}
impl IdKind for ExecutionKind {
    const PREFIX: &'static str = "exe";
    const NOUN: &'static str = "an execution";
}
impl IdKind for AttemptKind {
    const PREFIX: &'static str = "att";
    const NOUN: &'static str = "an attempt";
}
impl IdKind for ApprovalKind {
    const PREFIX: &'static str = "apr";
    const NOUN: &'static str = "an approval";
}
impl IdKind for KeyKind {
    const PREFIX: &'static str = "key";
    const NOUN: &'static str = "a key";
}
impl IdKind for CopyKind {
    const PREFIX: &'static str = "cpy";
    const NOUN: &'static str = "a copy";
}

/// Identifier of a task.
pub type TaskId = Id<TaskKind>;
/// Identifier of an artifact.
pub type ArtifactId = Id<ArtifactKind>;
/// Identifier of an execution.
pub type ExecutionId = Id<ExecutionKind>;
/// Identifier of an attempt.
pub type AttemptId = Id<AttemptKind>;
/// Identifier of an approval.
pub type ApprovalId = Id<ApprovalKind>;
/// Identifier of a bearer key.
pub type KeyId = Id<KeyKind>;
/// Identifier of one copy of some content.
pub type CopyId = Id<CopyKind>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text_and_refuses_another_kind() {
        let id = TaskId::random();
        assert_eq!(id.to_string().parse::<TaskId>(), Ok(id));
        assert!(id.to_string().parse::<ExecutionId>().is_err());
        for bad in ["", "tsk", "tsk_", "tsk_zz", "TSK_00000000000000000000000000000000"] {
            assert!(bad.parse::<TaskId>().is_err(), "{bad:?} was taken for an id");
        }
    }
}
