//! Server-sent events: bytes in, the data of one event at a time out.

use crate::gateway::{Fault, GatewayError};

/// What an event may have beside the text of a reply.
const ENVELOPE: u64 = 64 * 1024;

/// Bytes that have arrived and are not yet events.
pub(super) struct Frames {
    held: Vec<u8>,
    /// Up to where `held` was searched for the end of a line.
    searched: usize,
    data: Option<Vec<u8>>,
    max: u64,
}

impl Frames {
    /// Events of at most the size of a whole reply.
    pub(super) fn new(max_reply: u64) -> Self {
        Self {
            held: Vec::new(),
            searched: 0,
            data: None,
            max: max_reply.saturating_add(ENVELOPE),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The data of the next event that is whole.
    pub(super) fn take(&mut self) -> Result<Option<Vec<u8>>, GatewayError> {
        let mut begins = 0;
        let mut found = None;
        while let Some(end) = self.line_end(begins) {
            let line = &self.held[begins..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            begins = end + 1;
            self.searched = begins;
            if line.is_empty() {
                found = self.data.take();
                if found.is_some() {
                    break;
                }
            } else if let Some(data) = data_of(line) {
                match &mut self.data {
                    Some(before) => {
                        before.push(b'\n');
                        before.extend_from_slice(data);
                    }
                    None => self.data = Some(data.to_vec()),
                }
            }
        }
        self.held.drain(..begins);
        self.searched -= begins;
        let size = self.held.len() + self.data.as_ref().map_or(0, Vec::len);
        match size as u64 > self.max {
            true => Err(too_large(self.max - ENVELOPE)),
            false => Ok(found),
        }
    }

    fn line_end(&mut self, begins: usize) -> Option<usize> {
        let from = self.searched.max(begins);
        let end = self.held[from..].iter().position(|byte| *byte == b'\n');
        if end.is_none() {
            self.searched = self.held.len();
        }
        end.map(|at| from + at)
    }
}

/// The value of a `data` field. Comments and other fields say nothing about a reply.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    let value = line.strip_prefix(b"data")?;
    let value = match value {
        [] => return Some(value),
        [b':', rest @ ..] => rest,
        _ => return None,
    };
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// A reply that is longer than allowed.
pub(super) fn too_large(max: u64) -> GatewayError {
    let message = match max % (1 << 20) {
        0 => format!("Response exceeds maximum allowed size ({}MB)", max >> 20),
        _ => format!("Response exceeds maximum allowed size ({max} bytes)"),
    };
    GatewayError::new(Fault::TooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut frames = Frames::new(1 << 20);
        let mut found = Vec::new();
        for piece in pieces {
            frames.push(piece);
            while let Some(data) = frames.take().expect("small") {
                found.push(String::from_utf8(data).expect("text"));
            }
        }
        found
    }

    #[test]
    fn events_are_the_same_however_the_bytes_come() {
        let text = ": hello\r\nevent: x\ndata: {\"a\":\"é\"}\n\ndata:b\r\ndata:  c\r\n\r\ndata\n\nid: 1\n\n\n\ndata: d\ndatax: e\n\n";
        let expected = ["{\"a\":\"é\"}", "b\n c", "", "d"];
        for step in 1..text.len() {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(step).collect();
            assert_eq!(events(&pieces), expected, "in pieces of {step}");
        }
        assert_eq!(events(&[b"data: not whole\n"]), [] as [&str; 0]);
    }

    #[test]
    fn an_event_without_an_end_is_refused() {
        let mut frames = Frames::new(10);
        frames.push(b"data: ");
        frames.push(&vec![b'x'; 65 * 1024]);
        let error = frames.take().expect_err("is too large");
        assert_eq!(error.fault, Fault::TooLarge);
        let mut frames = Frames::new(10);
        let error = (0..2000)
            .find_map(|_| {
                frames.push(b"data: 0123456789012345678901234567890123456789\n");
                frames.take().err()
            })
            .expect("lines without an end of the event add up");
        assert_eq!(error.message, "Response exceeds maximum allowed size (10 bytes)");
    }
}
