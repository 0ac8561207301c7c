//! Sizes and durations as people write them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes, written `64 MiB`, `1 GiB`, `512 B` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A span of time, written `500ms`, `30s`, `15m`, `24h` or `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const SIZES: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
const SPANS: [(&str, u64); 5] = [
    ("ms", 1),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
];

/// A whole number before one of the units.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let (unit, factor) = units.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
    number.checked_mul(*factor)
}

/// The largest unit that needs no fraction.
fn write(value: u64, units: &[(&str, u64)], gap: &str) -> String {
    let mut best = ("", 1);
    for (unit, factor) in units {
        if value.is_multiple_of(*factor) && (best.0.is_empty() || *factor > best.1) {
            best = (unit, *factor);
        }
    }
    format!("{}{gap}{}", value / best.1, best.0)
}

impl ByteSize {
    /// Reads a size.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().or_else(|| parse(text, &SIZES)).map(Self)
    }
}

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Reads a span.
    pub fn parse(text: &str) -> Option<Self> {
        parse(text, &SPANS).map(|ms| Self(Duration::from_millis(ms)))
    }
}

/// A text that is not a size or a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct BadUnit(&'static str);

impl std::str::FromStr for ByteSize {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        Self::parse(text).ok_or(BadUnit("a size such as 64 MiB"))
    }
}

impl std::str::FromStr for Span {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        Self::parse(text).ok_or(BadUnit("a time such as 30s, 15m, 24h or 30d"))
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&write(self.0, &SIZES, " "))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a size such as \"64 MiB\"")))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        serializer.serialize_str(&write(ms, &SPANS, ""))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} is not a duration such as \"30s\", \"15m\", \"24h\" or \"30d\""
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_written_alike() {
        for (text, bytes) in [("64 MiB", 64 << 20), ("1 GiB", 1 << 30), ("1000 B", 1000)] {
            assert_eq!(ByteSize::parse(text), Some(ByteSize(bytes)));
            assert_eq!(write(bytes, &SIZES, " "), text);
        }
        for (text, ms) in [("30s", 30_000), ("15m", 900_000), ("1d", 86_400_000), ("250ms", 250)] {
            assert_eq!(Span::parse(text), Some(Span(Duration::from_millis(ms))));
            assert_eq!(write(ms, &SPANS, ""), text);
        }
        for bad in ["", "s", "1.5h", "-1s", "99999999999999999999d", "5 lightyears"] {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
    }
}
