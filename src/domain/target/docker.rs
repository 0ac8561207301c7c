//! A target that is a Docker daemon, or whatever speaks its API.

use super::SshBlock;

/// When an image is fetched from its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// It must be there already.
    Never,
    /// When it isn't there.
    #[default]
    Missing,
    /// Before each execution.
    Always,
}

/// The files of a TLS connection in which both sides show who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerTls {
    /// The certificate of the authority that signed the daemon's.
    pub ca: String,
    /// The certificate that is shown to the daemon.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// The way to a daemon on a host that is reached over SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerSsh {
    /// How the host is reached; what it says of steps is of no use here.
    pub host: SshBlock,
    /// The daemon's socket there.
    pub socket: String,
}

/// How steps run in containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerBlock {
    /// `unix:///path`, `tcp://host:port` or `ssh://user@host:port/path`.
    pub endpoint: String,
    /// For TCP.
    pub tls: Option<DockerTls>,
    /// For SSH.
    pub ssh: Option<Box<DockerSsh>>,
    /// What containers are made from.
    pub image: String,
    /// When the image is fetched.
    pub pull: PullPolicy,
    /// User and group number of steps; never 0.
    pub user: (u32, u32),
    /// The network that steps join; without it they have a loopback of their own and nothing else.
    pub network: Option<String>,
    /// How many thousandths of a processor a step may use.
    pub cpus_milli: Option<u32>,
    /// The size of /tmp, which is in memory.
    pub tmp_bytes: u64,
    /// The value of PATH for steps; without it, the image's own.
    pub path: Option<String>,
    /// The OCI runtime; without it, the daemon's own choice.
    pub runtime: Option<String>,
}

impl DockerBlock {
    /// The endpoint of a daemon on clawhand's own machine.
    pub const ENDPOINT: &str = "unix:///var/run/docker.sock";
    /// The socket of a daemon where nothing else is said.
    pub const SOCKET: &str = "/var/run/docker.sock";
    /// The user and group number of steps: it has no name, and nothing in a common image is its own.
    pub const USER: (u32, u32) = (64_917, 64_917);
    /// The size of /tmp.
    pub const TMP_BYTES: u64 = 256 * 1024 * 1024;

    /// With an image, and everything else as it is without a word in the target's file.
    pub fn of_image(image: impl Into<String>) -> Self {
        Self {
            endpoint: Self::ENDPOINT.to_owned(),
            tls: None,
            ssh: None,
            image: image.into(),
            pull: PullPolicy::default(),
            user: Self::USER,
            network: None,
            cpus_milli: None,
            tmp_bytes: Self::TMP_BYTES,
            path: None,
            runtime: None,
        }
    }

    pub(super) fn private_texts(&self) -> Vec<String> {
        let mut texts = vec![self.endpoint.clone(), self.image.clone()];
        // The image without its tag or digest, and without its registry.
        let bare = self.image.split('@').next().unwrap_or_default();
        let bare = match bare.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => name,
            _ => bare,
        };
        texts.extend((bare != self.image && bare.contains(['/', '.', '-'])).then(|| bare.to_owned()));
        if let Some((_, place)) = self.endpoint.split_once("://") {
            texts.push(place.to_owned());
            let host = place.rsplit('@').next().unwrap_or_default();
            let host = host.split_once('/').map_or(host, |(host, _)| host);
            let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
            texts.extend((!host.is_empty() && host != place).then(|| host.to_owned()));
        }
        texts.extend(self.network.clone());
        texts.extend(self.tls.iter().flat_map(|tls| [&tls.ca, &tls.cert, &tls.key]).cloned());
        texts.extend(self.ssh.iter().flat_map(|ssh| ssh.host.private_texts()));
        texts.extend(self.path.clone());
        texts.retain(|text| !text.is_empty());
        texts
    }
}
