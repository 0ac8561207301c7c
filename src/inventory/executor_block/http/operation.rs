//! The tables `[executor.operations.NAME]`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{is_header, parameter};
use crate::domain::plan::Effect;
use crate::domain::target::http::{
    CancelCall, Condition, HttpParameter, HttpParameterType, Method, Operation, Placeholder, Poll, PollUrl, Success,
    Template,
};
use crate::inventory::fields::{At, Section};
use crate::inventory::problem::suggest;
use crate::inventory::recipe_file::one_of;
use crate::inventory::target_file::{duration, size};
use crate::inventory::words;

/// How often a request is sent again where the file doesn't say.
const RETRIES: u32 = 3;
/// The largest answer where the file doesn't say.
const MAX_RESPONSE: u64 = 64 * 1024 * 1024;
/// Between two questions for a status where the file doesn't say.
const INTERVAL: std::time::Duration = std::time::Duration::from_secs(5);

const METHODS: [(&str, Method); 6] = [
    ("GET", Method::Get),
    ("HEAD", Method::Head),
    ("POST", Method::Post),
    ("PUT", Method::Put),
    ("PATCH", Method::Patch),
    ("DELETE", Method::Delete),
];

type Parameters = BTreeMap<String, HttpParameter>;

pub(super) fn operations(section: &Section<'_, '_>, taken: &[String]) -> BTreeMap<String, Operation> {
    let mut operations = BTreeMap::new();
    for entry in section.entries("operations") {
        let name = &entry.key;
        if !words::is_word(&name.value) {
            let message = format!("'{}' can't be the name of an operation", name.value);
            let hint = "use lower-case letters, digits, '_' and '-'";
            section.source().problem(name.at, message, hint);
        }
        let Some(table) = entry.table("write [executor.operations.NAME] and its keys below") else {
            continue;
        };
        operations.insert(name.value.clone(), operation(&table, taken));
        table.close();
    }
    if operations.is_empty() {
        section.source().problem(
            section.at(),
            "the target has no operation",
            "write [executor.operations.NAME] with intents, summary, method and path",
        );
    }
    operations
}

fn operation(table: &Section<'_, '_>, taken: &[String]) -> Operation {
    let intents = words::intents(table.source(), table.texts("intents"));
    let summary = table.required("summary", "\"what it does, for callers and for who approves\"");
    let method = method(table).unwrap_or(Method::Post);
    let parameters = parameter::parameters(table);
    let known = Known {
        section: table,
        parameters: &parameters,
    };
    let path = known.path("path", Answered::No);
    let idempotency_header = table.text("idempotency_header");
    let mut taken = taken.to_vec();
    if let Some(header) = &idempotency_header {
        if !is_header(&header.value) {
            table.source().problem(
                header.at,
                "this can't be the name of a header",
                "write \"Idempotency-Key\"",
            );
        }
        taken.push(header.value.to_ascii_lowercase());
    }
    let body = known.body(method);
    let poll = table.table("poll").map(|poll| {
        let read = read_poll(&poll, &parameters);
        poll.close();
        read
    });
    let cancel = table.table("cancel").map(|cancel| {
        let read = read_cancel(&cancel, &parameters);
        cancel.close();
        read
    });
    if let (None, Some(at)) = (&poll, table.place("cancel")) {
        let hint = "without poll the work ends with its answer; write [executor.operations.NAME.poll]";
        table
            .source()
            .problem(at, "there is nothing that cancel could end", hint);
    }
    let query = known.templates("query");
    let headers = known.headers(&taken);
    Operation {
        intents: words::plain(intents),
        summary: summary.map(|text| text.value.trim().to_owned()).unwrap_or_default(),
        method,
        path,
        query,
        headers,
        body,
        success: success(table),
        effects: effects(table, method),
        idempotent: table.flag("idempotent").unwrap_or(method.is_idempotent()),
        idempotency_header: idempotency_header.map(|header| header.value),
        retries: retries(table),
        timeout: duration(table, "timeout"),
        poll,
        cancel,
        result: results(table),
        max_response: size(table, "max_response").unwrap_or(MAX_RESPONSE),
        parameters,
    }
}

fn method(table: &Section<'_, '_>) -> Option<Method> {
    let method = table.required("method", "\"POST\"")?;
    one_of(table, &method, &METHODS)
}

/// Whether a template may use what the API answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Yes,
    No,
}

/// What templates of a table may refer to.
struct Known<'k, 'a, 's> {
    section: &'k Section<'a, 's>,
    parameters: &'k Parameters,
}

