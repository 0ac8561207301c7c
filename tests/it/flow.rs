//! The main job through control and the engine, on both databases: what callers get for right and wrong calls, and
//! what happens when work fails, is lost, is cancelled, waits for a person or changes hands.

use clawhand::control::contract::{
    CancelExecution, DecisionArg, GetResult, GetStatus, ListTasks, RespondToApproval, StartExecution, SubmitTask,
    UploadArtifact,
};
use clawhand::domain::{Actor, Scope};
use clawhand::executors::scripted::Move;
use clawhand::executors::{ExecutorError, ExitReport};
use serde_json::{Value, json};

use crate::site::{SECRET, Site, Worker, alice, caller, file, ok, on_both_sites, refused, submit, text};

on_both_sites!(
    an_intent_becomes_a_result,
    nothing_private_leaves,
    what_an_attempt_turns_out_to_be_called_stays_private,
    asking_again_attaches_to_the_same_work,
    what_is_not_yours_does_not_exist,
    a_started_task_is_frozen,
    lists_show_what_an_actor_may_see,
    wrong_tasks_are_told_what_is_wrong,
    wrong_uploads_are_told_what_is_wrong,
    wrong_cursors_are_told_what_is_wrong,
    uploads_in_parts,
    work_that_says_no_is_failed,
    a_step_that_runs_too_long_is_timed_out,
    a_cancel_ends_what_waits_and_what_runs,
    what_is_lost_is_unknown_and_never_runs_twice,
    what_may_be_repeated_is_started_again,
    a_target_out_of_reach_is_waited_for,
    a_worker_that_stops_hands_over,
    a_worker_that_dies_is_taken_over_from,
    a_person_decides,
    an_approval_lapses,
    a_lasting_answer_covers_exactly_that_plan,
    status_waits_for_news,
    tasks_are_listed_in_pages,
);

fn execution(started: &Value) -> String {
    text(started, "/execution_id")
}

async fn result(site: &Site, actor: &Actor, id: &str) -> Value {
    ok(site
        .control
        .get_result(
            actor,
            GetResult {
                execution_id: id.into(),
                ..GetResult::default()
            },
        )
        .await)
}

async fn an_intent_becomes_a_result(site: &Site) {
    let worker = site.work();
    site.scripted.script([
        Move::Print(b"working\n".to_vec()),
        Move::Leave("out/answer.txt".into(), b"42\n".to_vec()),
        Move::Exit(0),
    ]);
    let started = site.started(&alice(), "run").await;
    assert_eq!(started["state"], "queued");
    let id = execution(&started);
    let (log, status) = site.followed(&alice(), &id).await;
    assert_eq!(log, "== step 1 of 1: work (do the job)\nworking\n");
    assert_eq!(status["state"], "succeeded");
    assert_eq!(status["progress"], json!({"done": 1, "total": 1}));
    let result = result(site, &alice(), &id).await;
    assert_eq!(result["state"], "succeeded");
    assert_eq!(result["exit_code"], 0);
    assert_eq!(result["artifacts"][0]["name"], "out/answer.txt");
    assert_eq!(result["artifacts"][0]["text"], "42\n");
    assert_eq!(result["steps"][0]["state"], "succeeded");
    assert!(text(&result, "/artifacts/0/download_url").starts_with("http://clawhand.test/artifacts/art_"));
    site.scripted.until(|scripted| scripted.cleaned().len() == 1).await;
    worker.stop().await;
}

