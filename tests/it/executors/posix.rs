//! The supervisor in POSIX sh, under each of the shells that it is written for.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clawhand::executors::posix::{
    Job, Layout, OutputMode, StartedNote, collected, exit_report, job, lay_out, pack, quoted,
};
use clawhand::executors::{CollectLimit, ExecutorError, ExitReport, StartAttempt};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use proptest::prelude::*;

use super::rig::{is_root, processes_of, sh};
use super::suite::{attempt, input};

/// The shells, each with its name. What is missing is said and left out; CI has all of them.
fn shells() -> Vec<(&'static str, Vec<&'static str>)> {
    let all = [
        ("dash", vec!["dash"]),
        ("bash", vec!["bash"]),
        ("busybox", vec!["busybox", "sh"]),
    ];
    let is_there = |(name, _): &(&str, Vec<&str>)| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {name} >/dev/null")])
            .status();
        let found = found.expect("runs sh").success();
        assert!(
            found || std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{name} is missing"
        );
        if !found {
            eprintln!("left out: the shell {name}, which is not installed");
        }
        found
    };
    all.into_iter().filter(is_there).collect()
}

struct Place {
    folder: tempfile::TempDir,
    output: OutputMode,
}

/// What became of an attempt.
struct End {
    said: Vec<u8>,
    output: Vec<u8>,
    report: Option<ExitReport>,
    status: Option<i32>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("makes a folder");
        for name in ["work", "home", "tmp", "attempts"] {
            std::fs::create_dir(folder.path().join(name)).expect("makes");
        }
        Self {
            folder,
            output: OutputMode::File,
        }
    }

    fn open_to_all(&self) {
        for folder in ["", "work", "home", "tmp", "attempts"] {
            let mode = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(self.folder.path().join(folder), mode).expect("sets the mode");
        }
    }

    fn attempt(&self, start: &StartAttempt) -> PathBuf {
        self.folder.path().join("attempts").join(start.attempt.to_string())
    }

    fn job(&self, start: &StartAttempt) -> Job {
        let at = |name: &str| self.folder.path().join(name).to_str().expect("is text").to_owned();
        let layout = Layout {
            attempt: self.attempt(start).to_str().expect("is text").to_owned(),
            work: at("work"),
            home: at("home"),
            tmp: at("tmp"),
            path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
            output: self.output,
        };
        job(start, &layout).expect("is a job")
    }

    /// Starts the supervisor as a child, with its job on its standard input.
    fn launch(shell: &[&str], text: &str) -> Child {
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .arg("-s")
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("INHERITED", "not wanted")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts a shell");
        child
            .stdin
            .take()
            .expect("is piped")
            .write_all(text.as_bytes())
            .expect("takes the job");
        child
    }

    fn end(&self, mut child: Child, start: &StartAttempt) -> End {
        let mut said = Vec::new();
        child
            .stdout
            .take()
            .expect("is piped")
            .read_to_end(&mut said)
            .expect("reads");
        let status = child.wait().expect("waits").code();
        let note = std::fs::read_to_string(self.attempt(start).join("exit")).unwrap_or_default();
        assert_eq!(
            processes_of(&[start.attempt.to_string()]),
            Vec::<i32>::new(),
            "left running"
        );
        End {
            said,
            output: std::fs::read(self.attempt(start).join("out")).unwrap_or_default(),
            report: exit_report(&note),
            status,
        }
    }

    fn run(&self, shell: &[&str], start: &StartAttempt) -> End {
        let child = Self::launch(shell, &self.job(start).whole());
        self.end(child, start)
    }
}

impl End {
    fn report(&self) -> &ExitReport {
        self.report.as_ref().expect("has an exit note")
    }
}

