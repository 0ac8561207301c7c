//! What readers make of the output and the reports of real tools, and of anything else.
//!
//! The samples in tests/fixtures/results are what the tools said about tests/fixtures/projects.

use std::path::Path;

use clawhand::domain::TestSummary;
use clawhand::domain::plan::ResultReader;
use clawhand::planner::readers::{Reader, report_globs};
use proptest::prelude::*;

fn junit() -> ResultReader {
    ResultReader::Junit {
        paths: vec![".clawhand/junit.xml".to_owned()],
    }
}

fn sample(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/results")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// Reads a sample in pieces of a size; a report is read whole.
fn read(reader: &ResultReader, bytes: &[u8], piece: usize) -> Result<Option<TestSummary>, String> {
    let mut reading = Reader::new(reader);
    if report_globs(reader).is_empty() {
        bytes.chunks(piece).for_each(|piece| reading.output(piece));
    } else {
        reading.report("report.xml", bytes);
    }
    reading.finish()
}

/// What a sample says.
struct Expected {
    passed: &'static [&'static str],
    skipped: &'static [&'static str],
    /// Name, and what its message has.
    failed: &'static [(&'static str, &'static str)],
}

type MakeReader = fn() -> ResultReader;

/// Samples, how they are read, and what they say.
const SAMPLES: &[(&str, MakeReader, Expected)] = &[
    (
        "pytest.xml",
        junit,
        Expected {
            passed: &[
                "tests.test_greeter::test_greets[Ada]",
                "tests.test_greeter::test_greets[Grace <3]",
            ],
            skipped: &["tests.test_greeter::test_skipped"],
            failed: &[
                (
                    "tests.test_greeter::test_fails",
                    "assert 'Hello, Ada!' == 'Goodbye, Ada!'",
                ),
                (
                    "tests.test_greeter.TestInClass::test_errors",
                    "fixture 'no_such_fixture' not found",
                ),
            ],
        },
    ),
    (
        "surefire.xml",
        junit,
        Expected {
            passed: &["test.example.AdderTest::adds"],
            skipped: &["test.example.AdderTest::isSkipped"],
            failed: &[(
                "test.example.AdderTest::fails",
                "one and one ==> expected: <3> but was: <2>",
            )],
        },
    ),
    (
        "vitest.xml",
        junit,
        Expected {
            passed: &["a.test.js::a"],
            skipped: &["a.test.js::c"],
            failed: &[("a.test.js::b", "expected 1 to be 2")],
        },
    ),
    (
        "go-test.json",
        || ResultReader::GoTestJson,
        Expected {
            passed: &[
                "example.test/adder.TestAdds/first",
                "example.test/adder.TestAdds/second",
                "example.test/adder.TestAdds",
            ],
            skipped: &["example.test/adder.TestSkipped"],
            failed: &[("example.test/adder.TestFails", "main_test.go:17: got 2, want 3")],
        },
    ),
    (
        "cargo-test.txt",
        || ResultReader::CargoTest,
        Expected {
            passed: &["tests::adds", "tests::overflows", "src/lib.rs - add (line 5)"],
            skipped: &["tests::is_skipped"],
            failed: &[("tests::fails", "on the way\n\nthread 'tests::fails'")],
        },
    ),
    (
        "nextest.txt",
        || ResultReader::CargoTest,
        Expected {
            passed: &["adder tests::adds", "adder tests::overflows"],
            skipped: &[],
            failed: &[("adder tests::fails", "assertion `left == right` failed")],
        },
    ),
    (
        "node-test.tap",
        || ResultReader::Tap,
        Expected {
            passed: &["adds", "add > takes zero", "is to be done"],
            skipped: &["add > is skipped"],
            failed: &[("add > fails", "Expected values to be strictly equal:")],
        },
    ),
];