async fn nothing_private_leaves(site: &Site) {
    let worker = site.work();
    let (head, tail) = SECRET.split_at(9);
    site.scripted.script([
        Move::Print(format!("token {head}").into_bytes()),
        Move::Print(format!("{tail} at https://lab.internal.example:8200\n").into_bytes()),
        Move::Leave("out/report.txt".into(), format!("used {SECRET}\n").into_bytes()),
        Move::Leave(format!("out/{SECRET}.txt"), b"x".to_vec()),
        Move::Exit(3),
    ]);
    let id = execution(&site.started(&alice(), "run").await);
    let (log, status) = site.followed(&alice(), &id).await;
    let result = result(site, &alice(), &id).await;
    for answer in [log.clone(), status.to_string(), result.to_string()] {
        assert!(!answer.contains(SECRET), "{answer}");
        assert!(!answer.contains("lab.internal"), "{answer}");
    }
    assert!(log.contains("token [secret] at [private]\n"), "{log}");
    assert_eq!(result["artifacts"].as_array().map(Vec::len), Some(2));
    // What was started got the value itself, apart from the plain environment.
    let started = site.scripted.started();
    assert_eq!(started[0].secrets["LAB_TOKEN"], SECRET);
    assert!(!started[0].env.contains_key("LAB_TOKEN"));
    // A caller that writes a secret into a task doesn't read it back either.
    let told = SubmitTask {
        goal: format!("use {SECRET}"),
        ..submit("run")
    };
    ok(site.control.submit_task(&alice(), told).await);
    let listed = ok(site.control.list_tasks(&alice(), ListTasks::default()).await);
    assert!(!listed.to_string().contains(SECRET), "{listed}");
    worker.stop().await;
}

async fn what_an_attempt_turns_out_to_be_called_stays_private(site: &Site) {
    let worker = site.work();
    site.scripted.script([
        Move::Print(b"begun\n".to_vec()),
        Move::Wait("seen"),
        Move::Name("box-4711".into()),
        Move::Print(b"in box-4711\n".to_vec()),
        Move::Leave("out/box-4711.txt".into(), b"of box-4711\n".to_vec()),
        Move::End(ExitReport {
            exec_error: Some("box-4711: no".into()),
            ..ExitReport::default()
        }),
    ]);
    let id = execution(&site.started(&alice(), "run").await);
    site.scripted.until(|scripted| !scripted.started().is_empty()).await;
    site.scripted.open("seen");
    let (log, _) = site.followed(&alice(), &id).await;
    let result = result(site, &alice(), &id).await;
    assert!(log.ends_with("begun\nin [attempt]\n"), "{log}");
    assert_eq!(result["artifacts"][0]["name"], "out/[attempt].txt", "{result}");
    assert_eq!(result["artifacts"][0]["text"], "of [attempt]\n", "{result}");
    assert!(!result.to_string().contains("4711"), "{result}");
    worker.stop().await;
}

async fn asking_again_attaches_to_the_same_work(site: &Site) {
    let keyed = |goal: &str| SubmitTask {
        goal: goal.into(),
        idempotency_key: Some("k1".into()),
        ..submit("run")
    };
    let first = ok(site.control.submit_task(&alice(), keyed("a")).await);
    let again = ok(site.control.submit_task(&alice(), keyed("a")).await);
    assert_eq!(first["task_id"], again["task_id"]);
    assert_eq!(
        refused(site.control.submit_task(&alice(), keyed("b")).await),
        "idempotency_conflict"
    );
    // Another owner's keys are its own.
    let bob = caller("bob", &[Scope::Tasks]);
    let other = ok(site.control.submit_task(&bob, keyed("b")).await);
    assert_ne!(first["task_id"], other["task_id"]);

    let task_id = text(&first, "/task_id");
    ok(site
        .control
        .upload_artifact(&alice(), file(&task_id, "job.txt", "x"))
        .await);
    let start = |task_id: &str| StartExecution {
        task_id: task_id.into(),
        idempotency_key: Some("s1".into()),
    };
    // Many at once: one execution.
    let calls = (0..8).map(|_| site.control.start_execution(&SHARED, start(&task_id)));
    let answers = futures_util::future::join_all(calls).await;
    let ids: std::collections::BTreeSet<String> = answers.into_iter().map(|answer| execution(&ok(answer))).collect();
    assert_eq!(ids.len(), 1);
    let other_task = site.task(&alice(), "run").await;
    assert_eq!(
        refused(site.control.start_execution(&alice(), start(&other_task)).await),
        "idempotency_conflict"
    );
    let unkeyed = StartExecution {
        task_id: task_id.clone(),
        idempotency_key: None,
    };
    assert_eq!(
        refused(site.control.start_execution(&alice(), unkeyed.clone()).await),
        "already_started"
    );
    // Once it has ended, the task can be executed again.
    let worker = site.work();
    let first_run = ids.first().expect("one").clone();
    site.followed(&alice(), &first_run).await;
    let second = ok(site.control.start_execution(&alice(), unkeyed).await);
    assert_ne!(execution(&second), first_run);
    site.followed(&alice(), &execution(&second)).await;
    assert_eq!(site.scripted.start_calls(), 2);
    worker.stop().await;
}