#[test]
fn ends_are_told_exactly() {
    for (name, shell) in shells() {
        let place = Place::new();
        let bad = place.folder.path().join("work/bad");
        std::fs::write(&bad, "#!/no/such/interpreter -x\n").expect("writes");
        std::fs::set_permissions(&bad, std::fs::Permissions::from_mode(0o755)).expect("sets");
        let cases: [(&[&str], i32, Option<i32>, bool); 11] = [
            (&["true"], 0, None, false),
            (&["sh", "-c", "exit 1"], 1, None, false),
            (&["sh", "-c", "exit 126"], 126, None, false),
            (&["sh", "-c", "exit 127"], 127, None, false),
            (&["sh", "-c", "exit 255"], 255, None, false),
            (&["sh", "-c", "kill -9 $$"], 137, Some(9), false),
            (&["sh", "-c", "kill -15 $$"], 143, Some(15), false),
            (&["no-such-program"], 127, None, true),
            (&["/etc/passwd"], 126, None, true),
            (&["/etc"], 126, None, true),
            (&["./bad"], 127, None, true),
        ];
        for (argv, code, signal, is_error) in cases {
            let end = place.run(&shell, &attempt(argv));
            let report = end.report();
            assert_eq!(
                (report.exit_code, report.signal),
                (Some(code), signal),
                "{name}: {argv:?} gave {report:?}"
            );
            assert_eq!(
                report.exec_error.is_some(),
                is_error,
                "{name}: {argv:?} gave {report:?}"
            );
            assert!(
                !report.timed_out && !report.cancelled && report.leftovers == 0,
                "{name}: {report:?}"
            );
            assert_eq!(
                (end.said.as_slice(), end.status),
                (&b"started\n"[..], Some(0)),
                "{name}"
            );
            assert_eq!(String::from_utf8_lossy(&end.output), "", "{name}: {argv:?}");
        }
    }
}

#[test]
fn the_step_gets_what_was_given_and_nothing_else() {
    for (name, shell) in shells() {
        let place = Place::new();
        let value = "two\nlines 'quoted' \"$(id)\" `id` \\ ü";
        let mut start = attempt(&["env", "-0"]);
        start.env = [
            "GIVEN",
            "UID",
            "IFS",
            "PS1",
            "RANDOM",
            "a.b",
            "LD_EXAMPLE",
            "cw_dir",
            "PATH",
            "SHLVL",
        ]
        .map(|name| (name.to_owned(), format!("{name} {value}")))
        .into();
        start.env.insert("PATH".into(), "/usr/bin:/bin".into());
        start.secrets = BTreeMap::from([("TOKEN".into(), value.into())]);
        let end = place.run(&shell, &start);
        let text = String::from_utf8(end.output.clone()).expect("is text");
        let mut found: BTreeMap<&str, &str> = text
            .split_terminator('\0')
            .filter_map(|entry| entry.split_once('='))
            .collect();
        for (given, value) in start.env.iter().chain(&start.secrets) {
            assert_eq!(
                found.remove(given.as_str()),
                Some(value.as_str()),
                "{name}: {given} in {text}"
            );
        }
        assert_eq!(found.remove("LANG"), Some("C.UTF-8"), "{name}");
        assert_eq!(
            found.remove("CLAWHAND_ATTEMPT"),
            Some(start.attempt.to_string().as_str()),
            "{name}"
        );
        assert!(
            found.remove("HOME").is_some_and(|home| home.ends_with("/home")),
            "{name}"
        );
        assert!(
            found.remove("TMPDIR").is_some_and(|tmp| tmp.ends_with("/tmp")),
            "{name}"
        );
        assert_eq!(found, BTreeMap::new(), "{name}");
    }
}

/// No signal is ignored that shells ignore for what runs behind their back; none of the supervisor's own files is open;
/// the rest is as it is for everybody.
#[test]
fn the_step_is_left_no_trace_of_its_supervisor() {
    for (name, shell) in shells() {
        let place = Place::new();
        let script = "grep ^SigIgn /proc/self/status; ls -l /proc/self/fd 2>/dev/null | grep -cE '(events|alive|count)$'; \
            cat; umask; ulimit -c";
        let end = place.run(&shell, &sh(script));
        let text = String::from_utf8_lossy(&end.output).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        let ignored = u64::from_str_radix(words[1], 16).expect("is a number");
        // What this process was started with, no shell can give back to the step.
        let own = std::fs::read_to_string("/proc/self/status").expect("reads");
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))
            .expect("has it");
        let ignored = ignored & !u64::from_str_radix(own.trim(), 16).expect("is a number");
        let usual = [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGPIPE,
            Signal::SIGTERM,
        ];
        assert!(
            usual.iter().all(|signal| ignored & (1 << (*signal as i32 - 1)) == 0),
            "{name}: {text}"
        );
        assert_eq!(words[2..], ["0", "0022", "0"], "{name}");
    }
}

