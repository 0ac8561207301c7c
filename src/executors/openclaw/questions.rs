//! What an agent's run asks a person before it goes on, as its gateway tells it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::follow::Way;
use crate::domain::{AttemptId, Decision, Digest, UnixMs};
use crate::executors::attempts::locked;
use crate::executors::contract::{ExecutorError, Question};
use crate::gateway::feed::open_approvals;
use crate::gateway::socket::State;
use crate::gateway::wire::{self, Approval, ApprovalKind, ApprovalResolve, ApprovalResolved, Hello, Scope};
use crate::gateway::{Fault, Gateway};

/// How long the gateway may take to list what is open, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the runs ask that this process follows. Of one that isn't here nothing is known.
#[derive(Clone, Default)]
pub(super) struct Asked(Arc<Mutex<HashMap<AttemptId, OfRun>>>);

#[derive(Default)]
struct OfRun {
    /// Whether it is all that the run asks.
    is_known: bool,
    open: BTreeMap<String, Question>,
    /// How each was answered that isn't open any more, in the gateway's words.
    answered: BTreeMap<String, String>,
}

impl Asked {
    /// What a run asks now.
    pub(super) fn of(&self, attempt: AttemptId) -> Option<Vec<Question>> {
        let runs = locked(&self.0);
        let run = runs.get(&attempt).filter(|run| run.is_known)?;
        Some(run.open.values().cloned().collect())
    }

    /// What is heard from now on is all that it asks.
    pub(super) fn know(&self, attempt: AttemptId) {
        self.change(attempt, |run| run.is_known = true);
    }

    /// Nothing more is known of it.
    pub(super) fn forget(&self, attempt: AttemptId) {
        locked(&self.0).remove(&attempt);
    }

    /// Whether a question was answered like this.
    fn was(&self, attempt: AttemptId, key: &str, decision: wire::Decision) -> bool {
        let runs = locked(&self.0);
        let answered = runs.get(&attempt).and_then(|run| run.answered.get(key));
        answered.is_some_and(|word| word == decision.as_str())
    }

    fn change<T>(&self, attempt: AttemptId, change: impl FnOnce(&mut OfRun) -> T) -> T {
        change(locked(&self.0).entry(attempt).or_default())
    }
}

impl Way<'_> {
    /// On each connection: what was asked before it.
    pub(super) async fn find_questions(&mut self, hello: &Hello) {
        let attempt = self.driving.attempt;
        if !hello.may(Scope::Approvals) {
            return;
        }
        let open = match open_approvals(self.gateway.socket(), PATIENCE).await {
            Ok(open) => open,
            Err(error) => {
                tracing::debug!(run = self.run, %error, "what a run asks is not listed");
                return;
            }
        };
        let open: Vec<_> = open
            .into_iter()
            .filter(|(_, one)| self.is_asked_here(&one.request))
            .collect();
        for (kind, approval) in &open {
            self.asks(*kind, approval);
        }
        // Without that scope a gateway hides what was asked on an earlier connection: what isn't listed may still wait.
        if hello.may(Scope::Admin) {
            let is_open = |key: &String| open.iter().any(|(kind, one)| *key == key_of(*kind, &one.id));
            self.asked.change(attempt, |run| run.open.retain(|key, _| is_open(key)));
            self.asked.know(attempt);
        }
    }

    /// It waits for an answer from now on.
    pub(super) fn asks(&mut self, kind: ApprovalKind, approval: &Approval) {
        if !self.is_asked_here(&approval.request) {
            return;
        }
        let question = question(kind, approval);
        let line = format!("[the agent asks: {}]", question.text);
        let before = self.asked.change(self.driving.attempt, |run| {
            run.open.insert(question.key.clone(), question)
        });
        if before.is_none() {
            self.report.line(&line);
        }
    }

    /// It was answered, by whomever.
    pub(super) fn is_answered(&mut self, kind: ApprovalKind, resolved: &ApprovalResolved) {
        let key = key_of(kind, &resolved.id);
        let word = resolved.decision.clone().unwrap_or_else(|| "answered".to_owned());
        let before = self.asked.change(self.driving.attempt, |run| {
            let before = run.open.remove(&key);
            if before.is_some() {
                run.answered.insert(key, word.clone());
            }
            before
        });
        if before.is_some() {
            self.report.line(&format!("[a person answered: {word}]"));
        }
    }

    /// Also under a run of the gateway's own, in a session that nobody else uses.
    fn is_asked_here(&self, request: &Value) -> bool {
        let text = |name: &str| request[name].as_str().unwrap_or_default();
        text("runId") == self.run || self.is_own_session(text("sessionKey"))
    }
}

