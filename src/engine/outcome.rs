//! From how the steps ended and what the tests said to the outcome that callers read. Pure.

use crate::domain::outcome::TestFailure;
use crate::domain::{Event, Outcome, Plan, Reason, TestSummary};
use crate::redact::Rules;

/// How the steps of an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StepsEnd {
    /// All said yes.
    Succeeded,
    /// One said no.
    Failed {
        /// Which.
        step: u32,
        /// What it exited with.
        exit_code: Option<i32>,
        /// Beyond an exit code: the signal, or why it could not be executed.
        why: Option<String>,
    },
    /// One ran longer than it may, and was ended.
    TimedOut {
        /// Which.
        step: u32,
    },
    /// Somebody cancelled.
    Cancelled,
    /// One may have run; how it ended can't be established.
    Lost {
        /// Which.
        step: u32,
        /// What is known.
        why: String,
    },
    /// It is known that the work did not start.
    CouldNotStart {
        /// Which step, if it came that far.
        step: Option<u32>,
        /// Why.
        why: String,
    },
}

impl StepsEnd {
    /// Whether results are read and outputs collected.
    pub(super) const fn is_collected(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed { .. } | Self::TimedOut { .. })
    }
}

/// The event and the outcome of an execution.
pub(super) fn of(plan: &Plan, end: StepsEnd, tests: Option<TestSummary>) -> (Event, Outcome) {
    let name = |step: u32| plan.steps.get(step as usize).map_or("?", |step| step.name.as_str());
    match end {
        StepsEnd::Succeeded => succeeded(plan, tests),
        StepsEnd::Failed { step, exit_code, why } => {
            let said = match (&why, exit_code) {
                (Some(why), _) => format!("step `{}` failed: {why}", name(step)),
                (None, Some(code)) => format!("step `{}` failed with exit code {code}", name(step)),
                (None, None) => format!("step `{}` failed", name(step)),
            };
            (Event::WorkFailed, failed(said, exit_code, tests))
        }
        StepsEnd::TimedOut { step } => {
            let limit = plan.steps.get(step as usize).map_or(0, |step| step.timeout_s);
            let said = format!("step `{}` ran longer than {limit} s and was ended", name(step));
            let hint = "make the step faster, or ask for a longer timeout_s if the target allows it";
            (Event::TimeoutEnded, ended(&said, reason("timeout", &said, hint), tests))
        }
        StepsEnd::Cancelled => {
            let reason = reason(
                "cancelled",
                "it was cancelled",
                "start the task again if it is still wanted",
            );
            (Event::CancelDone, ended("cancelled; what ran was ended", reason, tests))
        }
        StepsEnd::Lost { step, why } => {
            let said = format!("how step `{}` ended can't be established: {why}", name(step));
            let hint = "check what the step may have changed before you start the task again";
            (Event::Lost, ended(&said, reason("lost", &said, hint), tests))
        }
        StepsEnd::CouldNotStart { step, why } => {
            let at = step
                .map(|step| format!(" at step `{}`", name(step)))
                .unwrap_or_default();
            let said = format!("it could not start{at}: {why}");
            let hint = "start the task again; if it stays so, tell the operator";
            let reason = Reason {
                retryable: true,
                ..reason("could_not_start", &said, hint)
            };
            (Event::InfraFailed, ended(&said, reason, tests))
        }
    }
}

/// The outcome of work that said no: by its tests, where they tell.
fn failed(said: String, exit_code: Option<i32>, tests: Option<TestSummary>) -> Outcome {
    let hint = "read the log and the failures, change the project, and submit it again";
    let (code, message, summary) = match &tests {
        Some(tests) if tests.failed > 0 => {
            let counted = counts(tests);
            (
                "tests_failed",
                format!("{said}: {counted}"),
                format!("{said}; {counted}"),
            )
        }
        Some(tests) => ("exit_code", said.clone(), format!("{said}; {}", counts(tests))),
        None => ("exit_code", said.clone(), said),
    };
    Outcome {
        exit_code,
        summary,
        tests,
        reason: Some(reason(code, &message, hint)),
    }
}

/// The outcome of work that ended without a word of its own.
fn ended(summary: &str, reason: Reason, tests: Option<TestSummary>) -> Outcome {
    Outcome {
        exit_code: None,
        summary: summary.to_owned(),
        tests,
        reason: Some(reason),
    }
}