#[test]
fn secrets_come_on_their_own_way() {
    for (name, shell) in shells() {
        let place = Place::new();
        let mut start = sh("echo \"$TOKEN\"; echo ${CLAWHAND_SECRETS-none}");
        start.secrets = BTreeMap::from([("TOKEN".into(), "s3cret'value".into())]);
        let job = place.job(&start);
        assert!(!job.public.contains("s3cret"));
        let child = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &job.public])
            .env("CLAWHAND_SECRETS", &job.secret)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let end = place.end(child, &start);
        assert_eq!(String::from_utf8_lossy(&end.output), "s3cret'value\nnone\n", "{name}");
    }
    let mut start = sh("true");
    start.secrets = BTreeMap::from([("UID".into(), "x".into())]);
    let place = Place::new();
    let layout = Layout {
        attempt: "/a".into(),
        work: "/w".into(),
        home: "/h".into(),
        tmp: "/t".into(),
        path: "/bin".into(),
        output: place.output,
    };
    assert!(matches!(job(&start, &layout), Err(ExecutorError::Refused(_))));
}

#[test]
fn a_timeout_and_a_cancel_end_the_whole_tree() {
    let tree = "sleep 1000 & setsid sleep 1000 & (setsid sleep 1000 </dev/null >/dev/null 2>&1 &); echo begun; wait";
    for (name, shell) in shells() {
        let place = Place::new();
        let mut start = sh(tree);
        start.timeout = Duration::from_millis(700);
        let end = place.run(&shell, &start);
        assert!(
            end.report().timed_out && !end.report().cancelled,
            "{name}: {:?}",
            end.report()
        );
        assert_eq!(end.output, b"begun\n", "{name}");

        // Asked by a signal, with someone in the tree who has to be killed.
        let mut start = sh(&format!("(trap '' TERM; while :; do sleep 0.1; done) & {tree}"));
        start.grace = Duration::from_millis(300);
        let child = Place::launch(&shell, &place.job(&start).whole());
        wait_for_output(&place.attempt(&start), b"begun\n");
        nix::sys::signal::kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("signals");
        let end = place.end(child, &start);
        assert!(
            end.report().cancelled && !end.report().timed_out,
            "{name}: {:?}",
            end.report()
        );

        // Asked by an event, with a grace of its own.
        let start = sh("trap 'echo bye; exit 4' TERM; echo begun; while :; do sleep 0.1; done");
        let child = Place::launch(&shell, &place.job(&start).whole());
        wait_for_output(&place.attempt(&start), b"begun\n");
        let mut events = std::fs::OpenOptions::new()
            .write(true)
            .open(place.attempt(&start).join("events"))
            .expect("opens");
        events.write_all(b"cancel 30000\n").expect("writes");
        let end = place.end(child, &start);
        assert_eq!(
            (end.report().exit_code, end.report().cancelled),
            (Some(4), true),
            "{name}"
        );
        assert!(
            end.output.ends_with(b"bye\n"),
            "{name}: {:?}",
            String::from_utf8_lossy(&end.output)
        );
    }
}

/// Waits until the file `out` begins with this.
fn wait_for_output(attempt: &Path, text: &[u8]) {
    wait_for(attempt, "out", |bytes| bytes.starts_with(text));
}

/// Waits until a file of the attempt is as it should be, told by the kernel of its changes.
fn wait_for(attempt: &Path, name: &str, is_so: impl Fn(&[u8]) -> bool) {
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).expect("watches");
    let above = attempt.parent().expect("has one");
    inotify.add_watch(above, AddWatchFlags::IN_CREATE).expect("watches");
    while inotify
        .add_watch(attempt, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE)
        .is_err()
    {
        inotify.read_events().expect("hears");
    }
    while !is_so(&std::fs::read(attempt.join(name)).unwrap_or_default()) {
        inotify.read_events().expect("hears");
    }
}

#[test]
fn a_cancel_before_the_start_is_heard() {
    for (name, shell) in shells() {
        let place = Place::new();
        let start = sh("echo ran");
        let job = place.job(&start).whole();
        // The note is written between the making of the folder and the look for it: here by the very first thing that
        // the supervisor calls for after making it.
        let note = format!("mkdir() {{ command mkdir \"$@\" && printf 0 >\"$1/cancel\"; }}\n{job}");
        let end = place.end(Place::launch(&shell, &note), &start);
        assert!(
            end.report().cancelled && end.report().exit_code.is_none(),
            "{name}: {:?}",
            end.report()
        );
        assert_eq!(end.output, b"", "{name}");
    }
}

