//! The only door to change anything.

pub mod contract;
