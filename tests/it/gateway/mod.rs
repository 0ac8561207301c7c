//! The client of OpenClaw gateways, against a gateway of the tests' own and against real ones.

mod feed;
mod frames;
mod http;
pub mod openclaw;
pub mod scripted;
mod socket;