#[test]
fn those_who_stay_behind_are_ended_and_hold_nobody_up() {
    for (name, shell) in shells() {
        let place = Place::new();
        let script = "setsid sleep 1000 & (setsid sleep 1000 </dev/null >/dev/null 2>&1 &); echo done; exit 3";
        let end = place.run(&shell, &sh(script));
        assert_eq!((end.report().exit_code, end.report().leftovers), (Some(3), 2), "{name}");
        // One that put off its mark, its session and its parent, and holds the output.
        let end = place.run(&shell, &sh("(env -i setsid sleep 1003 &); echo done"));
        assert_eq!((end.report().exit_code, end.report().leftovers), (Some(0), 1), "{name}");
        assert_eq!(end.output, b"done\n", "{name}");
    }
}

/// Goes on until there is a file `go`.
const GOES_ON: &str = "echo begun; until [ -e go ]; do sleep 0.05; done; echo more";

#[test]
fn a_reader_that_only_waits_for_its_turn_loses_nothing() {
    for (name, shell) in shells() {
        let place = Place::new();
        let start = sh(GOES_ON);
        // A byte for each time that the supervisor looks for who is below the reader, which it does a second after the end.
        let job = format!(
            "grep() {{ case $3 in ')'*) printf x >>\"$cw_dir/looked\" ;; esac; command grep \"$@\"; }}\n{}",
            place.job(&start).whole()
        );
        let child = Place::launch(&shell, &job);
        let attempt = place.attempt(&start);
        wait_for_output(&attempt, b"begun\n");
        // The youngest one, which is its dd.
        let reader = readers_of(&attempt.join("pipe"))
            .into_iter()
            .max()
            .expect("has a reader");
        nix::sys::signal::kill(reader, Signal::SIGSTOP).expect("stops it");
        std::fs::write(place.folder.path().join("work/go"), "").expect("writes");
        // More than one look takes: the first one is over.
        wait_for(&attempt, "looked", |looks| looks.len() >= 4);
        nix::sys::signal::kill(reader, Signal::SIGCONT).expect("lets it go on");
        let end = place.end(child, &start);
        assert_eq!(String::from_utf8_lossy(&end.output), "begun\nmore\n", "{name}");
        let report = end.report();
        assert_eq!(
            (report.exit_code, report.output_dropped, report.leftovers),
            (Some(0), 0, 0),
            "{name}"
        );
    }
}

/// The processes that read this pipe as their input.
fn readers_of(pipe: &Path) -> Vec<Pid> {
    use std::os::unix::fs::MetadataExt as _;
    let pipe = std::fs::metadata(pipe).expect("is there").ino();
    let numbers = std::fs::read_dir("/proc").expect("lists").flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let readers =
        numbers.filter(|pid| std::fs::metadata(format!("/proc/{pid}/fd/0")).is_ok_and(|input| input.ino() == pipe));
    readers.map(Pid::from_raw).collect()
}

#[test]
fn one_out_of_reach_who_holds_the_output_holds_nobody_up() {
    if !is_root() {
        eprintln!("left out: holding the output out of reach, which only root can");
        return;
    }
    for (name, shell) in shells() {
        let place = Place::new();
        place.open_to_all();
        let start = sh(GOES_ON);
        let child = Place::launch(&[&STRANGER[..], &shell].concat(), &place.job(&start).whole());
        let attempt = place.attempt(&start);
        wait_for_output(&attempt, b"begun\n");
        let held = std::fs::OpenOptions::new().write(true).open(attempt.join("pipe"));
        std::fs::write(place.folder.path().join("work/go"), "").expect("writes");
        let end = place.end(child, &start);
        drop(held.expect("opens"));
        assert_eq!(String::from_utf8_lossy(&end.output), "begun\nmore\n", "{name}");
        assert_eq!(
            (end.report().exit_code, end.report().output_dropped),
            (Some(0), 0),
            "{name}"
        );
    }
}

