//! Groups: one task on several targets, planned, approved and told as one, whatever happens in between.

use std::sync::Arc;

use clawhand::app::Home;
use clawhand::control::Control;
use clawhand::control::contract::{
    CancelExecution, DecisionArg, GetResult, GetStatus, ListTargets, RespondToApproval, StartExecution, SubmitTask,
};
use clawhand::domain::{Actor, Scope};
use clawhand::executors::scripted::Move;
use serde_json::{Value, json};

use crate::recipes::{GOOD, told};
use crate::site::{LAB, Site, Worker, alice, caller, file, ok, on_both_sites, refused, submit, text};

on_both_sites!(
    a_group_has_one_result_with_a_row_for_each_member,
    a_failure_stops_further_members,
    failures_that_are_tolerated_do_not,
    members_run_at_once_as_many_as_may,
    a_cancel_ends_what_runs_and_starts_no_more,
    what_is_lost_on_a_member_is_unknown,
    groups_take_no_room_from_their_members,
    who_takes_over_finds_the_members,
    an_approval_covers_every_member,
    a_member_that_was_changed_after_the_approval_does_not_run,
    a_group_that_was_switched_off_starts_nothing,
    needs_and_refusals_name_the_member,
    too_many_members_are_refused,
);

fn group(more: &str) -> String {
    format!(
        "name = \"fleet\"\ndescription = \"all of them\"\nintents = [\"run\", \"deploy\", \"test\"]\n\
         [limits]\nmax_concurrent = 50\n\
         [executor]\nkind = \"group\"\nmembers = [\"a\", \"b\", \"c\"]\n{more}\n"
    )
}

fn member(name: &str) -> String {
    LAB.replace("name = \"lab\"", &format!("name = \"{name}\""))
        .replace("aliases = [\"the lab\"]\n", "")
        .replace("where stories happen", "one of the fleet")
        // Callers of these stories read what happens, not whom it asks.
        .replace("deploy = \"always\"", "deploy = \"never\"")
}

/// The installation as it is when it has the group.
struct Fleet {
    home: Arc<Home>,
    control: Control,
}

impl Fleet {
    async fn with(site: &Site, group: &str) -> Self {
        for name in ["a", "b", "c"] {
            site.write_target(&format!("{name}.toml"), &member(name));
        }
        site.write_target("fleet.toml", group);
        Self::of(site).await
    }

    async fn of(site: &Site) -> Self {
        let home = site.another().await;
        let control = home.control(None);
        Self { home, control }
    }

    fn work(&self) -> Worker {
        Worker::start(&self.home)
    }

    async fn end(self, worker: Worker) {
        worker.stop().await;
        self.home.store.clone().close().await;
    }

    /// A task on the group whose files are there.
    async fn task(&self, intent: &str) -> String {
        let task = SubmitTask {
            target_ref: "fleet".into(),
            ..submit(intent)
        };
        let task = text(&ok(self.control.submit_task(&alice(), task).await), "/task_id");
        let uploaded = self
            .control
            .upload_artifact(&alice(), file(&task, "job.txt", "x"))
            .await;
        assert_eq!(ok(uploaded)["needs"], json!([]));
        task
    }

    async fn start(&self, task: &str) -> Value {
        let start = StartExecution {
            task_id: task.into(),
            idempotency_key: None,
        };
        ok(self.control.start_execution(&alice(), start).await)
    }

    async fn started(&self, intent: &str) -> String {
        let task = self.task(intent).await;
        text(&self.start(&task).await, "/execution_id")
    }

    async fn result(&self, id: &str) -> Value {
        let ask = GetResult {
            execution_id: id.into(),
            ..GetResult::default()
        };
        ok(self.control.get_result(&alice(), ask).await)
    }

    /// The whole log and the result.
    async fn followed(&self, id: &str) -> (String, Value) {
        let (mut log, mut cursor) = (String::new(), None);
        loop {
            let ask = GetStatus {
                execution_id: id.to_owned(),
                cursor,
                wait_ms: Some(20_000),
                max_bytes: None,
            };
            let status = ok(self.control.get_status(&alice(), ask).await);
            log += status["log"]["text"].as_str().expect("text");
            if status["log"]["done"] == true {
                return (log, self.result(id).await);
            }
            cursor = Some(text(&status, "/log/next_cursor"));
        }
    }

