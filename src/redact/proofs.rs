//! Properties that hold for every stream, every way it arrives in chunks and every place where the process dies.
//!
//! The oracle below says in the plainest way what scrubbing means, by looking for every value at every place of the
//! whole; the room must agree with it.

use proptest::prelude::*;
use proptest::sample::Index;

use super::rules::is_unmistakable;
use super::scan::{End, is_word};
use super::{Rules, Scrubber};

/// Small, so that short streams reach the cut.
const RUN_MAX: usize = 24;

/// Values over few letters, so that they overlap, contain and continue one another.
#[derive(Debug, Clone)]
struct Values {
    secrets: Vec<String>,
    privates: Vec<(String, String)>,
}

impl Values {
    fn rules(&self) -> Rules {
        let with_secrets = self
            .secrets
            .iter()
            .fold(Rules::builder(), |rules, value| rules.secret(value));
        let privates = self.privates.iter();
        let all = privates.fold(with_secrets, |rules, (value, shown)| rules.private(value, shown));
        all.build().cutting_runs_at(RUN_MAX)
    }

    fn run_max(&self) -> usize {
        let privates = self.privates.iter().map(|(value, _)| value.len());
        let longest = self.secrets.iter().map(String::len).chain(privates).max().unwrap_or(0);
        RUN_MAX.max(2 * longest)
    }

    /// What is replaced in `text`, in order: from, to, and of which private text (none for secrets).
    fn runs(&self, text: &[u8]) -> Vec<(usize, usize, Option<&str>)> {
        let mut runs = Vec::new();
        let mut origin = 0;
        'cut: loop {
            let mut covered: Vec<(usize, usize, Option<&str>)> = Vec::new();
            for (start, end, private) in self.occurrences(text, origin) {
                match covered.last_mut().filter(|run| run.1 > start) {
                    Some(run) => {
                        run.1 = run.1.max(end);
                        run.2 = run.2.and(private).and(run.2);
                    }
                    None => covered.push((start, end, private)),
                }
            }
            for run in covered {
                if run.1 - run.0 > self.run_max() {
                    let mut cut = run.0 + self.run_max();
                    for _ in 0..3 {
                        cut -= usize::from(text[cut] & 0xc0 == 0x80);
                    }
                    runs.push((run.0, cut, None));
                    origin = cut;
                    continue 'cut;
                }
                runs.push(run);
            }
            return runs;
        }
    }

    /// By start, longer ones first.
    fn occurrences(&self, text: &[u8], origin: usize) -> Vec<(usize, usize, Option<&str>)> {
        let mut all = Vec::new();
        for start in origin..text.len() {
            let here = |value: &str| text[start..].starts_with(value.as_bytes());
            for value in self.secrets.iter().filter(|value| here(value)) {
                all.push((start, start + value.len(), None));
            }
            for (value, _) in self.privates.iter().filter(|(value, _)| here(value)) {
                let end = start + value.len();
                let continues = |byte: u8| match is_unmistakable(value) {
                    true => byte.is_ascii_alphanumeric(),
                    false => is_word(byte),
                };
                let joined = |at: usize| at > 0 && at < text.len() && continues(text[at - 1]) && continues(text[at]);
                if !joined(start) && !joined(end) && !self.secrets.contains(value) {
                    all.push((start, end, Some(value.as_str())));
                }
            }
        }
        all.sort_by_key(|&(start, end, _)| (start, std::cmp::Reverse(end)));
        all
    }
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{4,6}",
        3 => "[ab/-]{4,9}",
        1 => "[abé]{4,7}",
        1 => "[ab1-]{8,9}",
        1 => "(secret|workspace|cret\\]|\\[sec|/work|aaaa|abababab)",
        1 => "[ab]{8}\n[ab]{9}",
    ]
}

fn values() -> impl Strategy<Value = Values> {
    let shown = prop_oneof!["/workspace", "host", "[ab/]{1,4}", Just(String::new())];
    let privates = proptest::collection::vec((value(), shown), 0..3);
    (proptest::collection::vec(value(), 0..4), privates).prop_map(|(mut secrets, mut privates)| {
        // What the builder makes of them, so that the oracle needs no builder of its own.
        let lines: Vec<String> = secrets
            .iter()
            .flat_map(|value| value.lines().map(String::from))
            .collect();
        secrets.extend(lines);
        let mut known = Vec::new();
        privates.retain(|(value, _)| {
            !known.contains(value) && {
                known.push(value.clone());
                true
            }
        });
        Values { secrets, privates }
    })
}

