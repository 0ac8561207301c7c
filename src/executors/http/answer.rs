//! Taking in what an API answers: its body goes to a file as it comes, however large.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, header};
use reqwest::{Response, Url};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::fault::Fault;
use super::mask::Mask;

/// The largest document that is looked into, in bytes.
const JSON_MAX: u64 = 8 * 1024 * 1024;
/// The longest that an API can make clawhand wait before it is asked again.
const RETRY_MAX: u64 = 60;

/// What an API answered. Its body is in a file.
pub(super) struct Answer {
    pub status: u16,
    /// "404 Not Found".
    pub line: String,
    pub headers: HeaderMap,
    pub url: Url,
    pub size: u64,
    /// It had more than is taken; what came is thrown away.
    pub too_large: bool,
    file: PathBuf,
}

impl Answer {
    /// Takes in the whole answer.
    pub(super) async fn take(mut response: Response, mask: &Mask, (file, max): (&Path, u64)) -> Result<Self, Fault> {
        let status = response.status();
        let mut answer = Self {
            status: status.as_u16(),
            line: status.to_string(),
            headers: response.headers().clone(),
            url: response.url().clone(),
            size: 0,
            too_large: false,
            file: file.to_owned(),
        };
        let mut to = tokio::fs::File::create(file).await?;
        let mut masked = mask.stream();
        while let Some(piece) = response.chunk().await? {
            answer.size += piece.len() as u64;
            if answer.size > max {
                answer.too_large = true;
                to.set_len(0).await?;
                return Ok(answer);
            }
            to.write_all(&masked.push(&piece)).await?;
        }
        to.write_all(&masked.finish()).await?;
        to.flush().await?;
        Ok(answer)
    }

    fn media_type(&self) -> String {
        let value = self
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let value = value.unwrap_or_default().split(';').next().unwrap_or_default();
        value.trim().to_ascii_lowercase()
    }

    /// The ending of a file with this content.
    fn ending(&self) -> &'static str {
        let media_type = self.media_type();
        match media_type.as_str() {
            "application/json" => "json",
            "text/html" => "html",
            "text/csv" => "csv",
            "text/xml" | "application/xml" => "xml",
            "application/zip" => "zip",
            "application/gzip" => "gz",
            "application/pdf" => "pdf",
            other if other.ends_with("+json") => "json",
            other if other.ends_with("+xml") => "xml",
            other if other.starts_with("text/") => "txt",
            _ => "bin",
        }
    }

    /// Whether a person can read it.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.ending(), "json" | "html" | "csv" | "xml" | "txt")
    }

    /// Its first bytes.
    pub(super) fn beginning(&self, max: usize) -> io::Result<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&self.file)?;
        file.take(max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// As a JSON document, if it is one and not too large to look into.
    pub(super) fn json(&self) -> Option<Value> {
        if self.size > JSON_MAX || self.too_large {
            return None;
        }
        let bytes = std::fs::read(&self.file).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// How long the API wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let value = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        let seconds: u64 = value.trim().parse().ok()?;
        Some(Duration::from_secs(seconds.min(RETRY_MAX)))
    }

    /// Whether another time it may be another.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
    }

    /// Puts its body into the workspace, and tells its name there. One without a body leaves nothing.
    pub(super) fn keep(&self, work: &Path, name: &str) -> io::Result<Option<String>> {
        if self.too_large || self.size == 0 {
            return Ok(None);
        }
        let name = format!("{name}.{}", self.ending());
        std::fs::File::open(&self.file)?.sync_all()?;
        std::fs::rename(&self.file, work.join(&name))?;
        Ok(Some(name))
    }
}
