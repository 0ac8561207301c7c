//! What runs a step, behind one contract: prepare, start, observe, cancel, collect, clean up, probe.
//!
//! Floor 1. An executor holds no policy and no state of its own beyond what is on the system it drives: whatever it
//! must know after a crash is in the handle that the engine stores. Start reading at [`contract`].

pub mod archive;
pub mod contract;

pub use contract::*;
