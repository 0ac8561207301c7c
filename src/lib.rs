//! clawhand: the hand of a language model.

pub mod control;
pub mod domain;
pub mod executors;
pub mod store;
