//! Texts with places for values, and putting values there so that they stay values: in a path one part of one segment,
//! in a query one value of one key, in a header one line, in a body one JSON value.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

/// A text with places for values: `/apps/{name}`. `{{` and `}}` stand for braces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Placeholder),
}

/// What comes into a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placeholder {
    /// `{name}`: what the caller gave.
    Parameter(String),
    /// `{response:/pointer}`: what the API answered first.
    Response(String),
}

/// The values that there are.
#[derive(Debug, Clone, Copy)]
pub struct Filling<'a> {
    /// By name.
    pub parameters: &'a BTreeMap<String, Value>,
    /// What the API answered first, once it has.
    pub response: Option<&'a Value>,
}

/// A value that can't come into its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unfit {
    /// The parameter, if it is one.
    pub parameter: Option<String>,
    /// Continues "the value ...".
    pub why: &'static str,
}

impl Template {
    /// Reads a template, or says what is wrong with it.
    ///
    /// # Errors
    /// In words, when braces don't pair up or have no name in them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let inside = match (brace, after.find('}')) {
                ("{", Some(end)) => &after[..end],
                _ => return Err("it has a brace without its partner".to_owned()),
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Value(placeholder(inside)?));
            rest = &after[inside.len() + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// What its places are for, in order.
    pub fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.0.iter().filter_map(|part| match part {
            Part::Value(placeholder) => Some(placeholder),
            Part::Text(_) => None,
        })
    }

    /// The parameters that it uses, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.placeholders().filter_map(|placeholder| match placeholder {
            Placeholder::Parameter(name) => Some(name.as_str()),
            Placeholder::Response(_) => None,
        })
    }

    /// The one parameter of which it consists.
    fn sole(&self) -> Option<&Placeholder> {
        match self.0.as_slice() {
            [Part::Value(placeholder)] => Some(placeholder),
            _ => None,
        }
    }

    /// As the path of a URL. Each value is one part of one segment, percent-encoded, and can't lead to another path,
    /// not even on a server that decodes too eagerly.
    ///
    /// # Errors
    /// When a value is missing, empty, or has `.` or `..` for a part.
    pub fn path(&self, filling: &Filling<'_>) -> Result<String, Unfit> {
        let mut path = String::new();
        // The segment so far, as the server will read it, and whose value is in it.
        let mut segment = String::new();
        let mut filled: Option<&Placeholder> = None;
        for part in &self.0 {
            match part {
                Part::Text(text) => {
                    for (index, piece) in text.split('/').enumerate() {
                        if index > 0 {
                            check_segment(&segment, filled)?;
                            segment.clear();
                            filled = None;
                            path.push('/');
                        }
                        segment.push_str(piece);
                        path.push_str(piece);
                    }
                }
                Part::Value(placeholder) => {
                    let Some(value) = filling.text(placeholder)? else {
                        return Err(unfit(placeholder, "is missing"));
                    };
                    if value.is_empty() {
                        return Err(unfit(placeholder, "is empty"));
                    }
                    segment.push_str(&value);
                    encode(&mut path, &value);
                    filled = Some(placeholder);
                }
            }
        }
        check_segment(&segment, filled)?;
        Ok(path)
    }

    /// As the values of one key of a query: none if one is missing, several for a list that stands alone.
    ///
    /// # Errors
    /// When a list stands beside other text.
    pub fn query(&self, key: &str, filling: &Filling<'_>) -> Result<Vec<String>, Unfit> {
        let texts = match self.sole().and_then(|sole| filling.value(sole)) {
            Some(Value::Array(items)) => items.iter().filter_map(text_of).collect(),
            _ => self.text(filling)?.into_iter().collect::<Vec<_>>(),
        };
        let pair = |text: &String| {
            let mut pair = String::new();
            encode(&mut pair, key);
            pair.push('=');
            encode(&mut pair, text);
            pair
        };
        Ok(texts.iter().map(pair).collect())
    }

    /// As the value of a header; nothing if a value is missing.
    ///
    /// # Errors
    /// When a value would not stay on its line.
    pub fn header(&self, filling: &Filling<'_>) -> Result<Option<String>, Unfit> {
        for placeholder in self.placeholders() {
            let value = filling.text(placeholder)?.unwrap_or_default();
            if !value.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
                return Err(unfit(
                    placeholder,
                    "has characters that a header can't carry; use printable ASCII",
                ));
            }
        }
        self.text(filling)
    }

    /// As plain text; nothing if a value is missing.
    fn text(&self, filling: &Filling<'_>) -> Result<Option<String>, Unfit> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Value(placeholder) => match filling.text(placeholder)? {
                    Some(value) => text.push_str(&value),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(text))
    }

    /// As a JSON value: the value itself, with its type, where it stands alone. Nothing if a value is missing.
    fn json(&self, filling: &Filling<'_>) -> Result<Option<Value>, Unfit> {
        match self.sole() {
            Some(sole) => Ok(filling.value(sole).cloned()),
            None => Ok(self.text(filling)?.map(Value::String)),
        }
    }
}

