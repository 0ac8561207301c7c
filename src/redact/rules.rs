//! What must not leave, and the scrubbing of whole texts and values.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::clean::Clean;
use super::placeholder::{self, Edges};
use super::scan::{End, Pattern, Scanned, Search, is_word};
use crate::domain::Refusal;

/// Shorter values are ignored.
const VALUE_MIN: usize = 4;
/// Shorter names are not unmistakable.
const NAME_MIN: usize = 8;
/// Shorter lines of a secret with several are not secrets of their own.
const LINE_MIN: usize = 8;

/// What must not leave. Cheap to clone; never shows its values.
#[derive(Clone)]
pub struct Rules(Arc<Engine>);

enum Engine {
    /// There are no rules.
    Empty,
    /// The usual.
    Search(Box<Search>),
    /// The rules are too large to be searched for. Nothing leaves then: failing closed is the only right way.
    Withhold,
}

impl Rules {
    /// Begins to collect rules.
    pub fn builder() -> RulesBuilder {
        RulesBuilder::default()
    }

    /// Rules that replace nothing.
    pub fn none() -> Self {
        Self(Arc::new(Engine::Empty))
    }

    /// Scrubs a whole text.
    pub fn text(&self, text: &str) -> Clean<String> {
        Clean::seal(self.scrub(text))
    }

    /// Scrubs every string in a value, keys too. What can't be JSON becomes null.
    pub fn value<T: Serialize>(&self, value: &T) -> Clean<Value> {
        self.json(serde_json::to_value(value).unwrap_or_default())
    }

    /// Scrubs every string in a JSON value, keys too, in place. Keys that become equal keep one of their values.
    pub fn json(&self, mut value: Value) -> Clean<Value> {
        self.scrub_value(&mut value);
        Clean::seal(value)
    }

    /// Scrubs what a refusal says.
    pub fn refusal(&self, refusal: Refusal) -> Clean<Refusal> {
        let message = self.scrub_owned(refusal.message);
        let hint = self.scrub_owned(refusal.hint);
        Clean::seal(Refusal {
            message,
            hint,
            ..refusal
        })
    }

    /// The length in bytes of the longest value that is looked for.
    pub fn longest(&self) -> usize {
        match &*self.0 {
            Engine::Search(search) => search.longest(),
            Engine::Empty | Engine::Withhold => 0,
        }
    }

    pub(super) fn scan(&self, bytes: &[u8], before: Option<u8>, end: End) -> Scanned {
        match &*self.0 {
            Engine::Empty => Scanned {
                clean: bytes.to_vec(),
                used: bytes.len(),
            },
            Engine::Search(search) => search.scan(bytes, before, end),
            Engine::Withhold => Scanned {
                clean: Vec::new(),
                used: bytes.len(),
            },
        }
    }

    fn is_clean(&self, text: &str) -> bool {
        match &*self.0 {
            Engine::Empty => true,
            Engine::Search(search) => search.is_clean(text.as_bytes()),
            Engine::Withhold => text.is_empty(),
        }
    }

    fn scrub(&self, text: &str) -> String {
        // Values are texts and runs are never cut within a character, so what remains is text as well.
        String::from_utf8(self.scan(text.as_bytes(), None, End::Final).clean)
            .unwrap_or_else(|broken| String::from_utf8_lossy(broken.as_bytes()).into_owned())
    }

    fn scrub_owned(&self, text: String) -> String {
        if self.is_clean(&text) { text } else { self.scrub(&text) }
    }

    fn scrub_value(&self, value: &mut Value) {
        match value {
            Value::String(text) if !self.is_clean(text) => *text = self.scrub(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.scrub_value(item)),
            Value::Object(fields) => {
                fields.values_mut().for_each(|field| self.scrub_value(field));
                if !fields.keys().all(|key| self.is_clean(key)) {
                    let dirty = std::mem::take(fields);
                    fields.extend(dirty.into_iter().map(|(key, field)| (self.scrub_owned(key), field)));
                }
            }
            _ => {}
        }
    }

