//! The same against real gateways, which tests/run/openclaw.sh starts.

mod chat;
mod conversations;
pub mod real;
mod socket;
mod status;
