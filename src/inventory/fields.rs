//! Reading a TOML file key by key, so that every mistake of a file is told at its place in one go.
//!
//! A [`Section`] remembers which keys were asked for; what is left over is unknown and reported when it is closed.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, suggest};

/// A file that is being read, with the problems found so far.
pub(super) struct Source<'s> {
    file: String,
    text: &'s str,
    problems: RefCell<Vec<Problem>>,
}

/// A value with its place in the file, in bytes from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub value: T,
    pub at: usize,
}

impl<'s> Source<'s> {
    pub(super) fn new(file: &str, text: &'s str) -> Self {
        Self {
            file: file.to_owned(),
            text,
            problems: RefCell::default(),
        }
    }

    /// Parses the file as TOML. Of a file that isn't TOML the syntax errors are told, and nothing else: what is left
    /// of it would only give misleading follow-ups.
    pub(super) fn parse(&self) -> Option<DeTable<'s>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let at = error.span().map_or(0, |span: Range<usize>| span.start);
            let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            self.problem(at, message, "this is not TOML; texts stand in double quotes");
        }
        errors.is_empty().then(|| table.into_inner())
    }

    /// The whole file as a section.
    pub(super) fn root<'a>(&'a self, table: &'a DeTable<'s>) -> Section<'a, 's> {
        Section {
            source: self,
            table,
            at: 0,
            path: String::new(),
            asked: RefCell::default(),
        }
    }

    pub(super) fn problem(&self, at: usize, message: impl Into<String>, hint: impl Into<String>) {
        let before = self.text.get(..at.min(self.text.len())).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        self.problems.borrow_mut().push(Problem {
            file: self.file.clone(),
            line,
            column,
            message: message.into(),
            hint: hint.into(),
        });
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }
}

/// A table that is being read.
pub(super) struct Section<'a, 's> {
    source: &'a Source<'s>,
    table: &'a DeTable<'s>,
    at: usize,
    path: String,
    asked: RefCell<Vec<&'static str>>,
}

type Value<'s> = Spanned<DeValue<'s>>;

impl<'a, 's> Section<'a, 's> {
    /// Where the section begins.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) const fn source(&self) -> &'a Source<'s> {
        self.source
    }

    /// The key with the names of the tables around it.
    fn full(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn get(&self, key: &'static str) -> Option<(usize, &'a Value<'s>)> {
        self.asked.borrow_mut().push(key);
        let found = self.table.iter().find(|(name, _)| name.get_ref() == key);
        found.map(|(name, value)| (name.span().start, value))
    }

    fn wrong(&self, key: &str, value: &Value<'_>, wanted: &str, hint: &str) {
        let message = format!("{} must be {wanted}, not {}", self.full(key), kind_of(value));
        self.source.problem(value.span().start, message, hint);
    }

    /// A text.
    pub(super) fn text(&self, key: &'static str) -> Option<At<String>> {
        let (_, value) = self.get(key)?;
        let text = as_text(value);
        if text.is_none() {
            self.wrong(key, value, "a text", &format!("write {key} = \"...\""));
        }
        text
    }

    /// A text with a unit in it.
    pub(super) fn quantity(&self, key: &'static str, what: &str, example: &str) -> Option<At<String>> {
        let (_, value) = self.get(key)?;
        let text = as_text(value);
        if text.is_none() {
            self.wrong(
                key,
                value,
                &format!("{what} in quotes"),
                &format!("write {key} = {example}"),
            );
        }
        text
    }

    /// A text that must be there and not empty.
    pub(super) fn required(&self, key: &'static str, example: &str) -> Option<At<String>> {
        let hint = format!("write {key} = {example}");
        if self.get(key).is_none() {
            self.source
                .problem(self.at, format!("{} is missing", self.full(key)), hint);
            return None;
        }
        let text = self.text(key)?;
        if text.value.trim().is_empty() {
            self.source
                .problem(text.at, format!("{} is empty", self.full(key)), hint);
            return None;
        }
        Some(text)
    }

    /// true or false.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let (_, value) = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => {
                self.wrong(
                    key,
                    value,
                    "true or false",
                    &format!("write {key} = true, without quotes"),
                );
                None
            }
        }
    }

    /// Whether the key is there and is true or false: for a key that may be a text as well.
    pub(super) fn is_flag(&self, key: &'static str) -> bool {
        self.get(key)
            .is_some_and(|(_, value)| matches!(value.get_ref(), DeValue::Boolean(_)))
    }

    /// A whole number.
    pub(super) fn number(&self, key: &'static str) -> Option<At<i64>> {
        let (_, value) = self.get(key)?;
        let number = as_number(value);
        if number.is_none() {
            self.wrong(
                key,
                value,
                "a whole number",
                &format!("write {key} = 4, without quotes"),
            );
        }
        number
    }

    /// A list of whole numbers.
    pub(super) fn numbers(&self, key: &'static str) -> Vec<At<i64>> {
        self.items(key, "a whole number", as_number)
    }

    /// A list of texts; a missing one is empty.
    pub(super) fn texts(&self, key: &'static str) -> Vec<At<String>> {
        self.items(key, "a text", as_text)
    }

    fn items<T>(&self, key: &'static str, wanted: &str, read: impl Fn(&Value<'s>) -> Option<At<T>>) -> Vec<At<T>> {
        let Some((_, value)) = self.get(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, "a list", &format!("write {key} = [...]"));
            return Vec::new();
        };
        let mut read_items = Vec::with_capacity(items.len());
        for item in items.iter() {
            match read(item) {
                Some(item) => read_items.push(item),
                None => self.wrong(key, item, &format!("a list of which each is {wanted}"), ""),
            }
        }
        read_items
    }

    /// Whether the key is there at all; returns where it is.
    pub(super) fn place(&self, key: &'static str) -> Option<usize> {
        self.get(key).map(|(at, _)| at)
    }

    /// A table with known keys.
    pub(super) fn table(&self, key: &'static str) -> Option<Section<'a, 's>> {
        let (at, value) = self.get(key)?;
        self.section(key, at, value)
    }

    /// A table that holds the reference to a secret; nothing is said of what stands there instead.
    pub(super) fn secret_table(&self, key: &'static str) -> Option<Section<'a, 's>> {
        let (at, value) = self.get(key)?;
        matches!(value.get_ref(), DeValue::Table(_)).then(|| self.section(key, at, value))?
    }

    /// Any value, as JSON.
    pub(super) fn json(&self, key: &'static str) -> Option<At<serde_json::Value>> {
        let (at, value) = self.get(key)?;
        let json = as_json(value);
        if json.is_none() {
            self.wrong(
                key,
                value,
                "what JSON can say",
                "write texts, whole numbers, true, false, lists and tables",
            );
        }
        Some(At { value: json?, at })
    }

    fn section(&self, key: &str, at: usize, value: &'a Value<'s>) -> Option<Section<'a, 's>> {
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong(
                key,
                value,
                "a table",
                &format!("write [{}] and its keys below", self.full(key)),
            );
            return None;
        };
        Some(Section {
            source: self.source,
            table,
            at,
            path: self.full(key),
            asked: RefCell::default(),
        })
    }

    /// A list of tables.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Section<'a, 's>> {
        let Some((at, value)) = self.get(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(
                key,
                value,
                "a list of tables",
                &format!("write [[{}]] before each", self.full(key)),
            );
            return Vec::new();
        };
        let place = |item: &Value<'_>| if item.span().is_empty() { at } else { item.span().start };
        items
            .iter()
            .filter_map(|item| self.section(key, place(item), item))
            .collect()
    }

    /// A table whose content is for somebody else to understand, as JSON.
    pub(super) fn json_table(&self, key: &'static str) -> Option<serde_json::Value> {
        self.table(key)?;
        Some(self.json(key)?.value)
    }

    /// All entries of a table whose keys are free.
    pub(super) fn entries(&self, key: &'static str) -> Vec<Entry<'a, 's>> {
        let Some(section) = self.table(key) else {
            return Vec::new();
        };
        let entry = |(name, value): (&'a Spanned<toml::de::DeString<'s>>, &'a Value<'s>)| Entry {
            key: At {
                value: name.get_ref().to_string(),
                at: name.span().start,
            },
            value,
            path: section.path.clone(),
            source: section.source,
        };
        section.table.iter().map(entry).collect()
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn close(self) {
        let asked = self.asked.borrow();
        for (name, _) in self.table.iter() {
            if !asked.contains(&name.get_ref().as_ref()) {
                let message = format!("unknown key {}", self.full(name.get_ref()));
                self.source
                    .problem(name.span().start, message, suggest(name.get_ref(), &asked));
            }
        }
    }
}