    /// The same rules, with runs cut earlier.
    #[cfg(test)]
    pub(super) fn cutting_runs_at(mut self, run_max: usize) -> Self {
        if let Some(Engine::Search(search)) = Arc::get_mut(&mut self.0) {
            search.cut_runs_at(run_max);
        }
        self
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rules(..)")
    }
}

/// Collects what must not leave.
#[derive(Clone, Default)]
pub struct RulesBuilder {
    secrets: Vec<String>,
    privates: Vec<(String, String)>,
}

impl RulesBuilder {
    /// Adds a value that is replaced wherever it occurs, with its single lines if it has several.
    #[must_use]
    pub fn secret(mut self, value: &str) -> Self {
        if value.trim().is_empty() {
            return self;
        }
        self.add(value, VALUE_MIN);
        // A value that was read with its line break is printed without.
        self.add(value.trim(), VALUE_MIN);
        if value.trim().contains('\n') {
            value.lines().for_each(|line| self.add(line.trim(), LINE_MIN));
        }
        self
    }

    /// Adds a text that is replaced by `placeholder` where it is a whole word. The first placeholder of a text stays.
    /// An unmistakable name is one also where a hyphen or an underscore joins it to others: `report-db1.example`.
    #[must_use]
    pub fn private(mut self, value: &str, placeholder: &str) -> Self {
        if value.len() >= VALUE_MIN {
            self.privates.push((value.to_owned(), placeholder.to_owned()));
        }
        self
    }

    /// The rules.
    pub fn build(self) -> Rules {
        if self.secrets.is_empty() && self.privates.is_empty() {
            return Rules::none();
        }
        let secrets: Vec<&[u8]> = self.secrets.iter().map(String::as_bytes).collect();
        let hidden = placeholder::for_secrets(&secrets);
        let mut patterns: HashMap<&str, Pattern> = HashMap::new();
        for value in &self.secrets {
            patterns.insert(value, Pattern::Secret);
        }
        let beside = self.beside(&hidden);
        for (value, wanted) in &self.privates {
            let is_name = is_unmistakable(value);
            let edges = Edges {
                word_start: !is_name && value.bytes().next().is_some_and(is_word),
                word_end: !is_name && value.bytes().last().is_some_and(is_word),
                beside: beside.clone(),
            };
            let safe = placeholder::is_safe(wanted.as_bytes(), &secrets, &edges);
            let shown = if safe { wanted } else { &hidden };
            patterns.entry(value).or_insert_with(|| match is_name {
                true => Pattern::Name(shown.clone()),
                false => Pattern::Private(shown.clone()),
            });
        }
        let patterns = patterns
            .into_iter()
            .map(|(value, pattern)| (value.as_bytes().to_vec(), pattern))
            .collect();
        Rules(Arc::new(match Search::new(patterns, hidden) {
            Some(search) => Engine::Search(Box::new(search)),
            None => Engine::Withhold,
        }))
    }

    fn add(&mut self, value: &str, shortest: usize) {
        if value.len() >= shortest && !self.secrets.iter().any(|known| known == value) {
            self.secrets.push(value.to_owned());
        }
    }

    /// The first and last bytes of all placeholders.
    fn beside(&self, hidden: &str) -> Vec<u8> {
        let wanted = self.privates.iter().map(|(_, placeholder)| placeholder.as_str());
        wanted
            .chain([hidden])
            .flat_map(|text| text.bytes().next().into_iter().chain(text.bytes().last()))
            .collect()
    }
}

/// Whether a text is the name of one thing and no part of everyday words: long, with a digit or a dot, and no path.
pub(super) fn is_unmistakable(text: &str) -> bool {
    text.len() >= NAME_MIN && !text.contains('/') && text.contains(|c: char| c.is_ascii_digit() || c == '.')
}

impl fmt::Debug for RulesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RulesBuilder(..)")
    }
}