impl Known<'_, '_, '_> {
    fn template(&self, text: &At<String>, answered: Answered) -> Option<Template> {
        let source = self.section.source();
        let template = match Template::parse(&text.value) {
            Ok(template) => template,
            Err(why) => {
                source.problem(
                    text.at,
                    format!("this can't be filled in: {why}"),
                    "write {name} for a parameter, and {{ for a brace",
                );
                return None;
            }
        };
        for placeholder in template.placeholders() {
            match placeholder {
                Placeholder::Parameter(name) if !self.parameters.contains_key(name) => {
                    let declared: Vec<&str> = self.parameters.keys().map(String::as_str).collect();
                    let hint = suggest(name, &declared);
                    source.problem(text.at, format!("there is no parameter '{name}'"), hint);
                }
                Placeholder::Response(_) if answered == Answered::No => {
                    let hint = "{response:...} is for poll.path and cancel.path";
                    source.problem(text.at, "there is no answer yet to take this from", hint);
                }
                _ => {}
            }
        }
        Some(template)
    }

    /// A path whose parameters are always there and are one text each.
    fn path(&self, key: &'static str, answered: Answered) -> Template {
        let empty = Template::default();
        let Some(text) = self.section.required(key, "\"/apps/{name}\"") else {
            return empty;
        };
        let source = self.section.source();
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '\\' | '"' | '<' | '>');
        if !text.value.starts_with('/') || !text.value.chars().all(is_plain) || has_dots(&text.value) {
            source.problem(
                text.at,
                format!("'{}' is not the path of an operation", text.value),
                "begin it with '/', without '?', '#', spaces and '..'; a query stands in its own table",
            );
        }
        let Some(template) = self.template(&text, answered) else {
            return empty;
        };
        for name in template.parameters() {
            let Some(parameter) = self.parameters.get(name) else {
                continue;
            };
            if parameter.kind == HttpParameterType::List {
                let message = format!("the parameter '{name}' is a list, which a path can't hold");
                source.problem(text.at, message, "put it into the query or the body");
            } else if !parameter.is_certain() {
                let message = format!("the parameter '{name}' may be missing from the path");
                source.problem(text.at, message, "write required = true or a default");
            }
        }
        template
    }

    fn templates(&self, key: &'static str) -> BTreeMap<String, Template> {
        let mut templates = BTreeMap::new();
        for entry in self.section.entries(key) {
            let Some(text) = entry.text() else { continue };
            if let Some(template) = self.template(&text, Answered::No) {
                templates.insert(entry.key.value, template);
            }
        }
        templates
    }

    fn headers(&self, taken: &[String]) -> BTreeMap<String, Template> {
        let headers = self.templates("headers");
        for name in headers.keys() {
            let lower = name.to_ascii_lowercase();
            if !is_header(name) || taken.contains(&lower) {
                let at = self.section.place("headers").unwrap_or(0);
                let hint = "credentials stand in [executor.auth]; lengths and hosts are clawhand's";
                self.section
                    .source()
                    .problem(at, format!("the header '{name}' can't be set here"), hint);
            }
        }
        headers
    }

    fn body(&self, method: Method) -> Option<Value> {
        let body = self.section.json("body")?;
        let source = self.section.source();
        if method.is_safe() {
            source.problem(body.at, format!("{} has no body", method.as_str()), "use the query");
        }
        self.body_texts(&body.value, body.at);
        Some(body.value)
    }

    fn body_texts(&self, value: &Value, at: usize) {
        match value {
            Value::String(text) => {
                let text = At {
                    value: text.clone(),
                    at,
                };
                self.template(&text, Answered::No);
            }
            Value::Array(items) => items.iter().for_each(|item| self.body_texts(item, at)),
            Value::Object(fields) => fields.values().for_each(|field| self.body_texts(field, at)),
            _ => {}
        }
    }
}

fn has_dots(path: &str) -> bool {
    path.split('/').any(|part| part == "." || part == "..")
}

fn success(table: &Section<'_, '_>) -> Success {
    let mut success = Success::default();
    let Some(section) = table.table("success") else {
        return success;
    };
    let status = section.texts("status");
    if !status.is_empty() {
        success.status.clear();
    }
    for text in status {
        match range(&text.value) {
            Some(range) => success.status.push(range),
            None => section.source().problem(
                text.at,
                format!("'{}' is not a status", text.value),
                "write \"200\", \"200-204\" or \"2xx\"",
            ),
        }
    }
    if section.place("pointer").is_some() {
        success.says = condition(&section);
    }
    section.close();
    success
}

