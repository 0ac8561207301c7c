//! A target that is a host reached over SSH.

/// How to reach a host over SSH, and where steps run on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshBlock {
    /// Name or address of the host, as it stands in the known hosts.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whom to log in as; steps run as this user.
    pub user: String,
    /// The private key, on clawhand's machine.
    pub identity_file: Option<String>,
    /// A certificate for the key.
    pub certificate_file: Option<String>,
    /// The socket of an agent that has the key.
    pub agent: Option<String>,
    /// The file of known hosts. The keys of the host and of every jump host must be in it.
    pub known_hosts: String,
    /// Hosts to pass through, the first one first.
    pub jump: Vec<JumpHost>,
    /// An ssh_config file that is read as well. Nothing else is.
    pub config: Option<String>,
    /// The folder on the host below which executions have theirs.
    pub root: String,
    /// The value of PATH for steps.
    pub path: String,
    /// Other names of the host that steps may print and callers must not read.
    pub names: Vec<String>,
}

/// A host that is passed through on the way to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JumpHost {
    /// Whom to log in as.
    pub user: String,
    /// Name or address, as it stands in the known hosts.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl SshBlock {
    /// PATH where the target has none.
    pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    /// Ports where the target has none.
    pub const PORT: u16 = 22;

    /// Where executions have their folders if the target doesn't say. It doesn't depend on anything that only the host
    /// knows, as its user's home would: what callers must not read has to be known before anything was asked of it.
    pub fn usual_root(user: &str) -> String {
        format!("/var/tmp/clawhand-{user}")
    }

    pub(super) fn private_texts(&self) -> Vec<String> {
        let files = [&self.identity_file, &self.certificate_file, &self.agent, &self.config];
        let jumps = self.jump.iter().flat_map(|jump| [jump.host.clone(), jump.user.clone()]);
        let own = [
            self.host.clone(),
            // As programs write an address, and as files of known hosts do.
            format!("{}:{}", self.host, self.port),
            format!("[{}]:{}", self.host, self.port),
            self.user.clone(),
            self.known_hosts.clone(),
            self.root.clone(),
        ];
        let path = (self.path != Self::PATH).then(|| self.path.clone());
        files
            .into_iter()
            .flatten()
            .cloned()
            .chain(own)
            .chain(path)
            .chain(jumps)
            .chain(self.names.clone())
            .collect()
    }
}