/// An entry of a table whose keys are free.
pub(super) struct Entry<'a, 's> {
    pub key: At<String>,
    value: &'a Value<'s>,
    path: String,
    source: &'a Source<'s>,
}

impl<'a, 's> Entry<'a, 's> {
    /// Where its value is.
    pub(super) fn at(&self) -> usize {
        self.value.span().start
    }

    /// Its value, when it is a text.
    pub(super) fn as_text(&self) -> Option<At<String>> {
        as_text(self.value)
    }

    /// Its value, which must be a text.
    pub(super) fn text(&self) -> Option<At<String>> {
        let text = self.as_text();
        if text.is_none() {
            let message = format!(
                "{}.{} must be a text, not {}",
                self.path,
                self.key.value,
                kind_of(self.value)
            );
            self.source.problem(self.at(), message, "write it in double quotes");
        }
        text
    }

    /// Its value, which must be a table with known keys.
    pub(super) fn table(&self, hint: &str) -> Option<Section<'a, 's>> {
        let path = format!("{}.{}", self.path, self.key.value);
        let DeValue::Table(table) = self.value.get_ref() else {
            let message = format!("{path} must be a table, not {}", kind_of(self.value));
            self.source.problem(self.at(), message, hint);
            return None;
        };
        Some(Section {
            source: self.source,
            table,
            at: self.key.at,
            path,
            asked: RefCell::default(),
        })
    }
}

fn as_text(value: &Value<'_>) -> Option<At<String>> {
    match value.get_ref() {
        DeValue::String(text) => Some(At {
            value: text.to_string(),
            at: value.span().start,
        }),
        _ => None,
    }
}

fn as_number(value: &Value<'_>) -> Option<At<i64>> {
    match value.get_ref() {
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(At {
                value: number,
                at: value.span().start,
            })
        }
        _ => None,
    }
}

/// Nothing for dates and what is no number of JSON.
fn as_json(value: &Value<'_>) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    Some(match value.get_ref() {
        DeValue::String(text) => Json::String(text.to_string()),
        DeValue::Integer(_) => as_number(value)?.value.into(),
        DeValue::Float(number) => Json::Number(serde_json::Number::from_f64(number.as_str().parse().ok()?)?),
        DeValue::Boolean(flag) => Json::Bool(*flag),
        DeValue::Datetime(_) => return None,
        DeValue::Array(items) => Json::Array(items.iter().map(as_json).collect::<Option<_>>()?),
        DeValue::Table(fields) => {
            let field = |(key, value): (&Spanned<toml::de::DeString<'_>>, &Value<'_>)| {
                Some((key.get_ref().to_string(), as_json(value)?))
            };
            Json::Object(fields.iter().map(field).collect::<Option<_>>()?)
        }
    })
}

fn kind_of(value: &Value<'_>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
