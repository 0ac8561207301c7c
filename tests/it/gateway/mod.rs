//! The client of OpenClaw gateways, against a gateway of the tests' own and against real ones.

pub mod scripted;
mod socket;
