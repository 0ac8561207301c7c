//! Reads Rust source just well enough for the tidy rules: what is code, what is comment or literal, what is a test.

/// The same text with comments, strings and characters replaced by spaces; lines stay where they are.
pub fn code_of(text: &str) -> String {
    split(text).0
}

/// The same text with everything but comments replaced by spaces.
pub fn comments_of(text: &str) -> String {
    split(text).1
}

/// The text twice: only its code, only its comments.
fn split(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (String::with_capacity(text.len()), String::with_capacity(text.len()));
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        let is_comment = chars[at] == '/';
        for &c in &chars[at..end.max(at + 1)] {
            code.push(if end == at { c } else { blank(c) });
            comments.push(if end > at && is_comment { c } else { blank(c) });
        }
        at = end.max(at + 1);
    }
    (code, comments)
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => line_end(chars, at),
        '/' if next == Some('*') => block_end(chars, at),
        '"' => string_end(chars, at + 1),
        '\'' => char_end(chars, at),
        'r' if !within_word(chars, at) => raw_end(chars, at),
        _ => at,
    }
}

fn line_end(chars: &[char], at: usize) -> usize {
    (at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len())
}

fn block_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') if depth == 1 => return i + 2,
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut i = from;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// A character ends within a few places; what does not is a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), Some(_)) => (at + 3..chars.len())
            .find(|&i| chars[i] == '\'')
            .map_or(chars.len(), |i| i + 1),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

fn raw_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return at;
    }
    let closes =
        |i: usize| chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
    (open + 1..chars.len())
        .find(|&i| closes(i))
        .map_or(chars.len(), |i| i + 1 + hashes)
}

/// Whether the character at `at` continues a word. `br"` and `cr"` are literals all the same.
fn within_word(chars: &[char], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|i| chars[i]).filter(|&c| is_word(c));
    match before(1) {
        None => false,
        Some('b' | 'c') => before(2).is_some(),
        Some(_) => true,
    }
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The word that starts at byte `at`.
pub fn word_at(code: &str, at: usize) -> &str {
    let rest = &code[at..];
    &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())]
}

/// Byte offsets where `word` stands as a whole word.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let free = |c: Option<char>| !c.is_some_and(is_word);
        free(code[..at].chars().next_back()) && free(code[at + word.len()..].chars().next())
    })
}

/// The line, from 1, of a byte offset.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Byte ranges of the modules that only tests compile, in code without literals.
pub fn test_modules(code: &str) -> Vec<std::ops::Range<usize>> {
    code.match_indices("#[cfg(test)]")
        .filter_map(|(at, mark)| {
            let rest = &code[at + mark.len()..];
            let item = rest.trim_start();
            let open = rest.find('{')?;
            let is_module = item.starts_with("mod ") || item.starts_with("pub mod ");
            (is_module && rest.find(';').is_none_or(|end| end > open)).then(|| at..block(code, at + mark.len() + open))
        })
        .collect()
}

/// Where the block whose brace is at `open` ends.
fn block(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (i, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + i + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// What `crate::` and chains of `super::` reach at the root of the crate, with the byte offset of each.
/// `depth` is how many modules the file is below the root.
pub fn root_paths(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "crate") {
        found.extend(heads(code, at + "crate".len()).into_iter().map(|head| (at, head)));
    }
    for at in words(code, "super") {
        let before = code[..at].trim_end();
        if before.ends_with("super::") {
            continue;
        }
        let (mut end, mut chain) = (at + "super".len(), 1);
        while code[end..].starts_with("::super") {
            (end, chain) = (end + "::super".len(), chain + 1);
        }
        if chain >= depth {
            // Within an inline module the chain reaches less far; then the head is no room and the rules pass it by.
            found.extend(heads(code, end).into_iter().map(|head| (at, head)));
        }
    }
    found
}

/// The first names after the path at `at`: one for `::a::b`, several for `::{a, b::c}`.
fn heads(code: &str, at: usize) -> Vec<String> {
    let Some(rest) = code[at..].strip_prefix("::") else {
        return Vec::new();
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![word_at(rest, 0).to_owned()];
    };
    let (mut depth, mut expects, mut names) = (0, true, Vec::new());
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects = true,
            c if expects && is_word(c) => {
                names.push(word_at(group, i).to_owned());
                expects = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn literals_and_comments_are_no_code() {
    let table = [
        ("a /* b /* c */ d */ e", "a                   e"),
        ("a // b\nc", "a     \nc"),
        (r#"f("x \" y", 'z')"#, "f(        ,    )"),
        ("r#\"a \" b\"# + br\"c\" + bar", "           + b     + bar"),
        ("fn f<'a>(x: &'a str, c: '\\'')", "fn f<'a>(x: &'a str, c:     )"),
        ("for\"x\"", "for   "),
    ];
    for (text, code) in table {
        assert_eq!(code_of(text), code, "{text}");
    }
    assert_eq!(comments_of("a \"// b\" // c\nd /* e */"), "         // c\n  /* e */");
}

#[test]
fn paths_from_the_root_are_found() {
    let names = |code: &str, depth| {
        root_paths(code, depth)
            .into_iter()
            .map(|(_, head)| head)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names("use crate::store::Task; crate::blobs::open()", 1),
        ["store", "blobs"]
    );
    assert_eq!(
        names("use crate::{domain::{Id, Task}, store, redact::Rules as R};", 1),
        ["domain", "store", "redact"]
    );
    assert_eq!(names("use super::store; use super::super::blobs;", 2), ["blobs"]);
    assert_eq!(names("use mycrate::store;", 1), [""; 0]);
}

#[test]
fn test_modules_are_found() {
    let code =
        "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { c } }\nfn d() {}\n#[cfg(test)]\nmod e;\n#[cfg(test)]\nfn f() {}";
    let found: Vec<&str> = test_modules(code).into_iter().map(|range| &code[range]).collect();
    assert_eq!(found, ["#[cfg(test)]\nmod tests { fn b() { c } }"]);
}
