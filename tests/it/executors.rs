//! The contract of executors, told as stories: one suite for every kind, and what holds of a kind beyond it.

mod agents;
mod confined;
mod contract;
mod docker;
mod docker_doors;
mod docker_hosts;
mod docker_restarts;
mod files;
pub mod http;
pub mod kubernetes;
mod lost;
mod output;
mod posix;
pub mod rig;
mod ssh;
pub mod ssh_rig;
pub mod ssh_way;
pub mod suite;
mod suite_agents;
pub mod suite_docker;
mod suite_http;
mod suite_kubernetes;
mod suite_local;
mod suite_scripted;
mod suite_ssh;
mod tree;
pub mod trust;

/// What tests/run.sh says in this variable.
pub fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

/// Says that a story is left out, which in CI none may be.
pub fn left_out(system: &str, why: &str) {
    assert!(variable("CI").as_deref() != Some("true"), "{system} is left out: {why}");
    eprintln!("left out: {system}: {why}");
}
