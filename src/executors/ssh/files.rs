//! Files on their way to the host and back, as tar over a channel.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio_util::io::SyncIoBridge;

use super::connect::ConnectError;
use super::pool::{Body, Call, Purpose};
use super::{LONG, PREPARE, SshExecutor, failed};
use crate::domain::ExecutionId;
use crate::executors::contract::{CollectLimit, Collected, ExecutorError, Input, Workspace};
use crate::executors::local::blocking;
use crate::executors::posix::{collected, lay_out, pack};
use crate::executors::wanted::Wanted;

/// The most of a listing: names of about a million files.
const LISTING_MAX: usize = 64 * 1024 * 1024;
/// How long a transfer may stand still: ssh itself finds out sooner that a host is gone.
const STILL_MAX: Duration = Duration::from_secs(15 * 60);

impl SshExecutor {
    pub(super) async fn lay_out(&self, execution: ExecutionId, inputs: &[Input]) -> Result<Workspace, ExecutorError> {
        let workspace = self.workspace_of(execution);
        if self.make_folders(execution, "no").await? || inputs.is_empty() {
            return Ok(workspace);
        }
        let (inputs, scratch) = (inputs.to_vec(), self.scratch.clone());
        let packed = blocking(move || {
            let laid = lay_out(&inputs, &scratch)?;
            pack(laid.path(), (0, 0), &scratch)
        })
        .await?;
        let command = format!("sh -c 'cd {} && exec tar -xpof -'", workspace.place);
        let said = self
            .host
            .run(Call {
                purpose: Purpose::Short,
                command: &command,
                body: Body::File(packed),
                max: 4096,
                within: LONG,
            })
            .await?;
        match said.code {
            Some(0) => Ok(workspace),
            _ => Err(failed("lay the inputs into the workspace", &said)),
        }
    }

    pub(super) fn workspace_of(&self, execution: ExecutionId) -> Workspace {
        Workspace {
            execution,
            place: format!("{}/work", self.run_folder(execution)),
        }
    }

    /// Says whether work was done there already.
    pub(super) async fn make_folders(&self, execution: ExecutionId, probe: &str) -> Result<bool, ExecutorError> {
        let run = self.run_folder(execution);
        let settings = [("root", self.block.root.as_str()), ("run", &run), ("probe", probe)];
        let text = format!("{PREPARE}\ncw_prepare\n");
        let said = self.script(&settings, &text, LONG).await?;
        let answer = String::from_utf8_lossy(&said.stdout);
        let mut words = answer.split_whitespace();
        let word = words.next();
        words.for_each(|name| self.host.learn_name(name));
        match word {
            Some("found") => Ok(true),
            Some("made") => Ok(false),
            _ => Err(failed("make the workspace", &said)),
        }
    }

    pub(super) async fn collect_files(
        &self,
        workspace: &Workspace,
        globs: &[String],
        limit: CollectLimit,
    ) -> Result<Collected, ExecutorError> {
        let wanted = Wanted::new(globs)?;
        let listing = self.list(workspace, limit).await?;
        let mut chosen = choose(&listing, &wanted, limit);
        if chosen.names.is_empty() {
            chosen.left_out.sort();
            return Ok(Collected {
                files: Vec::new(),
                left_out: chosen.left_out,
            });
        }
        let mut found = self.fetch(workspace, &chosen, globs, limit).await?;
        found.left_out.append(&mut chosen.left_out);
        found.left_out.sort();
        Ok(found)
    }

    /// The names of what lies in the workspace.
    async fn list(&self, workspace: &Workspace, limit: CollectLimit) -> Result<Vec<u8>, ExecutorError> {
        // Three lists with an empty name after each: files, files that are too large, and what is neither file nor
        // folder. The first name tells which tar there is.
        let text = "cd \"$cw_work\" || exit 1\n\
             case $(tar --version 2>/dev/null) in *GNU*) printf 'gnu\\0' ;; *) printf 'other\\0' ;; esac\n\
             find . -type f ! -size \"+${cw_bytes}c\" -print0; printf '\\0'\n\
             find . -type f -size \"+${cw_bytes}c\" -print0; printf '\\0'\n\
             find . ! -type f ! -type d -print0; printf '\\0'\n\
             exit 0\n";
        let bytes = limit.bytes.to_string();
        let text = super::script_text(&[("work", &workspace.place), ("bytes", &bytes)], text);
        let said = self
            .host
            .run(Call {
                purpose: Purpose::Short,
                command: "sh -s",
                body: Body::Text(&text),
                max: LISTING_MAX,
                within: LONG,
            })
            .await?;
        match said.code {
            Some(0) => Ok(said.stdout),
            _ => Err(failed("look through the workspace", &said)),
        }
    }

