//! Scrubs a stream as it comes.

use super::rules::Rules;
use super::scan::End;

/// A part of a scrubbed stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    /// What leaves, in order.
    pub clean: Vec<u8>,
    /// How many further raw bytes, of this push and of earlier ones, are final with it. Stored together with `clean`, a
    /// new [`Scrubber`] goes on from there and the whole comes out the same.
    pub consumed: u64,
}

/// Scrubs a stream of any bytes, in chunks of any size.
///
/// Holds back what may be the beginning of something to replace: nothing in most texts, at most twice
/// [`Rules::longest`] and a byte, except for runs of overlapping occurrences, which are held to their end (64 KiB at
/// most).
pub struct Scrubber {
    rules: Rules,
    previous: Option<u8>,
    held: Vec<u8>,
}

impl Scrubber {
    /// Begins a stream, or goes on with one: `previous` is the raw byte before, if there is one.
    pub fn new(rules: Rules, previous: Option<u8>) -> Self {
        Self {
            rules,
            previous,
            held: Vec::new(),
        }
    }

    /// From here on, what was held back included, these are the rules: those from before, and more.
    pub fn renew(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Takes the next bytes; gives what is final now.
    pub fn push(&mut self, bytes: &[u8]) -> Piece {
        if self.held.is_empty() {
            let (piece, used) = self.scan(bytes, End::Open);
            self.held.extend_from_slice(&bytes[used..]);
            return piece;
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let (piece, used) = self.scan(&held, End::Open);
        held.drain(..used);
        self.held = held;
        piece
    }

    /// Ends the stream; gives what was held back. Afterwards a new stream may begin where this one ended.
    pub fn finish(&mut self) -> Piece {
        let held = std::mem::take(&mut self.held);
        self.scan(&held, End::Final).0
    }

    fn scan(&mut self, bytes: &[u8], end: End) -> (Piece, usize) {
        let scanned = self.rules.scan(bytes, self.previous, end);
        if let Some(last) = scanned.used.checked_sub(1) {
            self.previous = Some(bytes[last]);
        }
        (
            Piece {
                clean: scanned.clean,
                consumed: scanned.used as u64,
            },
            scanned.used,
        )
    }
}
