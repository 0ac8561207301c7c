//! `clawhand artifacts`: list, get.

use std::path::PathBuf;

use clap::Subcommand;
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

use super::exit;
use super::output::{self, Form};
use crate::app::Home;
use crate::domain::{Actor, ArtifactId, ExecutionId};

/// What to do with artifacts.
#[derive(Debug, Subcommand)]
pub enum ArtifactsCommand {
    /// List what went into an execution and what came out.
    List {
        /// The execution's id.
        execution: ExecutionId,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Fetch the content of one; its digest is checked.
    Get {
        /// The artifact's id.
        id: ArtifactId,
        /// Where to write it; standard output without it.
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Deserialize)]
struct Row {
    artifact_id: String,
    role: String,
    name: String,
    size: u64,
    digest: String,
}

pub(super) async fn execute(command: ArtifactsCommand, home: &Home) -> anyhow::Result<u8> {
    match command {
        ArtifactsCommand::List { execution, json } => {
            let answer = home.control(None).list_artifacts(&Actor::operator(), execution).await;
            output::answer(Form::of(json), answer, |rows: Vec<Row>| {
                let rows: Vec<Vec<String>> = rows
                    .into_iter()
                    .map(|row| vec![row.artifact_id, row.role, row.size.to_string(), row.digest, row.name])
                    .collect();
                output::table(&["ARTIFACT", "ROLE", "BYTES", "DIGEST", "NAME"], &rows);
            })
        }
        ArtifactsCommand::Get { id, output } => get(home, id, output).await,
    }
}

async fn get(home: &Home, id: ArtifactId, to: Option<PathBuf>) -> anyhow::Result<u8> {
    let mut body = match home.control(None).read_artifact(&Actor::operator(), id).await {
        Ok(body) => body,
        Err(refused) => return Ok(output::refusal(&refused)),
    };
    let mut target: Box<dyn tokio::io::AsyncWrite + Unpin + Send> = match &to {
        Some(path) => Box::new(
            tokio::fs::File::create_new(path)
                .await
                .map_err(|error| anyhow::anyhow!("{} can't be made: {error}", path.display()))?,
        ),
        None => Box::new(tokio::io::stdout()),
    };
    while let Some(chunk) = body.stream.next().await {
        target.write_all(&chunk?).await?;
    }
    target.flush().await?;
    Ok(exit::SUCCEEDED)
}
