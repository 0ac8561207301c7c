//! What holds of a Kubernetes cluster beyond the contract.

pub mod cluster;
mod hindrances;
mod inside;
mod outages;
pub mod rights;
mod target;