    async fn cancel(&self, id: &str) {
        let cancel = CancelExecution {
            execution_id: id.into(),
            reason: None,
        };
        ok(self.control.cancel_execution(&alice(), cancel).await);
    }

    async fn allow(&self, started: &Value) {
        let allow = RespondToApproval {
            approval_id: text(started, "/approval/id"),
            decision: DecisionArg::AllowOnce,
            reason: None,
        };
        let carol = caller("carol", &[Scope::Approve]);
        ok(self.control.respond_to_approval(&carol, allow).await);
    }
}

/// "a succeeded, b failed".
fn states(result: &Value) -> String {
    let members = result["members"].as_array().expect("rows");
    let rows: Vec<String> = members
        .iter()
        .map(|row| format!("{} {}", text(row, "/name"), text(row, "/state")))
        .collect();
    rows.join(", ")
}

async fn a_group_has_one_result_with_a_row_for_each_member(site: &Site) {
    let fleet = Fleet::with(site, &group("")).await;
    let listed = ok(fleet.control.list_targets(&alice(), ListTargets::default()).await);
    let targets = listed["targets"].as_array().expect("a list");
    let entry = targets
        .iter()
        .find(|target| target["name"] == "fleet")
        .expect("it is listed");
    assert_eq!(entry["members"], json!(["a", "b", "c"]));
    let worker = fleet.work();
    let report = br#"<testsuite><testcase name="one"/><testcase name="two"/></testsuite>"#;
    for _ in 0..3 {
        site.scripted.script([
            Move::Print(b"its own words\n".to_vec()),
            Move::Leave("out/junit.xml".into(), report.to_vec()),
            Move::Exit(0),
        ]);
    }
    let id = fleet.started("test").await;
    let (log, result) = fleet.followed(&id).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert_eq!(result["summary"], "3 of 3 members succeeded");
    assert_eq!(result["exit_code"], 0);
    assert_eq!(states(&result), "a succeeded, b succeeded, c succeeded");
    assert_eq!(
        (&result["tests"]["passed"], &result["tests"]["failed"]),
        (&json!(6), &json!(0))
    );
    assert_eq!(result["tests"]["passed_names"][5], "c: two");
    let names: Vec<String> = (0..3)
        .map(|at| text(&result, &format!("/artifacts/{at}/name")))
        .collect();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(sorted, ["a/out/junit.xml", "b/out/junit.xml", "c/out/junit.xml"]);
    assert_eq!(text(&result, "/artifacts/0/text").as_bytes(), report);
    assert_eq!(result["steps"][2]["name"], "c");
    // The group's log only says who began and how it ended; each member's own is behind its execution.
    let ids: Vec<String> = (0..3)
        .map(|at| text(&result, &format!("/members/{at}/execution_id")))
        .collect();
    let told = |name: &str, id: &str| {
        format!(
            "== {name}: started as {id}\n== {name}: succeeded: all 1 steps succeeded; 2 passed, 0 failed, 0 skipped\n"
        )
    };
    let expected = ["a", "b", "c"].iter().zip(&ids).map(|(name, id)| told(name, id));
    assert_eq!(log, expected.collect::<String>());
    let (own, of_one) = fleet.followed(&ids[1]).await;
    assert!(own.ends_with("its own words\n"), "{own}");
    assert_eq!(of_one["artifacts"][0]["name"], "out/junit.xml");
    let bob = caller("bob", &[Scope::Tasks]);
    let ask = GetResult {
        execution_id: ids[0].clone(),
        ..GetResult::default()
    };
    assert_eq!(refused(fleet.control.get_result(&bob, ask).await), "not_found");
    // The task's last execution is the group's, not a member's.
    let tasks = ok(fleet.control.list_tasks(&alice(), Default::default()).await);
    assert_eq!(tasks["tasks"][0]["execution_id"], id);
    fleet.end(worker).await;
}