/// An actor that futures can borrow for as long as they like.
static SHARED: std::sync::LazyLock<Actor> = std::sync::LazyLock::new(alice);

async fn what_is_not_yours_does_not_exist(site: &Site) {
    let worker = site.work();
    site.scripted
        .script([Move::Leave("out/a".into(), b"a".to_vec()), Move::Exit(0)]);
    let task_id = site.task(&alice(), "run").await;
    let start = StartExecution {
        task_id: task_id.clone(),
        idempotency_key: None,
    };
    let id = execution(&ok(site.control.start_execution(&alice(), start.clone()).await));
    site.followed(&alice(), &id).await;
    let waiting = site.started(&alice(), "deploy").await;
    let approval_id = text(&waiting, "/approval/id");
    let artifact = text(&result(site, &alice(), &id).await, "/artifacts/0/uri");
    let artifact = artifact.rsplit('/').next().expect("an id").parse().expect("an id");

    let bob = caller("bob", &[Scope::Tasks]);
    let control = &site.control;
    let status = GetStatus {
        execution_id: id.clone(),
        ..GetStatus::default()
    };
    let cancel = CancelExecution {
        execution_id: id.clone(),
        reason: None,
    };
    let respond = RespondToApproval {
        approval_id,
        decision: DecisionArg::AllowOnce,
        reason: None,
    };
    let answers = [
        control.upload_artifact(&bob, file(&task_id, "job.txt", "evil")).await,
        control.start_execution(&bob, start).await,
        control.get_status(&bob, status).await,
        control
            .get_result(
                &bob,
                GetResult {
                    execution_id: id.clone(),
                    ..GetResult::default()
                },
            )
            .await,
        control.cancel_execution(&bob, cancel).await,
        control.respond_to_approval(&bob, respond).await,
        control
            .get_result(
                &bob,
                GetResult {
                    execution_id: "exe_nonsense".into(),
                    ..GetResult::default()
                },
            )
            .await,
    ];
    for answer in answers {
        assert_eq!(refused(answer), "not_found");
    }
    assert!(control.read_artifact(&bob, artifact).await.is_err());
    assert!(control.read_artifact(&alice(), artifact).await.is_ok());
    worker.stop().await;
}

async fn lists_show_what_an_actor_may_see(site: &Site) {
    site.task(&alice(), "run").await;
    site.task(&alice(), "deploy").await;
    let (control, bob) = (&site.control, caller("bob", &[Scope::Tasks]));
    assert_eq!(
        ok(control.list_tasks(&bob, ListTasks::default()).await)["tasks"],
        json!([])
    );
    // The operator at the command line sees everything.
    let all = ok(control.list_tasks(&Actor::operator(), ListTasks::default()).await);
    assert_eq!(all["tasks"].as_array().map(Vec::len), Some(2));
    // A key without the scope may do nothing.
    let nobody = caller("nobody", &[]);
    assert_eq!(
        refused(control.list_tasks(&nobody, ListTasks::default()).await),
        "not_allowed"
    );
}

async fn a_started_task_is_frozen(site: &Site) {
    let task_id = site.task(&alice(), "run").await;
    let start = StartExecution {
        task_id: task_id.clone(),
        idempotency_key: None,
    };
    let started = ok(site.control.start_execution(&alice(), start).await);
    let late = site
        .control
        .upload_artifact(&alice(), file(&task_id, "job.txt", "changed"))
        .await;
    assert_eq!(refused(late), "already_started");
    assert!(text(&started, "/plan_digest").starts_with("sha256:"));
}

