//! One integration binary: what the rooms promise, seen from outside.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on panics; clippy.toml allows it only within test functions"
)]

mod archive;
mod blobs;
mod redact;
