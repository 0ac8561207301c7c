//! Finds what must be replaced in a piece of a stream, and how much of the piece is decided.
//!
//! An **occurrence** is any place where a secret, or a private text as a whole word, is in the bytes. Occurrences that
//! overlap form a **run**, and a run is replaced as one: by the placeholder of secrets if a secret is among them, else by
//! that of the leftmost-longest private text. So no byte of any occurrence remains, which picking one of two overlapping
//! matches can't promise.
//!
//! A stream may be cut (and resumed by another process that knows only the byte before) wherever no occurrence lies
//! across. [`Search::scan`] never ends at any other place; that is why resuming gives the same bytes.

use std::cmp::Reverse;
use std::collections::HashMap;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous;
use aho_corasick::{AhoCorasick, Anchored, MatchKind};

/// Runs that grow longer than this are cut.
const RUN_MAX: usize = 64 * 1024;

/// Whether a byte continues a word.
pub(super) const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// What a pattern is.
#[derive(Debug)]
pub(super) enum Pattern {
    /// Replaced wherever it is.
    Secret,
    /// Replaced by this where it is a whole word.
    Private(String),
    /// The same, but a hyphen or an underscore doesn't join it to what stands beside it.
    Name(String),
}

impl Pattern {
    /// What continues a word that it may not be a part of.
    fn continues(&self) -> fn(u8) -> bool {
        match self {
            Self::Name(_) => |byte| byte.is_ascii_alphanumeric(),
            Self::Private(_) | Self::Secret => is_word,
        }
    }
}

/// Whether bytes may follow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// More may come.
    Open,
    /// This is all.
    Final,
}

/// What became of a piece.
pub(super) struct Scanned {
    /// What leaves.
    pub(super) clean: Vec<u8>,
    /// How many bytes of the piece that is.
    pub(super) used: usize,
}

/// Overlapping occurrences.
struct Run {
    start: usize,
    end: usize,
    secret: bool,
    /// The leftmost-longest private text: where it starts, its length, its number.
    private: Option<(usize, Reverse<usize>, usize)>,
}

/// What was found in a piece.
struct Found {
    runs: Vec<Run>,
    /// Up to where it is decided.
    decided: usize,
    /// Whether a run had to be cut there; the search goes on behind it.
    cut: bool,
}

/// The patterns, ready to be searched for.
pub(super) struct Search {
    /// Finds the next match with vector instructions; overlapping ones it misses.
    fast: AhoCorasick,
    /// Finds every occurrence, a byte at a time; used near matches only.
    exact: contiguous::NFA,
    start: StateID,
    /// For each state of `exact`, how many of the last bytes may begin a pattern.
    depth: HashMap<StateID, usize>,
    patterns: Vec<Pattern>,
    longest: usize,
    run_max: usize,
    hidden: String,
}

