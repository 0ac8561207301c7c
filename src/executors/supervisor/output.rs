//! The output of an attempt, bounded: its beginning as it comes, and of what is too much, the end.
//!
//! Memory is bounded by the ring for the end. Never here: a wait, or an error that stops the work: what can't be
//! written is counted and dropped, for a full disk must not leave the work blocked on its pipe.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};

/// How much of the end is kept when the beginning alone fills the bound.
const TAIL: u64 = 64 * 1024;

/// Writes the output file.
pub(super) struct Output {
    file: File,
    /// What may still be written as it comes.
    head_left: u64,
    /// What came after the head; at most `tail_max` bytes.
    tail: VecDeque<u8>,
    tail_max: usize,
    dropped: u64,
}

impl Output {
    /// At most `max` bytes, the line about what was left out apart.
    pub(super) fn new(file: File, max: u64) -> Self {
        let tail = TAIL.min(max / 2);
        Self {
            file,
            head_left: max - tail,
            tail: VecDeque::new(),
            tail_max: usize::try_from(tail).unwrap_or(0),
            dropped: 0,
        }
    }

    /// Takes what was printed.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let head = usize::try_from(self.head_left).unwrap_or(usize::MAX).min(bytes.len());
        let (head, rest) = bytes.split_at(head);
        let written = self.write_head(head);
        self.push_tail(&head[written..]);
        self.push_tail(rest);
    }

    /// Writes the end, and says how many bytes were not kept.
    pub(super) fn finish(mut self) -> u64 {
        let tail: Vec<u8> = std::mem::take(&mut self.tail).into();
        if self.dropped > 0 {
            let line = format!("\n[... {} bytes of output left out ...]\n", self.dropped);
            // Without room for the line there is none for the end either.
            if self.file.write_all(line.as_bytes()).is_err() {
                return self.dropped + tail.len() as u64;
            }
        }
        let written = write_what_fits(&mut self.file, &tail).0;
        let _ = self.file.sync_all();
        self.dropped + (tail.len() - written) as u64
    }

    fn write_head(&mut self, bytes: &[u8]) -> usize {
        let (written, result) = write_what_fits(&mut self.file, bytes);
        self.head_left -= written as u64;
        if result.is_err() {
            // Later bytes must not follow a gap unnoticed: from here on everything counts as the end.
            self.head_left = 0;
        }
        written
    }

    fn push_tail(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(self.tail_max)..];
        let too_much = (self.tail.len() + kept.len()).saturating_sub(self.tail_max);
        self.tail.drain(..too_much);
        self.tail.extend(kept);
        self.dropped += (too_much + bytes.len() - kept.len()) as u64;
    }
}

fn write_what_fits(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(max: u64, pushes: &[&[u8]]) -> (Vec<u8>, u64) {
        let folder = tempfile::tempdir().expect("makes a folder");
        let path = folder.path().join("out");
        let mut output = Output::new(File::create(&path).expect("creates"), max);
        for bytes in pushes {
            output.push(bytes);
        }
        let dropped = output.finish();
        (std::fs::read(path).expect("reads"), dropped)
    }

    #[test]
    fn keeps_all_that_fits_and_of_more_the_beginning_and_the_end() {
        assert_eq!(bounded(8, &[b"abcd", b"efgh"]), (b"abcdefgh".to_vec(), 0));
        assert_eq!(bounded(8, &[b"abcdefgh"]), (b"abcdefgh".to_vec(), 0));
        let cut = b"abcd\n[... 3 bytes of output left out ...]\nhijk".to_vec();
        assert_eq!(bounded(8, &[b"abcdefghijk"]), (cut.clone(), 3));
        assert_eq!(bounded(8, &[b"ab", b"cdefg", b"hij", b"", b"k"]), (cut, 3));
        assert_eq!(bounded(0, &[b"abc"]).1, 3);
    }

    #[test]
    fn a_full_disk_loses_output_but_says_so() {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .expect("opens");
        let mut output = Output::new(full, 1024);
        output.push(&[b'x'; 2000]);
        assert_eq!(output.finish(), 2000);
    }
}
