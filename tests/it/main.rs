//! The integration tests of clawhand: one binary, a module per story.

mod planning;
mod recipes;
//! One integration binary: what the rooms promise, seen from outside.

mod archive;
mod redact;
//! The one integration binary. Each module tells stories about one part of the program.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy.toml allows these in functions that are tests; here what tests share is test code, too"
)]

mod tidy;
//! The integration tests: one program.

mod executors;
