//! The contract of executors, told as stories; on the local executor with the real supervisor, and on the fake as far
//! as it can do the same.

mod confined;
mod contract;
mod files;
pub mod http;
mod kubernetes;
mod lost;
mod output;
mod posix;
pub mod rig;
pub mod suite;
mod suite_docker;
mod suite_kubernetes;
mod suite_local;
mod tree;
