//! Each built-in recipe on a real project with the real tool, through the program itself.
//!
//! The projects in tests/fixtures/projects have tests that pass, fail and are skipped. An execution downloads and
//! compiles anew, so each shows as many things as it can. A tool that isn't there is told in one line and fails CI.

mod place;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use place::{Place, Tests};

#[test]
fn a_python_project_with_pip() {
    let Some(place) = Place::with(&["python3"]) else { return };
    place
        .fixture("install_and_test", "python-pyproject", &[])
        .failed()
        .steps(&["environment", "install-with-test", "install-pytest", "test"])
        .tests(&Tests {
            passed: &[
                "tests.test_greeter::test_greets[Ada]",
                "tests.test_greeter::test_greets[Grace <3]",
            ],
            failed: &[
                "tests.test_greeter::test_fails",
                "tests.test_greeter.TestInClass::test_errors",
            ],
            skipped: &["tests.test_greeter::test_skipped"],
        })
        .says(
            "tests.test_greeter::test_fails",
            "AssertionError: assert 'Hello, Ada!' == 'Goodbye, Ada!'",
        )
        .made(&[".clawhand/junit.xml"]);
    place
        .fixture("build", "python-pyproject", &[])
        .succeeded()
        .made(&["dist/greeter-0.1.0-*.whl", "dist/greeter-0.1.0.tar.gz"]);
}

#[test]
fn python_requirements_with_pip() {
    let Some(place) = Place::with(&["python3"]) else { return };
    place
        .fixture("install_and_test", "python-requirements", &[])
        .failed()
        .steps(&["environment", "install-requirements", "install-pytest", "test"])
        .tests(&Tests {
            passed: &["test_app.AppTest::test_sections"],
            failed: &["test_app.AppTest::test_fails"],
            skipped: &["test_app.AppTest::test_skipped"],
        });
    place
        .fixture("run", "python-requirements", &[])
        .succeeded()
        .steps(&["environment", "install-requirements", "run-main"])
        .printed("['first', 'second']");
}

