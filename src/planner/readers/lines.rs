//! Lines out of pieces of bytes, with bounded memory.

/// What a line has beyond this is left out.
const LINE_MAX: usize = 64 * 1024;

/// Puts lines together; each is handed on once, without its end and without terminal colours.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        let Some(mut piece) = pieces.next() else { return };
        for next in pieces {
            self.keep(piece);
            self.hand_on(&mut line);
            piece = next;
        }
        self.keep(piece);
    }

    /// Hands on a last line that has no end.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.pending.is_empty() {
            self.hand_on(&mut line);
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = LINE_MAX.saturating_sub(self.pending.len());
        self.pending.extend(piece.iter().take(room));
    }

    fn hand_on(&mut self, line: &mut impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.pending);
        let text = text.strip_suffix('\r').unwrap_or(&text);
        if text.contains('\u{1b}') {
            line(&without_colours(text));
        } else {
            line(text);
        }
        self.pending.clear();
    }
}

/// The text without control sequences of terminals (`ESC [ ... letter`).
fn without_colours(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            clean.push(c);
        } else if chars.next_if_eq(&'[').is_some() {
            while chars.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_do_not_depend_on_the_pieces() {
        let text = b"one\r\n\ntw\xc3\xb6\x1b[31m red\x1b[0m\nlast";
        for size in 1..text.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for piece in text.chunks(size) {
                lines.push(piece, |line| seen.push(line.to_owned()));
            }
            lines.finish(|line| seen.push(line.to_owned()));
            assert_eq!(seen, ["one", "", "twö red", "last"], "pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for _ in 0..100 {
            lines.push(&[b'x'; 4096], |_| {});
        }
        lines.push(b"\nok\n", |line| seen.push(line.len()));
        assert_eq!(seen, [LINE_MAX, 2]);
    }
}
