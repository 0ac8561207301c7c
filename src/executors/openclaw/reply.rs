//! Keeping what the agent replied: its text, and the files that came along.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use tokio::io::AsyncWriteExt as _;

use super::follow::{Way, halt_if_stopping};
use crate::domain::target::OpenclawBlock;
use crate::gateway::wire::{self, ArtifactRow, ArtifactsDownload, ArtifactsList};
use crate::gateway::{Fault, GatewayError};

/// The folder with the files.
const FILES: &str = "files";
/// The most files of a reply.
const FILES_MAX: usize = 200;
/// The largest of them, in bytes.
const FILE_MAX: u64 = 1 << 30;
/// How long a question about files may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The longest name of a file, in bytes.
const NAME_MAX: usize = 200;

impl Way<'_> {
    /// Keeps the reply, or its files alone if the text is empty. A file that can't be had is told in the log; the reply counts all the same.
    pub(super) async fn keep(&mut self, text: &str, run: &str) {
        if !text.is_empty() {
            self.report.says(text);
            let path = self.driving.folder.work().join(OpenclawBlock::REPLY);
            if let Err(error) = tokio::fs::write(&path, text).await {
                tracing::error!(run = self.run, %error, "a reply can't be kept");
                self.report.line("[the reply can't be kept as a file]");
            }
        }
        let listed = match self.listed(run).await {
            Ok(listed) => listed,
            Err(error) => {
                halt_if_stopping(&error).await;
                self.report.line(&format!(
                    "[whether files came along can't be found out: {}]",
                    error.message
                ));
                return;
            }
        };
        let mut taken = BTreeSet::new();
        for row in listed {
            let name = unused(&mut taken, &row.title);
            let line = match self.fetch(&row, &name).await {
                Ok(size) => format!("[file: {name}, {size} bytes]"),
                Err(error) => {
                    halt_if_stopping(&error).await;
                    format!("[the file {name} can't be fetched: {}]", error.message)
                }
            };
            self.report.line(&line);
        }
    }

    /// The files of the run, in the order in which they were given.
    async fn listed(&self, run: &str) -> Result<Vec<ArtifactRow>, GatewayError> {
        let mut listed = Vec::new();
        let mut cursor = None;
        loop {
            let list = ArtifactsList {
                session_key: self.note.session.clone(),
                run_id: Some(run.to_owned()),
                message_role: Some("assistant"),
                cursor: cursor.take(),
            };
            let page = self.gateway.socket().call(&wire::ARTIFACTS_LIST, &list, LIMIT).await?;
            listed.extend(page.artifacts);
            cursor = page.next_cursor;
            if cursor.is_none() || listed.len() >= FILES_MAX {
                listed.truncate(FILES_MAX);
                return Ok(listed);
            }
        }
    }

    /// Fetches one file; its size.
    async fn fetch(&self, row: &ArtifactRow, name: &str) -> Result<u64, GatewayError> {
        let download = ArtifactsDownload {
            session_key: self.note.session.clone(),
            artifact_id: row.id.clone(),
        };
        let given = self
            .gateway
            .socket()
            .call(&wire::ARTIFACTS_DOWNLOAD, &download, LIMIT)
            .await?;
        let folder = self.driving.folder.work().join(FILES);
        let (part, path) = (folder.join(".part"), folder.join(name));
        tokio::fs::create_dir_all(&folder).await.map_err(|error| disk(&error))?;
        let size = match (given.data, given.url) {
            (Some(data), _) => {
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(data)
                    .map_err(|error| {
                        GatewayError::new(Fault::Protocol, format!("its content can't be read: {error}"))
                    })?;
                tokio::fs::write(&part, &bytes).await.map_err(|error| disk(&error))?;
                bytes.len() as u64
            }
            (None, Some(url)) => self.stream(&url, &part).await?,
            (None, None) => {
                let message = "the gateway gives neither its content nor where it is";
                return Err(GatewayError::new(Fault::Protocol, message));
            }
        };
        tokio::fs::rename(&part, &path).await.map_err(|error| disk(&error))?;
        Ok(size)
    }

    async fn stream(&self, url: &str, part: &PathBuf) -> Result<u64, GatewayError> {
        let mut media = self.gateway.media(url, FILE_MAX).await?;
        let mut file = tokio::fs::File::create(part).await.map_err(|error| disk(&error))?;
        let mut size = 0;
        while let Some(bytes) = media.next().await? {
            size += bytes.len() as u64;
            file.write_all(&bytes).await.map_err(|error| disk(&error))?;
        }
        file.flush().await.map_err(|error| disk(&error))?;
        Ok(size)
    }
}

fn disk(error: &std::io::Error) -> GatewayError {
    tracing::error!(%error, "a file of a reply can't be kept");
    GatewayError::new(Fault::TooLarge, "it can't be kept on this disk")
}

/// A name for a file that is one: of one folder, not hidden, not taken.
fn unused(taken: &mut BTreeSet<String>, title: &str) -> String {
    let last = title.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut name: String = last.chars().filter(|c| !c.is_control()).collect();
    while name.len() > NAME_MAX {
        name.remove(0);
    }
    let name = name.trim().trim_start_matches('.').to_owned();
    let name = if name.is_empty() { "file".to_owned() } else { name };
    let path = Path::new(&name);
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("file");
    let ending = path.extension().and_then(|ending| ending.to_str());
    let numbered = |number: u32| match ending {
        Some(ending) => format!("{stem} ({number}).{ending}"),
        None => format!("{stem} ({number})"),
    };
    let mut candidates = std::iter::once(name.clone()).chain((2..).map(numbered));
    let free = candidates.find(|name| !taken.contains(name)).unwrap_or(name);
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder_and_apart() {
        let mut taken = BTreeSet::new();
        let names = [
            "a.txt",
            "../../a.txt",
            "C:\\x\\a.txt",
            "",
            "..",
            ".hidden",
            "a\u{7}b",
            "x/",
        ];
        let given: Vec<_> = names.iter().map(|name| unused(&mut taken, name)).collect();
        let expected = [
            "a.txt",
            "a (2).txt",
            "a (3).txt",
            "file",
            "file (2)",
            "hidden",
            "ab",
            "file (3)",
        ];
        assert_eq!(given, expected);
        assert!(unused(&mut taken, &"é".repeat(300)).len() <= NAME_MAX);
    }
}
