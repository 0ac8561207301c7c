//! Finding files in the workspace of an execution: a listing first, then a tar of what is wanted and nothing else.

use kube::ResourceExt as _;
use tokio::io::AsyncSeekExt as _;

use super::KubernetesExecutor;
use super::exec::Source;
use super::lay::source;
use super::pods::{self, Standing};
use crate::domain::ExecutionId;
use crate::executors::contract::{CollectLimit, Collected, ExecutorError};
use crate::executors::local::blocking;
use crate::executors::posix;
use crate::executors::wanted::Wanted;

const LIST: &str = "cd /clawhand/work && exec find . ! -type d -print0";
/// One tar after another: not every tar reads a list of names, and none one with line breaks in it.
const PACK: &str = "cd /clawhand/work && exec xargs -0 -n 200 tar -cf -";

impl KubernetesExecutor {
    pub(super) async fn collect_files(
        &self,
        execution: ExecutionId,
        globs: &[String],
        limit: CollectLimit,
    ) -> Result<Collected, ExecutorError> {
        let wanted = Wanted::new(globs)?;
        let access = self.access().await?;
        let jobs = access.jobs_of(execution).await?;
        let last = source(&jobs, "").ok_or_else(|| ExecutorError::Refused("the workspace is gone".to_owned()))?;
        let pod = access.pod_of(&last.name_any()).await?;
        let Some(pod) = pod.filter(|pod| !matches!(pods::standing(Some(pod)), Standing::Over(_))) else {
            return Err(ExecutorError::Refused("the pod with the workspace is gone".to_owned()));
        };
        self.learn_of(&access, execution, &pod).await?;
        let pod = pod.name_any();
        let listing = access.run(&pod, LIST).await?.well("list the workspace")?.stdout;
        let (names, left_out) = chosen(&listing, &wanted);
        let mut collected = Collected::default();
        if !names.is_empty() {
            let failed =
                |error: std::io::Error| ExecutorError::Unreachable(format!("failed to spool the outputs: {error}"));
            let mut spool = tokio::fs::File::from_std(tempfile::tempfile_in(&self.scratch).map_err(failed)?);
            let source: Source = Box::pin(std::io::Cursor::new(names));
            access
                .feed(&pod, PACK, source, &mut spool)
                .await?
                .well("pack the outputs")?;
            spool.rewind().await.map_err(failed)?;
            let (spool, globs, scratch) = (spool.into_std().await, globs.to_vec(), self.scratch.clone());
            let taken =
                blocking(move || posix::collected(std::io::BufReader::new(spool), ("", &globs), limit, &scratch));
            collected = taken.await?;
        }
        collected.left_out.extend(left_out);
        collected.left_out.sort();
        Ok(collected)
    }
}

/// The names that are wanted, a NUL after each, and what can't be had though it is wanted.
fn chosen(listing: &[u8], wanted: &Wanted) -> (Vec<u8>, Vec<(String, String)>) {
    let (mut names, mut left_out) = (Vec::new(), Vec::new());
    for entry in listing.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let shown = String::from_utf8_lossy(entry);
        let shown = shown.strip_prefix("./").unwrap_or(&shown);
        if !wanted.matches(shown) {
            continue;
        }
        if std::str::from_utf8(entry).is_err() {
            left_out.push((shown.to_owned(), "its name is not UTF-8".to_owned()));
        } else {
            names.extend_from_slice(entry);
            names.push(0);
        }
    }
    (names, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_can_be_told_are_asked_for() {
        let wanted = Wanted::new(&["out/*".to_owned()]).expect("globs");
        let listing = b"./out/a b\0./other\0./out/two\nlines\0./out/bad\xffname\0";
        let (names, left_out) = chosen(listing, &wanted);
        assert_eq!(names, b"./out/a b\0./out/two\nlines\0");
        let left_out: Vec<&str> = left_out.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(left_out, ["out/bad\u{fffd}name"]);
    }
}
