//! The output of an attempt, bounded: its beginning as it comes, and of what is too much, the end.
//!
//! Memory is bounded by the ring for the end. Never here: a wait, or an error that stops the work: what can't be
//! written is counted and dropped, for a full disk must not leave the work blocked on its pipe.

use std::fs::File;
use std::io::{self, Write as _};

/// How much of the end is kept when the beginning alone fills the bound.
const TAIL: u64 = 64 * 1024;

/// Writes the output file.
#[derive(Debug)]
pub(in crate::executors) struct Output {
    file: File,
    /// What may still be written as it comes.
    head_left: u64,
    /// What came after the head.
    tail: Ring,
    dropped: u64,
}

impl Output {
    /// At most `max` bytes, the line about what was left out apart.
    pub(in crate::executors) fn new(file: File, max: u64) -> Self {
        let tail = TAIL.min(max / 2);
        Self {
            file,
            head_left: max - tail,
            tail: Ring::new(usize::try_from(tail).unwrap_or(0)),
            dropped: 0,
        }
    }

    /// Takes what was printed.
    pub(in crate::executors) fn push(&mut self, bytes: &[u8]) {
        let head = usize::try_from(self.head_left).unwrap_or(usize::MAX).min(bytes.len());
        let (head, rest) = bytes.split_at(head);
        let written = self.write_head(head);
        self.dropped += self.tail.push(&head[written..]);
        self.dropped += self.tail.push(rest);
    }

    /// Writes the end, and says how many bytes were not kept.
    pub(in crate::executors) fn finish(mut self) -> u64 {
        let tail = self.tail.take();
        if self.dropped > 0 {
            let line = format!("\n[... {} bytes of output left out ...]\n", self.dropped);
            // Without room for the line there is none for the end either.
            if self.file.write_all(line.as_bytes()).is_err() {
                return self.dropped + tail.len() as u64;
            }
        }
        let written = write_what_fits(&mut self.file, &tail).0;
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
}

/// The last bytes of a stream, in memory of a fixed size.
#[derive(Debug)]
struct Ring {
    bytes: Vec<u8>,
    max: usize,
    /// Where the oldest byte is once it is full.
    oldest: usize,
}

impl Ring {
    fn new(max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            max,
            oldest: 0,
        }
    }

    /// Says how many bytes fell out.
    fn push(&mut self, bytes: &[u8]) -> u64 {
        let skipped = bytes.len().saturating_sub(self.max);
        let bytes = &bytes[skipped..];
        let (grown, mut rest) = bytes.split_at(bytes.len().min(self.max - self.bytes.len()));
        self.bytes.extend_from_slice(grown);
        let overwritten = rest.len();
        // At most two parts: up to the end of the memory, and on from its beginning.
        while !rest.is_empty() {
            let (part, more) = rest.split_at(rest.len().min(self.max - self.oldest));
            self.bytes[self.oldest..self.oldest + part.len()].copy_from_slice(part);
            self.oldest = (self.oldest + part.len()) % self.max;
            rest = more;
        }
        (skipped + overwritten) as u64
    }

    fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.rotate_left(std::mem::take(&mut self.oldest));
        bytes
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
    fn the_ring_keeps_the_last_bytes_however_they_come() {
        let stream: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for max in [0, 1, 7, 64, 999, 1000, 2000] {
            for step in [1, 3, 64, 500, 1000] {
                let mut ring = Ring::new(max);
                let dropped: u64 = stream.chunks(step).map(|chunk| ring.push(chunk)).sum();
                let kept = ring.take();
                assert_eq!(kept, stream[1000 - max.min(1000)..], "a ring of {max}, fed by {step}");
                assert_eq!(dropped + kept.len() as u64, 1000);
            }
        }
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
