//! What was learned about a target by probing it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::UnixMs;

/// A tool on a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// The version it tells, as dotted numbers ("3.11.2"); empty when it tells none.
    pub version: String,
}

/// What was learned about a target, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Operating system, as `uname -s` in lower case: `linux`.
    pub os: String,
    /// Machine, as `uname -m`: `x86_64`.
    pub arch: String,
    /// Tools that can be run there, by command name.
    pub tools: BTreeMap<String, Tool>,
    /// What the executor can enforce there: `landlock`, `network_isolation`, `own_user`.
    pub isolation: Vec<String>,
    /// When it was learned.
    pub learned_at: UnixMs,
}

/// The commands whose presence and version a probe looks for, with the argument that makes each tell its version.
pub const PROBED_TOOLS: [(&str, &str); 22] = [
    ("python3", "--version"),
    ("uv", "--version"),
    ("pip3", "--version"),
    ("node", "--version"),
    ("npm", "--version"),
    ("cargo", "--version"),
    ("rustc", "--version"),
    ("cargo-nextest", "--version"),
    ("go", "version"),
    ("java", "-version"),
    ("javac", "-version"),
    ("mvn", "--version"),
    ("make", "--version"),
    ("cmake", "--version"),
    ("gcc", "--version"),
    ("sh", ""),
    ("bash", "--version"),
    ("git", "--version"),
    ("tar", "--version"),
    ("curl", "--version"),
    ("shellcheck", "--version"),
    ("docker", "--version"),
];
