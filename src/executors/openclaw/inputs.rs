//! The files that go along with the message.

use std::io;
use std::path::Path;

use base64::Engine as _;

use super::notes::{self, INPUTS, InputNote};
use crate::executors::contract::{ExecutorError, Input};
use crate::executors::folder::{AttemptFolder, RunFolder, make_folder, write_whole};
use crate::executors::local::{blocking, failed};
use crate::gateway::wire::Attachment;

/// All files together. A gateway takes a message of 25 MiB, in which they are a third larger.
const MOST: u64 = 16 << 20;
/// The folder with their content.
const FOLDER: &str = "inputs";

/// Lays the files where they wait for the start.
pub(super) async fn lay(run: &RunFolder, inputs: &[Input]) -> Result<(), ExecutorError> {
    let (run, inputs) = (run.path().to_path_buf(), inputs.to_vec());
    blocking(move || {
        let size = inputs.iter().try_fold(0, |all, input| {
            let size = std::fs::metadata(&input.file).map(|file| file.len());
            size.map(|size| all + size)
                .map_err(|error| failed("look at an input", &error))
        })?;
        if size > MOST {
            let why = format!("an agent takes files of {MOST} bytes in all; these have {size}");
            return Err(ExecutorError::UnsafeArchive(why));
        }
        copy(&run, &inputs).map_err(|error| failed("keep the inputs", &error))
    })
    .await
}

fn copy(run: &Path, inputs: &[Input]) -> io::Result<()> {
    make_folder(&run.join(FOLDER), 0o700)?;
    let mut listed = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.iter().enumerate() {
        let file = index.to_string();
        std::fs::copy(&input.file, run.join(FOLDER).join(&file))?;
        listed.push(InputNote {
            name: input.name.clone(),
            file,
        });
    }
    write_whole(&run.join(INPUTS), &listed).map(drop)
}

/// The files as they are sent; those without content can't be.
pub(super) fn attachments(folder: &AttemptFolder) -> io::Result<Vec<Attachment>> {
    let mut attachments = Vec::new();
    for input in notes::inputs(folder)? {
        let content = std::fs::read(folder.run_folder().join(FOLDER).join(&input.file))?;
        if content.is_empty() {
            continue;
        }
        let mime_type = mime_of(&input.name);
        attachments.push(Attachment {
            kind: match mime_type.starts_with("image/") {
                true => "image",
                false => "file",
            },
            mime_type: mime_type.to_owned(),
            file_name: input.name,
            content: base64::engine::general_purpose::STANDARD.encode(content),
        });
    }
    Ok(attachments)
}

/// By the name's ending; the gateway looks at the content, too.
fn mime_of(name: &str) -> &'static str {
    let ending = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        "json" => "application/json",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "md" => "text/markdown",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "tar" => "application/x-tar",
        "txt" | "log" | "toml" | "yaml" | "yml" | "xml" | "sh" | "py" | "rs" | "go" | "js" | "ts" | "c" | "h" => {
            "text/plain"
        }
        _ => "application/octet-stream",
    }
}
