//! PUT by an upload link, GET by a download link.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, Query, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use serde::Deserialize;

use super::refused;
use crate::control::Control;
use crate::control::links::LinkParts;

/// The most that is taken in of a body that was refused, and how long that may take.
const DRAIN_MAX: usize = 64 << 20;
const DRAIN: Duration = Duration::from_secs(5);

/// The query of a signed link.
#[derive(Debug, Deserialize)]
pub(super) struct Signed {
    expires: i64,
    signature: String,
}

impl Signed {
    fn parts<'a>(&'a self, id: &'a str) -> LinkParts<'a> {
        LinkParts {
            id,
            expires: self.expires,
            signature: &self.signature,
        }
    }
}

/// Takes the body of an upload, streamed.
pub(super) async fn upload(
    State(control): State<Control>,
    Path(id): Path<String>,
    Query(signed): Query<Signed>,
    body: Body,
) -> Response {
    let mut body = body.into_data_stream();
    match control.receive(signed.parts(&id), &mut body).await {
        Ok(answer) => {
            let json = serde_json::to_string(&answer).unwrap_or_default();
            (StatusCode::CREATED, [(CONTENT_TYPE, "application/json")], json).into_response()
        }
        Err(refusal) => {
            // A broken-off body has nothing left, and a client that only sends hears no answer: either way it is over.
            let _ = tokio::time::timeout(DRAIN, drain(body)).await;
            refused(&refusal)
        }
    }
}

/// Takes in what a client still sends after a refusal. A server that answers and closes while more comes in makes the
/// client's system throw the answer away with the connection.
async fn drain(mut body: BodyDataStream) {
    let mut left = DRAIN_MAX;
    while let Some(Ok(piece)) = body.next().await {
        match left.checked_sub(piece.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// Gives an output, streamed. Always as an attachment: nothing that a step made is ever shown as a page of this
/// server.
pub(super) async fn download(
    State(control): State<Control>,
    Path(id): Path<String>,
    Query(signed): Query<Signed>,
) -> Response {
    let artifact = match control.download(signed.parts(&id)).await {
        Ok(artifact) => artifact,
        Err(refusal) => return refused(&refusal),
    };
    let base = artifact.name.rsplit('/').next().unwrap_or("artifact");
    let plain: String = base
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let headers = [
        (CONTENT_TYPE, artifact.media_type.clone()),
        (CONTENT_LENGTH, artifact.size.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{plain}\"")),
        (ETAG, format!("\"{}\"", artifact.digest)),
        (CACHE_CONTROL, "private, no-store".to_owned()),
    ];
    let mut response = Body::from_stream(artifact.stream).into_response();
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
