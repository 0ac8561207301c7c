//! The contract of executors, told as stories; on the local executor with the real supervisor, and on the fake as far
//! as it can do the same.

mod confined;
mod contract;
mod docker;
mod files;
mod lost;
mod output;
mod posix;
pub mod rig;
mod ssh;
mod ssh_rig;
mod ssh_way;
pub mod suite;
pub mod suite_docker;
mod suite_local;
mod suite_ssh;
mod tree;