impl Search {
    /// Prepares to search; `hidden` replaces secrets. None only for sizes beyond what the automaton can count.
    pub(super) fn new(patterns: Vec<(Vec<u8>, Pattern)>, hidden: String) -> Option<Self> {
        let (texts, patterns): (Vec<Vec<u8>>, Vec<Pattern>) = patterns.into_iter().unzip();
        let fast = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&texts)
            .ok()?;
        let exact = contiguous::NFA::new(&texts).ok()?;
        let start = exact.start_state(Anchored::No).ok()?;
        let mut depth = HashMap::from([(start, 0)]);
        for text in &texts {
            let mut state = start;
            for (index, &byte) in text.iter().enumerate() {
                state = exact.next_state(Anchored::No, state, byte);
                depth.insert(state, index + 1);
            }
        }
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let run_max = RUN_MAX.max(2 * longest);
        Some(Self {
            fast,
            exact,
            start,
            depth,
            patterns,
            longest,
            run_max,
            hidden,
        })
    }

    /// The length of the longest pattern.
    pub(super) const fn longest(&self) -> usize {
        self.longest
    }

    /// Cuts runs earlier, so that proofs reach the cut with short streams.
    #[cfg(test)]
    pub(super) fn cut_runs_at(&mut self, run_max: usize) {
        self.run_max = run_max.max(2 * self.longest).max(8);
    }

    /// Whether nothing in `text` needs to be replaced. Costs no allocation.
    pub(super) fn is_clean(&self, text: &[u8]) -> bool {
        !self.fast.is_match(text)
    }

    /// Scrubs what can be decided of `text`; `before` is the byte before it in the stream.
    pub(super) fn scan(&self, text: &[u8], before: Option<u8>, end: End) -> Scanned {
        let mut clean = Vec::with_capacity(text.len());
        let mut used = 0;
        loop {
            let rest = &text[used..];
            let before = used.checked_sub(1).map_or(before, |last| Some(text[last]));
            let found = self.find(rest, before, end);
            let mut copied = 0;
            for run in &found.runs {
                clean.extend_from_slice(&rest[copied..run.start]);
                clean.extend_from_slice(self.placeholder(run));
                copied = run.end;
            }
            clean.extend_from_slice(&rest[copied..found.decided]);
            used += found.decided;
            if !found.cut {
                return Scanned { clean, used };
            }
        }
    }

    fn placeholder(&self, run: &Run) -> &[u8] {
        match run.private.map(|(_, _, number)| &self.patterns[number]) {
            Some(Pattern::Private(placeholder) | Pattern::Name(placeholder)) if !run.secret => placeholder.as_bytes(),
            _ => self.hidden.as_bytes(),
        }
    }

    fn find(&self, text: &[u8], before: Option<u8>, end: End) -> Found {
        let mut runs = Vec::new();
        let mut undecided = text.len();
        let (mut state, mut at, mut known) = (self.start, 0, 0);
        while at < text.len() {
            if state == self.start && at >= known {
                // Nothing is pending: jump to the next match. Behind `known` the fast search has not looked yet.
                let Some(next) = self.fast.find(&text[at..]) else { break };
                known = at + next.end();
                at += next.start();
            }
            state = self.exact.next_state(Anchored::No, state, text[at]);
            at += 1;
            if self.exact.is_match(state) {
                let seen = Seen { text, before, at, end };
                undecided = undecided.min(self.record(state, &seen, &mut runs));
                if let Some(decided) = self.overlong(text, &mut runs) {
                    return Found {
                        runs,
                        decided,
                        cut: true,
                    };
                }
            }
        }
        let mut decided = match end {
            End::Final => text.len(),
            End::Open => undecided.min(text.len() - self.pending(text)),
        };
        // A run across the boundary could still grow: it is decided later, from its start.
        while let Some(run) = runs.pop_if(|run| run.end > decided) {
            decided = decided.min(run.start);
        }
        Found {
            runs,
            decided,
            cut: false,
        }
    }

    /// How many bytes at the end of `text` may be the beginning of a pattern.
    fn pending(&self, text: &[u8]) -> usize {
        let tail = &text[text.len().saturating_sub(self.longest)..];
        let last = tail.iter().fold(self.start, |state, &byte| {
            self.exact.next_state(Anchored::No, state, byte)
        });
        // Every state is reached by some pattern's beginning, so it is known; if not, holding all back is right too.
        self.depth.get(&last).copied().unwrap_or(tail.len())
    }

    /// Adds the occurrences that end at `seen.at`. Gives the start of the longest that can't be judged before the next
    /// byte is there, or the end of the text.
    fn record(&self, state: StateID, seen: &Seen<'_>, runs: &mut Vec<Run>) -> usize {
        let mut undecided = seen.text.len();
        for index in 0..self.exact.match_len(state) {
            let pattern = self.exact.match_pattern(state, index);
            let length = self.exact.pattern_len(pattern);
            let start = seen.at - length;
            let number = pattern.as_usize();
            let (secret, private) = match &self.patterns[number] {
                Pattern::Secret => (true, None),
                pattern => match seen.whole_word(start, pattern.continues()) {
                    Some(true) => (false, Some((start, Reverse(length), number))),
                    Some(false) => continue,
                    None => {
                        undecided = undecided.min(start);
                        continue;
                    }
                },
            };
            merge(
                runs,
                Run {
                    start,
                    end: seen.at,
                    secret,
                    private,
                },
            );
        }
        undecided
    }

    /// Cuts the last run if it is too long: where, not within a character.
    ///
    /// Its start is final then, as the longest pattern is shorter than any run that is cut, and the place follows from
    /// the start alone: however the stream arrives, it is cut there.
    fn overlong(&self, text: &[u8], runs: &mut [Run]) -> Option<usize> {
        let run = runs.last_mut().filter(|run| run.end - run.start > self.run_max)?;
        let mut cut = run.start + self.run_max;
        for _ in 0..3 {
            // 10xxxxxx continues a character of UTF-8.
            cut -= usize::from(text[cut] & 0xc0 == 0x80);
        }
        run.end = cut;
        run.secret = true;
        Some(cut)
    }
}

/// The surroundings of the occurrences that end at one place.
struct Seen<'a> {
    text: &'a [u8],
    before: Option<u8>,
    at: usize,
    end: End,
}

impl Seen<'_> {
    /// Whether what starts at `start` and ends here is a whole word; unknown if that depends on the next byte.
    fn whole_word(&self, start: usize, continues: fn(u8) -> bool) -> Option<bool> {
        let left = start.checked_sub(1).map_or(self.before, |last| Some(self.text[last]));
        if continues(self.text[start]) && left.is_some_and(continues) {
            return Some(false);
        }
        if !continues(self.text[self.at - 1]) {
            return Some(true);
        }
        match (self.text.get(self.at), self.end) {
            (Some(&right), _) => Some(!continues(right)),
            (None, End::Final) => Some(true),
            (None, End::Open) => None,
        }
    }
}

/// Adds an occurrence that ends where the last run does, or behind it.
fn merge(runs: &mut Vec<Run>, mut new: Run) {
    while let Some(old) = runs.pop_if(|run| run.end > new.start) {
        new.start = new.start.min(old.start);
        new.secret |= old.secret;
        new.private = match (new.private, old.private) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    runs.push(new);
}