#[test]
fn output_is_exact_and_bounded() {
    for (name, shell) in shells() {
        let place = Place::new();
        let all: Vec<u8> = (0..=255u8)
            .flat_map(|a| (0..=255u8).flat_map(move |b| [a, b]))
            .collect();
        std::fs::write(place.folder.path().join("work/all"), &all).expect("writes");
        let end = place.run(&shell, &sh("cat all; echo err >&2; echo again >/dev/stderr"));
        assert!(
            end.output == [all.as_slice(), b"err\nagain\n"].concat(),
            "{name}: {} bytes",
            end.output.len()
        );

        for (max, script, whole) in [
            (40_u64, "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; done", 71_u64),
            (100_000, "head -c 100 /dev/zero; seq 1 30000", 168_994),
            (0, "echo abc", 4),
            (168_994, "head -c 100 /dev/zero; seq 1 30000", 168_994),
            (1 << 20, "echo first; head -c 33554432 /dev/zero; echo last", 33_554_443),
        ] {
            let mut start = sh(script);
            start.max_output_bytes = max;
            let end = place.run(&shell, &start);
            let dropped = whole.saturating_sub(max);
            assert_eq!(end.report().output_dropped, dropped, "{name}: {script} within {max}");
            let line = format!("\n[... {dropped} bytes of output left out ...]\n");
            let line = if dropped == 0 { "" } else { &line };
            assert_eq!(
                end.output.len() as u64,
                max.min(whole) + line.len() as u64,
                "{name}: {script} within {max}"
            );
            let tail = usize::try_from((max / 2).min(65536)).expect("fits");
            let before_tail = end.output.len() - tail;
            assert!(
                dropped == 0 || end.output[..before_tail].ends_with(line.as_bytes()),
                "{name}: {script} within {max}"
            );
        }
    }
}

#[test]
fn in_the_other_mode_the_output_is_all_that_it_says() {
    for (name, shell) in shells() {
        let mut place = Place::new();
        place.output = OutputMode::Stdout;
        let mut start = sh("echo one; echo two >&2; head -c 100000 /dev/zero; exit 3");
        let end = place.run(&shell, &start);
        assert_eq!(
            end.said.len(),
            100_008,
            "{name}: {}",
            String::from_utf8_lossy(&end.said[..100])
        );
        assert!(end.said.starts_with(b"one\ntwo\n"), "{name}");
        assert_eq!(end.report().exit_code, Some(3), "{name}");
        start = sh("head -c 100000 /dev/zero; echo last");
        start.max_output_bytes = 1000;
        let end = place.run(&shell, &start);
        assert_eq!(end.report().output_dropped, 99_005, "{name}");
        assert!(
            end.said.ends_with(b"last\n") && end.said.len() == 1000 + 42,
            "{name}: {}",
            end.said.len()
        );
    }
}

#[test]
fn limits_hold() {
    for (name, shell) in shells() {
        let place = Place::new();
        let mut start =
            sh("head -c 100000 /dev/zero > file; wc -c < file; grep -E 'address space|processes' /proc/self/limits");
        start.limits.max_file_bytes = Some(8192);
        start.limits.max_memory_bytes = Some(1 << 30);
        start.limits.max_processes = Some(5000);
        let end = place.run(&shell, &start);
        let text = String::from_utf8_lossy(&end.output).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        for wanted in ["8192", "1073741824", "5000"] {
            assert!(words.contains(&wanted), "{name}: {wanted} in {text}");
        }
    }
}

#[test]
fn of_half_a_job_nothing_runs() {
    for (name, shell) in shells() {
        let place = Place::new();
        let mut start = sh("touch ran");
        start.secrets = BTreeMap::from([("TOKEN".into(), "x".repeat(100))]);
        let whole = place.job(&start).whole();
        for cut in [1, 2, 3, 10, 30, whole.len() / 2, whole.len() - 60] {
            let mut child = Place::launch(&shell, &whole[..whole.len() - cut]);
            let status = child.wait().expect("waits");
            // Without the last line break it is whole.
            assert_eq!(
                place.attempt(&start).exists(),
                cut == 1 && status.success(),
                "{name}: without {cut} bytes"
            );
            if cut == 1 && place.attempt(&start).exists() {
                std::fs::remove_dir_all(place.attempt(&start)).expect("removes");
                std::fs::remove_file(place.folder.path().join("work/ran")).expect("removes");
            }
        }
        assert!(!place.folder.path().join("work/ran").exists(), "{name}");
    }
}

