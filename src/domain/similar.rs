//! Which known word somebody probably meant.

/// Below this similarity (0 to 1) two words are not taken for one another.
const LIKENESS: f64 = 0.72;

/// The candidate that looks most like `word`, if one looks like it at all. Ties go to the one that sorts first, so
/// that the order of the candidates never matters.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let mut best: Option<(f64, &'a str)> = None;
    for candidate in candidates {
        let likeness = likeness(&word, &candidate.to_lowercase());
        let better = best.is_none_or(|(most, name)| likeness > most || (likeness >= most && candidate < name));
        if likeness >= LIKENESS && better {
            best = Some((likeness, candidate));
        }
    }
    best.map(|(_, name)| name)
}

/// How alike two words are, from 0 to 1.
pub fn likeness(left: &str, right: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(left, right).max(strsim::jaro_winkler(left, right) * 0.9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        let known = ["timeout", "max_output", "intents", "description"];
        for (typed, meant) in [
            ("timout", Some("timeout")),
            ("max-output", Some("max_output")),
            ("intent", Some("intents")),
            ("Descripton", Some("description")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }
}