    async fn fetch(
        &self,
        workspace: &Workspace,
        chosen: &Chosen,
        globs: &[String],
        limit: CollectLimit,
    ) -> Result<Collected, ExecutorError> {
        // Not every tar reads names from a file. Several tars behind one another are one to who reads them.
        let options = if chosen.is_gnu { "--hard-dereference" } else { "" };
        let command = format!("sh -c 'cd {} && exec xargs -0 tar {options} -cf -'", workspace.place);
        let lost =
            |error: &dyn std::fmt::Display| ExecutorError::Unreachable(format!("failed to fetch outputs: {error}"));
        let channel = self
            .host
            .channel(Purpose::Short)
            .await
            .map_err(ConnectError::into_later_error)?;
        let mut child = channel.open(&command).await.map_err(|error| {
            channel.give_up();
            lost(&error)
        })?;
        let (stdin, stdout) = (child.stdin().take(), child.stdout().take());
        drop(child.stderr().take());
        let stdout = stdout.ok_or_else(|| lost(&"no output"))?;
        let names = chosen.list();
        let say = async move {
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(&names).await;
                let _ = stdin.shutdown().await;
            }
        };
        let (globs, scratch) = (globs.to_vec(), self.scratch.clone());
        let bridge = SyncIoBridge::new(stdout);
        let take = blocking(move || collected(bridge, ("", &globs), limit, &scratch));
        let both = async { tokio::join!(say, take).1 };
        let Ok(found) = tokio::time::timeout(STILL_MAX, both).await else {
            channel.give_up();
            return Err(lost(&"it takes too long"));
        };
        let found = found?;
        // An archive that was cut off between two files looks whole; only its maker knows.
        match child.wait().await.map(|status| status.code()) {
            // The latter when a file went away or changed meanwhile.
            Ok(Some(0 | 1 | 123)) => Ok(found),
            Ok(code) => Err(ExecutorError::Refused(format!(
                "failed to fetch outputs: tar ended with {code:?}"
            ))),
            Err(error) => Err(lost(&error)),
        }
    }
}

/// What is fetched of a listing.
struct Chosen {
    is_gnu: bool,
    /// Relative to the workspace, in order.
    names: Vec<String>,
    left_out: Vec<(String, String)>,
}

impl Chosen {
    /// As xargs reads it: each name with `./` in front, so that none is an option.
    fn list(&self) -> Vec<u8> {
        self.names
            .iter()
            .flat_map(|name| format!("./{name}\0").into_bytes())
            .collect()
    }
}

fn choose(listing: &[u8], wanted: &Wanted, limit: CollectLimit) -> Chosen {
    let mut chosen = Chosen {
        is_gnu: false,
        names: Vec::new(),
        left_out: Vec::new(),
    };
    let mut entries = listing.split(|byte| *byte == 0);
    chosen.is_gnu = entries.next() == Some(b"gnu");
    let mut list = 0;
    for entry in entries {
        if entry.is_empty() {
            list += 1;
            continue;
        }
        let entry = entry.strip_prefix(b"./").unwrap_or(entry);
        let Ok(name) = std::str::from_utf8(entry) else {
            let shown = String::from_utf8_lossy(entry).into_owned();
            if wanted.matches(&shown) {
                chosen.left_out.push((shown, "its name is not UTF-8".to_owned()));
            }
            continue;
        };
        if !wanted.matches(name) {
            continue;
        }
        let reason = match list {
            0 => {
                chosen.names.push(name.to_owned());
                continue;
            }
            1 => &format!("more than {} bytes in all", limit.bytes),
            _ => "it is a link or no regular file",
        };
        chosen.left_out.push((name.to_owned(), reason.to_owned()));
    }
    chosen.names.sort();
    let surplus = chosen.names.split_off(chosen.names.len().min(limit.files));
    let reason = format!("more than {} files", limit.files);
    chosen
        .left_out
        .extend(surplus.into_iter().map(|name| (name, reason.clone())));
    chosen
}
