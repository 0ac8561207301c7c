//! Takes secrets out of what an API says, before it is written anywhere: an API may repeat the token that it was given,
//! and a token that was just issued is known nowhere else.

/// What stands in place of a secret.
const SHOWN: &[u8] = b"[secret]";
/// Shorter values are words of their own.
const SHORTEST: usize = 4;

/// The values that must not be written.
#[derive(Clone, Default)]
pub(super) struct Mask(Vec<Vec<u8>>);

impl Mask {
    pub(super) fn add(&mut self, value: &str) {
        let value = value.as_bytes().to_vec();
        if value.len() >= SHORTEST && !self.0.contains(&value) {
            self.0.push(value);
            // A secret may contain another: the longest counts.
            self.0.sort_by_key(|value| std::cmp::Reverse(value.len()));
        }
    }

    pub(super) fn text(&self, text: &str) -> String {
        let mut masked = self.stream();
        let mut clean = masked.push(text.as_bytes());
        clean.extend(masked.finish());
        String::from_utf8_lossy(&clean).into_owned()
    }

    /// For bytes that come in pieces.
    pub(super) fn stream(&self) -> Masked<'_> {
        let mut begins = [false; 256];
        for value in &self.0 {
            if let Some(first) = value.first() {
                begins[usize::from(*first)] = true;
            }
        }
        Masked {
            values: &self.0,
            begins,
            longest: self.0.first().map_or(1, Vec::len),
            held: Vec::new(),
        }
    }
}

/// Bytes on their way, of which as many are held back as a secret could still begin in.
pub(super) struct Masked<'a> {
    values: &'a [Vec<u8>],
    begins: [bool; 256],
    longest: usize,
    held: Vec<u8>,
}

impl Masked<'_> {
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let sure = (self.held.len() + 1).saturating_sub(self.longest);
        self.take(sure)
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let all = self.held.len();
        self.take(all)
    }

    /// Takes out what begins before `until`.
    fn take(&mut self, until: usize) -> Vec<u8> {
        let mut clean = Vec::with_capacity(until);
        let mut at = 0;
        while at < until {
            let rest = &self.held[at..until];
            let plain = rest.iter().position(|byte| self.begins[usize::from(*byte)]);
            let plain = plain.unwrap_or(rest.len());
            clean.extend_from_slice(&rest[..plain]);
            at += plain;
            if at >= until {
                break;
            }
            let found = self.values.iter().find(|value| self.held[at..].starts_with(value));
            match found {
                Some(value) => {
                    clean.extend_from_slice(SHOWN);
                    at += value.len();
                }
                None => {
                    clean.push(self.held[at]);
                    at += 1;
                }
            }
        }
        self.held.drain(..at.min(self.held.len()));
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_however_the_bytes_come() {
        let mut mask = Mask::default();
        mask.add("abcd");
        mask.add("abcdef-abcd");
        mask.add("xy");
        let text = b"--abcdef-abcd--abcd--abcdef--abc";
        for step in 1..text.len() {
            let mut masked = mask.stream();
            let mut clean = Vec::new();
            for piece in text.chunks(step) {
                clean.extend(masked.push(piece));
            }
            clean.extend(masked.finish());
            assert_eq!(clean, b"--[secret]--[secret]--[secret]ef--abc", "in pieces of {step}");
        }
        assert_eq!(Mask::default().text("xyz"), "xyz");
    }
}
