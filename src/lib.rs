//! clawhand: the hand of a language model. A model says over MCP what should be done; clawhand plans how and where,
//! does it, asks a person where it is sensitive, and returns structured results.
//!
//! The rooms by floor; a room imports only from floors below its own (`tests/it/tidy.rs` enforces it):
//!
//! ```text
//! floor 0   domain                                                     the words, pure
//! floor 1   planner  inventory  store  blobs  executors  redact  gateway   one thing each
//! floor 2   control  engine  auth                                      who may what; the worker
//! floor 3   mcp  http                                                  the doors
//! top       app  cli                                                   wiring and commands
//! beside    config  lifecycle  telemetry                               the process
//! ```
//!
//! The walk of a call: door -> control -> planner -> store. The walk of the work: engine -> executor -> redact ->
//! store. See docs/ARCHITECTURE.md.

pub mod app;
pub mod auth;
pub mod blobs;
pub mod cli;
pub mod config;
pub mod control;
pub mod domain;
pub mod engine;
pub mod executors;
pub mod gateway;
pub mod http;
pub mod inventory;
pub mod lifecycle;
pub mod mcp;
pub mod planner;
pub mod redact;
pub mod store;
pub mod telemetry;
