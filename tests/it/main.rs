//! The integration tests: one program.

// Everything in here is a test, also what stands outside of a `#[test]` function.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod executors;
