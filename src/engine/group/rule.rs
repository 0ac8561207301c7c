//! What a group's execution does next, and what becomes of it by what became of its members. Pure.

use crate::domain::outcome::TestFailure;
use crate::domain::plan::GroupPlan;
use crate::domain::{Event, ExecutionState, Outcome, Plan, Reason, TestSummary};
use crate::store::Child;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Todo<'a> {
    /// Start this plan, on the member that it names.
    Start(&'a Plan),
    /// Wait until a member ends.
    Wait,
    /// None runs, and none is to be started.
    Over,
}

pub(super) fn todo<'a>(group: &'a GroupPlan, children: &[Child], is_cancelled: bool) -> Todo<'a> {
    let running = count(children, |state| !state.is_terminal());
    let next = group.members.iter().find(|plan| child_of(plan, children).is_none());
    let goes_on = !is_cancelled && !has_too_many_failures(group, children);
    match next {
        Some(plan) if goes_on && running < group.at_once as usize => Todo::Start(plan),
        _ if running > 0 => Todo::Wait,
        _ => Todo::Over,
    }
}

/// How it ended. What can't be established on one member can't be established for the group, so that nobody starts it
/// again without looking; a no of the work comes before what only could not be started.
pub(super) fn end(group: &GroupPlan, children: &[Child], is_cancelled: bool) -> (Event, Outcome) {
    let has = |wanted: ExecutionState| children.iter().any(|child| child.state == wanted);
    let succeeded = count(children, |state| state == ExecutionState::Succeeded);
    let summary = summary(group, children);
    let outcome = |code: &str, hint: &str| Outcome {
        exit_code: deciding_exit_code(children),
        summary: summary.clone(),
        tests: tests(children),
        reason: Some(Reason {
            code: code.into(),
            message: summary.clone(),
            retryable: code == "could_not_start",
            hint: hint.into(),
        }),
    };
    let look = "look at the members; get_status and get_result take the execution_id of each";
    if has(ExecutionState::Unknown) {
        let hint = "check what the members that are unknown may have changed before you start the task again";
        (Event::Lost, outcome("lost", hint))
    } else if succeeded == group.members.len() {
        let all = Outcome {
            exit_code: Some(0),
            reason: None,
            ..outcome("", "")
        };
        (Event::WorkSucceeded, all)
    } else if is_cancelled && is_cut_short(group, children) {
        (
            Event::CancelDone,
            outcome("cancelled", "start the task again if it is still wanted"),
        )
    } else if has(ExecutionState::Failed) || has(ExecutionState::TimedOut) || has(ExecutionState::Cancelled) {
        (Event::WorkFailed, outcome("member_failed", look))
    } else {
        (Event::InfraFailed, outcome("could_not_start", look))
    }
}

fn has_too_many_failures(group: &GroupPlan, children: &[Child]) -> bool {
    let failed = count(children, |state| {
        state.is_terminal() && state != ExecutionState::Succeeded
    });
    failed > group.max_failures as usize
}

/// Whether a cancel ended something, or kept a member from beginning that would have begun. One that came too late
/// changes nothing.
fn is_cut_short(group: &GroupPlan, children: &[Child]) -> bool {
    let is_kept = children.len() < group.members.len() && !has_too_many_failures(group, children);
    is_kept || children.iter().any(|child| child.state == ExecutionState::Cancelled)
}

fn count(children: &[Child], which: impl Fn(ExecutionState) -> bool) -> usize {
    children.iter().filter(|child| which(child.state)).count()
}

fn child_of<'a>(plan: &Plan, children: &'a [Child]) -> Option<&'a Child> {
    children.iter().find(|child| child.member == plan.target)
}

/// "2 of 3 members succeeded; b failed; c was skipped".
fn summary(group: &GroupPlan, children: &[Child]) -> String {
    let succeeded = count(children, |state| state == ExecutionState::Succeeded);
    let mut summary = format!("{succeeded} of {} members succeeded", group.members.len());
    for plan in &group.members {
        match child_of(plan, children).map(|child| child.state) {
            Some(ExecutionState::Succeeded) => {}
            Some(state) => summary += &format!("; {} {}", plan.target, word(state)),
            None => summary += &format!("; {} was skipped", plan.target),
        }
    }
    summary
}

const fn word(state: ExecutionState) -> &'static str {
    match state {
        ExecutionState::Failed => "failed",
        ExecutionState::TimedOut => "timed out",
        ExecutionState::Cancelled => "was cancelled",
        ExecutionState::InfraFailed => "could not start",
        _ => "is unknown",
    }
}

/// Of the first member whose work said no.
fn deciding_exit_code(children: &[Child]) -> Option<i32> {
    let failed = children.iter().find(|child| child.state == ExecutionState::Failed)?;
    failed.outcome.as_ref()?.exit_code
}

