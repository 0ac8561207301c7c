//! Learning what a host offers, by a step that asks each tool, under the same supervisor as every step.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::SshExecutor;
use crate::domain::facts::{PROBED_TOOLS, Tool};
use crate::domain::{AttemptId, ExecutionId, Facts};
use crate::executors::contract::{
    AttemptState, Executor as _, ExecutorError, ProcessLimits, StartAttempt, Trouble, Workspace,
};
use crate::executors::local::version_in;

/// For all tools together, which are asked at once.
const TIMEOUT: Duration = Duration::from_secs(25);
const OUTPUT_MAX: u64 = 256 * 1024;
/// What stands before each answer; the answers are the tools' own words.
const MARK: &str = "==clawhand==";

impl SshExecutor {
    pub(super) async fn learn(&self) -> Result<Facts, Trouble> {
        let execution = ExecutionId::random();
        self.make_folders(execution, "yes").await?;
        let asked = self.ask(&self.workspace_of(execution)).await;
        self.clean_up(execution).await?;
        let answers = asked?;
        let mut facts = Facts {
            os: String::new(),
            arch: String::new(),
            tools: BTreeMap::new(),
            isolation: Vec::new(),
            learned_at: self.now.now(),
        };
        for answer in answers.split(MARK).skip(1) {
            let (head, said) = answer.split_once('\n').unwrap_or((answer, ""));
            match head.split_whitespace().collect::<Vec<_>>()[..] {
                ["os", os, arch] => (facts.os, facts.arch) = (os.to_ascii_lowercase(), arch.to_owned()),
                // Which shell `sh` is, where it has another name.
                ["shell", name] => drop(
                    facts
                        .tools
                        .entry(name.to_owned())
                        .or_insert(Tool { version: String::new() }),
                ),
                ["tool", name, "0"] => {
                    let version = version_in(said).unwrap_or_default().to_owned();
                    facts.tools.insert(name.to_owned(), Tool { version });
                }
                _ => {}
            }
        }
        if facts.os.is_empty() {
            return Err(Trouble::new(
                format!("{}: the probe said nothing of the system", self.block.host),
                "log in as that user and see whether sh, uname and the disk work",
            ));
        }
        Ok(facts)
    }

    async fn ask(&self, workspace: &Workspace) -> Result<String, ExecutorError> {
        let start = StartAttempt {
            attempt: AttemptId::random(),
            argv: ["sh", "-c", &questions()].map(str::to_owned).into(),
            cwd: String::new(),
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
            timeout: TIMEOUT,
            grace: Duration::from_secs(1),
            max_output_bytes: OUTPUT_MAX,
            call: None,
            limits: ProcessLimits::default(),
        };
        let handle = self.start(workspace, &start).await?;
        let mut output = Vec::new();
        loop {
            let seen = self.observe(&handle, output.len() as u64, 1 << 20, TIMEOUT).await?;
            output.extend_from_slice(&seen.output);
            if seen.state != AttemptState::Running {
                return Ok(String::from_utf8_lossy(&output).into_owned());
            }
        }
    }
}

/// All tools are asked at once, each with its answer in a file; one that doesn't end is ended with the step.
fn questions() -> String {
    let mut text = format!("printf '%s os %s %s\\n' {MARK} \"$(uname -s)\" \"$(uname -m)\"\n");
    let _ = writeln!(
        text,
        "sh=$(readlink -f \"$(command -v sh)\"); printf '%s shell %s\\n' {MARK} \"${{sh##*/}}\"\nmkdir a || exit"
    );
    for (name, argument) in PROBED_TOOLS {
        let _ = writeln!(
            text,
            "command -v {name} >/dev/null && {{ {name} {argument} </dev/null >a/{name} 2>&1; \
             {{ printf '%s tool %s %s\\n' {MARK} {name} $?; head -c 4096 a/{name}; echo; }} >a/{name}.told; }} & pids=\"$pids $!\""
        );
    }
    text.push_str(
        "trap 'cat a/*.told 2>/dev/null; exit 0' TERM\n\
         for pid in $pids; do wait \"$pid\"; done\n\
         cat a/*.told\n",
    );
    text
}
