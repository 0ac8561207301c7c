//! What an agent asks in the middle of its run, through the program itself: a person answers by `respond_to_approval`, the one
//! who asked for the run can't, and no death or other door lets anything run unasked or wait for nothing.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::caller::{Caller, text};
use super::chats::{agents, ended, execution, queued, serve, status};
use super::keys::key;
use super::on_both_servers;
use super::place::{Place, Server};
use crate::gateway::scripted::agents::Agents;

on_both_servers!(
    an_agent_goes_on_when_a_person_says_yes,
    an_agent_is_told_no,
    what_a_plugin_asks_may_be_allowed_always,
    an_answer_given_to_a_dead_server_arrives_once,
    what_is_answered_at_the_gateway_is_closed_here,
    a_cancelled_run_asks_no_more,
    what_is_asked_in_a_chat_is_answered_by_a_person_too,
);

/// A run that asks, by a key for tasks, with its execution and a person who may answer.
struct Asking {
    server: Server,
    agents: Agents,
    keys: [String; 2],
    execution: String,
}

impl Asking {
    async fn begin(place: &Place) -> Self {
        Self::with_goal(place, "ask me").await
    }

    async fn with_goal(place: &Place, goal: &str) -> Self {
        let agents = agents().await;
        let server = serve(place, &agents, 3).await;
        let (_, model) = key(place, &["--scope", "tasks"]).await;
        let (_, person) = key(place, &["--scope", "approve"]).await;
        let caller = server.caller().with_key(&model);
        let task = json!({ "project_name": "p", "goal": goal, "target_ref": "helper", "execution_intent": "delegate" });
        let submitted = caller.ok("submit_task", task).await;
        let execution = caller.start(&text(&submitted, "/task_id")).await;
        caller.until_logged(&execution, "[the agent asks: ").await;
        Self {
            server,
            agents,
            keys: [model, person],
            execution,
        }
    }

    fn model(&self) -> Caller {
        self.server.caller().with_key(&self.keys[0])
    }

    fn person(&self) -> Caller {
        self.server.caller().with_key(&self.keys[1])
    }

    /// The approval as the one sees it who asked for the run.
    async fn approval(&self) -> Value {
        self.model().status(&self.execution).await["approval"].clone()
    }

    fn answer(&self, approval: &Value, decision: &str) -> Value {
        json!({ "approval_id": text(approval, "/id"), "decision": decision, "reason": "of the test" })
    }

    /// An answer after all is decided is refused.
    async fn too_late(&self, approval: &Value, decision: &str) {
        let answer = self.answer(approval, decision);
        let refused = self.person().refused("respond_to_approval", answer).await;
        assert_eq!(refused["code"], "already_ended", "{refused}");
    }

    async fn end(&self) -> (String, Value) {
        self.model().followed(&self.execution).await
    }
}

async fn an_agent_goes_on_when_a_person_says_yes(place: &mut Place) {
    let run = Asking::begin(place).await;
    let approval = run.approval().await;
    assert_eq!(approval["state"], "open", "{approval}");
    let question = r#"May the agent run "rm -rf build" in the folder "/agents/home" on "gateway"?"#;
    assert_eq!(approval["question"], question);
    assert_eq!(run.model().status(&run.execution).await["state"], "running");
    let listed = place.ok(&["approvals", "list"]).await;
    assert!(
        listed.contains(question) && listed.contains(&text(&approval, "/id")),
        "{listed}"
    );

    let refused = run
        .model()
        .refused("respond_to_approval", run.answer(&approval, "allow_once"))
        .await;
    assert_eq!(refused["code"], "not_allowed", "{refused}");
    let refused = run
        .person()
        .refused("respond_to_approval", run.answer(&approval, "allow_always"))
        .await;
    assert!(text(&refused, "/message").contains("allow_always"), "{refused}");
    let answered = run
        .person()
        .ok("respond_to_approval", run.answer(&approval, "allow_once"))
        .await;
    assert_eq!(
        (&answered["approval"]["state"], &answered["execution"]["state"]),
        (&json!("allowed"), &json!("running"))
    );
    let (log, result) = run.end().await;
    assert_eq!(result["state"], "succeeded", "{log}");
    assert!(
        log.contains("[a person answered: allow-once]") && log.contains("told allow-once"),
        "{log}"
    );
    assert_eq!(run.approval().await["state"], "allowed");
    run.too_late(&approval, "deny").await;
    run.server.stop().await;
}