async fn a_failure_stops_further_members(site: &Site) {
    let fleet = Fleet::with(site, &group("")).await;
    let worker = fleet.work();
    site.scripted.script([Move::Exit(0)]);
    site.scripted.script([Move::Exit(5)]);
    let (_, result) = fleet.followed(&fleet.started("run").await).await;
    assert_eq!((&result["state"], &result["exit_code"]), (&json!("failed"), &json!(5)));
    assert_eq!(states(&result), "a succeeded, b failed, c skipped");
    assert_eq!(result["summary"], "1 of 3 members succeeded; b failed; c was skipped");
    assert_eq!(result["reason"]["code"], "member_failed");
    assert_eq!(result["members"][2]["execution_id"], Value::Null);
    assert_eq!(site.scripted.start_calls(), 2);
    fleet.end(worker).await;
}

async fn failures_that_are_tolerated_do_not(site: &Site) {
    let fleet = Fleet::with(site, &group("max_failures = 1")).await;
    let worker = fleet.work();
    site.scripted.script([Move::Exit(5)]);
    let (_, result) = fleet.followed(&fleet.started("run").await).await;
    assert_eq!(states(&result), "a failed, b succeeded, c succeeded");
    assert_eq!(result["state"], "failed");
    fleet.end(worker).await;
}

async fn members_run_at_once_as_many_as_may(site: &Site) {
    let fleet = Fleet::with(site, &group("at_once = 2")).await;
    let worker = fleet.work();
    for _ in 0..2 {
        site.scripted.script([Move::Wait("gate"), Move::Exit(0)]);
    }
    let id = fleet.started("run").await;
    site.scripted.until(|scripted| scripted.started().len() == 2).await;
    let look = GetStatus {
        execution_id: id.clone(),
        ..GetStatus::default()
    };
    let status = ok(fleet.control.get_status(&alice(), look).await);
    assert_eq!(status["progress"], json!({"done": 0, "total": 3}));
    assert_eq!(states(&fleet.result(&id).await).matches("pending").count(), 1);
    site.scripted.open("gate");
    let (_, result) = fleet.followed(&id).await;
    assert_eq!(states(&result), "a succeeded, b succeeded, c succeeded");
    fleet.end(worker).await;
}

async fn a_cancel_ends_what_runs_and_starts_no_more(site: &Site) {
    let fleet = Fleet::with(site, &group("at_once = 2\nmax_failures = 5")).await;
    let worker = fleet.work();
    for _ in 0..2 {
        site.scripted.script([Move::Wait("never"), Move::Exit(0)]);
    }
    let id = fleet.started("run").await;
    site.scripted.until(|scripted| scripted.started().len() == 2).await;
    fleet.cancel(&id).await;
    let (_, result) = fleet.followed(&id).await;
    assert_eq!(result["state"], "cancelled", "{result}");
    assert_eq!(states(&result), "a cancelled, b cancelled, c skipped");
    assert_eq!(site.scripted.start_calls(), 2);
    // One that nobody took yet ends at once.
    fleet.end(worker).await;
    let fleet = Fleet::of(site).await;
    let id = fleet.started("run").await;
    fleet.cancel(&id).await;
    assert_eq!(states(&fleet.result(&id).await), "a skipped, b skipped, c skipped");
    fleet.home.store.clone().close().await;
}

async fn what_is_lost_on_a_member_is_unknown(site: &Site) {
    let fleet = Fleet::with(site, &group("max_failures = 3")).await;
    let worker = fleet.work();
    site.scripted.script([Move::Lose("gone".into())]);
    site.scripted.script([Move::Exit(1)]);
    let (_, result) = fleet.followed(&fleet.started("run").await).await;
    assert_eq!(states(&result), "a unknown, b failed, c succeeded");
    assert_eq!(
        (&result["state"], &result["reason"]["code"]),
        (&json!("unknown"), &json!("lost"))
    );
    fleet.end(worker).await;
}

/// A worker has room for eight: twelve groups wait for their members, and all come to their end.
async fn groups_take_no_room_from_their_members(site: &Site) {
    let fleet = Fleet::with(site, &group("at_once = 3")).await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(fleet.started("run").await);
    }
    let worker = fleet.work();
    for id in ids {
        assert_eq!(fleet.followed(&id).await.1["state"], "succeeded");
    }
    assert_eq!(site.scripted.start_calls(), 36);
    fleet.end(worker).await;
}