async fn wrong_tasks_are_told_what_is_wrong(site: &Site) {
    let control = &site.control;
    let with = |change: fn(&mut SubmitTask)| {
        let mut args = submit("run");
        change(&mut args);
        args
    };
    let submits = [
        (with(|args| args.target_ref = "nowhere".into()), "unknown_target"),
        (
            with(|args| args.execution_intent = "explode".into()),
            "intent_not_allowed",
        ),
        (with(|args| args.goal = String::new()), "invalid_argument"),
        (with(|args| args.goal = "nul\0".into()), "invalid_argument"),
        (with(|args| args.goal = "x".repeat(10_001)), "invalid_argument"),
        (with(|args| args.project_name = "two\nlines".into()), "invalid_argument"),
        (
            with(|args| args.context = Some("x".repeat(100_001))),
            "invalid_argument",
        ),
        (
            with(|args| args.idempotency_key = Some("k".repeat(201))),
            "invalid_argument",
        ),
    ];
    for (args, expected) in submits {
        assert_eq!(refused(control.submit_task(&alice(), args).await), expected);
    }
}

async fn wrong_uploads_are_told_what_is_wrong(site: &Site) {
    let control = &site.control;
    let task = ok(control.submit_task(&alice(), submit("run")).await);
    assert!(
        task["plan"].is_null() && !task["needs"].as_array().expect("needs").is_empty(),
        "{task}"
    );
    let task_id = text(&task, "/task_id");
    let start = StartExecution {
        task_id: task_id.clone(),
        idempotency_key: None,
    };
    assert_eq!(refused(control.start_execution(&alice(), start).await), "not_ready");
    let upload = |change: fn(&mut UploadArtifact)| {
        let mut args = file(&task_id, "job.txt", "x");
        change(&mut args);
        args
    };
    let uploads = [
        (upload(|args| args.name = "../escape".into()), "invalid_argument"),
        (upload(|args| args.name = "/etc/passwd".into()), "invalid_argument"),
        (
            upload(|args| args.content_base64 = Some("eA==".into())),
            "invalid_argument",
        ),
        (
            upload(|args| (args.content, args.content_base64) = (None, Some("no!".into()))),
            "invalid_argument",
        ),
        (
            upload(|args| args.digest = Some("sha256:zz".into())),
            "invalid_argument",
        ),
        (
            upload(|args| args.digest = Some(format!("sha256:{}", "0".repeat(64)))),
            "digest_mismatch",
        ),
        (upload(|args| args.name = "p.tar.gz".into()), "invalid_argument"),
        (
            upload(|args| (args.offset, args.last) = (Some(5), Some(true))),
            "invalid_argument",
        ),
        (
            upload(|args| (args.offset, args.last) = (Some(u64::MAX), Some(true))),
            "too_large",
        ),
    ];
    for (args, expected) in uploads {
        let shown = format!("{args:?}");
        assert_eq!(
            refused(control.upload_artifact(&alice(), args).await),
            expected,
            "{shown}"
        );
    }
    // None of it left anything behind.
    let good = ok(control.upload_artifact(&alice(), file(&task_id, "job.txt", "x")).await);
    assert_eq!(good["needs"], json!([]));
}

async fn wrong_cursors_are_told_what_is_wrong(site: &Site) {
    let control = &site.control;
    let id = execution(&site.started(&alice(), "run").await);
    let status = |cursor: &str| GetStatus {
        execution_id: id.clone(),
        cursor: Some(cursor.into()),
        ..GetStatus::default()
    };
    for cursor in ["x", "99999.running.0", "-1.queued.0"] {
        assert_eq!(
            refused(control.get_status(&alice(), status(cursor)).await),
            "invalid_argument"
        );
    }
}