async fn an_agent_is_told_no(place: &mut Place) {
    let run = Asking::begin(place).await;
    let approval = run.approval().await;
    place.ok(&["approvals", "deny", &text(&approval, "/id")]).await;
    let (log, result) = run.end().await;
    assert_eq!(result["state"], "succeeded", "the run decides what a no means: {log}");
    assert!(log.contains("told deny"), "{log}");
    run.server.stop().await;
}

async fn what_a_plugin_asks_may_be_allowed_always(place: &mut Place) {
    let run = Asking::with_goal(place, "ask me for mail").await;
    let approval = run.approval().await;
    let question = r#"May the agent do "Send mail"? description: "by mail", plugin: "mail", severity: "warning""#;
    assert_eq!(approval["question"], question);
    let answered = run
        .person()
        .ok("respond_to_approval", run.answer(&approval, "allow_always"))
        .await;
    assert_eq!(answered["approval"]["state"], "allowed", "{answered}");
    let (log, result) = run.end().await;
    assert_eq!(result["state"], "succeeded", "{log}");
    assert!(log.contains("told allow-always"), "{log}");
    run.too_late(&approval, "deny").await;
    run.server.stop().await;
}

async fn an_answer_given_to_a_dead_server_arrives_once(place: &mut Place) {
    let mut run = Asking::begin(place).await;
    let approval = run.approval().await;
    run.server.signal(Signal::SIGKILL);
    run.server.kill().await;
    // The operator's command needs no server.
    place.ok(&["approvals", "allow", &text(&approval, "/id")]).await;
    run.server = place.serve().await;
    let (log, result) = run.end().await;
    assert_eq!(result["state"], "succeeded", "{log}");
    assert!(log.contains("told allow-once"), "{log}");
    assert_eq!(run.approval().await["id"], approval["id"], "it was asked once");
    assert_eq!(run.approval().await["state"], "allowed");
    run.server.stop().await;
}

async fn what_is_answered_at_the_gateway_is_closed_here(place: &mut Place) {
    let run = Asking::begin(place).await;
    let approval = run.approval().await;
    run.agents.resolve("deny");
    let (log, _) = run.end().await;
    assert!(log.contains("[a person answered: deny]"), "{log}");
    assert_eq!(run.approval().await["state"], "withdrawn");
    run.too_late(&approval, "allow_once").await;
    run.server.stop().await;
}

async fn a_cancelled_run_asks_no_more(place: &mut Place) {
    let run = Asking::begin(place).await;
    let approval = run.approval().await;
    let cancel = json!({ "execution_id": run.execution });
    run.model().ok("cancel_execution", cancel).await;
    let (log, result) = run.end().await;
    assert_eq!(result["state"], "cancelled", "{log}");
    assert_eq!(run.approval().await["state"], "withdrawn");
    run.too_late(&approval, "allow_once").await;
    run.server.stop().await;
}

async fn what_is_asked_in_a_chat_is_answered_by_a_person_too(place: &mut Place) {
    let agents = agents().await;
    let server = serve(place, &agents, 3).await;
    let (_, model) = key(place, &["--scope", "openclaw", "--scope", "tasks"]).await;
    let caller = server.caller().with_key(&model);
    let task = queued(&caller, json!({ "message": "ask me" })).await;
    caller.until_logged(&execution(&task), "[the agent asks: ").await;
    let approval = caller.status(&execution(&task)).await["approval"].clone();
    let seen = status(&caller, &task).await;
    let waits = text(&seen, "/waits");
    assert!(
        waits.contains(&text(&approval, "/id")) && waits.contains("rm -rf build"),
        "{seen}"
    );
    place.ok(&["approvals", "allow", &text(&approval, "/id")]).await;
    let end = ended(&caller, &task).await;
    assert_eq!(end["status"], "completed", "{end}");
    assert!(text(&end, "/result").contains("told allow-once"), "{end}");
    assert!(end.get("waits").is_none(), "{end}");
    server.stop().await;
}
