//! Whatever a caller gives: the request goes to the same host and the same path, with the same headers and query keys.

use std::collections::BTreeMap;

use clawhand::domain::target::http::{Filling, Template};
use proptest::prelude::*;
use serde_json::{Value, json};

const BASE: &str = "https://api.example.com/base";

/// Texts that lead astray more often than by chance.
fn crooked() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just("/".to_owned()),
        Just("\\".to_owned()),
        Just("%2e%2E".to_owned()),
        Just("%2f".to_owned()),
        Just("?a=b".to_owned()),
        Just("&c=d".to_owned()),
        Just("#e".to_owned()),
        Just("@evil.example".to_owned()),
        Just("//evil.example/".to_owned()),
        Just("\r\nX-Evil: 1\r\n\r\n".to_owned()),
        Just("{name}".to_owned()),
        Just(";x=y".to_owned()),
        Just("\t".to_owned()),
        "\\PC{0,6}",
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn filled(values: &BTreeMap<String, Value>) -> Filling<'_> {
    Filling {
        parameters: values,
        response: None,
    }
}

/// What a server takes a segment for, once it has decoded it.
fn decoded(segment: &str) -> Vec<u8> {
    let bytes = segment.as_bytes();
    let mut text = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match escape.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()) {
            Some(byte) => {
                text.push(byte);
                at += 3;
            }
            None => {
                text.push(bytes[at]);
                at += 1;
            }
        }
    }
    text
}

proptest! {
    #[test]
    fn a_path_keeps_its_host_and_its_segments(a in crooked(), b in crooked()) {
        let values = BTreeMap::from([("a".to_owned(), json!(a)), ("b".to_owned(), json!(b))]);
        let template = Template::parse("/x/{a}/y/{b}-{a}/z").expect("a template");
        let Ok(path) = template.path(&filled(&values)) else {
            return Ok(());
        };
        let url = reqwest::Url::parse(&format!("{BASE}{path}")).expect("a URL");
        prop_assert_eq!(url.host_str(), Some("api.example.com"));
        prop_assert_eq!(url.username(), "");
        prop_assert_eq!(url.query(), None);
        prop_assert_eq!(url.fragment(), None);
        let segments: Vec<_> = url.path_segments().expect("segments").collect();
        prop_assert_eq!(segments.len(), 6);
        prop_assert_eq!((segments[0], segments[1], segments[3], segments[5]), ("base", "x", "y", "z"));
        // And the value arrives.
        prop_assert_eq!(decoded(segments[2]), a.as_bytes());
        prop_assert_eq!(decoded(segments[4]), format!("{b}-{a}").into_bytes());
        // Decoded too early, it still leads to no other folder.
        let parts = decoded(segments[2]);
        let parts = String::from_utf8(parts).expect("text");
        prop_assert!(parts.split(['/', '\\']).all(|part| !matches!(part, "." | ".." | "")));
    }

    #[test]
    fn a_query_keeps_its_keys(a in crooked(), items in proptest::collection::vec(crooked(), 0..4)) {
        let values = BTreeMap::from([("a".to_owned(), json!(a)), ("l".to_owned(), json!(items))]);
        let one = Template::parse("<{a}>").expect("a template").query("one", &filled(&values)).expect("fits");
        let list = Template::parse("{l}").expect("a template").query("list", &filled(&values)).expect("fits");
        let mut url = reqwest::Url::parse(BASE).expect("a URL");
        let pairs: Vec<String> = one.into_iter().chain(list).collect();
        url.set_query(Some(&pairs.join("&")));
        let read: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let mut wanted = vec![("one".to_owned(), format!("<{a}>"))];
        wanted.extend(items.iter().map(|item| ("list".to_owned(), item.clone())));
        prop_assert_eq!(read, wanted);
        prop_assert_eq!(url.fragment(), None);
        prop_assert_eq!(url.host_str(), Some("api.example.com"));
    }

    #[test]
    fn a_header_stays_one_line(a in crooked()) {
        let values = BTreeMap::from([("a".to_owned(), json!(a))]);
        let header = Template::parse("by {a}!").expect("a template").header(&filled(&values));
        if let Ok(Some(text)) = header {
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
            prop_assert_eq!(text, format!("by {a}!"));
        }
    }

    #[test]
    fn a_body_keeps_its_shape(a in crooked(), n in any::<i64>(), items in proptest::collection::vec(crooked(), 0..4)) {
        let values = BTreeMap::from([("a".to_owned(), json!(a)), ("n".to_owned(), json!(n)), ("l".to_owned(), json!(items))]);
        let template = json!({"text": "{a}", "in": ["-{a}-", {"n": "{n}"}], "list": "{l}", "both": "{n}{a}"});
        let filled = filled(&values).body(&template).expect("fits").expect("a body");
        let read: Value = serde_json::from_str(&filled.to_string()).expect("JSON");
        let wanted = json!({"text": a, "in": [format!("-{a}-"), {"n": n}], "list": items, "both": format!("{n}{a}")});
        prop_assert_eq!(read, wanted);
    }
}