async fn uploads_in_parts(site: &Site) {
    let task = ok(site.control.submit_task(&alice(), submit("run")).await);
    let task_id = text(&task, "/task_id");
    let part = |content: &str, offset: u64, last: bool| UploadArtifact {
        offset: Some(offset),
        last: Some(last),
        ..file(&task_id, "job.txt", content)
    };
    let control = &site.control;
    let first = ok(control.upload_artifact(&alice(), part("hello ", 0, false)).await);
    assert_eq!(first["next_offset"], 6);
    assert_eq!(
        refused(control.upload_artifact(&alice(), part("x", 9, false)).await),
        "invalid_argument"
    );
    // The same part again: its answer got lost.
    assert_eq!(
        ok(control.upload_artifact(&alice(), part("hello ", 0, false)).await)["next_offset"],
        6
    );
    let whole = ok(control.upload_artifact(&alice(), part("world", 6, true)).await);
    assert_eq!(
        whole["artifact"]["digest"],
        clawhand::domain::Digest::of(b"hello world").to_string()
    );
    assert_eq!(whole["needs"], json!([]));
}

async fn work_that_says_no_is_failed(site: &Site) {
    let worker = site.work();
    site.scripted.script([Move::Exit(3)]);
    site.scripted.script([Move::End(ExitReport {
        signal: Some(11),
        ..ExitReport::default()
    })]);
    let exec_error = Some("no such program".to_owned());
    site.scripted.script([Move::End(ExitReport {
        exit_code: Some(127),
        exec_error,
        ..ExitReport::default()
    })]);
    for (code, words) in [
        (json!(3), "exit code 3"),
        (Value::Null, "signal 11"),
        (json!(127), "no such program"),
    ] {
        let id = execution(&site.started(&alice(), "run").await);
        site.followed(&alice(), &id).await;
        let result = result(site, &alice(), &id).await;
        assert_eq!(result["state"], "failed");
        assert_eq!(result.get("exit_code").unwrap_or(&Value::Null), &code, "{result}");
        assert!(text(&result, "/reason/message").contains(words), "{result}");
        assert_eq!(result["steps"][0]["state"], "failed");
    }
    worker.stop().await;
}

async fn a_step_that_runs_too_long_is_timed_out(site: &Site) {
    let worker = site.work();
    site.scripted.script([Move::End(ExitReport {
        signal: Some(15),
        timed_out: true,
        ..ExitReport::default()
    })]);
    let id = execution(&site.started(&alice(), "run").await);
    let (_, status) = site.followed(&alice(), &id).await;
    assert_eq!(status["state"], "timed_out");
    assert_eq!(result(site, &alice(), &id).await["reason"]["code"], "timeout");
    worker.stop().await;
}

async fn a_cancel_ends_what_waits_and_what_runs(site: &Site) {
    let cancel = |id: &str| CancelExecution {
        execution_id: id.into(),
        reason: Some("enough".into()),
    };
    let waiting = execution(&site.started(&alice(), "run").await);
    assert_eq!(
        ok(site.control.cancel_execution(&alice(), cancel(&waiting)).await)["state"],
        "cancelled"
    );
    let asked = execution(&site.started(&alice(), "deploy").await);
    assert_eq!(
        ok(site.control.cancel_execution(&alice(), cancel(&asked)).await)["state"],
        "cancelled"
    );

    let worker = site.work();
    site.scripted
        .script([Move::Print(b"begun\n".to_vec()), Move::Wait("never")]);
    let running = execution(&site.started(&alice(), "run").await);
    site.scripted.until(|scripted| scripted.started().len() == 1).await;
    ok(site.control.cancel_execution(&alice(), cancel(&running)).await);
    let (_, status) = site.followed(&alice(), &running).await;
    assert_eq!(status["state"], "cancelled");
    assert_eq!(site.scripted.cancelled().len(), 1);
    // Of what has ended, a cancel tells how it ended.
    assert_eq!(
        ok(site.control.cancel_execution(&alice(), cancel(&running)).await)["state"],
        "cancelled"
    );
    assert_eq!(
        site.scripted.start_calls(),
        1,
        "what was cancelled while it waited never ran"
    );
    worker.stop().await;
}

