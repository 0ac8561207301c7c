//! Targets and a data folder of a test's own, and the program itself to run projects there.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The name of the target that a [`Place`] has.
const TARGET: &str = "lab";

/// Where projects are run.
pub struct Place {
    dir: TempDir,
    targets: PathBuf,
    target: &'static str,
}

impl Place {
    /// With a target that may use the network and has what this machine has, if these tools are there.
    pub fn with(tools: &[&str]) -> Option<Self> {
        let there = tools.iter().all(|tool| is_there(tool));
        there.then(|| Self::empty().written(&path()))
    }

    /// With these tools first on the target's path: those of a Rust toolchain, and single programs from PyPI.
    pub fn with_extra(tools: &[&str], extra: &[&str]) -> Option<Self> {
        let programs: Vec<PathBuf> = extra.iter().map_while(|tool| extra_tool(tool)).collect();
        if programs.len() < extra.len() || !tools.iter().all(|tool| *tool == "cargo" || is_there(tool)) {
            return None;
        }
        let place = Self::empty();
        let mut folders = Vec::new();
        if tools.contains(&"cargo") {
            folders.push(place.toolchain()?);
        }
        if !extra.is_empty() {
            folders.push(place.folder("tools"));
        }
        for program in &programs {
            link_tree(program, &place.folder("tools").join(program.file_name().unwrap()));
        }
        folders.push(PathBuf::from(path()));
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        Some(place.written(&folders.join(":")))
    }

    /// With a target that has only what the test puts into its folder `tools`.
    pub fn bare() -> Self {
        let place = Self::empty();
        let tools = place.folder("tools").display().to_string();
        place.written(&tools)
    }

    /// With one of the targets that come with clawhand.
    pub fn shipped(target: &'static str) -> Self {
        Self {
            targets: Path::new(env!("CARGO_MANIFEST_DIR")).join("targets"),
            target,
            ..Self::empty()
        }
    }

    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The steps' own user passes through here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let targets = dir.path().join("targets");
        Self {
            dir,
            targets,
            target: TARGET,
        }
    }

    fn written(self, path: &str) -> Self {
        // Where the machine's certificates are is the machine's matter: not every tool looks there by itself.
        let certificates = ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"].map(|name| match variable(name) {
            Some(file) => format!("{name} = {file:?}\n"),
            None => String::new(),
        });
        let text = format!(
            "name = \"{TARGET}\"\ndescription = \"where recipes are tried\"\n\
             intents = [\"install_and_test\", \"test\", \"run\", \"build\", \"lint\", \"check\", \"deploy\"]\n\
             [executor]\nkind = \"local\"\nnetwork = true\npath = {path:?}\n\
             [environment]\n{}",
            certificates.concat()
        );
        fs::create_dir(&self.targets).unwrap();
        fs::write(self.targets.join("lab.toml"), text).unwrap();
        self
    }

    /// A folder of this place that everybody may read.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.dir.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    /// A project with these files.
    pub fn project(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let project = self.folder("projects").join(name);
        for (path, text) in files {
            let path = project.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        project
    }

    /// The folder with cargo and rustc: not rustup's links, which want to know the user's home. Where only root can
    /// get to them, the toolchain gets a second name in this place.
    fn toolchain(&self) -> Option<PathBuf> {
        let told = Command::new("rustc").args(["--print", "sysroot"]).output();
        let sysroot = match told {
            Ok(told) if told.status.success() && wanted("cargo") => String::from_utf8(told.stdout).unwrap(),
            _ => return left_out("cargo", "it is not installed"),
        };
        let sysroot = PathBuf::from(sysroot.trim());
        if is_passable(&sysroot) {
            return Some(sysroot.join("bin"));
        }
        let own = self.folder("rust");
        link_tree(&sysroot, &own);
        Some(own.join("bin"))
    }

    /// `clawhand run` of a project here; `inputs` are `NAME=VALUE`.
    pub fn run(&self, intent: &str, project: &Path, inputs: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawhand"));
        command.args(["run", "--json", "--target", self.target, "--intent", intent]);
        command.arg("--targets").arg(&self.targets);
        command.arg("--data").arg(self.dir.path().join("data"));
        command.args(inputs.iter().flat_map(|input| ["--input", input]));
        let output = command.arg(project).stdin(Stdio::null()).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{log}", String::from_utf8_lossy(&output.stdout)));
        Ran {
            code: output.status.code().unwrap(),
            value,
            log,
        }
    }

    /// `clawhand run` of a project from tests/fixtures/projects.
    pub fn fixture(&self, intent: &str, name: &str, inputs: &[&str]) -> Ran {
        let projects = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/projects");
        self.run(intent, &projects.join(name), inputs)
    }
}

