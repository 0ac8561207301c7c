//! The integration tests of clawhand: one binary, a module per story.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy.toml allows these in functions that are tests; here what tests share is test code, too"
)]

mod archive;
mod blobs;
mod database;
mod executors;
mod flow;
mod gateway;
mod groups;
mod mcp;
mod mistakes;
mod operations;
mod planning;
mod promises;
mod queue;
mod real_tools;
mod recipes;
mod redact;
mod resolution;
mod results;
mod server;
mod site;
mod store;
mod tidy;
