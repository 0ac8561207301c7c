//! How much of an answer a text takes. Clients cut answers, or refuse them: Claude takes 150,000 characters of one, and
//! Claude Code 25,000 tokens. So every list and text in an answer has a room, counted as the bytes of its JSON.

use serde::Serialize;

/// What is left for a part of an answer, in bytes of JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room(usize);

impl Room {
    /// Room for this many bytes.
    pub(super) const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// Takes this many bytes if they are left.
    pub(super) const fn take(&mut self, bytes: usize) -> bool {
        match self.0.checked_sub(bytes) {
            Some(left) => {
                self.0 = left;
                true
            }
            None => false,
        }
    }

    /// The first of `items` that have room.
    pub(super) fn fill<T: Serialize>(&mut self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        let fits = |item: &T| self.take(serde_json::to_string(item).map_or(0, |json| json.len() + 1));
        items.into_iter().take_while(fits).collect()
    }

    /// The texts, each shortened to an even share of what the ones before it left.
    pub(super) fn share(&mut self, texts: Vec<String>) -> Vec<String> {
        let count = texts.len();
        let shared = texts.into_iter().enumerate().map(|(index, text)| {
            let text = clipped(text, self.0 / (count - index));
            self.take(in_json(&text));
            text
        });
        shared.collect()
    }
}

/// The bytes that a text takes within JSON.
pub(super) fn in_json(text: &str) -> usize {
    text.chars().map(char_in_json).sum()
}

/// The bytes that a character takes within JSON.
pub(super) const fn char_in_json(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

/// The text as it is if it takes at most `max` bytes of JSON; else its beginning, with a word on how much is missing.
pub(super) fn clipped(mut text: String, max: usize) -> String {
    /// Kept for the word itself.
    const WORD: usize = 40;
    if in_json(&text) <= max {
        return text;
    }
    let mut taken = 0;
    let cut = text.char_indices().find_map(|(at, c)| {
        taken += char_in_json(c);
        (taken + WORD > max).then_some(at)
    });
    let cut = cut.unwrap_or_default();
    let missing = text.len() - cut;
    text.truncate(cut);
    text + &format!("… ({missing} bytes left out)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_what_its_json_takes() {
        let every: String = ('\0'..='\u{250}').chain("€😀".chars()).collect();
        let json = serde_json::to_string(&every).expect("JSON");
        assert_eq!(in_json(&every), json.len() - 2);
    }

    #[test]
    fn what_is_cut_says_so_and_fits() {
        assert_eq!(clipped("short".into(), 5), "short");
        for text in ["x".repeat(5_000), "é".repeat(5_000), "\u{1b}".repeat(5_000)] {
            for max in [64, 100, 4_096] {
                let cut = clipped(text.clone(), max);
                assert!(in_json(&cut) <= max, "{} in {max}", in_json(&cut));
                let (kept, said) = cut.split_once("… (").expect("it says so");
                assert_eq!(said, format!("{} bytes left out)", text.len() - kept.len()));
            }
        }
    }

    #[test]
    fn what_short_texts_leave_goes_to_the_later_ones() {
        let texts = vec!["a".into(), "b".repeat(1_000), "c".repeat(1_000)];
        let shared = Room::new(1_000).share(texts);
        assert_eq!(shared[0], "a");
        assert!(shared[1].len() > 450 && shared[2].len() > 450);
        assert!(shared.iter().map(|text| in_json(text)).sum::<usize>() <= 1_000);
        assert_eq!(Room::new(10).share(vec![]), Vec::<String>::new());
        assert_eq!(Room::new(9).fill(["a", "b", "c"]), ["a", "b"]);
    }
}
