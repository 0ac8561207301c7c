//! Which tools a system has, asked by one step that runs as every other one: what it finds is what a step can use.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::domain::facts::{PROBED_TOOLS, Tool};
use crate::domain::{AttemptId, Facts, UnixMs};
use crate::executors::contract::{ProcessLimits, StartAttempt};
use crate::executors::local::version_in;

const OUTPUT_MAX: u64 = 256 * 1024;
/// What stands before each answer; the answers are the tools' own words.
const MARK: &str = "==clawhand==";

/// The step. `timeout` is for all tools together, which are asked at once; what was answered by then is told.
pub(in crate::executors) fn ask_for_tools(timeout: Duration) -> StartAttempt {
    StartAttempt {
        attempt: AttemptId::random(),
        argv: ["sh", "-c", &questions()].map(str::to_owned).into(),
        call: None,
        cwd: String::new(),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        timeout,
        grace: Duration::from_secs(1),
        max_output_bytes: OUTPUT_MAX,
        limits: ProcessLimits::default(),
    }
}

/// What its output tells; `os` is empty when it tells nothing.
pub(in crate::executors) fn told_tools(output: &str, learned_at: UnixMs) -> Facts {
    let mut facts = Facts {
        os: String::new(),
        arch: String::new(),
        tools: BTreeMap::new(),
        isolation: Vec::new(),
        learned_at,
    };
    for answer in output.split(MARK).skip(1) {
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
    facts
}

/// Each tool has its answer in a file; one that doesn't end is ended with the step.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let text = format!(
            "{MARK} os Linux x86_64\n{MARK} shell dash\n{MARK} tool python3 0\nPython 3.11.2\n\n{MARK} tool go 1\nno\n{MARK} to"
        );
        let facts = told_tools(&text, UnixMs(1));
        assert_eq!((facts.os.as_str(), facts.arch.as_str()), ("linux", "x86_64"));
        assert_eq!(facts.tools["python3"].version, "3.11.2");
        assert!(!facts.tools.contains_key("go"));
        assert_eq!(facts.tools.len(), 2, "{facts:?}");
        assert_eq!(told_tools("half", UnixMs(1)).os, "");
    }
}
