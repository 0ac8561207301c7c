//! Files: what goes along with a message, and what comes with a reply.

use serde::{Deserialize, Serialize};

use super::{Method, Repeat, Scope, lenient};

/// The files of a session, as far as its messages name them.
pub const ARTIFACTS_LIST: Method<ArtifactsList, ArtifactPage> =
    Method::new("artifacts.list", Scope::Read, Repeat::Harmless);
/// One of them, or where it is fetched.
pub const ARTIFACTS_DOWNLOAD: Method<ArtifactsDownload, ArtifactGiven> =
    Method::new("artifacts.download", Scope::Read, Repeat::Harmless);

/// A file with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// `image` or `file`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What it is; the gateway looks for itself, too.
    pub mime_type: String,
    /// Its name.
    pub file_name: String,
    /// In base64.
    pub content: String,
}

/// See [`ARTIFACTS_LIST`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct ArtifactsList {
    pub session_key: String,
    /// Of one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// `assistant`: what was given, not what was sent along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A page of files.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ArtifactPage {
    /// In the order of the messages.
    pub artifacts: Vec<ArtifactRow>,
    /// Where the next page begins, if there is one.
    #[serde(deserialize_with = "lenient")]
    pub next_cursor: Option<String>,
}

/// A file that a message names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ArtifactRow {
    /// What it is fetched by.
    pub id: String,
    /// Its name.
    pub title: String,
    /// What it is.
    #[serde(deserialize_with = "lenient")]
    pub mime_type: Option<String>,
    /// Its size, if that is known.
    #[serde(deserialize_with = "lenient")]
    pub size_bytes: Option<u64>,
}

/// See [`ARTIFACTS_DOWNLOAD`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct ArtifactsDownload {
    pub session_key: String,
    pub artifact_id: String,
}

/// A file, or a path of the gateway at which it can be fetched for some minutes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ArtifactGiven {
    /// `base64`, if the content is here.
    #[serde(deserialize_with = "lenient")]
    pub encoding: Option<String>,
    /// The content.
    #[serde(deserialize_with = "lenient")]
    pub data: Option<String>,
    /// The path, with the ticket that opens it.
    #[serde(deserialize_with = "lenient")]
    pub url: Option<String>,
}
