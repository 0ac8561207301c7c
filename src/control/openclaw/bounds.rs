//! What may be said to a gateway. The bounds and their words are those of openclaw-mcp 1.7.0.

use std::ops::RangeInclusive;

use crate::domain::Refusal;

/// The longest message, in UTF-16 units: a character outside of the basic plane counts as two.
const MESSAGE_MAX: usize = 100_000;
/// The longest id.
const ID_MAX: usize = 256;
/// The longest name that a gateway gives: of a session, a message, an approval.
const KEY_MAX: usize = 1024;

/// Whether line breaks may be in a text. Tabs always may.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    One,
    Many,
}

/// A message without the blanks around it.
pub(in crate::control) fn message(text: &str) -> Result<&str, Refusal> {
    bounded("message", text, MESSAGE_MAX, Lines::Many)
}

/// An id without the blanks around it. A line break could not be sent in a header, so it is no part of one.
pub(in crate::control) fn id<'a>(field: &str, text: Option<&'a str>) -> Result<Option<&'a str>, Refusal> {
    text.map(|text| bounded(field, text, ID_MAX, Lines::One)).transpose()
}

/// A name that a gateway gave, without the blanks around it.
pub(in crate::control) fn key<'a>(field: &str, text: &'a str) -> Result<&'a str, Refusal> {
    bounded(field, text, KEY_MAX, Lines::One)
}

/// The same where there need not be one; blanks are none.
pub(in crate::control) fn optional<'a>(field: &str, text: Option<&'a str>) -> Result<Option<&'a str>, Refusal> {
    let text = text.filter(|text| !text.trim().is_empty());
    text.map(|text| key(field, text)).transpose()
}

/// A text that is sent as it is, with the bounds of a message.
pub(in crate::control) fn text(field: &str, text: &str) -> Result<(), Refusal> {
    bounded(field, text, MESSAGE_MAX, Lines::Many).map(|_| ())
}

/// How many, or how long.
pub(in crate::control) fn count(
    field: &str,
    said: Option<u64>,
    allowed: RangeInclusive<usize>,
    usual: usize,
) -> Result<usize, Refusal> {
    let Some(said) = said else { return Ok(usual) };
    let fits = usize::try_from(said).ok().filter(|said| allowed.contains(said));
    fits.ok_or_else(|| {
        let (least, most) = (allowed.start(), allowed.end());
        Refusal::invalid(
            format!("field {field}: {said} is not within {least} to {most}"),
            format!("write a number from {least} to {most} into {field}"),
        )
    })
}

/// A whole number within bounds. JSON has one kind of number, so 5.0 is one, too.
pub(super) fn whole(field: &str, number: Option<f64>, bounds: RangeInclusive<i64>) -> Result<Option<i64>, Refusal> {
    let Some(number) = number else { return Ok(None) };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "out of bounds is refused, and a cast saturates"
    )]
    let whole = number as i64;
    if number.fract() != 0.0 || !bounds.contains(&whole) {
        return Err(Refusal::invalid(
            format!("{field} must be an integer from {} to {}", bounds.start(), bounds.end()),
            format!("write a whole number into {field}, or leave it out"),
        ));
    }
    Ok(Some(whole))
}

/// A field that isn't a number.
pub(super) fn no_number(field: &str) -> Refusal {
    Refusal::invalid(
        format!("{field} must be a number"),
        format!("write a whole number into {field}, or leave it out"),
    )
}

/// A field that isn't a text.
pub(in crate::control) fn no_text(field: &str) -> Refusal {
    Refusal::invalid(
        format!("{field} must be a string"),
        format!("write a text into {field}"),
    )
}

fn bounded<'a>(field: &str, text: &'a str, max: usize, lines: Lines) -> Result<&'a str, Refusal> {
    // What JavaScript calls blank, so that the same texts are taken as before.
    let text = text.trim_matches(|c: char| c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}'));
    if text.is_empty() {
        return Err(Refusal::invalid(
            format!("{field} must not be empty"),
            format!("write something into {field}"),
        ));
    }
    if text.encode_utf16().count() > max {
        return Err(Refusal::invalid(
            format!("{field} exceeds maximum length of {max} characters"),
            format!("shorten {field}"),
        ));
    }
    let is_allowed = |c: char| !c.is_control() || c == '\t' || (lines == Lines::Many && matches!(c, '\n' | '\r'));
    if !text.chars().all(is_allowed) {
        return Err(Refusal::invalid(
            format!("{field} contains invalid control characters"),
            format!("remove them from {field}"),
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(result: Result<&str, Refusal>) -> String {
        result.map_or_else(|refusal| refusal.message, str::to_owned)
    }

    #[test]
    fn blanks_around_are_no_part_and_a_text_of_blanks_is_none() {
        assert_eq!(says(message("\u{feff}\n  two\nlines\t\u{2028}")), "two\nlines");
        for blank in ["", "  ", "\t\r\n", "\u{a0}\u{feff}"] {
            assert_eq!(says(message(blank)), "message must not be empty", "{blank:?}");
        }
        assert_eq!(says(message("a\u{85}")), "message contains invalid control characters");
    }

    #[test]
    fn a_hundred_thousand_units_are_taken_and_not_one_more() {
        for (letter, count) in [("x", 100_000), ("é", 100_000), ("東", 100_000), ("🦀", 50_000)] {
            let text = letter.repeat(count);
            assert!(message(&text).is_ok(), "{letter}");
            let more = "message exceeds maximum length of 100000 characters";
            assert_eq!(says(message(&format!("{text}x"))), more, "{letter}");
        }
        assert!(id("session_id", Some(&"x".repeat(256))).is_ok());
        let long = "x".repeat(257);
        let refused = id("session_id", Some(&long)).map(Option::unwrap_or_default);
        assert_eq!(says(refused), "session_id exceeds maximum length of 256 characters");
    }

    #[test]
    fn numbers_are_whole_and_within_their_bounds() {
        let read = |number: f64| whole("priority", Some(number), -5..=5).map_err(|refusal| refusal.message);
        assert_eq!(
            (read(5.0), read(-5.0), read(0.0)),
            (Ok(Some(5)), Ok(Some(-5)), Ok(Some(0)))
        );
        assert_eq!(whole("priority", None, 0..=1), Ok(None));
        for bad in [5.5, 6.0, -6.0, f64::NAN, f64::INFINITY, 1e300] {
            let why = read(bad).expect_err("refused");
            assert_eq!(why, "priority must be an integer from -5 to 5", "{bad}");
        }
    }

    #[test]
    fn control_characters_are_refused_except_those_of_lines_and_tables() {
        for code in (0..0x20).chain(0x7f..0xa0) {
            let c = char::from_u32(code).expect("a character");
            let text = format!("a{c}b");
            let lines = matches!(c, '\t' | '\n' | '\r');
            assert_eq!(message(&text).is_ok(), lines, "{code:x}");
            assert_eq!(id("session_id", Some(&text)).is_ok(), c == '\t', "{code:x}");
        }
    }
}
