//! Learning what the image offers: one throw-away execution whose only step asks each tool for its version.
//!
//! The step is run as every other one, so what a probe finds is what a step can use, and what keeps every step from
//! running is what the operator gets to read.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use super::DockerExecutor;
use super::fault::{Fault, Kind};
use super::observe::Window;
use super::prepare::Purpose;
use crate::domain::facts::{PROBED_TOOLS, Tool};
use crate::domain::{AttemptId, ExecutionId, Facts};
use crate::executors::contract::{AttemptState, Handle, ProcessLimits, StartAttempt};
use crate::executors::local::version_in;

/// All tools together; one that hangs costs the facts of those after it.
const TIMEOUT: Duration = Duration::from_secs(60);
const OUTPUT_MAX: u64 = 256 * 1024;
/// Between the answers of two tools.
const MARK: &str = "--clawhand-probe--";

impl DockerExecutor {
    pub(super) async fn look_around(&self) -> Result<Facts, Fault> {
        let execution = ExecutionId::random();
        let asked = self.ask(execution).await;
        // Whatever this leaves bears the mark of a probe, and is removed with the next leftovers.
        let removed = self.take_away(execution).await;
        let text = asked?;
        removed?;
        let mut tools = BTreeMap::new();
        let answers = answers(&text);
        for (name, _) in PROBED_TOOLS {
            if let Some((0, said)) = answers.get(name) {
                let version = version_in(said).unwrap_or_default().to_owned();
                tools.insert(name.to_owned(), Tool { version });
            }
        }
        let word = |name: &str| answers.get(name).map_or("", |(_, said)| said.trim()).to_owned();
        Ok(Facts {
            os: word("uname -s").to_lowercase(),
            arch: word("uname -m"),
            tools,
            isolation: self.isolation(),
            learned_at: self.now.now(),
        })
    }

    fn isolation(&self) -> Vec<String> {
        let network = ["network_isolation", "network_namespace"];
        let network = network.into_iter().filter(|_| self.block.network.is_none());
        network.chain(["own_user"]).map(str::to_owned).collect()
    }

    async fn ask(&self, execution: ExecutionId) -> Result<String, Fault> {
        self.lay_out(execution, &[], Purpose::Probe).await?;
        let start = StartAttempt {
            attempt: AttemptId::random(),
            argv: ["sh", "-c", &questions()].map(str::to_owned).to_vec(),
            cwd: String::new(),
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
            timeout: TIMEOUT,
            grace: Duration::from_secs(1),
            max_output_bytes: OUTPUT_MAX,
            limits: ProcessLimits::default(),
        };
        let handle = self.start_attempt(execution, &start).await?;
        self.all_of(&handle).await
    }

    async fn all_of(&self, handle: &Handle) -> Result<String, Fault> {
        let mut output = Vec::new();
        loop {
            let window = Window {
                from: output.len() as u64,
                max: usize::MAX,
            };
            let seen = self.follow(handle, window, TIMEOUT).await?;
            output.extend_from_slice(&seen.output);
            match seen.state {
                AttemptState::Running => {}
                AttemptState::Ended(_) => return Ok(String::from_utf8_lossy(&output).into_owned()),
                AttemptState::NeverStarted(why) => return Err(Fault::refused(why)),
                AttemptState::Lost(why) => return Err(Fault::new(Kind::Unreachable, why)),
            }
        }
    }
}

/// A shell text that asks everything; each answer is followed by the mark, what was asked, and the exit code.
fn questions() -> String {
    let mut text = format!("q() {{ \"$@\" 2>&1; printf '\\n{MARK} %s %s\\n' $? \"$n\"; }}\n");
    for argument in ["-s", "-m"] {
        let _ = writeln!(text, "n='uname {argument}'; q uname {argument}");
    }
    for (name, argument) in PROBED_TOOLS {
        let argument = match argument {
            "" => "-c :",
            argument => argument,
        };
        let _ = writeln!(
            text,
            "n={name}; command -v {name} >/dev/null 2>&1 && q {name} {argument}"
        );
    }
    text.push_str(":\n");
    text
}

/// What was said and with which exit code, by what was asked.
fn answers(text: &str) -> HashMap<&str, (i32, String)> {
    let mut answers = HashMap::new();
    let mut said = String::new();
    for line in text.lines() {
        let Some(end) = line.strip_prefix(MARK) else {
            said.push_str(line);
            said.push('\n');
            continue;
        };
        if let Some((code, name)) = end.trim_start().split_once(' ')
            && let Ok(code) = code.parse()
        {
            answers.insert(name, (code, std::mem::take(&mut said)));
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let text = format!("Linux\n\n{MARK} 0 uname -s\nPython 3.11.2\n\n{MARK} 0 python3\nno\n\n{MARK} 1 go\nhalf");
        let answers = answers(&text);
        assert_eq!(answers["uname -s"], (0, "Linux\n\n".to_owned()));
        assert_eq!(version_in(&answers["python3"].1), Some("3.11.2"));
        assert_eq!(answers["go"].0, 1);
        assert_eq!(answers.len(), 3);
    }
}
