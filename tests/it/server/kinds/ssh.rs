//! A host over SSH: its own name, an address that nobody else has, and a way to it that can be cut.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use async_trait::async_trait;
use clawhand::domain::target::SshBlock;

use super::site::{Site, write_to_pipe};
use crate::executors::ssh_rig::{OTHER_ADDRESS, Sshd};
use crate::executors::ssh_way::Way;

/// What the host calls itself.
const NAME: &str = "story-host-7";

pub struct Host {
    pub sshd: Sshd,
    pub way: Way,
    pub block: SshBlock,
}

impl Host {
    pub fn new() -> Option<Self> {
        Self::at("127.0.0.1")
    }

    fn at(address: &'static str) -> Option<Self> {
        let sshd = Sshd::start_as(Some(NAME))?;
        let way = Way::from(address, sshd.port);
        sshd.know(&[sshd.port, way.port]);
        let mut block = sshd.block("dash");
        block.host = address.to_owned();
        block.port = way.port;
        Some(Self { sshd, way, block })
    }

    /// At an address that can be searched for, as clawhand itself is at another.
    pub fn at_other_address() -> Option<Self> {
        Self::at(OTHER_ADDRESS)
    }

    pub fn tables_of(block: &SshBlock) -> String {
        format!(
            "[executor]\nkind = \"ssh\"\nhost = {:?}\nport = {}\nuser = {:?}\nidentity_file = {:?}\nknown_hosts = {:?}\n\
             root = {:?}\npath = {:?}\n",
            block.host,
            block.port,
            block.user,
            block.identity_file.as_deref().expect("a key"),
            block.known_hosts,
            block.root,
            block.path
        )
    }

    /// Everything that tells where it is.
    pub fn private(&self) -> Vec<String> {
        let said = std::process::Command::new("hostname").arg("-I").output().expect("runs");
        let addresses = String::from_utf8(said.stdout).expect("is text");
        let block = &self.block;
        let own = [
            block.host.clone(),
            format!(":{}", block.port),
            block.user.clone(),
            block.identity_file.clone().expect("a key"),
            block.known_hosts.clone(),
            block.root.clone(),
            NAME.to_owned(),
        ];
        own.into_iter()
            .chain(addresses.split_whitespace().map(str::to_owned))
            .collect()
    }

    pub fn run_folder(&self, execution: &str) -> PathBuf {
        PathBuf::from(&self.block.root).join(execution)
    }

    fn counter(&self) -> PathBuf {
        self.sshd.folder.path().join("runs/begun")
    }

    /// From now on supervisors begin with what was said.
    pub fn slow_down(&self) {
        std::fs::write(self.sshd.folder.path().join("slow/now"), "").expect("writes");
    }

    /// Puts a shell before the host's own that does this first, for supervisors alone and once it is said.
    pub fn supervise_with(&mut self, text: &str) {
        let folder = self.sshd.folder.path().join("slow");
        std::fs::create_dir(&folder).expect("makes");
        let shell = folder.join("sh");
        let text = format!(
            "#!/bin/bash\nif [ \"$1\" = -s ] && [ -n \"$CLAWHAND_SUPERVISOR\" ] && [ -e {} ]; then\n{text}\nfi\n\
             exec /bin/sh \"$@\"\n",
            folder.join("now").display()
        );
        std::fs::write(&shell, text).expect("writes");
        for path in [&folder, &shell] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("sets the mode");
        }
        self.block.path = format!("{}:{}", folder.display(), self.block.path);
    }
}

#[async_trait]
impl Site for Host {
    fn tables(&self) -> String {
        Self::tables_of(&self.block)
    }

    async fn open_gate(&self, execution: &str) {
        write_to_pipe(self.run_folder(execution).join("work/gate")).await;
    }

    async fn begun(&self, execution: &str) -> usize {
        let counted = std::fs::read_to_string(self.counter()).unwrap_or_default();
        counted.lines().filter(|line| line.contains(execution)).count()
    }

    fn count(&self) -> String {
        // The workspace's path has the execution in it.
        format!("pwd >>{}", self.counter().display())
    }
}
