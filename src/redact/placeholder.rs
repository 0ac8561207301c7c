//! Chooses placeholders that can't spell a secret, neither alone nor together with what stands beside them.
//!
//! An occurrence of a secret in the output either lies wholly in bytes that were copied, and then it was an occurrence
//! in the input and would have been replaced, or it touches a placeholder. So it is enough to make sure that no secret
//! can be laid over a placeholder in any way that agrees with it.

use super::scan::is_word;

/// What may stand next to a placeholder in the output.
pub(super) struct Edges {
    /// Whether the replaced text begins or ends with a byte of a word: then no byte of a word was beside it.
    pub(super) word_start: bool,
    /// The same for its end.
    pub(super) word_end: bool,
    /// First and last bytes of all placeholders: another one may stand right beside this one.
    pub(super) beside: Vec<u8>,
}

impl Edges {
    /// Anything may stand on either side.
    pub(super) const fn open() -> Self {
        Self {
            word_start: false,
            word_end: false,
            beside: Vec::new(),
        }
    }

    fn allows(&self, byte: u8, word: bool) -> bool {
        !word || !is_word(byte) || self.beside.contains(&byte)
    }
}

/// The placeholder of secrets: `[secret]` unless a secret gets in its way.
pub(super) fn for_secrets(secrets: &[&[u8]]) -> String {
    const WORDS: [&str; 6] = ["[secret]", "[redacted]", "[hidden]", "(secret)", "{hidden}", "***"];
    // A character that no secret contains can't be part of one. There are more characters than secrets have bytes.
    let characters = ('\u{2588}'..=char::MAX).map(String::from);
    WORDS
        .into_iter()
        .map(String::from)
        .chain(characters)
        .find(|text| is_safe(text.as_bytes(), secrets, &Edges::open()))
        .unwrap_or_default()
}

/// Whether no secret can be spelled with the help of `placeholder`.
pub(super) fn is_safe(placeholder: &[u8], secrets: &[&[u8]], edges: &Edges) -> bool {
    secrets.iter().all(|secret| !can_spell(placeholder, secret, edges))
}

fn can_spell(placeholder: &[u8], secret: &[u8], edges: &Edges) -> bool {
    let (size, length) = (placeholder.len(), secret.len());
    // `lead` bytes of the secret stand before the placeholder, or it begins `skip` bytes into it.
    let before = (1..length).map(|lead| (lead, 0));
    let inside = (0..size).map(|skip| (0, skip));
    before.chain(inside).any(|(lead, skip)| {
        let shared = (length - lead).min(size - skip);
        let rest = &secret[lead + shared..];
        placeholder[skip..skip + shared] == secret[lead..lead + shared]
            && (lead == 0 || edges.allows(secret[lead - 1], edges.word_start))
            && (rest.is_empty() || edges.allows(rest[0], edges.word_end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_that_could_spell_a_secret_is_not_taken() {
        let cases: [(&[&str], &str); 7] = [
            (&["hunter22"], "[secret]"),
            (&["secret"], "[redacted]"),
            (&["secret", "redacted"], "[hidden]"),
            (&["abc["], "(secret)"),
            (&["]abc"], "(secret)"),
            (&["x[secret]y"], "[redacted]"),
            (&["abc[", "abc(", "abc{", "abc*"], "\u{2588}"),
        ];
        for (secrets, expected) in cases {
            let secrets: Vec<&[u8]> = secrets.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(for_secrets(&secrets), expected, "{secrets:?}");
        }
    }

    #[test]
    fn a_word_beside_a_private_text_can_not_complete_a_secret() {
        let edges = Edges {
            word_start: false,
            word_end: true,
            beside: vec![b'[', b']', b'/', b'e'],
        };
        assert!(is_safe(b"/workspace", &[b"cebadc0ffee"], &edges));
        assert!(!is_safe(b"/workspace", &[b"workspace"], &edges));
        assert!(!is_safe(b"/workspace", &[b"ce/x"], &edges));
        assert!(!is_safe(b"/workspace", &[b"ab/w"], &edges));
        assert!(!is_safe(b"", &[b"abcd"], &Edges::open()));
    }
}