async fn what_is_lost_is_unknown_and_never_runs_twice(site: &Site) {
    let worker = site.work();
    site.scripted.script([
        Move::Print(b"half\n".to_vec()),
        Move::Lose("the supervisor was lost".into()),
    ]);
    let id = execution(&site.started(&alice(), "run").await);
    let (log, status) = site.followed(&alice(), &id).await;
    assert_eq!(status["state"], "unknown");
    assert!(log.ends_with("half\n"), "{log}");
    assert_eq!(site.scripted.start_calls(), 1);
    site.scripted.script([Move::NeverStart("no".into())]);
    let id = execution(&site.started(&alice(), "run").await);
    let (_, status) = site.followed(&alice(), &id).await;
    assert_eq!(status["state"], "infra_failed");
    site.scripted
        .fail_prepare(ExecutorError::Refused("no space for it".into()));
    let id = execution(&site.started(&alice(), "run").await);
    let (_, status) = site.followed(&alice(), &id).await;
    assert_eq!(status["state"], "infra_failed");
    worker.stop().await;
}

async fn what_may_be_repeated_is_started_again(site: &Site) {
    let worker = site.work();
    site.scripted.script([Move::Lose("gone".into())]);
    site.scripted.script([Move::Print(b"second\n".to_vec()), Move::Exit(0)]);
    let id = execution(&site.started(&alice(), "retry").await);
    let (log, status) = site.followed(&alice(), &id).await;
    assert_eq!(status["state"], "succeeded");
    assert!(log.ends_with("second\n"), "{log}");
    assert_eq!(site.scripted.start_calls(), 2);
    worker.stop().await;
}

async fn a_target_out_of_reach_is_waited_for(site: &Site) {
    let worker = site.work();
    site.scripted.fail_start(ExecutorError::Unreachable("cut".into()));
    site.scripted.script([
        Move::Print(b"a".to_vec()),
        Move::Unreachable(2),
        Move::Print(b"b\n".to_vec()),
        Move::Exit(0),
    ]);
    let id = execution(&site.started(&alice(), "run").await);
    let (log, status) = site.followed(&alice(), &id).await;
    assert_eq!(status["state"], "succeeded");
    assert!(log.ends_with("\nab\n"), "{log}");
    assert_eq!(
        site.scripted.started().len(),
        1,
        "one attempt, whatever it took to reach it"
    );
    worker.stop().await;
}

async fn a_worker_that_stops_hands_over(site: &Site) {
    let first = site.work();
    site.scripted.script([
        Move::Print(b"one\n".to_vec()),
        Move::Wait("handed over"),
        Move::Print(b"two\n".to_vec()),
        Move::Exit(0),
    ]);
    let id = execution(&site.started(&alice(), "run").await);
    until_logged(site, &id, "one\n").await;
    first.stop().await;
    let home = site.another().await;
    let second = Worker::start(&home);
    site.scripted.open("handed over");
    let (log, status) = site.followed(&alice(), &id).await;
    assert_eq!(status["state"], "succeeded");
    assert_eq!(log, "== step 1 of 1: work (do the job)\none\ntwo\n");
    assert_eq!(site.scripted.start_calls(), 1, "re-attached, not run again");
    second.stop().await;
    home.store.clone().close().await;
}

/// Follows until the log ends with `tail`.
async fn until_logged(site: &Site, id: &str, tail: &str) {
    let (mut log, mut cursor) = (String::new(), None);
    while !log.ends_with(tail) {
        let ask = GetStatus {
            execution_id: id.into(),
            cursor,
            wait_ms: Some(20_000),
            max_bytes: None,
        };
        let status = ok(site.control.get_status(&alice(), ask).await);
        log += status["log"]["text"].as_str().expect("text");
        assert_ne!(status["log"]["done"], true, "ended before it logged {tail:?}: {log}");
        cursor = Some(text(&status, "/log/next_cursor"));
    }
}

