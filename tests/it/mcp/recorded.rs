//! A recorded session of another program, and whether clawhand gives no less than that program gave.

use serde_json::Value;

/// The lines of a recording.
pub fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// What is missing in `ours` that is in `theirs`, by the path to it.
pub fn missing(path: &str, theirs: &Value, ours: &Value) -> Vec<String> {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let field = |(name, value): (&String, &Value)| {
                let path = format!("{path}.{name}");
                ours.get(name)
                    .map_or_else(|| vec![path.clone()], |ours| missing(&path, value, ours))
            };
            theirs.iter().flat_map(field).collect()
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() <= ours.len() => {
            let pairs = theirs.iter().zip(ours);
            pairs
                .flat_map(|(theirs, ours)| missing(&format!("{path}[]"), theirs, ours))
                .collect()
        }
        (Value::Null, _) => Vec::new(),
        (theirs, ours) if std::mem::discriminant(theirs) == std::mem::discriminant(ours) && !theirs.is_array() => {
            Vec::new()
        }
        _ => vec![path.to_owned()],
    }
}