fn range(text: &str) -> Option<(u16, u16)> {
    let code = |text: &str| text.parse().ok().filter(|code| (100..=599).contains(code));
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (code(from)?, code(to)?);
    (from <= to).then_some((from, to))
}

fn pointer(section: &Section<'_, '_>, text: &At<String>) {
    if !text.value.starts_with('/') {
        let message = format!("'{}' is not a JSON pointer", text.value);
        section
            .source()
            .problem(text.at, message, "write \"/status\" or \"/items/0/id\"");
    }
}

/// `pointer` with `equals` or `in`.
fn condition(section: &Section<'_, '_>) -> Option<Condition> {
    let place = section.required("pointer", "\"/status\"")?;
    pointer(section, &place);
    let equals = section.text("equals");
    let mut any_of = words::plain(section.texts("in"));
    any_of.extend(equals.map(|text| text.value));
    if any_of.is_empty() {
        section.source().problem(
            section.at(),
            "it doesn't say which values count",
            "write equals = \"done\" or in = [\"done\", \"skipped\"]",
        );
    }
    Some(Condition {
        pointer: place.value,
        any_of,
    })
}

fn condition_at(section: &Section<'_, '_>, key: &'static str) -> Option<Condition> {
    let table = section.table(key)?;
    let read = condition(&table);
    table.close();
    read
}

fn read_poll(section: &Section<'_, '_>, parameters: &Parameters) -> Poll {
    let known = Known { section, parameters };
    let keys = ["path", "pointer", "header"];
    let given = [section.place("path"), section.place("pointer"), section.place("header")];
    if given.iter().flatten().count() != 1 {
        section.source().problem(
            section.at(),
            "it must say in one way where the status is asked for",
            format!("write one of: {}", keys.join(", ")),
        );
    }
    let url = if given[0].is_some() {
        PollUrl::Path(known.path("path", Answered::Yes))
    } else if let Some(place) = section.text("pointer") {
        pointer(section, &place);
        PollUrl::Pointer(place.value)
    } else {
        let header = section.text("header").map(|header| header.value);
        PollUrl::Header(header.unwrap_or_else(|| "location".to_owned()))
    };
    let until = condition_at(section, "until");
    if until.is_none() && section.place("until").is_none() {
        let hint = "write until = { pointer = \"/status\", equals = \"done\" }";
        section
            .source()
            .problem(section.at(), "it doesn't say when the work has ended", hint);
    }
    Poll {
        url,
        interval: duration(section, "interval").unwrap_or(INTERVAL),
        until: until.unwrap_or_else(|| Condition {
            pointer: "/".to_owned(),
            any_of: Vec::new(),
        }),
        failed: condition_at(section, "failed"),
        timeout: duration(section, "timeout"),
    }
}

fn read_cancel(section: &Section<'_, '_>, parameters: &Parameters) -> CancelCall {
    let known = Known { section, parameters };
    CancelCall {
        method: method(section).unwrap_or(Method::Delete),
        path: known.path("path", Answered::Yes),
    }
}

fn effects(table: &Section<'_, '_>, method: Method) -> Vec<Effect> {
    let known = [
        ("network", Effect::Network),
        ("runs_code", Effect::RunsCode),
        ("target", Effect::Target),
    ];
    if table.place("effects").is_none() {
        return if method.is_safe() {
            Vec::new()
        } else {
            vec![Effect::Target]
        };
    }
    let mut effects: Vec<Effect> = table
        .texts("effects")
        .iter()
        .filter_map(|word| one_of(table, word, &known))
        .collect();
    effects.sort();
    effects.dedup();
    effects
}

fn retries(table: &Section<'_, '_>) -> u32 {
    let Some(number) = table.number("retries") else {
        return RETRIES;
    };
    match u32::try_from(number.value) {
        Ok(retries @ 0..=20) => retries,
        _ => {
            let message = format!("retries can't be {}", number.value);
            table
                .source()
                .problem(number.at, message, "write a number from 0 to 20");
            RETRIES
        }
    }
}

fn results(table: &Section<'_, '_>) -> BTreeMap<String, String> {
    let mut results = BTreeMap::new();
    for entry in table.entries("result") {
        if let Some(text) = entry.text() {
            pointer(table, &text);
            results.insert(entry.key.value, text.value);
        }
    }
    results
}