#[test]
fn started_twice_it_runs_once() {
    for (name, shell) in shells() {
        let place = Place::new();
        let start = sh("echo line >> count");
        let whole = place.job(&start).whole();
        let children: Vec<Child> = (0..4).map(|_| Place::launch(&shell, &whole)).collect();
        let mut said: Vec<String> = children
            .into_iter()
            .map(|child| String::from_utf8(child.wait_with_output().expect("waits").stdout).expect("is text"))
            .collect();
        said.sort();
        assert_eq!(said, ["already\n", "already\n", "already\n", "started\n"], "{name}");
        let count = std::fs::read_to_string(place.folder.path().join("work/count")).expect("reads");
        assert_eq!(count, "line\n", "{name}");
        let note = std::fs::read_to_string(place.attempt(&start).join("started")).expect("reads");
        let note = StartedNote::parse(&note).expect("parses");
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("reads");
        assert_eq!(note.boot, boot.trim(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_quoted_text_is_one_word_of_every_shell(texts in prop::collection::vec("[^\0]{0,40}", 1..20)) {
        for (name, shell) in shells() {
            let words: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
            let mut child = Command::new(shell[0])
                .args(&shell[1..])
                .arg("-s")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("starts");
            let script = format!("printf '%s\\0' {}\n", words.join(" "));
            child.stdin.take().expect("is piped").write_all(script.as_bytes()).expect("writes");
            let output = child.wait_with_output().expect("waits").stdout;
            let expected: Vec<u8> = texts.iter().flat_map(|text| [text.as_bytes(), b"\0"].concat()).collect();
            prop_assert!(output == expected, "{name}: {texts:?}");
        }
    }
}

#[test]
fn inputs_are_packed_as_they_were_laid_out() {
    let scratch = tempfile::tempdir().expect("makes a folder");
    let inputs = [
        input(scratch.path(), "a/b.txt", b"data", 0o644),
        input(scratch.path(), "run", b"#!/bin/sh\n", 0o4777),
    ];
    let laid = lay_out(&inputs, scratch.path()).expect("lays");
    symlink("run", laid.path().join("link")).expect("links");
    let long = "x".repeat(150);
    std::fs::write(laid.path().join(&long), "long").expect("writes");
    let file = pack(laid.path(), (1234, 5678), scratch.path()).expect("packs");
    let mut archive = tar::Archive::new(file);
    let mut found = BTreeMap::new();
    for entry in archive.entries().expect("reads") {
        let entry = entry.expect("reads");
        let header = entry.header();
        assert_eq!(
            (header.uid().expect("is a number"), header.gid().expect("is a number")),
            (1234, 5678)
        );
        let path = entry.path().expect("is a path").display().to_string();
        found.insert(
            path,
            (header.mode().expect("is a number"), header.entry_type().as_byte()),
        );
    }
    let expected: [(&str, (u32, u8)); 5] = [
        ("a", (0o755, b'5')),
        ("a/b.txt", (0o644, b'0')),
        ("link", (0o777, b'2')),
        ("run", (0o755, b'0')),
        (&long, (0o644, b'0')),
    ];
    let expected: BTreeMap<String, (u32, u8)> = expected
        .into_iter()
        .map(|(name, what)| (name.to_owned(), what))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn of_what_comes_back_only_files_that_are_wanted_are_taken() {
    let scratch = tempfile::tempdir().expect("makes a folder");
    let work = scratch.path().join("work");
    std::fs::create_dir_all(work.join(".clawhand")).expect("makes");
    for (name, content) in [
        ("a.xml", "one"),
        ("b.txt", "no"),
        ("d.xml", "three"),
        (".clawhand/x.xml", "own"),
    ] {
        std::fs::write(work.join(name), content).expect("writes");
    }
    std::fs::hard_link(work.join("a.xml"), work.join("c.xml")).expect("links");
    symlink("/etc/passwd", work.join("e.xml")).expect("links");
    std::fs::write(work.join(std::ffi::OsStr::new("f\u{fffd}.xml")), "").expect("writes");
    let tar = Command::new("tar")
        .args(["-cf", "-", "--sort=name", "work"])
        .current_dir(scratch.path())
        .output();
    let tar = tar.expect("runs tar").stdout;
    let globs = ["**/*.xml".to_owned()];
    let limit = CollectLimit { files: 3, bytes: 8 };
    let mut found = collected(&tar[..], ("work/", &globs), limit, scratch.path()).expect("collects");
    let mut files = Vec::new();
    for file in &mut found.files {
        let mut text = String::new();
        file.file.read_to_string(&mut text).expect("reads");
        files.push((file.name.clone(), text));
    }
    let expect = [("a.xml", "one"), ("c.xml", "one")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(files[..2], expect);
    let reasons: Vec<(&str, &str)> = found
        .left_out
        .iter()
        .map(|(name, why)| (name.as_str(), why.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [("d.xml", "more than 8 bytes in all"), ("e.xml", "it is a link")]
    );
    // Cut off in the middle it is an error, not fewer files.
    assert!(collected(&tar[..700], ("work/", &globs), limit, scratch.path()).is_err());
}

/// A number that the work or a timer had may be a stranger's a moment later, most of all on a machine that counts to
/// 32768 only.
#[test]
fn a_stranger_who_got_a_number_of_the_works_is_left_alone() {
    let functions = concat!(env!("CARGO_MANIFEST_DIR"), "/src/executors/posix/supervise.sh");
    for (name, shell) in shells() {
        let mut stranger = Command::new("setsid")
            .args(["sleep", "1000"])
            .stdin(Stdio::null())
            .spawn()
            .expect("starts");
        let script = format!(
            ". {functions}\n\
            read -r cw_me cw_rest </proc/self/stat\n\
            cw_attempt=nobodys cw_session=$1\n\
            cw_session_birth=another\n\
            ! cw_find || echo \"of another session:$cw_found\"\n\
            ! cw_is_child \"$1\" || echo 'a stranger is a child'\n\
            sleep 1000 &\n\
            cw_is_child $! && kill $! || echo 'a child is a stranger'\n\
            cw_born \"$1\"\n\
            cw_session_birth=$cw_birth\n\
            cw_find || echo 'not found in its own session'\n\
            echo \"$cw_found\""
        );
        let pid = stranger.id().to_string();
        // Until it is in a session of its own.
        let is_leader = || {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
                let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
                fields.get(3) == Some(&pid.as_str())
            })
        };
        while !is_leader() {
            std::thread::yield_now();
        }
        let said = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &script, "sh", &pid])
            .output()
            .expect("runs");
        stranger.kill().expect("ends");
        stranger.wait().expect("ends");
        assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), pid, "{name}: {said:?}");
    }
}

