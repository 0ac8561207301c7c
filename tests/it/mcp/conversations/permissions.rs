//! Approvals of agents: who sees them, who answers them, and what is said when they are hidden.

use super::*;
use crate::gateway::scripted::board::approval;

const HERE: &str = "agent:main:telegram:1";

fn with_admin(board: &Board) {
    let mut board = board.on_it();
    board.gives_admin = true;
    board.exec = vec![approval("late", "agent:main:b", 9), approval("early", HERE, 5)];
    let request = json!({ "title": "mail it", "pluginId": "mail" });
    let plugin = json!({ "id": "plugin:1", "request": request, "createdAtMs": 7, "expiresAtMs": 99 });
    board.plugin = vec![plugin];
}

fn ids(content: &Value) -> Vec<&str> {
    let approvals = content["approvals"].as_array().expect("approvals");
    approvals
        .iter()
        .filter_map(|approval| approval["id"].as_str())
        .collect()
}

#[tokio::test]
async fn hidden_approvals_are_not_an_empty_list() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    let answer = door.call(MODERN, "permissions_list_open", json!({})).await;
    let content = &answer["result"]["structuredContent"];
    assert_eq!(
        (&content["code"], &answer["result"]["isError"]),
        (&json!("gateway_refused"), &json!(true))
    );
    let said = content["message"].as_str().expect("a message");
    assert!(said.contains("lacks the scope operator.admin"), "{said}");
    assert!(
        content["hint"].as_str().expect("a hint").contains("admin = true"),
        "{content}"
    );
    let scopes = lab.lab.asked("connect")[0]["scopes"].clone();
    assert_eq!(scopes, json!(["operator.read", "operator.write", "operator.approvals"]));

    // What this connection itself asked for is shown, with the same warning.
    lab.lab.on_it().exec = vec![approval("own", HERE, 5)];
    let (content, text) = done(&door, "permissions_list_open", json!({})).await;
    assert_eq!((ids(&content), text.as_str()), (vec!["own"], "approvals: 1"));
    assert_eq!(content["missing_scope"], "operator.admin");
}

#[tokio::test]
async fn a_gateway_that_does_not_grant_it_is_told_too() {
    let lab = Lab::with("admin = true").await;
    let door = lab.open().await;
    let answer = door.call(MODERN, "permissions_list_open", json!({})).await;
    let hint = answer["result"]["structuredContent"]["hint"].as_str().expect("a hint");
    assert!(hint.contains("didn't grant it"), "{hint}");
}

#[tokio::test]
async fn open_approvals_are_listed_by_age_and_by_session() {
    let lab = Lab::with("admin = true").await;
    with_admin(&lab.lab);
    let door = lab.open().await;
    let (content, text) = done(&door, "permissions_list_open", json!({})).await;
    assert_eq!(
        (ids(&content), text.as_str()),
        (vec!["early", "plugin:1", "late"], "approvals: 3")
    );
    let mut expected = approval("early", HERE, 5);
    expected.as_object_mut().expect("an object").remove("approvalKind");
    expected["kind"] = json!("exec");
    assert_eq!(content["approvals"][0], expected);
    assert_eq!(content["missing_scope"], Value::Null);
    let (content, _) = done(&door, "permissions_list_open", json!({"session_key": HERE})).await;
    assert_eq!(ids(&content), ["early"]);
    let (content, _) = done(&door, "permissions_list_open", json!({"session_key": "none"})).await;
    assert_eq!(ids(&content), [""; 0]);
}

#[tokio::test]
async fn who_may_have_asked_can_say_no_at_most() {
    let lab = Lab::with("admin = true").await;
    with_admin(&lab.lab);
    let answer = |id: &str, decision: &str| json!({"kind": "exec", "id": id, "decision": decision});
    let talks = lab.open().await;
    for decision in ["allow-once", "allow-always", "deny"] {
        let (code, _) = refused(&talks, "permissions_respond", answer("early", decision)).await;
        assert_eq!(code, "not_allowed", "{decision}");
    }
    let both = lab.door(&[Scope::Openclaw, Scope::Approve]).await;
    for decision in ["allow-once", "allow-always"] {
        let (code, said) = refused(&both, "permissions_respond", answer("early", decision)).await;
        assert_eq!(code, "not_allowed", "{decision}");
        assert!(said.contains("it can only deny"), "{said}");
    }
    assert!(lab.lab.asked("exec.approval.resolve").is_empty());
    let (content, text) = done(&both, "permissions_respond", answer("late", "deny")).await;
    assert_eq!(
        (&content, text.as_str()),
        (&json!({ "result": { "ok": true } }), "approval resolved")
    );

    let answers = lab.door(&[Scope::Approve]).await;
    done(&answers, "permissions_respond", answer("early", "allow-once")).await;
    let plugin = json!({"kind": "plugin", "id": "plugin:1", "decision": "allow-always"});
    done(&answers, "permissions_respond", plugin).await;
    assert_eq!(
        lab.lab.asked("exec.approval.resolve"),
        [
            json!({ "id": "late", "decision": "deny" }),
            json!({ "id": "early", "decision": "allow-once" })
        ]
    );
    assert_eq!(lab.lab.asked("plugin.approval.resolve")[0]["decision"], "allow-always");
    assert_eq!(
        ids(&done(&answers, "permissions_list_open", json!({})).await.0),
        [""; 0]
    );
    let (code, said) = refused(&answers, "permissions_respond", answer("early", "deny")).await;
    assert_eq!(
        (code.as_str(), said.as_str()),
        ("gateway_refused", "unknown approval id (APPROVAL_NOT_FOUND)")
    );
}

#[tokio::test]
async fn the_operator_may_let_callers_answer_in_writing() {
    let lab = Lab::with("admin = true\nself_approval = true").await;
    with_admin(&lab.lab);
    let door = lab.open().await;
    let answer = json!({"kind": "exec", "id": "early", "decision": "allow-once"});
    done(&door, "permissions_respond", answer).await;
    assert_eq!(lab.lab.asked("exec.approval.resolve").len(), 1);
}

#[tokio::test]
async fn an_answer_that_got_lost_is_not_given_twice_and_what_is_hidden_is_said() {
    let lab = Lab::new().await;
    let door = lab.door(&[Scope::Approve]).await;
    let answer = json!({"kind": "exec", "id": "hidden", "decision": "deny"});
    let refusal = door.call(MODERN, "permissions_respond", answer.clone()).await;
    let hint = refusal["result"]["structuredContent"]["hint"].as_str().expect("a hint");
    assert!(hint.contains("operator.admin"), "{hint}");
    lab.lab.on_it().breaks_at = Some("exec.approval.resolve");
    let (code, said) = refused(&door, "permissions_respond", answer).await;
    assert_eq!(code, "gateway_failed");
    assert!(said.contains("isn't known"), "{said}");
    assert_eq!(lab.lab.asked("exec.approval.resolve").len(), 2, "once for each call");
}
