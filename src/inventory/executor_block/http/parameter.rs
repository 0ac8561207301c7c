//! The tables `[executor.operations.NAME.parameters.NAME]`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::target::http::{HttpParameter, HttpParameterType};
use crate::inventory::fields::Section;
use crate::inventory::recipe_file::one_of;
use crate::inventory::words;

/// What a caller chooses an operation with, and no parameter can be called.
const OPERATION: &str = "operation";

const KINDS: [(&str, HttpParameterType); 5] = [
    ("string", HttpParameterType::String),
    ("integer", HttpParameterType::Integer),
    ("boolean", HttpParameterType::Boolean),
    ("enum", HttpParameterType::Enum),
    ("list", HttpParameterType::List),
];

pub(super) fn parameters(table: &Section<'_, '_>) -> BTreeMap<String, HttpParameter> {
    let mut parameters = BTreeMap::new();
    for entry in table.entries("parameters") {
        let name = &entry.key;
        if !words::is_word(&name.value) || name.value == OPERATION {
            let message = format!("'{}' can't be the name of a parameter", name.value);
            let hint = "use lower-case letters, digits and '_'; 'operation' is how a caller chooses one";
            table.source().problem(name.at, message, hint);
        }
        let Some(section) = entry.table("write [executor.operations.NAME.parameters.NAME] and type = \"string\" below")
        else {
            continue;
        };
        parameters.insert(name.value.clone(), parameter(&section));
        section.close();
    }
    parameters
}

fn parameter(section: &Section<'_, '_>) -> HttpParameter {
    let kind = section
        .required("type", "\"string\"")
        .and_then(|word| one_of(section, &word, &KINDS))
        .unwrap_or(HttpParameterType::String);
    let description = section.required("description", "\"what it is for, in words\"");
    let values = words::plain(section.texts("values"));
    let source = section.source();
    if (kind == HttpParameterType::Enum) == values.is_empty() && kind != HttpParameterType::List {
        source.problem(
            section.at(),
            "values belong to the types enum and list, and enum needs them",
            "write type = \"enum\" and values = [\"one\", \"two\"]",
        );
    }
    let parameter = HttpParameter {
        kind,
        description: description.map(|text| text.value).unwrap_or_default(),
        required: section.flag("required").unwrap_or(false),
        default: default(section, kind),
        one_of: values,
        pattern: pattern(section),
        max_length: max_length(section),
    };
    if parameter.required && parameter.default.is_some() {
        source.problem(
            section.at(),
            "a parameter with a default is never missing",
            "remove required or default",
        );
    }
    parameter
}

fn default(section: &Section<'_, '_>, kind: HttpParameterType) -> Option<Value> {
    let default = section.json("default")?;
    let fits = match kind {
        HttpParameterType::String | HttpParameterType::Enum => default.value.is_string(),
        HttpParameterType::Integer => default.value.is_i64(),
        HttpParameterType::Boolean => default.value.is_boolean(),
        HttpParameterType::List => default
            .value
            .as_array()
            .is_some_and(|items| items.iter().all(Value::is_string)),
    };
    if !fits {
        let source = section.source();
        source.problem(default.at, "the default is not of the parameter's type", "");
    }
    Some(default.value)
}

fn pattern(section: &Section<'_, '_>) -> Option<String> {
    let pattern = section.text("pattern")?;
    if let Err(why) = regex::Regex::new(&format!("^(?:{})$", pattern.value)) {
        let why = why.to_string();
        let why = why.lines().last().unwrap_or("it can't be read").trim();
        section.source().problem(
            pattern.at,
            format!("this is not a pattern: {why}"),
            "write a regular expression, such as \"[a-z0-9-]+\"; it must match the whole value",
        );
        return None;
    }
    Some(pattern.value)
}

fn max_length(section: &Section<'_, '_>) -> usize {
    let Some(number) = section.number("max_length") else {
        return HttpParameter::MAX_LENGTH;
    };
    match usize::try_from(number.value) {
        Ok(length @ 1..=1_048_576) => length,
        _ => {
            let message = format!("max_length can't be {}", number.value);
            section
                .source()
                .problem(number.at, message, "write 1 to 1048576, in bytes");
            HttpParameter::MAX_LENGTH
        }
    }
}