impl Filling<'_> {
    fn value(&self, placeholder: &Placeholder) -> Option<&Value> {
        let found = match placeholder {
            Placeholder::Parameter(name) => self.parameters.get(name),
            Placeholder::Response(pointer) => self.response.and_then(|response| response.pointer(pointer)),
        };
        found.filter(|value| !value.is_null())
    }

    fn text(&self, placeholder: &Placeholder) -> Result<Option<String>, Unfit> {
        match self.value(placeholder) {
            None => Ok(None),
            Some(value) => match text_of(value) {
                Some(text) => Ok(Some(text)),
                None => Err(unfit(placeholder, "is a list where one value is wanted")),
            },
        }
    }

    /// A JSON body whose texts are templates: an entry whose value is missing is left out.
    ///
    /// # Errors
    /// When a list stands beside other text, or a text is no template.
    pub fn body(&self, template: &Value) -> Result<Option<Value>, Unfit> {
        Ok(Some(match template {
            Value::String(text) => {
                let template = Template::parse(text).map_err(|_| Unfit {
                    parameter: None,
                    why: "of the body is no template",
                })?;
                return template.json(self);
            }
            Value::Array(items) => {
                let mut filled = Vec::with_capacity(items.len());
                for item in items {
                    filled.extend(self.body(item)?);
                }
                Value::Array(filled)
            }
            Value::Object(fields) => {
                let mut filled = serde_json::Map::new();
                for (key, field) in fields {
                    if let Some(field) = self.body(field)? {
                        filled.insert(key.clone(), field);
                    }
                }
                Value::Object(filled)
            }
            other => other.clone(),
        }))
    }
}

fn placeholder(inside: &str) -> Result<Placeholder, String> {
    if let Some(pointer) = inside.strip_prefix("response:") {
        return if pointer.starts_with('/') {
            Ok(Placeholder::Response(pointer.to_owned()))
        } else {
            Err(format!("{{{inside}}} is no JSON pointer, which begins with '/'"))
        };
    }
    let is_name = !inside.is_empty()
        && inside
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-');
    match is_name {
        true => Ok(Placeholder::Parameter(inside.to_owned())),
        false => Err(format!("{{{inside}}} is no name of a parameter")),
    }
}

fn unfit(placeholder: &Placeholder, why: &'static str) -> Unfit {
    Unfit {
        parameter: match placeholder {
            Placeholder::Parameter(name) => Some(name.clone()),
            Placeholder::Response(_) => None,
        },
        why,
    }
}

/// Refuses what a server could read as a step to another folder. `%2E` is no way out: URLs read it as a dot.
fn check_segment(segment: &str, filled: Option<&Placeholder>) -> Result<(), Unfit> {
    let Some(placeholder) = filled else {
        return Ok(());
    };
    if segment
        .split(['/', '\\'])
        .any(|part| matches!(part.trim(), "" | "." | ".."))
    {
        return Err(unfit(placeholder, "would lead to another path"));
    }
    if segment.chars().any(char::is_control) {
        return Err(unfit(placeholder, "has a control character"));
    }
    Ok(())
}

/// Percent-encodes all but letters, digits, `-`, `.`, `_` and `~`.
fn encode(into: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

/// A value as it is written in a text; nothing for lists, objects and null.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(template: &str, values: &Value) -> Result<String, Unfit> {
        let parameters = serde_json::from_value(values.clone()).expect("an object");
        let filling = Filling {
            parameters: &parameters,
            response: None,
        };
        Template::parse(template).expect("a template").path(&filling)
    }

    #[test]
    fn braces_pair_up() {
        for text in ["{", "}", "a{b", "a}b", "{}", "{A}", "{a b}", "{response:x}", "{{{"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        for text in ["", "a", "{{}}", "{a}{b}", "x{response:/a/0}y", "{{{a}}}"] {
            assert!(Template::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn values_stay_in_their_segment() {
        assert_eq!(
            path("/a/{b}/c", &json!({"b": "x y/z?#%"})),
            Ok("/a/x%20y%2Fz%3F%23%25/c".to_owned())
        );
        assert_eq!(
            path("/a-{b}.{c}", &json!({"b": 7, "c": true})),
            Ok("/a-7.true".to_owned())
        );
        for value in ["", ".", "..", "a/../b", "..\\x", "a//b", "/a", "a/", "a\nb", "a/ .. /b"] {
            assert!(path("/a/{b}/c", &json!({"b": value})).is_err(), "{value:?}");
        }
        assert!(path("/a/{b}{c}", &json!({"b": ".", "c": "."})).is_err());
        assert!(path("/a/.{b}", &json!({"b": "."})).is_err());
        assert!(path("/a/{b}", &json!({})).is_err());
    }

    #[test]
    fn bodies_keep_types_and_leave_out_what_is_missing() {
        let parameters = serde_json::from_value(json!({"n": 7, "l": ["a"], "t": "x\"y"})).expect("an object");
        let filling = Filling {
            parameters: &parameters,
            response: None,
        };
        let template = json!({"n": "{n}", "l": "{l}", "t": "-{t}-", "gone": "{o}", "k": [1, "{o}", {"x": "{{n}}"}]});
        let filled = json!({"n": 7, "l": ["a"], "t": "-x\"y-", "k": [1, {"x": "{n}"}]});
        assert_eq!(filling.body(&template), Ok(Some(filled)));
        assert!(filling.body(&json!("a{l}")).is_err());
    }
}