fn succeeded(plan: &Plan, tests: Option<TestSummary>) -> (Event, Outcome) {
    let steps = plan.steps.len();
    let counted = tests.as_ref().map(counts);
    // A runner that exits 0 although tests failed still means no.
    if tests.as_ref().is_some_and(|tests| tests.failed > 0) {
        let said = counted.unwrap_or_default();
        let reason = reason(
            "tests_failed",
            &said,
            "read the failures, change the project, and submit it again",
        );
        return (
            Event::WorkFailed,
            Outcome {
                exit_code: Some(0),
                summary: said,
                tests,
                reason: Some(reason),
            },
        );
    }
    let summary = match counted {
        Some(counts) => format!("all {steps} steps succeeded; {counts}"),
        None => format!("all {steps} steps succeeded"),
    };
    (
        Event::WorkSucceeded,
        Outcome {
            exit_code: Some(0),
            summary,
            tests,
            reason: None,
        },
    )
}

/// The outcome when the operator removed the target.
pub(super) fn without_target(may_run: bool) -> (Event, Outcome) {
    let said = "the target is no longer configured";
    let reason = reason(
        "target_gone",
        said,
        "choose another target with list_targets and submit the task again",
    );
    let event = if may_run { Event::Lost } else { Event::InfraFailed };
    (
        event,
        Outcome {
            exit_code: None,
            summary: said.into(),
            tests: None,
            reason: Some(reason),
        },
    )
}

/// The same with every text scrubbed. Text by text and not as JSON: a secret that is also the name of a field must not
/// make it unreadable.
pub(super) fn scrubbed(rules: &Rules, outcome: Outcome) -> Outcome {
    let clean = |text: String| rules.text(&text).into_inner();
    Outcome {
        exit_code: outcome.exit_code,
        summary: clean(outcome.summary),
        tests: outcome.tests.map(|tests| scrubbed_tests(rules, tests)),
        reason: outcome.reason.map(|reason| Reason {
            message: clean(reason.message),
            hint: clean(reason.hint),
            ..reason
        }),
    }
}

/// Test names and messages come from raw output.
pub(super) fn scrubbed_tests(rules: &Rules, tests: TestSummary) -> TestSummary {
    let clean = |text: String| rules.text(&text).into_inner();
    let failure = |failure: TestFailure| TestFailure {
        name: clean(failure.name),
        message: clean(failure.message),
    };
    TestSummary {
        failures: tests.failures.into_iter().map(failure).collect(),
        passed_names: tests.passed_names.into_iter().map(clean).collect(),
        skipped_names: tests.skipped_names.into_iter().map(clean).collect(),
        ..tests
    }
}

fn counts(tests: &TestSummary) -> String {
    format!(
        "{} passed, {} failed, {} skipped",
        tests.passed, tests.failed, tests.skipped
    )
}

fn reason(code: &str, message: &str, hint: &str) -> Reason {
    Reason {
        code: code.into(),
        message: message.into(),
        retryable: false,
        hint: hint.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::execution::{ExecutionState, next};
    use crate::domain::plan::Risk;

    fn plan() -> Plan {
        Plan {
            target: "lab".into(),
            intent: "test".into(),
            recipe: "job".into(),
            variant: "only".into(),
            steps: Vec::new(),
            outputs: Vec::new(),
            binding: None,
            inputs: std::collections::BTreeMap::new(),
            risk: Risk::Low,
            approval: None,
            group: None,
            explanation: String::new(),
        }
    }

    fn tests(failed: u64) -> Option<TestSummary> {
        Some(TestSummary {
            passed: 2,
            failed,
            ..TestSummary::default()
        })
    }

    #[test]
    fn every_end_leads_to_a_terminal_state_with_a_reason_unless_it_succeeded() {
        let why = || "x".to_owned();
        let ends = [
            (StepsEnd::Succeeded, ExecutionState::Succeeded),
            (
                StepsEnd::Failed {
                    step: 0,
                    exit_code: Some(1),
                    why: None,
                },
                ExecutionState::Failed,
            ),
            (StepsEnd::TimedOut { step: 0 }, ExecutionState::TimedOut),
            (StepsEnd::Cancelled, ExecutionState::Cancelled),
            (StepsEnd::Lost { step: 0, why: why() }, ExecutionState::Unknown),
            (
                StepsEnd::CouldNotStart { step: None, why: why() },
                ExecutionState::InfraFailed,
            ),
        ];
        for (end, expected) in ends {
            let from = if end.is_collected() {
                ExecutionState::Collecting
            } else {
                ExecutionState::Running
            };
            let (event, outcome) = of(&plan(), end, tests(0));
            assert_eq!(next(from, event), Ok(expected));
            assert_eq!(outcome.reason.is_none(), expected == ExecutionState::Succeeded);
            assert!(!outcome.summary.is_empty());
        }
    }

    #[test]
    fn failed_tests_are_a_no_whatever_the_exit_code() {
        let (event, outcome) = of(&plan(), StepsEnd::Succeeded, tests(1));
        assert_eq!(event, Event::WorkFailed);
        assert_eq!(
            outcome.reason.map(|reason| reason.code).as_deref(),
            Some("tests_failed")
        );
    }
}
