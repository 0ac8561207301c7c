//! Artifacts as MCP resources: `clawhand://artifacts/<artifact_id>`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt as _;
use rmcp::ErrorData;
use rmcp::model::{ReadResourceResponse, ReadResourceResult, ResourceContents, ResourceTemplate};
use serde_json::json;

use super::answer;
use crate::control::{ArtifactBody, Control};
use crate::domain::{Actor, ArtifactId, Code, Refusal};

/// What every artifact's URI begins with.
const PREFIX: &str = "clawhand://artifacts/";
/// Longer text goes as base64, so that no client puts it into a model's context by accident.
const TEXT_MAX: usize = 64 * 1024;
/// The most that one answer carries.
const READ_MAX: u64 = 10 * 1024 * 1024;

/// How to make the URI of an artifact.
pub(super) fn template() -> ResourceTemplate {
    ResourceTemplate::new(format!("{PREFIX}{{artifact_id}}"), "artifact")
        .with_title("Artifact")
        .with_description("An output of an execution, or an input of a task; get_result lists the URIs of outputs.")
}

/// Reads an artifact whole.
pub(super) async fn read(control: &Control, actor: &Actor, uri: &str) -> Result<ReadResourceResponse, ErrorData> {
    let unknown = || ErrorData::resource_not_found("there is no such resource", Some(json!({ "uri": uri })));
    let id: ArtifactId = uri
        .strip_prefix(PREFIX)
        .and_then(|id| id.parse().ok())
        .ok_or_else(unknown)?;
    let body = control
        .read_artifact(actor, id)
        .await
        .map_err(|refusal| match refusal.code {
            Code::NotFound => unknown(),
            _ => answer::error(&refusal),
        })?;
    if body.size > READ_MAX {
        return Err(answer::error(&answer::own(Refusal::new(
            Code::TooLarge,
            format!(
                "the artifact has {} bytes; a resource is read up to {READ_MAX}",
                body.size
            ),
            "use its download_url in the answer of get_result",
        ))));
    }
    Ok(ReadResourceResult::new(vec![contents(body, uri).await?]).into())
}

async fn contents(mut body: ArtifactBody, uri: &str) -> Result<ResourceContents, ErrorData> {
    let mut bytes = Vec::with_capacity(usize::try_from(body.size).unwrap_or_default());
    while let Some(chunk) = body.stream.try_next().await.map_err(|_| unreadable())? {
        bytes.extend_from_slice(&chunk);
    }
    let contents = match String::from_utf8(bytes) {
        Ok(text) if text.len() <= TEXT_MAX => ResourceContents::text(text, uri),
        Ok(text) => ResourceContents::blob(STANDARD.encode(text), uri),
        Err(bytes) => ResourceContents::blob(STANDARD.encode(bytes.as_bytes()), uri),
    };
    Ok(contents.with_mime_type(body.media_type.as_str()))
}

/// The reason is in the log of whoever keeps the blobs; a caller learns that it may ask again.
fn unreadable() -> ErrorData {
    answer::error(&answer::own(Refusal::new(
        Code::StorageUnavailable,
        "the artifact can't be read now",
        "read it again later",
    )))
}
