//! JUnit XML, as pytest, surefire, vitest and many others write it.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

use super::tally::{Verdict, add_line, count};
use crate::domain::TestSummary;

/// What the reports said so far.
#[derive(Debug, Default)]
pub(super) struct Junit {
    summary: Option<TestSummary>,
    broken: Option<String>,
}

/// The test case that is being read.
#[derive(Debug)]
struct Case {
    name: String,
    verdict: Verdict,
    message: String,
    /// Text belongs to the message: a failure or an error is open.
    listening: bool,
}

impl Junit {
    pub(super) fn report(&mut self, name: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        match read(&text) {
            Ok(summary) => self.summary.get_or_insert_default().add(summary),
            Err(why) => {
                self.broken
                    .get_or_insert(format!("the report {name} can't be read: {why}"));
            }
        }
    }

    pub(super) fn finish(self) -> Result<Option<TestSummary>, String> {
        match self.broken {
            Some(why) => Err(why),
            None => Ok(self.summary),
        }
    }
}

/// Reads one report to its end. Entities are the five of XML and numbers; nothing else is expanded.
fn read(text: &str) -> Result<TestSummary, String> {
    let mut reader = quick_xml::Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut summary = TestSummary::default();
    let mut case: Option<Case> = None;
    let mut depth: usize = 0;
    let mut elements: usize = 0;
    loop {
        let event = reader
            .read_event()
            .map_err(|why| format!("{why} at byte {}", reader.buffer_position()))?;
        match event {
            Event::Start(start) => {
                (depth, elements) = (depth + 1, elements + 1);
                open(&start, &mut case);
            }
            Event::Empty(start) => {
                elements += 1;
                open(&start, &mut case);
                close(start.name().as_ref(), &mut case, &mut summary);
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                close(end.name().as_ref(), &mut case, &mut summary);
            }
            Event::Text(text) => listen(&mut case, &text),
            Event::CData(text) => listen(&mut case, &text),
            Event::GeneralRef(entity) => {
                let resolved = match entity.resolve_char_ref() {
                    Ok(Some(c)) => c.to_string(),
                    _ => resolve_predefined_entity(&entity).unwrap_or_default().to_owned(),
                };
                listen(&mut case, &resolved);
            }
            Event::Eof if depth > 0 => return Err("it ends too early".to_owned()),
            Event::Eof if elements == 0 => return Err("it is not XML".to_owned()),
            Event::Eof => return Ok(summary),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

/// An element begins.
fn open(start: &BytesStart<'_>, case: &mut Option<Case>) {
    let verdict = match start.local_name().as_ref() {
        "testcase" => {
            let class = attribute(start, "classname").filter(|class| !class.is_empty());
            let own = attribute(start, "name").unwrap_or_default();
            let name = class.map_or_else(|| own.clone(), |class| format!("{class}::{own}"));
            *case = Some(Case {
                name,
                verdict: Verdict::Passed,
                message: String::new(),
                listening: false,
            });
            return;
        }
        "failure" | "error" => Verdict::Failed,
        "skipped" => Verdict::Skipped,
        _ => return,
    };
    let Some(case) = case else { return };
    // A test that failed and was then skipped in its teardown has failed.
    if case.verdict != Verdict::Failed {
        case.verdict = verdict;
    }
    if verdict == Verdict::Failed {
        if let Some(message) = attribute(start, "message").or_else(|| attribute(start, "type")) {
            add_line(&mut case.message, &message);
        }
        case.listening = true;
    }
}

/// An element ends.
fn close(name: &str, case: &mut Option<Case>, summary: &mut TestSummary) {
    match name.rsplit(':').next().unwrap_or(name) {
        "testcase" => {
            if let Some(case) = case.take() {
                count(summary, case.verdict, &case.name, &case.message);
            }
        }
        "failure" | "error" => {
            if let Some(case) = case {
                case.listening = false;
            }
        }
        _ => {}
    }
}

fn listen(case: &mut Option<Case>, text: &str) {
    if let Some(case) = case
        .as_mut()
        .filter(|case| case.listening && case.message.len() <= TestSummary::MESSAGE_MAX)
    {
        case.message.push_str(text);
    }
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = start.try_get_attribute(name).ok().flatten()?;
    let value = attribute.normalized_value(XmlVersion::Implicit1_0);
    Some(value.map_or_else(|_| attribute.value.to_string(), std::borrow::Cow::into_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(report: &str) -> Result<Option<TestSummary>, String> {
        let mut junit = Junit::default();
        junit.report("junit.xml", report.as_bytes());
        junit.finish()
    }

    #[test]
    fn all_kinds_of_cases() {
        let summary = said(
            r#"<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="s" tests="5">
            <testcase classname="tests.test_a" name="test_ok[&lt;1&gt;]" time="0.1"/>
            <testcase classname="tests.test_a" name="test_no"><failure message="assert 1 == 2&#10;more">def x:
  &gt; assert &#49; == 2</failure></testcase>
            <testcase name="alone"><error type="ValueError"><![CDATA[<boom>]]></error><system-out>noise</system-out></testcase>
            <testcase classname="c" name="later"><skipped message="why"/></testcase>
            <testcase classname="c" name="flaky"><flakyFailure>x</flakyFailure></testcase>
            </testsuite></testsuites>"#,
        )
        .expect("reads")
        .expect("has tests");
        assert_eq!((summary.passed, summary.failed, summary.skipped), (2, 2, 1));
        assert_eq!(summary.passed_names, ["tests.test_a::test_ok[<1>]", "c::flaky"]);
        assert_eq!(summary.skipped_names, ["c::later"]);
        assert_eq!(summary.failures[0].name, "tests.test_a::test_no");
        assert_eq!(
            summary.failures[0].message,
            "assert 1 == 2\nmore\ndef x:\n  > assert 1 == 2"
        );
        assert_eq!(summary.failures[1].name, "alone");
        assert_eq!(summary.failures[1].message, "ValueError\n<boom>");
    }

    #[test]
    fn no_report_is_nothing_and_a_broken_one_says_so() {
        assert_eq!(Junit::default().finish(), Ok(None));
        for broken in [
            "",
            "plain text",
            "<testsuite><testcase name='a'>",
            "<testsuite></other>",
            "<a><b></a>",
        ] {
            let why = said(broken).expect_err(broken);
            assert!(why.starts_with("the report junit.xml can't be read: "), "{why}");
        }
        // A document type is not looked at, and what it would declare is not expanded.
        let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaa">]><testsuite><testcase name="t"><failure>&a;</failure></testcase></testsuite>"#;
        assert_eq!(said(bomb).expect("reads").expect("has tests").failures[0].message, "");
    }
}