#[test]
fn real_tools_are_understood() {
    for (name, reader, expected) in SAMPLES {
        let reader = reader();
        let bytes = sample(name);
        let summary = read(&reader, &bytes, 4096).expect(name).expect(name);
        assert_eq!(summary.passed_names, expected.passed, "{name}");
        assert_eq!(summary.skipped_names, expected.skipped, "{name}");
        let failed: Vec<&str> = summary.failures.iter().map(|failure| failure.name.as_str()).collect();
        assert_eq!(
            failed,
            expected.failed.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            "{name}"
        );
        for (failure, (_, said)) in summary.failures.iter().zip(expected.failed) {
            assert!(failure.message.contains(said), "{name}: {}", failure.message);
        }
        // nextest only tells how many were skipped.
        let skipped = if *name == "nextest.txt" {
            1
        } else {
            expected.skipped.len() as u64
        };
        let counts = (expected.passed.len() as u64, expected.failed.len() as u64, skipped);
        assert_eq!((summary.passed, summary.failed, summary.skipped), counts, "{name}");
        for piece in [1, 7, 1000] {
            assert_eq!(
                read(&reader, &bytes, piece),
                Ok(Some(summary.clone())),
                "{name} in pieces of {piece}"
            );
        }
    }
}

#[test]
fn an_exit_code_says_nothing_about_tests() {
    assert_eq!(read(&ResultReader::ExitCode, &sample("cargo-test.txt"), 100), Ok(None));
    assert_eq!(Reader::new(&junit()).finish(), Ok(None), "no report was left");
}

/// Bounds that hold for whatever was read.
fn in_bounds(summary: &TestSummary) -> bool {
    let listed = TestSummary::LISTED;
    summary.passed_names.len() <= listed
        && summary.skipped_names.len() <= listed
        && summary.failures.len() <= listed
        && summary
            .failures
            .iter()
            .all(|f| f.message.len() <= TestSummary::MESSAGE_MAX && f.name.len() <= 512)
}

fn any_reader() -> impl Strategy<Value = ResultReader> {
    prop::sample::select(vec![
        junit(),
        ResultReader::GoTestJson,
        ResultReader::CargoTest,
        ResultReader::Tap,
        ResultReader::ExitCode,
    ])
}

/// Bytes that look like what a tool prints, more or less.
fn any_output() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "TAP version 13\n",
        "1..",
        "9",
        "ok ",
        "not ok ",
        "# SKIP",
        "  ---\n",
        "  ...\n",
        "    ",
        "# Subtest: ",
        "\n",
        "Bail out!",
        "test ",
        "a::b",
        " ... ",
        "FAILED",
        "ignored",
        "---- ",
        " stdout ----\n",
        "failures:\n",
        "test result: ",
        " passed; ",
        " failed; ",
        "PASS [ 0.1s] ",
        "FAIL [ 1s] ",
        "TRY 1 FAIL [1s] ",
        "Summary [",
        "] ",
        "é",
        "18446744073709551615",
        "\u{1b}[3",
        "{",
        "}",
        "{\"Action\":\"",
        "fail",
        "output",
        "\",\"Test\":\"T\"",
        "}\n",
        "<testsuite>",
        "<testcase name='x'>",
        "<failure message='&lt;'>",
        "</failure>",
        "</testcase>",
        "</testsuite>",
        "&#0;",
        "&x;",
        "<![CDATA[",
        "]]>",
        "<!--",
        "<?",
    ]);
    let told = prop::collection::vec(words, 0..60).prop_map(|words| words.concat().into_bytes());
    prop_oneof![told, prop::collection::vec(any::<u8>(), 0..400)]
}

proptest! {
    #[test]
    fn anything_can_be_read_in_pieces_of_any_size(reader in any_reader(), bytes in any_output(), piece in 1usize..50) {
        let whole = read(&reader, &bytes, bytes.len().max(1));
        prop_assert_eq!(&whole, &read(&reader, &bytes, piece));
        if let Ok(Some(summary)) = whole {
            prop_assert!(in_bounds(&summary), "{summary:?}");
        }
    }

    #[test]
    fn a_cut_sample_is_read_as_far_as_it_goes(
        (name, reader) in prop::sample::select(vec![
            ("pytest.xml", junit()), ("go-test.json", ResultReader::GoTestJson), ("cargo-test.txt", ResultReader::CargoTest),
            ("nextest.txt", ResultReader::CargoTest), ("node-test.tap", ResultReader::Tap),
        ]),
        cut in 0.0f64..1.0,
    ) {
        let bytes = sample(name);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a position in a small file")]
        let end = (bytes.len() as f64 * cut) as usize;
        match read(&reader, &bytes[..end], 64) {
            Ok(summary) => prop_assert!(summary.is_none_or(|s| s.passed + s.failed + s.skipped <= 100)),
            Err(why) => prop_assert!(why.starts_with("the report "), "{why}"),
        }
    }
}
