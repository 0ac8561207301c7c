//! Bounds of what callers may write, each with an error that names the field.

use std::path::{Component, Path};

use crate::domain::Refusal;

/// Whether a text may have line breaks and tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// One line.
    One,
    /// Several.
    Many,
}

/// A text that must not be empty, with at most `max` characters and no control characters.
pub(super) fn text(field: &str, value: &str, max: usize, lines: Lines) -> Result<(), Refusal> {
    if value.trim().is_empty() {
        return Err(Refusal::invalid(
            format!("{field} is empty"),
            format!("write something into {field}"),
        ));
    }
    let count = value.chars().count();
    if count > max {
        return Err(Refusal::invalid(
            format!("{field} has {count} characters; {max} are allowed"),
            format!("shorten {field}; long material belongs into an artifact"),
        ));
    }
    let allowed = |c: char| !c.is_control() || (lines == Lines::Many && matches!(c, '\n' | '\r' | '\t'));
    match value.chars().find(|c| !allowed(*c)) {
        None => Ok(()),
        Some(bad) => Err(Refusal::invalid(
            format!("{field} contains the control character U+{:04X}", u32::from(bad)),
            format!("remove it from {field}"),
        )),
    }
}

/// The same for a text that may be absent.
pub(super) fn optional(field: &str, value: Option<&str>, max: usize, lines: Lines) -> Result<(), Refusal> {
    value.map_or(Ok(()), |value| text(field, value, max, lines))
}

/// An artifact's name: a relative path that stays inside, in the form that it will have in the workspace.
pub(super) fn artifact_name(name: &str) -> Result<(), Refusal> {
    text("name", name, 512, Lines::One)?;
    let bad = |why: &str| {
        Err(Refusal::invalid(
            format!("the artifact name {name:?} {why}"),
            "use a relative path with / such as tests/test_a.py, or an archive name such as project.tar.gz",
        ))
    };
    if name.contains('\\') {
        return bad("contains a backslash");
    }
    let path = Path::new(name);
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return bad("leads outside the workspace");
    }
    if path.components().collect::<std::path::PathBuf>().as_os_str() != path.as_os_str() {
        return bad("has empty or `.` parts");
    }
    if path.components().next() == Some(Component::Normal(".clawhand".as_ref())) {
        return bad("begins with .clawhand, which is clawhand's own");
    }
    Ok(())
}

/// An id in the form of its kind; anything else is as good as unknown.
pub(super) fn id<T: std::str::FromStr>(noun: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::not_found(noun))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_the_workspace() {
        for good in ["a", "a/b.py", "project.tar.gz", "ä/ö", "..a/b", ".env"] {
            assert_eq!(artifact_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            " ",
            "/etc/passwd",
            "..",
            "a/../b",
            "./a",
            "a//b",
            "a/",
            "a/./b",
            "a\\b",
            "a\0b",
            "a\nb",
            ".clawhand/venv",
            ".clawhand",
        ] {
            assert!(artifact_name(bad).is_err(), "{bad:?} was taken");
        }
        assert!(artifact_name(&"x".repeat(513)).is_err());
    }

    #[test]
    fn texts_are_bounded() {
        assert_eq!(text("goal", "two\nlines", 100, Lines::Many), Ok(()));
        for (value, lines) in [
            ("two\nlines", Lines::One),
            ("", Lines::Many),
            ("nul\0", Lines::Many),
            ("abc", Lines::One),
        ] {
            assert!(text("goal", value, 2, lines).is_err(), "{value:?} was taken");
        }
    }
}