/// What came of `clawhand run`.
pub struct Ran {
    code: i32,
    value: Value,
    log: String,
}

/// What tests said: passed, failed and skipped, with counts where a tool doesn't name them.
pub struct Tests<'a> {
    pub passed: &'a [&'a str],
    pub failed: &'a [&'a str],
    pub skipped: &'a [&'a str],
}

impl Ran {
    /// The work said yes.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        self.ended("succeeded", 0)
    }

    /// The work said no.
    #[track_caller]
    pub fn failed(self) -> Self {
        self.ended("failed", 1)
    }

    #[track_caller]
    fn ended(self, state: &str, code: i32) -> Self {
        assert_eq!((self.text("/state"), self.code), (state, code), "{}", self.story());
        self
    }

    /// clawhand refused it, with this code, and these words in the message and the hint.
    #[track_caller]
    pub fn refused(self, code: &str, message: &str, hint: &str) {
        assert_eq!((self.text("/error/code"), self.code), (code, 3), "{}", self.story());
        assert!(self.text("/error/message").contains(message), "{}", self.story());
        assert!(self.text("/error/hint").contains(hint), "{}", self.story());
    }

    /// The tests by name, in any order.
    #[track_caller]
    pub fn tests(self, expected: &Tests<'_>) -> Self {
        self.counted(expected.passed.len(), expected.failed.len(), expected.skipped.len())
            .named("passed_names", expected.passed)
            .named("failures", expected.failed)
            .named("skipped_names", expected.skipped)
    }

    /// How many tests there were.
    #[track_caller]
    pub fn counted(self, passed: usize, failed: usize, skipped: usize) -> Self {
        let count = |name: &str| self.value["tests"][name].as_u64();
        let counts = [count("passed"), count("failed"), count("skipped")];
        let expected = [passed, failed, skipped].map(|count| Some(count as u64));
        assert_eq!(counts, expected, "{}", self.story());
        self
    }

    /// The names in a list of the tests, in any order.
    #[track_caller]
    pub fn named(self, list: &str, expected: &[&str]) -> Self {
        let listed = self.value["tests"][list].as_array().cloned().unwrap_or_default();
        let name = |item: &Value| item.as_str().or(item["name"].as_str()).unwrap_or("?").to_owned();
        let mut names: Vec<String> = listed.iter().map(name).collect();
        let mut expected = expected.to_vec();
        names.sort();
        expected.sort_unstable();
        assert_eq!(names, expected, "{list}\n{}", self.story());
        self
    }

    /// A failure whose message has these words.
    #[track_caller]
    pub fn says(self, failure: &str, words: &str) -> Self {
        let failures = self.value["tests"]["failures"].as_array().cloned().unwrap_or_default();
        let said = failures
            .iter()
            .find(|one| one["name"] == failure)
            .map(|one| one["message"].clone());
        let said = said.as_ref().and_then(Value::as_str).unwrap_or("nothing");
        assert!(said.contains(words), "{failure}: {said}\n{}", self.story());
        self
    }

    /// Exactly these artifacts; `*` stands for anything within a name.
    #[track_caller]
    pub fn made(self, expected: &[&str]) -> Self {
        let artifacts = self.value["artifacts"].as_array().cloned().unwrap_or_default();
        let names: Vec<&str> = artifacts.iter().filter_map(|one| one["name"].as_str()).collect();
        let fits = |(name, glob): (&&str, &&str)| match glob.split_once('*') {
            Some((begin, end)) => name.starts_with(begin) && name.ends_with(end),
            None => name == glob,
        };
        let all = names.len() == expected.len() && names.iter().zip(expected).all(fits);
        assert!(all, "{names:?} instead of {expected:?}\n{}", self.story());
        assert!(
            artifacts.iter().all(|one| one["size"].as_u64() > Some(0)),
            "{}",
            self.story()
        );
        self
    }

    /// Exactly these steps ran to a yes or a no.
    #[track_caller]
    pub fn steps(self, expected: &[&str]) -> Self {
        let steps = self.value["steps"].as_array().cloned().unwrap_or_default();
        let ended = |step: &&Value| step["exit_code"].is_i64();
        let names: Vec<&str> = steps
            .iter()
            .filter(ended)
            .filter_map(|one| one["name"].as_str())
            .collect();
        assert_eq!(names, expected, "{}", self.story());
        self
    }

    /// The log has this line.
    #[track_caller]
    pub fn printed(self, line: &str) -> Self {
        assert!(self.log.lines().any(|one| one == line), "no {line:?}\n{}", self.story());
        self
    }

    /// The log has these words somewhere.
    #[track_caller]
    pub fn mentioned(self, words: &str) -> Self {
        assert!(self.log.contains(words), "no {words:?}\n{}", self.story());
        self
    }

    fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// All that a reader of a failed test needs.
    fn story(&self) -> String {
        format!("exit code {}\n{:#}\n{}", self.code, self.value, self.log)
    }
}

