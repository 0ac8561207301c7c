//! Takes secrets and private texts out of everything that leaves clawhand: byte streams, texts and JSON values.
//!
//! Never lets a door choose: what a door may send is a [`Clean`] value, and only this room makes one.
//!
//! # What it catches
//! - **Secrets**, wherever they occur, also inside words, across the boundaries of chunks, and when several overlap:
//!   every byte that belongs to an occurrence of any secret is replaced. Of a secret with several lines each line of at
//!   least 8 bytes is a secret too, so that a log that indents, prefixes or reorders the lines gives nothing away.
//! - **Private texts** (the absolute path of a workspace, a host name) as whole words: not where they continue a longer
//!   run of `[A-Za-z0-9_-]`; of names of at least 8 bytes with a digit or a dot, a run of `[A-Za-z0-9]`. What overlaps a secret is replaced together with it: secrets win.
//!
//! What is left is byte for byte what came in, whatever its encoding. No placeholder, alone or together with what stands
//! beside it, ever spells a secret: placeholders that would are exchanged when the rules are built.
//!
//! # What it does not catch
//! - Encoded forms: base64, hexadecimal, URL and JSON escapes, other letter case, compressed data. They come later.
//! - Values shorter than 4 bytes: they would replace half of every log.
//! - A secret that is spread over several strings of a JSON value, or printed as two pieces with something between.
//! - A secret that is a JSON number: only strings and keys are looked at.
//! - After more than 64 KiB of secrets that overlap one another without a gap the run is cut, so that memory stays
//!   bounded; the last bytes of an occurrence that lies across such a cut can remain, never a whole one.
//!
//! Start reading at [`Rules`]; what counts as an occurrence and what is replaced is in `scan.rs`.

mod clean;
mod placeholder;
mod rules;
mod scan;
mod scrubber;
mod vault;

#[cfg(test)]
mod proofs;

pub use clean::Clean;
pub use rules::{Rules, RulesBuilder};
pub use scrubber::{Piece, Scrubber};
pub use vault::{Vault, VaultError};