async fn a_worker_that_dies_is_taken_over_from(site: &Site) {
    // The first worker lives in a runtime of its own, which is torn down like a process that is killed.
    let doomed = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let home = site.another().await;
    let other = home.clone();
    doomed.spawn(async move {
        let worker = Worker::start(&other);
        std::future::pending::<()>().await;
        drop(worker);
    });
    site.scripted.script([
        Move::Print(b"one\n".to_vec()),
        Move::Wait("taken over"),
        Move::Print(b"two\n".to_vec()),
        Move::Exit(0),
    ]);
    let id = execution(&site.started(&alice(), "run").await);
    until_logged(site, &id, "one\n").await;
    doomed.shutdown_background();
    let second = site.work();
    site.scripted.open("taken over");
    let (log, status) = site.followed(&alice(), &id).await;
    assert_eq!(status["state"], "succeeded");
    assert_eq!(log, "== step 1 of 1: work (do the job)\none\ntwo\n");
    assert_eq!(site.scripted.start_calls(), 1);
    second.stop().await;
}

async fn a_person_decides(site: &Site) {
    let worker = site.work();
    let respond = |id: &str, decision| RespondToApproval {
        approval_id: id.into(),
        decision,
        reason: None,
    };
    let control = &site.control;
    let started = site.started(&alice(), "deploy").await;
    assert_eq!(started["state"], "awaiting_approval");
    let (id, approval) = (execution(&started), text(&started, "/approval/id"));
    // Neither who asked, nor its double with the scope, nor a model at the operator's own stdio.
    for requester in [alice(), caller("alice", &[Scope::Tasks, Scope::Approve])] {
        let answer = control
            .respond_to_approval(&requester, respond(&approval, DecisionArg::AllowOnce))
            .await;
        assert_eq!(refused(answer), "not_allowed");
    }
    let stdio = Actor::local_model("any");
    assert_eq!(
        refused(
            control
                .respond_to_approval(&stdio, respond(&approval, DecisionArg::AllowOnce))
                .await
        ),
        "not_found"
    );
    let own = site.started(&stdio, "deploy").await;
    let own_approval = text(&own, "/approval/id");
    let answer = control
        .respond_to_approval(&stdio, respond(&own_approval, DecisionArg::AllowAlways))
        .await;
    assert_eq!(refused(answer), "not_allowed");
    assert_eq!(site.scripted.start_calls(), 0, "nothing runs unasked");

    let carol = caller("carol", &[Scope::Approve]);
    let answered = ok(control
        .respond_to_approval(&carol, respond(&approval, DecisionArg::AllowOnce))
        .await);
    assert_eq!(
        answered,
        json!({"approval": {"state": "allowed"}, "execution": {"state": "queued"}})
    );
    let (_, status) = site.followed(&alice(), &id).await;
    assert_eq!(status["state"], "succeeded");
    assert_eq!(
        refused(
            control
                .respond_to_approval(&carol, respond(&approval, DecisionArg::Deny))
                .await
        ),
        "already_ended"
    );

    let no = RespondToApproval {
        reason: Some("not today".into()),
        ..respond(&own_approval, DecisionArg::Deny)
    };
    ok(control.respond_to_approval(&Actor::operator(), no).await);
    let denied = result(site, &stdio, &execution(&own)).await;
    assert_eq!(denied["state"], "denied");
    assert!(text(&denied, "/reason/message").contains("not today"));
    assert_eq!(site.scripted.start_calls(), 1);
    worker.stop().await;
}

async fn an_approval_lapses(site: &Site) {
    let started = site.started(&alice(), "deploy").await;
    site.later(11 * 60_000);
    let approval = text(&started, "/approval/id");
    let late = RespondToApproval {
        approval_id: approval,
        decision: DecisionArg::AllowOnce,
        reason: None,
    };
    assert_eq!(
        refused(site.control.respond_to_approval(&Actor::operator(), late).await),
        "already_ended"
    );
    let worker = site.work();
    let (_, status) = site.followed(&alice(), &execution(&started)).await;
    assert_eq!(status["state"], "expired");
    assert_eq!(site.scripted.start_calls(), 0);
    worker.stop().await;
}