/// A stream made of values, of their beginnings and ends, and of other bytes.
fn stream(values: Values) -> impl Strategy<Value = (Values, Vec<u8>)> {
    let known: Vec<String> = values
        .secrets
        .iter()
        .chain(values.privates.iter().map(|(v, _)| v))
        .cloned()
        .collect();
    let part = (
        any::<Index>(),
        any::<Index>(),
        0..7,
        proptest::collection::vec(any::<u8>(), 0..6),
        "[ab/1 -]{0,5}",
    );
    let parts = proptest::collection::vec(part, 0..24);
    parts.prop_map(move |parts| {
        let mut stream = Vec::new();
        for (which, cut, kind, bytes, letters) in parts {
            let value = if known.is_empty() {
                b"none"
            } else {
                known[which.index(known.len())].as_bytes()
            };
            match kind {
                0 | 1 => stream.extend_from_slice(value),
                2 => stream.extend_from_slice(&value[..cut.index(value.len())]),
                3 => stream.extend_from_slice(&value[cut.index(value.len())..]),
                4 => stream.extend_from_slice(&bytes),
                5 => stream.extend_from_slice(b" "),
                _ => stream.extend_from_slice(letters.as_bytes()),
            }
        }
        (values.clone(), stream)
    })
}

fn cases() -> impl Strategy<Value = (Values, Vec<u8>)> {
    values().prop_flat_map(stream)
}

/// What the engine does: stores pieces, dies now and then (loses what was not stored), and goes on.
fn with_crashes(rules: &Rules, raw: &[u8], moves: &[(usize, bool)]) -> Vec<u8> {
    let (mut stored, mut offset, mut read) = (Vec::new(), 0, 0);
    let mut scrubber = Scrubber::new(rules.clone(), None);
    for &(size, dies) in moves {
        let chunk = &raw[read..raw.len().min(read + size)];
        let piece = scrubber.push(chunk);
        read += chunk.len();
        stored.extend(piece.clean);
        offset += usize::try_from(piece.consumed).expect("small");
        if dies {
            scrubber = Scrubber::new(rules.clone(), offset.checked_sub(1).map(|last| raw[last]));
            read = offset;
        }
    }
    for piece in [scrubber.push(&raw[read..]), scrubber.finish()] {
        stored.extend(piece.clean);
        offset += usize::try_from(piece.consumed).expect("small");
    }
    assert_eq!(offset, raw.len(), "every byte is accounted for");
    stored
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replaces_exactly_what_the_oracle_finds((values, raw) in cases()) {
        let clean = values.rules().scan(&raw, None, End::Final).clean;
        // The placeholders are taken as they are; everything between them must be copied.
        let mut rest = clean.as_slice();
        let mut copied = 0;
        for (start, end, private) in values.runs(&raw) {
            prop_assert!(rest.starts_with(&raw[copied..start]), "{:?} in {:?}", raw, clean);
            rest = &rest[start - copied..];
            let alone = private.map_or_else(
                || values.secrets.first().map_or("[secret]".to_owned(), |secret| values.rules().text(secret).into_inner()),
                |value| values.rules().text(value).into_inner(),
            );
            prop_assert!(rest.starts_with(alone.as_bytes()), "{:?} in {:?}", alone, clean);
            rest = &rest[alone.len()..];
            copied = end;
        }
        prop_assert_eq!(rest, &raw[copied..]);
    }

    #[test]
    fn chunks_and_crashes_change_nothing(
        (values, raw) in cases(),
        moves in proptest::collection::vec((0_usize..20, any::<bool>()), 0..40),
    ) {
        let rules = values.rules();
        let whole = rules.scan(&raw, None, End::Final).clean;
        prop_assert_eq!(&with_crashes(&rules, &raw, &moves), &whole);
        let bytewise = vec![(1, false); raw.len()];
        prop_assert_eq!(&with_crashes(&rules, &raw, &bytewise), &whole);
        // Dying after every byte makes no progress while something is held; in steps of all that can be held it does.
        let steps = vec![(2 * values.run_max() + 2 * rules.longest(), true); raw.len()];
        prop_assert_eq!(&with_crashes(&rules, &raw, &steps), &whole);
    }

    #[test]
    fn no_secret_comes_out((values, raw) in cases()) {
        let clean = values.rules().scan(&raw, None, End::Final).clean;
        for secret in &values.secrets {
            prop_assert!(!contains(&clean, secret.as_bytes()), "{:?} in {:?}", secret, String::from_utf8_lossy(&clean));
        }
    }

    #[test]
    fn text_stays_text((values, raw) in cases()) {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let bytes = values.rules().scan(text.as_bytes(), None, End::Final).clean;
        prop_assert_eq!(String::from_utf8(bytes), Ok(values.rules().text(&text).into_inner()));
    }

    #[test]
    fn little_is_held_back((values, raw) in cases()) {
        let rules = values.rules();
        let mut scrubber = Scrubber::new(rules.clone(), None);
        let mut consumed = 0;
        for (index, byte) in raw.iter().enumerate() {
            consumed += scrubber.push(&[*byte]).consumed;
            let held = index + 1 - usize::try_from(consumed).expect("small");
            prop_assert!(held <= values.run_max() + 2 * rules.longest() + 1, "{held} held");
        }
    }
}
