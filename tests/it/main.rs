//! The integration tests of clawhand: one binary, a module per story.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on fails"
)]

mod mistakes;
mod planning;
mod recipes;
mod resolution;
mod results;
