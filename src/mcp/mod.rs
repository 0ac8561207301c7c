//! The door for models: MCP over HTTP and over standard input and output.
//!
//! It translates. A call's arguments become a type of [`crate::control::contract`], what `control` answers becomes a
//! tool result, and an execution is shown as an MCP task to clients that know tasks. It holds no rules of its own,
//! keeps nothing between two requests, and sends only what went through `redact` (its functions take
//! [`Clean`](crate::redact::Clean) values). A request without an [`Actor`](crate::domain::Actor) is refused; nobody is
//! ever assumed.
//!
//! Start at [`Handler`], then `tools` (a file each), then `transport`; [`bridge`] is the door of conversations alone.

mod answer;
mod arguments;
pub mod bridge;
mod direct;
mod executions;
mod handler;
mod resources;
mod schema;
mod tools;
mod transport;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use direct::Direct;
pub use handler::{Caller, Handler};
pub use transport::{HttpSettings, StdioError, http_router, routes, serve_bridge, serve_stdio};
