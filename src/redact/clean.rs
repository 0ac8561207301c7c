//! The seal on what may leave clawhand.

use std::fmt;
use std::ops::Deref;

use serde::{Serialize, Serializer};

/// A value that went through the rules. Only this room makes one, so a door that takes a `Clean` can't forget to scrub.
///
/// ```
/// use clawhand::redact::{Clean, Rules};
/// let clean: Clean<String> = Rules::none().text("ok");
/// assert_eq!(*clean, "ok");
/// ```
///
/// Nobody else can: the same value made by hand does not compile.
///
/// ```compile_fail,E0423
/// use clawhand::redact::{Clean, Rules};
/// let clean: Clean<String> = Clean(String::from("ok"));
/// assert_eq!(*clean, "ok");
/// ```
///
/// Neither can what is inside be exchanged afterwards.
///
/// ```compile_fail,E0594
/// use clawhand::redact::{Clean, Rules};
/// let mut clean: Clean<String> = Rules::none().text("ok");
/// *clean = String::from("not ok");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Clean<T>(T);

impl<T> Clean<T> {
    /// Sets the seal. For this room only.
    pub(super) const fn seal(value: T) -> Self {
        Self(value)
    }

    /// Breaks the seal, at the last moment before sending.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl Clean<&'static str> {
    /// A literal of the program: it can't hold anything that was read.
    pub const fn fixed(text: &'static str) -> Self {
        Self(text)
    }
}

impl<T> Deref for Clean<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> AsRef<T> for Clean<T> {
    fn as_ref(&self) -> &T {
        &self.0
    }
}

impl<T: Serialize> Serialize for Clean<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<T: fmt::Debug> fmt::Debug for Clean<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for Clean<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
