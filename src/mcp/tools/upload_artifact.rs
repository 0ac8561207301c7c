//! `upload_artifact`.

use rmcp::model::Tool;

use super::{About, Call, Effect, describe};
use crate::control::contract::{ArtifactUploaded, UploadArtifact};
use crate::mcp::answer::{self, Called};

pub(super) fn tool() -> Tool {
    describe::<UploadArtifact, ArtifactUploaded>(&About {
        name: "upload_artifact",
        title: "Upload an artifact",
        description: "Use this to give a task its files before it starts, best as one .tar.gz or .zip of the project. Small content goes into the call; larger content in parts by offset, or to the upload_url that a call without content answers with.",
        effect: Effect::Puts,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let answer = match call.arguments::<UploadArtifact>() {
        Ok(arguments) => call.control.upload_artifact(call.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    Ok(answer::result(answer).into())
}