async fn a_lasting_answer_covers_exactly_that_plan(site: &Site) {
    let worker = site.work();
    let task_id = site.task(&alice(), "deploy").await;
    let start = StartExecution {
        task_id,
        idempotency_key: None,
    };
    let started = ok(site.control.start_execution(&alice(), start.clone()).await);
    let always = RespondToApproval {
        approval_id: text(&started, "/approval/id"),
        decision: DecisionArg::AllowAlways,
        reason: None,
    };
    ok(site.control.respond_to_approval(&Actor::operator(), always).await);
    site.followed(&alice(), &execution(&started)).await;
    let again = ok(site.control.start_execution(&alice(), start).await);
    assert_eq!(again["state"], "queued");
    site.followed(&alice(), &execution(&again)).await;
    // Other files are another plan; another owner has no share in the answer.
    let other = ok(site.control.submit_task(&alice(), submit("deploy")).await);
    let other = text(&other, "/task_id");
    ok(site
        .control
        .upload_artifact(&alice(), file(&other, "job.txt", "something else"))
        .await);
    let start = StartExecution {
        task_id: other,
        idempotency_key: None,
    };
    assert_eq!(
        ok(site.control.start_execution(&alice(), start).await)["state"],
        "awaiting_approval"
    );
    let bob = caller("bob", &[Scope::Tasks]);
    assert_eq!(site.started(&bob, "deploy").await["state"], "awaiting_approval");
    worker.stop().await;
}

async fn status_waits_for_news(site: &Site) {
    let worker = site.work();
    site.scripted.script([
        Move::Print(b"a\n".to_vec()),
        Move::Wait("news"),
        Move::Print(b"b\n".to_vec()),
        Move::Exit(0),
    ]);
    let id = execution(&site.started(&alice(), "run").await);
    until_logged(site, &id, "a\n").await;
    let look = |cursor: Option<String>, wait_ms| GetStatus {
        execution_id: id.clone(),
        cursor,
        wait_ms,
        max_bytes: None,
    };
    let seen = ok(site.control.get_status(&alice(), look(None, None)).await);
    let cursor = Some(text(&seen, "/log/next_cursor"));
    let actor = alice();
    let mut waiting = std::pin::pin!(site.control.get_status(&actor, look(cursor.clone(), Some(20_000))));
    let early = futures_util::poll!(waiting.as_mut());
    assert!(early.is_pending(), "there was no news yet");
    site.scripted.open("news");
    let news = ok(waiting.await);
    assert!(news["log"]["text"] == "b\n" || news["state"] != seen["state"], "{news}");
    // A wait that is given up leaves nothing behind and changes nothing.
    drop(site.control.get_status(&actor, look(cursor, Some(20_000))));
    let (log, _) = site.followed(&alice(), &id).await;
    assert!(log.ends_with("a\nb\n"), "{log}");
    worker.stop().await;
}

async fn tasks_are_listed_in_pages(site: &Site) {
    for _ in 0..5 {
        ok(site.control.submit_task(&alice(), submit("run")).await);
    }
    site.started(&alice(), "run").await;
    let list = |state: Option<&str>, limit, cursor| ListTasks {
        state: state.map(str::to_owned),
        limit,
        cursor,
    };
    let mut ids = Vec::new();
    let mut cursor = None;
    loop {
        let page = ok(site
            .control
            .list_tasks(&alice(), list(None, Some(4), cursor.clone()))
            .await);
        ids.extend(
            page["tasks"]
                .as_array()
                .expect("tasks")
                .iter()
                .map(|task| text(task, "/task_id")),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(ids.len(), 6);
    assert!(ids.is_sorted_by(|a, b| a > b), "newest first, none twice: {ids:?}");
    let queued = ok(site
        .control
        .list_tasks(&alice(), list(Some("queued"), None, None))
        .await);
    assert_eq!(queued["tasks"].as_array().map(Vec::len), Some(1));
    let wrong = [
        list(Some("flying"), None, None),
        list(None, Some(0), None),
        list(None, Some(101), None),
        list(None, None, Some("x".into())),
    ];
    for args in wrong {
        assert_eq!(
            refused(site.control.list_tasks(&alice(), args).await),
            "invalid_argument"
        );
    }
}
