//! A target that is clawhand's own machine.

/// How steps run on clawhand's own machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalBlock {
    /// The user that steps run as when clawhand runs as root: a name or a number. Without it, an unprivileged
    /// number of its own (see the executor).
    pub user: Option<String>,
    /// The value of PATH for steps; without it, the one clawhand was started with.
    pub path: Option<String>,
    /// Whether steps may use the network. Without it they have a loopback of their own and nothing else.
    pub network: bool,
    /// Folders beside the system's own that steps may read.
    pub read_paths: Vec<String>,
}

impl LocalBlock {
    pub(super) fn private_texts(&self) -> Vec<String> {
        let paths = self.read_paths.iter().cloned().chain(self.path.clone());
        paths.chain(self.user.clone()).collect()
    }
}