/// Otherwise the supervisor would wait for the timer, and with it all that wait for the supervisor, until the step's time
/// were over.
#[test]
fn a_timer_that_is_only_being_made_hears_that_all_is_over() {
    let functions = concat!(env!("CARGO_MANIFEST_DIR"), "/src/executors/posix/supervise.sh");
    for (name, shell) in shells() {
        let place = tempfile::tempdir().expect("makes a folder");
        let script = format!(
            ". {functions}\n\
            read -r cw_me cw_rest </proc/self/stat\n\
            cw_dir={} cw_lost= cw_began=0 cw_fractions= cw_attempt=nobodys\n\
            cw_born \"$cw_me\"\n\
            cw_my_birth=$cw_birth\n\
            mkfifo \"$cw_dir/events\"\n\
            exec 4<>\"$cw_dir/events\"\n\
            trap 'cw_term=1' TERM INT\n\
            cw_turn=0\n\
            while [ \"$cw_turn\" -lt 300 ]; do\n\
            rm -f \"$cw_dir/over\"\n\
            cw_timers=\n\
            cw_later 1000000 timeout\n\
            cw_end\n\
            cw_turn=$((cw_turn + 1))\n\
            done\n\
            echo over",
            place.path().display()
        );
        let said = place.path().join("said");
        let file = std::fs::File::create(&said).expect("makes");
        let ended = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &script])
            .stdout(file)
            .status();
        assert!(ended.expect("runs").success(), "{name}");
        assert_eq!(std::fs::read_to_string(&said).expect("reads"), "over\n", "{name}");
    }
}

/// Whatever becomes of the supervisor's own processes, nobody waits for what they can't say any more.
#[test]
fn a_reader_that_is_gone_holds_nobody_up() {
    for (name, shell) in shells() {
        // Killed, and without a process more for what it does next.
        for kills in [true, false] {
            let place = Place::new();
            let mut start = sh(&format!("{GOES_ON}; head -c 100000 /dev/zero"));
            start.max_output_bytes = 4096;
            let user: &[&str] = if is_root() { &STRANGER } else { &[] };
            place.open_to_all();
            let child = Place::launch(&[user, &shell].concat(), &place.job(&start).whole());
            let attempt = place.attempt(&start);
            wait_for_output(&attempt, b"begun\n");
            let supervisor = Pid::from_raw(child.id().cast_signed());
            let mut readers = readers_of(&attempt.join("pipe")).into_iter();
            let reader = readers
                .find(|reader| parent_of(*reader) == Some(supervisor))
                .expect("has a reader");
            if kills {
                nix::sys::signal::kill(reader, Signal::SIGKILL).expect("kills it");
            } else {
                allow_processes(user, reader, 1);
            }
            std::fs::write(place.folder.path().join("work/go"), "").expect("writes");
            let end = place.end(child, &start);
            let log = std::fs::read_to_string(attempt.join("log")).unwrap_or_default();
            assert_eq!((end.report, end.status), (None, Some(1)), "{name}: {log}");
        }
    }
}