/// A variable that the tests were started with.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.into_string().unwrap())
}

fn path() -> String {
    variable("PATH").unwrap()
}

/// Whether steps can use a tool on the PATH. A tool that isn't there is told in one line, and fails a CI run.
fn is_there(tool: &str) -> bool {
    let is_program = |folder: &PathBuf| folder.join(tool).is_file() && is_passable(folder);
    let path = path();
    let found = wanted(tool) && std::env::split_paths(&path).any(|folder| is_program(&folder));
    found || left_out::<()>(tool, "it is not installed, or only for root").is_some()
}

/// A program from PyPI, where tests/run.sh put it or on the PATH.
fn extra_tool(tool: &str) -> Option<PathBuf> {
    let path = path();
    let own = std::env::var_os("CLAWHAND_TEST_TOOL_FOLDER").map(PathBuf::from);
    let folders = own.into_iter().chain(std::env::split_paths(&path));
    let found = folders
        .map(|folder| folder.join(tool))
        .find(|program| program.is_file());
    match found {
        Some(program) if wanted(tool) => Some(program),
        _ => left_out(tool, "it is not installed (PyPI has it)"),
    }
}

/// Whether tests/run.sh found the tool; what it did not find it has told.
fn wanted(tool: &str) -> bool {
    variable("CLAWHAND_TEST_TOOLS").is_none_or(|tools| tools.split(',').any(|one| one == tool))
}

fn left_out<T>(tool: &str, why: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{tool} must be there in CI: {why}");
    // Past the test runner, which keeps what passing tests print to itself.
    let _ = writeln!(std::io::stderr(), "left out: what needs {tool}; {why}");
    None
}

/// Whether the steps' own user, whom root's programs are not for, may pass to a folder and into it.
fn is_passable(folder: &Path) -> bool {
    let everybody = |folder: &Path| fs::metadata(folder).is_ok_and(|meta| meta.mode() & 0o001 != 0);
    !nix::unistd::geteuid().is_root() || folder.ancestors().all(everybody)
}

/// The same files under another name; copies where that is on another disk. Documentation stays behind.
fn link_tree(from: &Path, to: &Path) {
    let kind = fs::symlink_metadata(from).unwrap().file_type();
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from).unwrap(), to).unwrap();
    } else if kind.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "share" {
                link_tree(&entry.path(), &to.join(entry.file_name()));
            }
        }
    } else if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap();
    }
}