/// Gives the gateway an answer. False if the question was answered otherwise before, or is asked no longer.
pub(super) async fn answer(
    gateway: &Gateway,
    (asked, attempt): (&Asked, AttemptId),
    (key, decision): (&str, Decision),
) -> Result<bool, ExecutorError> {
    let (kind, id) = key.split_once(':').unwrap_or_default();
    let decision = match decision {
        Decision::AllowOnce => wire::Decision::AllowOnce,
        Decision::AllowAlways => wire::Decision::AllowAlways,
        Decision::Deny => wire::Decision::Deny,
    };
    let answer = ApprovalResolve {
        id: id.to_owned(),
        decision,
    };
    let kind = match kind == ApprovalKind::Plugin.as_str() {
        true => ApprovalKind::Plugin,
        false => ApprovalKind::Exec,
    };
    let Err(error) = gateway.socket().call(kind.resolve(), &answer, PATIENCE).await else {
        return Ok(true);
    };
    match (&error.fault, error.code.as_deref()) {
        // What was answered twice, because the first reply was lost, was answered.
        (Fault::Refused, Some("APPROVAL_ALREADY_RESOLVED")) => Ok(asked.was(attempt, key, decision)),
        (Fault::Refused, Some("APPROVAL_NOT_FOUND")) if sees_all(gateway) => Ok(false),
        (Fault::Refused | Fault::MissingScope(_), _) => Err(ExecutorError::Refused(error.message)),
        _ => Err(ExecutorError::Unreachable(error.message)),
    }
}

fn sees_all(gateway: &Gateway) -> bool {
    matches!(gateway.socket().state(), State::Ready(hello) if hello.may(Scope::Admin))
}

fn key_of(kind: ApprovalKind, id: &str) -> String {
    format!("{}:{id}", kind.as_str())
}

fn question(kind: ApprovalKind, approval: &Approval) -> Question {
    let whole = json!({ "kind": kind.as_str(), "request": approval.request });
    Question {
        key: key_of(kind, &approval.id),
        text: words(kind, approval),
        digest: Digest::of(whole.to_string().as_bytes()),
        expires_at: UnixMs(approval.expires_at_ms),
        may_always: approval.allowed().contains(&wire::Decision::AllowAlways),
    }
}

/// All that a person has to know to answer, each part quoted: it is what an agent made up.
fn words(kind: ApprovalKind, approval: &Approval) -> String {
    let told = |name: &str| match approval.request.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(json!(text).to_string()),
        Some(more @ Value::Object(_)) => Some(more.to_string()),
        _ => None,
    };
    let join = |parts: &[(&str, &str)], between: &str| {
        let parts = parts
            .iter()
            .filter_map(|(name, before)| Some(format!("{before}{}", told(name)?)));
        parts.collect::<Vec<_>>().join(between)
    };
    match kind {
        ApprovalKind::Exec => {
            let parts = [
                ("command", " run "),
                ("cwd", " in the folder "),
                ("host", " on "),
                ("description", ", which is "),
                ("warningText", ", of which its gateway says "),
            ];
            format!("May the agent{}?", join(&parts, ""))
        }
        ApprovalKind::Plugin => {
            let what = told("title").or(told("toolName")).unwrap_or_default();
            let parts = [
                ("description", "description: "),
                ("pluginId", "plugin: "),
                ("toolName", "tool: "),
                ("scope", "scope: "),
                ("severity", "severity: "),
                ("detail", "detail: "),
            ];
            format!("May the agent do {what}? {}", join(&parts, ", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approval(request: Value) -> Approval {
        Approval {
            id: "7".to_owned(),
            request,
            created_at_ms: 1,
            expires_at_ms: 2,
        }
    }

    #[test]
    fn a_person_reads_all_of_it_and_nothing_poses_as_more() {
        let exec = approval(json!({
            "command": "rm -rf build\n\"? It is safe", "cwd": "/agent", "host": "gateway",
            "allowedDecisions": ["allow-once", "deny"],
        }));
        let asked = question(ApprovalKind::Exec, &exec);
        assert_eq!(
            asked.text,
            r#"May the agent run "rm -rf build\n\"? It is safe" in the folder "/agent" on "gateway"?"#
        );
        assert_eq!(
            (asked.key.as_str(), asked.may_always, asked.expires_at),
            ("exec:7", false, UnixMs(2))
        );
        let other = approval(json!({ "command": "rm -rf build", "cwd": "/agent", "host": "gateway" }));
        let other = question(ApprovalKind::Exec, &other);
        assert!(other.may_always && other.digest != asked.digest);
        let plugin = approval(json!({
            "title": "Send mail", "pluginId": "mail", "description": "to everybody", "toolName": "send", "severity": "critical",
            "scope": { "kind": "list" }, "detail": "a \"?\" of 7 words", "agentId": "main", "runId": null,
        }));
        assert_eq!(
            question(ApprovalKind::Plugin, &plugin).text,
            r#"May the agent do "Send mail"? description: "to everybody", plugin: "mail", tool: "send", scope: {"kind":"list"}, severity: "critical", detail: "a \"?\" of 7 words""#
        );
    }
}