#[test]
fn a_timer_that_gets_no_process_is_made_anew() {
    if !is_root() {
        eprintln!("left out: a user with so many processes and no more, which only root can make");
        return;
    }
    // bash tries for a quarter of a minute itself before it gives up.
    for (name, shell) in shells().into_iter().filter(|(name, _)| *name != "bash") {
        let place = Place::new();
        place.open_to_all();
        let start = sh("trap '' TERM; mkfifo hold; exec 9<>hold; echo begun; read -r line <&9");
        let id = 100_000 + std::process::id();
        let user = ["setpriv", &format!("--reuid={id}"), "--regid=65534", "--clear-groups"];
        let child = Place::launch(&[&user[..], &shell].concat(), &place.job(&start).whole());
        let attempt = place.attempt(&start);
        wait_for_output(&attempt, b"begun\n");
        let count = until_user_sleeps(id);
        // One more is not enough for a timer, which is two.
        allow_processes(&user, Pid::from_raw(child.id().cast_signed()), count + 1);
        let mut events = std::fs::OpenOptions::new()
            .write(true)
            .open(attempt.join("events"))
            .expect("opens");
        events.write_all(b"cancel 500\n").expect("writes");
        let end = place.end(child, &start);
        let report = end.report();
        assert!(report.cancelled, "{name}: {report:?}");
        let log = std::fs::read_to_string(attempt.join("log")).expect("is there");
        assert!(log.contains("fork"), "{name}: it got what it wanted: {log}");
        assert!(
            u128::from(report.duration_ms) < start.timeout.as_millis(),
            "{name}: {report:?}"
        );
    }
}

#[test]
fn work_that_got_no_process_is_not_taken_for_work_that_failed() {
    let functions = concat!(env!("CARGO_MANIFEST_DIR"), "/src/executors/posix/supervise.sh");
    for (name, shell) in shells() {
        let script = format!(
            ". {functions}\n\
            cw_shown_program=program cw_session= cw_over=\n\
            heard=$(ulimit -u 1 2>/dev/null || ulimit -p 1; exec \"$@\" -c \"$cw_starter\" sh setsid nobodys '' '' '' true 4>&1)\n\
            cw_heard $heard\n\
            echo \"$cw_code $cw_error\""
        );
        let user: &[&str] = if is_root() { &STRANGER } else { &[] };
        let whole = [user, &shell, &["-c", &script, "sh"], &shell].concat();
        let said = Command::new(whole[0]).args(&whole[1..]).output().expect("runs");
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert_eq!(text, "126 program: it could not be started\n", "{name}: {said:?}");
    }
}

/// Another user, for whom a limit of processes holds.
const STRANGER: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// From now on it and what it starts can have no more than so many processes of its user.
fn allow_processes(user: &[&str], pid: Pid, count: usize) {
    let (pid, count) = (format!("--pid={pid}"), format!("--nproc={count}"));
    let whole = [user, &["prlimit", &pid, &count]].concat();
    let limited = Command::new(whole[0]).args(&whole[1..]).status();
    assert!(limited.expect("runs prlimit").success());
}

fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?;
    parent.parse().ok().map(Pid::from_raw)
}

/// Waits until one of this user's processes is `sleep`, which the timer makes last of all, and counts them.
fn until_user_sleeps(id: u32) -> usize {
    use std::os::unix::fs::MetadataExt as _;
    loop {
        let entries = std::fs::read_dir("/proc").expect("lists").flatten();
        let numbers = entries.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
        let own = numbers.filter(|entry| entry.metadata().is_ok_and(|owner| owner.uid() == id));
        let lines: Vec<Vec<u8>> = own
            .flat_map(|entry| std::fs::read(entry.path().join("cmdline")))
            .collect();
        if lines.iter().any(|line| line.starts_with(b"sleep\0")) {
            return lines.len();
        }
        std::thread::yield_now();
    }
}