async fn who_takes_over_finds_the_members(site: &Site) {
    let fleet = Fleet::with(site, &group("at_once = 2")).await;
    let first = fleet.work();
    for gate in ["one", "two"] {
        site.scripted.script([Move::Wait(gate), Move::Exit(0)]);
    }
    let id = fleet.started("run").await;
    site.scripted.until(|scripted| scripted.started().len() == 2).await;
    let before = fleet.result(&id).await;
    fleet.end(first).await;
    // While nobody works, nothing is lost; whoever comes next starts only what was not started.
    site.scripted.open("one");
    let next = Fleet::of(site).await;
    let worker = next.work();
    site.scripted.until(|scripted| scripted.started().len() == 3).await;
    site.scripted.open("two");
    let (log, result) = next.followed(&id).await;
    assert_eq!(states(&result), "a succeeded, b succeeded, c succeeded");
    for at in 0..2 {
        let id = format!("/members/{at}/execution_id");
        assert_eq!(text(&before, &id), text(&result, &id));
    }
    assert_eq!(site.scripted.started().len(), 3);
    assert_eq!(
        (log.matches("started as").count(), log.matches(": succeeded").count()),
        (3, 3),
        "{log}"
    );
    next.end(worker).await;
}

async fn an_approval_covers_every_member(site: &Site) {
    Fleet::with(site, &group("")).await.home.store.clone().close().await;
    let asks = member("b").replace("deploy = \"never\"", "deploy = \"always\"");
    site.write_target("b.toml", &asks);
    let fleet = Fleet::of(site).await;
    let task = fleet.task("deploy").await;
    let started = fleet.start(&task).await;
    assert_eq!(started["state"], "awaiting_approval", "a member asks");
    let question = text(&started, "/approval/question");
    for name in ["a", "b", "c"] {
        assert!(question.contains(&format!("on {name}: do the job")), "{question}");
    }
    fleet.allow(&started).await;
    let worker = fleet.work();
    let (_, result) = fleet.followed(&text(&started, "/execution_id")).await;
    assert_eq!(states(&result), "a succeeded, b succeeded, c succeeded");
    fleet.end(worker).await;
    // Another private half of any member is another plan, although it looks the same.
    let digest = text(&started, "/plan_digest");
    site.write_target("c.toml", &member("c").replace("lab.internal", "production.internal"));
    let changed = Fleet::of(site).await;
    let again = changed.start(&task).await;
    assert_ne!(text(&again, "/plan_digest"), digest);
    changed.home.store.clone().close().await;
}

async fn a_member_that_was_changed_after_the_approval_does_not_run(site: &Site) {
    let asks = group("max_failures = 3").replace("[limits]", "[approval]\ndeploy = \"always\"\n[limits]");
    let fleet = Fleet::with(site, &asks).await;
    let task = fleet.task("deploy").await;
    let started = fleet.start(&task).await;
    fleet.allow(&started).await;
    site.write_target("a.toml", &member("a").replace("lab.internal", "production.internal"));
    let off = member("b").replace("name = \"b\"", "name = \"b\"\ndisabled = true");
    site.write_target("b.toml", &off);
    fleet.home.store.clone().close().await;
    let fleet = Fleet::of(site).await;
    let worker = fleet.work();
    let (_, result) = fleet.followed(&text(&started, "/execution_id")).await;
    assert_eq!(states(&result), "a infra_failed, b infra_failed, c succeeded");
    assert_eq!(result["state"], "infra_failed");
    assert!(
        text(&result, "/members/0/summary").contains("was changed after"),
        "{result}"
    );
    assert!(text(&result, "/members/1/summary").contains("switched off"), "{result}");
    assert_eq!(site.scripted.start_calls(), 1);
    fleet.end(worker).await;
}

