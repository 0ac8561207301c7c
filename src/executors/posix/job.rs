//! The job of a supervisor as shell text. Whatever a caller may have a say in stands in single quotes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::executors::contract::{ExecutorError, StartAttempt};
use crate::executors::local::check;

const SCRIPT: &str = include_str!("supervise.sh");

/// How much of the end of the output is kept when the beginning alone fills the bound.
const TAIL: u64 = 64 * 1024;
/// Longer than anything runs; shells count milliseconds with 64 bits, signed.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// The longest program name in an error.
const SHOWN_MAX: usize = 200;

/// Where the parts of an attempt are on the target: absolute paths, UTF-8, without NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The attempt's folder, which the supervisor makes; its parent is there.
    pub attempt: String,
    /// The workspace.
    pub work: String,
    /// HOME of the step.
    pub home: String,
    /// TMPDIR of the step.
    pub tmp: String,
    /// PATH of the step, if its environment has none.
    pub path: String,
    /// Where the output goes.
    pub output: OutputMode,
}

/// Where a supervisor puts what the step prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputMode {
    /// To the file `out` in the attempt's folder. The supervisor answers its starter with one line.
    File,
    /// To its own standard output, with nothing else in between.
    Stdout,
}

/// The job of a supervisor.
#[derive(Clone, PartialEq, Eq)]
pub struct Job {
    /// Shell text without secrets, complete in itself: `sh -c` runs it. It looks for the secrets in the variable
    /// `CLAWHAND_SECRETS`, whose value is [`Job::secret`]; the step does not inherit that one.
    pub public: String,
    /// Shell text that gives the secrets to the step; not for arguments and not for objects that others read.
    pub secret: String,
}

impl Job {
    /// All of it, for the standard input of `sh -s`. Of a text that was cut off on its way nothing is executed.
    pub fn whole(&self) -> String {
        format!("{{\n{}{}}}\n", self.secret, self.public)
    }
}

/// Writes the job of an attempt.
pub fn job(start: &StartAttempt, layout: &Layout) -> Result<Job, ExecutorError> {
    check(start)?;
    Ok(Job {
        public: public(start, layout),
        secret: secret(start)?,
    })
}

fn public(start: &StartAttempt, layout: &Layout) -> String {
    let mut env = BTreeMap::from([
        ("PATH", layout.path.as_str()),
        ("HOME", &layout.home),
        ("TMPDIR", &layout.tmp),
        ("LANG", "C.UTF-8"),
    ]);
    env.extend(start.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let (exported, odd): (Vec<_>, Vec<_>) = env.iter().partition(|(name, _)| is_exportable(name));
    let mut text = settings(start, layout, env.get("PATH").copied().unwrap_or_default());
    text.push_str("[ -z \"${CLAWHAND_SECRETS-}\" ] || eval \"$CLAWHAND_SECRETS\"\n");
    text.push_str("cw_environment() {\n:\n");
    for (name, value) in exported {
        let _ = writeln!(text, "export {name}={}", quoted(value));
    }
    text.push_str("}\n");
    // What shells have variables of their own for, they would not pass on as it was given, or not only that.
    text.push_str("cw_odd() {\ncw_enter \"$cw_env\" -u _ -u PWD -u OLDPWD -u SHLVL");
    for (name, value) in odd {
        let _ = write!(text, " {}", quoted(&format!("{name}={value}")));
    }
    if start.argv.first().is_some_and(|program| program.contains('=')) {
        // Which `env` would take for one more variable.
        text.push_str(" \"$cw_sh\" -c 'exec \"$0\" \"$@\"'");
    }
    text.push_str(" \"$@\"\n}\n");
    text.extend(stripped(SCRIPT));
    text.push_str("cw_supervise");
    for arg in &start.argv {
        let _ = write!(text, " {}", quoted(arg));
    }
    text.push('\n');
    text
}

fn settings(start: &StartAttempt, layout: &Layout, path: &str) -> String {
    let max = start.max_output_bytes.min(i64::MAX as u64 / 2);
    let tail = TAIL.min(max / 2);
    let limits = &start.limits;
    let number = |limit: Option<u64>, unit: u64| limit.map_or(String::new(), |limit| (limit / unit).max(1).to_string());
    let values = [
        ("attempt", start.attempt.to_string()),
        ("dir", layout.attempt.clone()),
        ("work", layout.work.clone()),
        ("cwd", start.cwd.clone()),
        ("path", path.to_owned()),
        ("timeout", milliseconds(start.timeout).to_string()),
        ("grace", milliseconds(start.grace).to_string()),
        ("head", (max - tail).to_string()),
        ("tail", tail.to_string()),
        ("output", output_word(layout.output).to_owned()),
        // POSIX counts files in blocks of 512 bytes, and shells memory in KiB.
        ("fsize", number(limits.max_file_bytes, 512)),
        ("as", number(limits.max_memory_bytes, 1024)),
        ("nproc", number(limits.max_processes, 1)),
        ("shown_program", shown(start.argv.first().map_or("", String::as_str))),
        ("shown_cwd", shown(&start.cwd)),
    ];
    let line = |(name, value): (&str, String)| format!("cw_{name}={}\n", quoted(&value));
    values.into_iter().map(line).collect()
}

const fn output_word(mode: OutputMode) -> &'static str {
    match mode {
        OutputMode::File => "file",
        OutputMode::Stdout => "stdout",
    }
}

fn secret(start: &StartAttempt) -> Result<String, ExecutorError> {
    let mut text = "cw_secrets() {\n:\n".to_owned();
    for (name, value) in &start.secrets {
        if !is_exportable(name) {
            return Err(ExecutorError::Refused(format!(
                "a secret can't be passed through a shell as the environment variable {name:?}"
            )));
        }
        let _ = writeln!(text, "export {name}={}", quoted(value));
    }
    text.push_str("}\n");
    Ok(text)
}

/// Names that some shell keeps for itself: read-only, numbers only, or changed by it.
const SHELLS_OWN: [&str; 27] = [
    "_",
    "COLUMNS",
    "COMP_WORDBREAKS",
    "DIRSTACK",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "HOSTNAME",
    "HOSTTYPE",
    "IFS",
    "LINENO",
    "LINES",
    "MACHTYPE",
    "OLDPWD",
    "OPTARG",
    "OPTERR",
    "OPTIND",
    "OSTYPE",
    "PIPESTATUS",
    "POSIXLY_CORRECT",
    "PPID",
    "PWD",
    "RANDOM",
    "SECONDS",
    "SHLVL",
    "UID",
];
/// The same by their beginnings, and what would change the programs that are called before the step's own.
const SHELLS_OWN_BEGINNINGS: [&str; 8] = [
    "BASH",
    "cw_",
    "EPOCH",
    "LD_",
    "SHELLOPTS",
    "SRANDOM",
    "GLIBC_",
    "MALLOC_",
];

/// Whether every shell can export the name and passes the value on as it is.
fn is_exportable(name: &str) -> bool {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name
        && !SHELLS_OWN.contains(&name)
        && !SHELLS_OWN_BEGINNINGS
            .iter()
            .any(|beginning| name.starts_with(beginning))
}

/// A text as one word of a shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// For an error: one line, not long.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect()
}

/// The script without comments and indentation: a shell that reads from a pipe may read byte by byte.
pub(in crate::executors) fn stripped(script: &str) -> impl Iterator<Item = String> + '_ {
    let lines = script.lines().map(|line| line.trim_start_matches(' '));
    let counts = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    counts.map(|line| format!("{line}\n"))
}

fn milliseconds(duration: Duration) -> u128 {
    duration.min(LONGEST).as_millis()
}