/// What the tests of all said, each name with its member's before it.
fn tests(children: &[Child]) -> Option<TestSummary> {
    let mut all: Option<TestSummary> = None;
    for child in children {
        let Some(tests) = child.outcome.as_ref().and_then(|outcome| outcome.tests.clone()) else {
            continue;
        };
        let named = |name: String| format!("{}: {name}", child.member);
        let failure = |failure: TestFailure| TestFailure {
            name: named(failure.name),
            ..failure
        };
        all.get_or_insert_default().add(TestSummary {
            failures: tests.failures.into_iter().map(failure).collect(),
            passed_names: tests.passed_names.into_iter().map(named).collect(),
            skipped_names: tests.skipped_names.into_iter().map(named).collect(),
            ..tests
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ExecutionId;
    use crate::domain::execution::next;
    use crate::domain::plan::Risk;
    use ExecutionState as S;

    fn plan(target: &str) -> Plan {
        Plan {
            target: target.into(),
            intent: "test".into(),
            recipe: "job".into(),
            variant: "only".into(),
            steps: Vec::new(),
            outputs: Vec::new(),
            inputs: std::collections::BTreeMap::new(),
            binding: None,
            risk: Risk::Low,
            approval: None,
            group: None,
            explanation: String::new(),
        }
    }

    fn group(members: &[&str], at_once: u32, max_failures: u32) -> GroupPlan {
        GroupPlan {
            at_once,
            max_failures,
            members: members.iter().map(|name| plan(name)).collect(),
        }
    }

    fn children(states: &[(&str, S)]) -> Vec<Child> {
        let child = |(member, state): &(&str, S)| Child {
            id: ExecutionId::random(),
            member: (*member).into(),
            state: *state,
            started_at: None,
            ended_at: None,
            outcome: Some(Outcome {
                exit_code: Some(7),
                tests: Some(TestSummary {
                    passed: 1,
                    passed_names: vec!["t".into()],
                    ..TestSummary::default()
                }),
                ..Outcome::default()
            }),
            is_told: false,
        };
        states.iter().map(child).collect()
    }

    fn started(group: &GroupPlan, states: &[(&str, S)], is_cancelled: bool) -> String {
        match todo(group, &children(states), is_cancelled) {
            Todo::Start(plan) => plan.target.clone(),
            Todo::Wait => "wait".into(),
            Todo::Over => "over".into(),
        }
    }

    #[test]
    fn members_begin_in_order_and_not_more_than_may() {
        let two = group(&["a", "b", "c"], 2, 0);
        assert_eq!(started(&two, &[], false), "a");
        assert_eq!(started(&two, &[("a", S::Queued)], false), "b");
        assert_eq!(started(&two, &[("a", S::Queued), ("b", S::Running)], false), "wait");
        assert_eq!(started(&two, &[("a", S::Running), ("b", S::Succeeded)], false), "c");
        let all = [("a", S::Succeeded), ("b", S::Succeeded), ("c", S::Succeeded)];
        assert_eq!(started(&two, &all, false), "over");
    }

    #[test]
    fn too_many_failures_and_a_cancel_start_nothing_more() {
        let none = group(&["a", "b", "c"], 2, 0);
        assert_eq!(started(&none, &[("a", S::Failed)], false), "over");
        assert_eq!(started(&none, &[("a", S::Failed), ("b", S::Running)], false), "wait");
        let one = group(&["a", "b", "c"], 1, 1);
        assert_eq!(started(&one, &[("a", S::Unknown)], false), "b");
        assert_eq!(
            started(&one, &[("a", S::Unknown), ("b", S::InfraFailed)], false),
            "over"
        );
        assert_eq!(started(&one, &[], true), "over");
        assert_eq!(started(&one, &[("a", S::Running)], true), "wait");
    }

    #[test]
    fn one_end_by_the_ends_of_all() {
        let two = group(&["a", "b"], 1, 0);
        type Case<'a> = (&'a [(&'a str, S)], bool, S);
        let ends: [Case<'_>; 11] = [
            (&[("a", S::Succeeded), ("b", S::Succeeded)], false, S::Succeeded),
            (&[("a", S::Succeeded), ("b", S::Succeeded)], true, S::Succeeded),
            (&[("a", S::Failed)], false, S::Failed),
            (&[("a", S::Succeeded), ("b", S::TimedOut)], false, S::Failed),
            (&[("a", S::Failed), ("b", S::Unknown)], true, S::Unknown),
            (&[("a", S::Succeeded), ("b", S::InfraFailed)], false, S::InfraFailed),
            (&[("a", S::InfraFailed), ("b", S::Failed)], false, S::Failed),
            (&[("a", S::Cancelled)], true, S::Cancelled),
            (&[("a", S::Failed)], true, S::Failed),
            (&[("a", S::Succeeded)], true, S::Cancelled),
            (&[("a", S::Cancelled)], false, S::Failed),
        ];
        for (states, is_cancelled, expected) in ends {
            let (event, outcome) = end(&two, &children(states), is_cancelled);
            assert_eq!(next(S::Collecting, event), Ok(expected), "{states:?}");
            assert_eq!(outcome.reason.is_none(), expected == S::Succeeded);
        }
        let (_, outcome) = end(&two, &children(&[("a", S::Failed)]), false);
        assert_eq!(outcome.summary, "0 of 2 members succeeded; a failed; b was skipped");
        assert_eq!(outcome.exit_code, Some(7));
        let (_, all) = end(&two, &children(&[("a", S::Succeeded), ("b", S::Succeeded)]), false);
        let tests = all.tests.expect("there were some");
        assert_eq!(
            (tests.passed, tests.passed_names),
            (2, vec!["a: t".to_owned(), "b: t".into()])
        );
        assert_eq!(all.exit_code, Some(0));
    }
}
