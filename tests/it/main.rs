//! The integration tests of clawhand: one binary, a module per story.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on fails"
)]

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy.toml allows these in functions that are tests; here what tests share is test code, too"
)]

mod archive;
mod executors;
mod flow;
mod mcp;
mod planning;
mod recipes;
mod redact;
mod site;
mod tidy;
mod mistakes;
mod planning;
mod recipes;
mod resolution;
mod results;
