//! How results look: text for people, JSON for scripts, colour only on a terminal.

use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exit;
use crate::control::Answer;
use crate::domain::{ExecutionState, Refusal};
use crate::redact::Clean;

/// A heading.
pub(super) const BOLD: Style = Style::new().bold();
/// What went well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What did not.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// What needs a look.
pub(super) const NOTE: Style = AnsiColor::Yellow.on_default();
/// What is beside the point.
pub(super) const DIM: Style = Style::new().dimmed();

/// Writes to standard output; a reader that has gone away ends nothing.
pub(super) fn text(text: &str) {
    let _ = anstream::stdout().write_all(text.as_bytes());
    let _ = anstream::stdout().flush();
}

/// Writes a line to standard error.
pub(super) fn note(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// A text in a style.
pub(super) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes a value as indented JSON.
pub(super) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    text(&format!("{}\n", serde_json::to_string_pretty(value)?));
    Ok(())
}

/// Says what went wrong, with what caused it.
pub(super) fn error(error: &anyhow::Error) {
    note(&format!("{} {error:#}", styled(BAD, "error:")));
}

/// Says what was refused and what to do; gives the exit code.
pub(super) fn refusal(refusal: &Clean<Refusal>) -> u8 {
    note(&format!(
        "{} {} [{}]",
        styled(BAD, "refused:"),
        refusal.message,
        refusal.code.as_str()
    ));
    if !refusal.hint.is_empty() {
        note(&format!("{} {}", styled(NOTE, "hint:"), refusal.hint));
    }
    exit::of_refusal(refusal.code)
}

/// A refusal for a script.
pub(super) fn refusal_json(refusal: &Clean<Refusal>) -> anyhow::Result<u8> {
    json(&serde_json::json!({ "error": refusal }))?;
    Ok(exit::of_refusal(refusal.code))
}

/// An answer as its contract type, for showing to a person.
pub(super) fn read<T: DeserializeOwned>(answer: Answer) -> anyhow::Result<Result<T, Clean<Refusal>>> {
    match answer {
        Ok(value) => Ok(Ok(serde_json::from_value(value.into_inner())?)),
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// Whether JSON or text is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

impl Form {
    pub(super) const fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// Shows an answer: as JSON, or by `show` as text.
pub(super) fn answer<T: DeserializeOwned>(form: Form, answer: Answer, show: impl FnOnce(T)) -> anyhow::Result<u8> {
    match (form, answer) {
        (Form::Json, Ok(value)) => json(&value).map(|()| exit::SUCCEEDED),
        (Form::Json, Err(refused)) => refusal_json(&refused),
        (Form::Text, answer) => match read(answer)? {
            Ok(value) => {
                show(value);
                Ok(exit::SUCCEEDED)
            }
            Err(refused) => Ok(refusal(&refused)),
        },
    }
}

/// A state in its colour.
pub(super) fn state(word: &str) -> String {
    let style = match ExecutionState::parse(word) {
        Some(ExecutionState::Succeeded) => GOOD,
        Some(ExecutionState::AwaitingApproval | ExecutionState::Unknown) => NOTE,
        Some(state) if state.is_terminal() => BAD,
        _ => Style::new(),
    };
    styled(style, word)
}

/// Rows below headings, each column as wide as its widest cell.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain(headings.get(column).map(|heading| heading.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    text(&format!("{}\n", styled(BOLD, &line(&mut headings.iter().copied()))));
    for row in rows {
        text(&format!("{}\n", line(&mut row.iter().map(String::as_str))));
    }
}