async fn a_group_that_was_switched_off_starts_nothing(site: &Site) {
    let fleet = Fleet::with(site, &group("")).await;
    let id = fleet.started("run").await;
    fleet.home.store.clone().close().await;
    let off = group("").replace("name = \"fleet\"", "name = \"fleet\"\ndisabled = true");
    site.write_target("fleet.toml", &off);
    let fleet = Fleet::of(site).await;
    let worker = fleet.work();
    let (_, result) = fleet.followed(&id).await;
    assert_eq!(result["state"], "infra_failed", "{result}");
    assert_eq!(states(&result), "a skipped, b skipped, c skipped");
    assert_eq!(site.scripted.start_calls(), 0);
    fleet.end(worker).await;
}

async fn needs_and_refusals_name_the_member(site: &Site) {
    let fleet = Fleet::with(site, &group("")).await;
    let on_fleet = || SubmitTask {
        target_ref: "fleet".into(),
        ..submit("run")
    };
    let submitted = ok(fleet.control.submit_task(&alice(), on_fleet()).await);
    assert_eq!(
        submitted["needs"][0]["message"],
        "on a, b, c: there are no project files yet"
    );
    assert_eq!(submitted["needs"].as_array().map(Vec::len), Some(1), "once for all");
    fleet.home.store.clone().close().await;
    let off = member("b").replace("name = \"b\"", "name = \"b\"\ndisabled = true");
    site.write_target("b.toml", &off);
    let fleet = Fleet::of(site).await;
    let refusal = fleet
        .control
        .submit_task(&alice(), on_fleet())
        .await
        .expect_err("refused");
    assert_eq!(refusal.code.as_str(), "disabled_target");
    assert_eq!(refusal.message, "on the member b: the target b is switched off");
    fleet.home.store.clone().close().await;
}

async fn too_many_members_are_refused(site: &Site) {
    let names: Vec<String> = (0..21).map(|at| format!("m{at}")).collect();
    for name in &names {
        site.write_target(&format!("{name}.toml"), &member(name));
    }
    let many = group("").replace("[\"a\", \"b\", \"c\"]", &format!("{names:?}"));
    let fleet = Fleet::with(site, &many).await;
    let task = SubmitTask {
        target_ref: "fleet".into(),
        ..submit("run")
    };
    let operator = Actor::operator();
    assert_eq!(refused(fleet.control.submit_task(&operator, task).await), "not_allowed");
    fleet.home.store.clone().close().await;
}

/// What is told of a group with these members, beside two targets and another group.
fn told_of(members: &str) -> Vec<String> {
    let two = GOOD
        .replace("\"one\"", "\"two\"")
        .replace("[executor]", "[labels]\nenv = \"x\"\n[executor]");
    let group = |name: &str, members: &str| {
        format!(
            "name = \"{name}\"\ndescription = \"d\"\nintents = [\"test\"]\n[executor]\nkind = \"group\"\nmembers = [{members}]\n"
        )
    };
    told(&[
        ("group.toml", &group("many", members)),
        ("one.toml", GOOD),
        ("other.toml", &group("other", "\"one\"")),
        ("two.toml", &two),
    ])
}

#[test]
fn mistakes_in_groups_are_told_where_they_are() {
    assert_eq!(told_of("\"one\", \"two\""), [""; 0]);
    assert_eq!(told_of("\"env=x\", \"one\""), [""; 0]);
    let cases = [
        (
            "\"one\", \"tow\"",
            "6:19: there is no target 'tow' (known are: one, two)",
        ),
        ("\"many\"", "6:12: a group can't be a member of itself (remove it)"),
        (
            "\"other\"",
            "6:12: 'other' is a group itself (write its members instead: one)",
        ),
        ("\"one\", \"one\"", "6:19: 'one' is there twice (remove one)"),
        (
            "",
            "1:1: the group has no member (write members = [\"vault-a\", \"vault-b\"])",
        ),
        (
            "\"env=y\"",
            "6:12: no target has the labels env=y (write them as in [labels] of the members: env=staging)",
        ),
        (
            "\"one\"]\nat_once = 0\nmax_failures = -1 #",
            "7:11: at_once can't be 0 (write a number from 1 up)",
        ),
        (
            "\"one\"]\n[environment]\nA = \"b\" #",
            "7:2: a group has no environment of its own (write them into the files of its members)",
        ),
    ];
    for (members, expected) in cases {
        assert_eq!(
            told_of(members).first(),
            Some(&format!("group.toml:{expected}")),
            "{members}"
        );
    }
}