#[test]
fn a_lone_python_script() {
    let Some(place) = Place::with(&["python3"]) else { return };
    let script = "import sys\n\n\ndef test_ä():\n    assert 'ä'.upper() == 'Ä'\n\n\nprint(sys.argv[1:])\n";
    let folder = place.project("ein Ordner", &[("wörter zählen.py", script)]);
    let script = folder.join("wörter zählen.py");
    place.run("install_and_test", &script, &[]).succeeded().tests(&Tests {
        passed: &["wörter zählen::test_ä"],
        failed: &[],
        skipped: &[],
    });
    place
        .run("run", &script, &[r#"args=["grüß dich", "--all", "$HOME;*"]"#])
        .succeeded()
        .printed("['grüß dich', '--all', '$HOME;*']");
    place.fixture("lint", "python-script", &[]).succeeded();
    place.fixture("check", "python-script", &[]).succeeded();
    let broken = place.project("broken", &[("main.py", "def broken(:\n")]);
    place.run("check", &broken, &[]).failed();
}

#[test]
fn a_python_project_with_uv() {
    let Some(place) = Place::with_extra(&["python3"], &["uv"]) else {
        return;
    };
    place
        .fixture(
            "install_and_test",
            "python-pyproject",
            &[r#"test_args=["-k", "greets"]"#],
        )
        .succeeded()
        .steps(&["environment", "install-with-test", "install-pytest", "test"])
        .counted(2, 0, 0)
        .printed("  How: as a Python project, because the project has pyproject.toml, with uv of the target.");
    place
        .fixture("test", "python-pyproject", &[r#"test_args=["-k", "greets or fails"]"#])
        .failed()
        .counted(2, 1, 0);
    let run = ["module=greeter", r#"args=["Bob"]"#];
    place
        .fixture("run", "python-pyproject", &run)
        .succeeded()
        .printed("Hello, Bob!");
    place.fixture("lint", "python-pyproject", &[]).succeeded();
    place.fixture("check", "python-pyproject", &[]).succeeded();
}

const LOCKED: &[(&str, &str)] = &[
    (
        "package.json",
        r#"{"name": "locked", "version": "1.0.0", "dependencies": {"dep": "file:dep"},
            "scripts": {"test": "node check.js", "lint": "node --check check.js", "build": "node check.js > dist/ok.txt"}}"#,
    ),
    (
        "package-lock.json",
        r#"{"name": "locked", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {
            "": {"name": "locked", "version": "1.0.0", "dependencies": {"dep": "file:dep"}},
            "dep": {"version": "2.0.0"}, "node_modules/dep": {"resolved": "dep", "link": true}}}"#,
    ),
    (
        "dep/package.json",
        r#"{"name": "dep", "version": "2.0.0", "main": "dep.js"}"#,
    ),
    ("dep/dep.js", "module.exports = 'locked and there';\n"),
    ("check.js", "console.log(require('dep'));\n"),
    ("dist/README", "what is built\n"),
];

#[test]
fn a_node_project() {
    let Some(place) = Place::with(&["node", "npm"]) else {
        return;
    };
    place
        .fixture("install_and_test", "node", &[])
        .failed()
        .steps(&["install", "test-node"])
        .tests(&Tests {
            passed: &["adds", "add > takes zero", "is to be done"],
            failed: &["add > fails"],
            skipped: &["add > is skipped"],
        })
        .says("add > fails", "Expected values to be strictly equal:");
    let some = [r#"test_args=["--test-name-pattern=adds"]"#];
    place
        .fixture("test", "node", &some)
        .succeeded()
        .steps(&["test-node"])
        .named("passed_names", &["adds"])
        .named("failures", &[]);
    let run = [r#"args=["1", "2"]"#];
    place.fixture("run", "node", &run).succeeded().printed("3");
    place
        .fixture("build", "node", &[])
        .succeeded()
        .made(&["adder-1.0.0.tgz"]);
    place.fixture("check", "node", &[]).succeeded();
    place
        .fixture("lint", "node", &[])
        .refused("not_ready", "nothing in it says how to do 'lint'", "then start again");

    let locked = place.project("locked", LOCKED);
    place
        .run("install_and_test", &locked, &[])
        .succeeded()
        .steps(&["install-locked", "test"])
        .printed("locked and there");
    place
        .run("build", &locked, &[])
        .succeeded()
        .made(&["dist/README", "dist/ok.txt"]);
    place.run("lint", &locked, &[]).succeeded();
}

#[test]
fn a_node_project_with_vitest() {
    let Some(place) = Place::with(&["node", "npm"]) else {
        return;
    };
    let package = r#"{"name": "quick", "private": true, "type": "module", "scripts": {"test": "vitest run"},
                      "devDependencies": {"vitest": "3.2.4"}}"#;
    let test = "import { expect, test } from 'vitest';\n\
                test('adds', () => expect(1 + 2).toBe(3));\n\
                test('fails', () => expect(1 + 1).toBe(3));\n\
                test.skip('is skipped', () => {});\n";
    let project = place.project("quick", &[("package.json", package), ("add.test.js", test)]);
    place
        .run("install_and_test", &project, &[])
        .failed()
        .tests(&Tests {
            passed: &["add.test.js::adds"],
            failed: &["add.test.js::fails"],
            skipped: &["add.test.js::is skipped"],
        })
        .says("add.test.js::fails", "expected 2 to be 3")
        .made(&[".clawhand/junit.xml"]);
}

#[test]
fn a_rust_project_with_cargo() {
    let Some(place) = Place::with_extra(&["cargo"], &[]) else {
        return;
    };
    place
        .fixture("install_and_test", "rust", &[])
        .failed()
        .steps(&["fetch", "test"])
        .tests(&Tests {
            passed: &["tests::adds", "tests::overflows", "src/lib.rs - add (line 5)"],
            failed: &["tests::fails"],
            skipped: &["tests::is_skipped"],
        })
        .says("tests::fails", "assertion `left == right` failed");
    let some = [r#"test_args=["--lib", "adds"]"#];
    place.fixture("test", "rust", &some).succeeded().tests(&Tests {
        passed: &["tests::adds"],
        failed: &[],
        skipped: &[],
    });
    let run = [r#"args=["1", "2"]"#];
    place.fixture("run", "rust", &run).succeeded().printed("3");
    place.fixture("build", "rust", &[]).succeeded();
    place.fixture("check", "rust", &[]).succeeded();
    let manifest = "[package]\nname = \"sloppy\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
    let sloppy = [("Cargo.toml", manifest), ("src/lib.rs", "fn unused() {}\n")];
    place.run("lint", &place.project("sloppy", &sloppy), &[]).failed();
}

#[test]
fn a_rust_project_with_nextest() {
    let Some(place) = Place::with_extra(&["cargo"], &["cargo-nextest"]) else {
        return;
    };
    place
        .fixture("install_and_test", "rust", &[])
        .failed()
        .counted(2, 1, 1)
        .named("passed_names", &["adder tests::adds", "adder tests::overflows"])
        .named("failures", &["adder tests::fails"])
        .says("adder tests::fails", "assertion `left == right` failed");
}

#[test]
fn a_go_module() {
    let Some(place) = Place::with(&["go"]) else { return };
    place
        .fixture("install_and_test", "go", &[])
        .failed()
        .steps(&["fetch", "test"])
        .tests(&Tests {
            passed: &[
                "example.test/adder.TestAdds",
                "example.test/adder.TestAdds/first",
                "example.test/adder.TestAdds/second",
            ],
            failed: &["example.test/adder.TestFails"],
            skipped: &["example.test/adder.TestSkipped"],
        })
        .says("example.test/adder.TestFails", "got 2, want 3");
    place.fixture("run", "go", &[]).succeeded().printed("3");
    // No imports: go compiles its whole library anew for each execution.
    let module = [
        ("go.mod", "module example.test/tiny\n\ngo 1.20\n"),
        (
            "tiny.go",
            "package tiny\n\nfunc same() (x int) {\n\tx = x\n\treturn\n}\n",
        ),
    ];
    let tiny = place.project("tiny", &module);
    place.run("build", &tiny, &[]).succeeded();
    place.run("lint", &tiny, &[]).failed().mentioned("self-assignment of x");
}

#[test]
fn a_maven_project() {
    let Some(place) = Place::with(&["mvn", "javac"]) else {
        return;
    };
    place
        .fixture("install_and_test", "maven", &[])
        .failed()
        .tests(&Tests {
            passed: &["test.example.AdderTest::adds"],
            failed: &["test.example.AdderTest::fails"],
            skipped: &["test.example.AdderTest::isSkipped"],
        })
        .says("test.example.AdderTest::fails", "expected: <3> but was: <2>")
        .made(&["target/surefire-reports/TEST-test.example.AdderTest.xml"]);
    place
        .fixture("build", "maven", &[])
        .succeeded()
        .made(&["target/adder-1.0.jar"]);
}

#[test]
fn a_project_with_a_makefile() {
    let Some(place) = Place::with(&["make"]) else { return };
    place
        .fixture("install_and_test", "make", &[])
        .failed()
        .steps(&["install", "test"])
        .tests(&Tests {
            passed: &["greets the world"],
            failed: &["fails"],
            skipped: &["says goodbye"],
        })
        .says("fails", "as it is meant to")
        .made(&["dist/greeting.txt"]);
    place
        .fixture("build", "make", &["jobs=2"])
        .succeeded()
        .made(&["dist/greeting.txt"]);
    let makefile = "run:\n\t@echo running\nlint:\n\t@echo linted\ncheck:\n\t@echo 'ok 1 - is fine'; echo '1..1'\n\
                    deploy:\n\t@echo deployed\nother:\n\t@echo other; exit 3\n";
    let project = place.project("rules", &[("Makefile", makefile)]);
    for (intent, line) in [("run", "running"), ("lint", "linted"), ("deploy", "deployed")] {
        place.run(intent, &project, &[]).succeeded().printed(line);
    }
    place.run("check", &project, &[]).succeeded().counted(1, 0, 0);
    place.run("run", &project, &["rule=other"]).failed().printed("other");
}

#[test]
fn a_shell_script() {
    let Some(place) = Place::with(&["bash"]) else { return };
    place.fixture("install_and_test", "shell", &[]).failed().tests(&Tests {
        passed: &["greets"],
        failed: &["fails"],
        skipped: &["says goodbye"],
    });
    let greet = [r#"args=["Ada; exit 7"]"#];
    place
        .fixture("run", "shell", &greet)
        .succeeded()
        .printed("Hello, Ada; exit 7!");
    place.fixture("check", "shell", &[]).succeeded();

    let test = "mkdir -p out\nread -r line < 'daten ä/größe 1.txt'\necho 1..2\necho \"ok 1 - liest größe 1: $line\"\n\
                echo 'ok 2 - 你好 # SKIP später'\ncp 'daten ä/größe 1.txt' 'out/größe 1.txt'\n";
    let project = [("test.sh", test), ("daten ä/größe 1.txt", "12 mm\n")];
    let project = place.project("Grüße an die Welt 你好", &project);
    place
        .run("test", &project, &[])
        .succeeded()
        .tests(&Tests {
            passed: &["liest größe 1: 12 mm"],
            failed: &[],
            skipped: &["你好"],
        })
        .made(&["out/größe 1.txt"]);
    // Tests that say no while the script says yes are a no.
    let lenient = place.project("lenient", &[("test.sh", "echo 'not ok 1 - it works'; echo 1..1\n")]);
    place.run("test", &lenient, &[]).failed().counted(0, 1, 0);
}

#[test]
fn a_missing_tool_is_refused_with_what_to_install() {
    let place = Place::bare();
    let tool = place.folder("tools").join("go");
    std::fs::write(&tool, "#!/bin/sh\necho go version go1.10.4 linux/amd64\n").unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (project, message, hint) in [
        (
            "python-pyproject",
            "python3 3.8 or newer",
            "install Python 3.8 or newer",
        ),
        ("python-script", "python3 3.8 or newer", "python3-venv"),
        (
            "node",
            "node 18 or newer and npm",
            "install Node 18 or newer; install npm",
        ),
        ("rust", "cargo", "install Rust with cargo (https://rustup.rs)"),
        ("go", "go 1.18 or newer (it has 1.10.4)", "install Go 1.18 or newer"),
        ("maven", "mvn 3.6 or newer and javac", "install a JDK"),
        ("make", "make", "install make"),
        ("shell", "bash, or sh", "install a POSIX shell"),
    ] {
        place
            .fixture("test", project, &[])
            .refused("missing_facts", message, hint);
    }
}

const LOOPBACK: &str = r#"
import http.server, socket, sys, threading, urllib.request

def reaches(what, where):
    try:
        socket.create_connection(where, timeout=5).close()
        return f"reaches {what}"
    except OSError as why:
        return f"does not reach {what}"

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("own server:", urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/").status)
print(reaches("the machine's own services", ("127.0.0.1", int(sys.argv[1]))))
print(reaches("the outside", ("192.0.2.1", 9)))
"#;

#[test]
fn without_network_a_project_has_its_own_loopback_and_nothing_else() {
    let Some(open) = Place::with(&["python3"]) else { return };
    let sandbox = Place::shipped("sandbox");
    // Something that listens outside of the step, and that a step with a network reaches.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("args=[\"{}\"]", listener.local_addr().unwrap().port());
    let project = sandbox.project("loopback", &[("main.py", LOOPBACK)]);
    sandbox
        .run("run", &project, &[&port])
        .succeeded()
        .printed("own server: 200")
        .printed("does not reach the machine's own services")
        .printed("does not reach the outside");
    open.run("run", &project, &[&port])
        .succeeded()
        .printed("reaches the machine's own services");
    // What must be fetched can't be: the work says no, and in time.
    let requirements = sandbox.project("fetches", &[("test.sh", "echo 1..1\npython3 -m pip download -q --retries 0 iniconfig >&2 && echo ok 1 - fetches || echo not ok 1 - fetches\n")]);
    sandbox
        .run("test", &requirements, &[])
        .failed()
        .named("failures", &["fetches"]);
}
