//! From a target file with operations to a plan: what is read, what is refused, what a person is told.

use std::collections::BTreeMap;

use clawhand::domain::plan::{Effect, Risk};
use clawhand::domain::task::{Constraints, TaskSpec};
use clawhand::domain::{Code, Listing, Plan, Refusal, Target};
use clawhand::planner::{self, Planned, Request};
use serde_json::{Value, json};

use crate::recipes::{loaded, told};

const TARGET: &str = r#"name = "shop"
description = "The shop"
intents = ["check", "deploy"]

[approval]
deploy = "always"

[executor]
kind = "http"
base_url = "https://shop.internal.example:8443/api/v2"
auth = { kind = "bearer", token = { env = "SHOP_TOKEN" } }

[executor.operations.health]
intents = ["check"]
summary = "ask whether it is well"
method = "GET"
path = "/health"

[executor.operations.release]
intents = ["deploy"]
summary = "release a version"
method = "POST"
path = "/apps/{app}/releases"
body = { version = "{version}", replicas = "{replicas}" }
timeout = "10m"
poll = { header = "location", until = { pointer = "/status", equals = "done" } }
cancel = { method = "DELETE", path = "/releases/{response:/id}" }

[executor.operations.release.parameters]
app = { type = "enum", values = ["web", "jobs"], required = true, description = "which part" }
version = { type = "string", required = true, pattern = "v[0-9]+(\\.[0-9]+)*", max_length = 20, description = "such as v1.2" }
replicas = { type = "integer", default = 2, description = "how many" }
flags = { type = "list", values = ["fast", "safe"], description = "how" }

[executor.operations.rollback]
intents = ["deploy"]
summary = "go back to the version before"
method = "PUT"
path = "/apps/{app}/rollback"

[executor.operations.rollback.parameters]
app = { type = "string", required = true, description = "which part" }
"#;

fn target() -> Target {
    let snapshot = loaded(&[("shop.toml", TARGET)]).expect("no mistakes");
    snapshot.targets.into_iter().next().expect("a target")
}

fn planned(intent: &str, inputs: Value) -> Result<Planned, Refusal> {
    let task = TaskSpec {
        project_name: "shop".to_owned(),
        goal: "g".to_owned(),
        target_ref: "shop".to_owned(),
        execution_intent: intent.to_owned(),
        context: None,
        constraints: Constraints::default(),
        inputs: serde_json::from_value(inputs).expect("an object"),
    };
    planner::plan(&Request {
        task: &task,
        target: &target(),
        facts: None,
        listing: &Listing::default(),
        inputs: &BTreeMap::new(),
        recipes: &[],
    })
}

fn plan(intent: &str, inputs: Value) -> Plan {
    let planned = planned(intent, inputs).expect("a plan");
    assert_eq!(planned.needs, []);
    planned.plan.expect("a plan")
}

#[test]
fn an_operation_becomes_a_step() {
    let inputs = json!({"operation": "release", "app": "web", "version": "v1.2"});
    let plan = plan("deploy", inputs.clone());
    let [step] = plan.steps.as_slice() else {
        panic!("{:?}", plan.steps);
    };
    let call = step.call.as_ref().expect("a call");
    assert_eq!(call.operation, "release");
    let parameters = json!({"app": "web", "replicas": 2, "version": "v1.2"});
    assert_eq!(serde_json::to_value(&call.parameters).expect("JSON"), parameters);
    assert!(step.argv.is_empty() && !step.repeatable);
    assert_eq!(
        (step.timeout_s, step.effects.as_slice(), plan.risk),
        (600, [Effect::Target].as_slice(), Risk::High)
    );
    assert_eq!(
        plan.explanation,
        "Where: shop, because 'shop' is its name.\n\
         How: by the operation release, because it was asked for by its name.\n\
         Step 1, release: release a version (changes the target), with app = \"web\", replicas = 2, version = \"v1.2\".\n\
         Then: waits until the work that this begins has ended.\n\
         Approval: a person must allow each deploy on shop, because the target's operator says so."
    );
    // A value that is another is another plan; one that says what is there anyway is not.
    let mut same = inputs.clone();
    same["replicas"] = json!(2);
    assert_eq!(self::plan("deploy", same).digest(), plan.digest());
    let mut other = inputs;
    other["replicas"] = json!(3);
    assert_ne!(self::plan("deploy", other).digest(), plan.digest());
    let stored: Plan = serde_json::from_str(&serde_json::to_string(&plan).expect("JSON")).expect("reads back");
    assert_eq!(stored, plan);
}

#[test]
fn reading_is_no_risk() {
    let plan = plan("check", json!({}));
    assert_eq!((plan.risk, plan.steps[0].repeatable), (Risk::Low, true));
    assert!(
        plan.explanation.contains("because it is what serves the intent here"),
        "{}",
        plan.explanation
    );
    assert!(
        plan.explanation.ends_with("Approval: nobody is asked first."),
        "{}",
        plan.explanation
    );
}

#[test]
fn what_is_missing_is_asked_for() {
    let planned = planned("deploy", json!({"operation": "release"})).expect("needs");
    let needs: Vec<_> = planned
        .needs
        .iter()
        .map(|need| format!("{}: {} ({})", need.code, need.message, need.hint))
        .collect();
    assert_eq!(
        needs,
        [
            "parameter: release needs the input 'app': which part (submit the task with inputs {\"app\": one of [\"web\", \"jobs\"]})",
            "parameter: release needs the input 'version': such as v1.2 (submit the task with inputs {\"version\": \"...\"})",
        ]
    );
    assert!(planned.plan.is_none());
    assert_eq!(planned.approvals.len(), 1);
}

/// Inputs, and what the refusal and its hint say.
const WRONG: &[(&str, &str, &str)] = &[
    (
        r#"{}"#,
        "several operations of shop serve 'deploy'",
        "release (release a version); rollback (",
    ),
    (
        r#"{"operation": "relase"}"#,
        "no operation 'relase' serves",
        "did you mean 'release'?",
    ),
    (
        r#"{"operation": "health"}"#,
        "no operation 'health' serves",
        "release (release a version)",
    ),
    (r#"{"operation": 1}"#, "must be a text", "rollback"),
    (
        r#"{"operation": "release", "ap": 1}"#,
        "no input 'ap'",
        "did you mean 'app'?",
    ),
    (
        r#"{"operation": "release", "host": "evil"}"#,
        "no input 'host'",
        "it takes: app, flags, replicas, version",
    ),
    (
        r#"{"operation": "release", "app": "db"}"#,
        "can't be 'db'",
        "one of: web, jobs",
    ),
    (r#"{"operation": "release", "app": 1}"#, "must be a text", "which part"),
    (
        r#"{"operation": "release", "replicas": "2"}"#,
        "must be a whole number",
        "how many",
    ),
    (
        r#"{"operation": "release", "replicas": 2.5}"#,
        "must be a whole number",
        "how many",
    ),
    (
        r#"{"operation": "release", "version": "v1\n"}"#,
        "can't be 'v1'",
        "it must match",
    ),
    (
        r#"{"operation": "release", "version": "xv1"}"#,
        "can't be 'xv1'",
        "it must match",
    ),
    (
        r#"{"operation": "release", "version": "v111111111111111111111"}"#,
        "at most 20 bytes",
        "shorten",
    ),
    (
        r#"{"operation": "release", "flags": ["fast", "wild"]}"#,
        "can't be 'wild'",
        "one of: fast, safe",
    ),
    (
        r#"{"operation": "release", "flags": "fast"}"#,
        "a list of at most",
        "how",
    ),
    (
        r#"{"operation": "rollback", "app": "../x"}"#,
        "would lead to another path",
        "plain value",
    ),
    (
        r#"{"operation": "rollback", "app": ".."}"#,
        "would lead to another path",
        "plain value",
    ),
    (r#"{"operation": "rollback", "app": ""}"#, "is empty", "plain value"),
];

#[test]
fn wrong_inputs_are_refused_with_what_helps() {
    for (inputs, message, hint) in WRONG {
        let given = serde_json::from_str(inputs).expect("JSON");
        let refusal = planned("deploy", given).expect_err("refused");
        assert_eq!(refusal.code, Code::InvalidArgument, "{inputs}");
        assert!(refusal.message.contains(message), "{inputs}: {refusal:?}");
        assert!(refusal.hint.contains(hint), "{inputs}: {refusal:?}");
    }
}

#[test]
fn an_intent_without_an_operation_is_refused() {
    let refusal = planned("test", json!({})).expect_err("refused");
    assert_eq!(refusal.code, Code::IntentNotAllowed);
    assert!(refusal.hint.contains("check, deploy"), "{refusal:?}");
    let text = TARGET.replace(
        "[\"check\", \"deploy\"]\n\n[approval]",
        "[\"check\", \"deploy\", \"test\"]\n\n[approval]",
    );
    assert_eq!(
        told(&[("shop.toml", &text)]),
        ["shop.toml:3:31: no operation serves the intent 'test' (known are: check, deploy)"]
    );
}

#[test]
fn nothing_private_is_in_a_plan() {
    let plan = plan("deploy", json!({"operation": "rollback", "app": "web"}));
    let json = serde_json::to_string(&plan).expect("JSON");
    for text in target().private_texts() {
        assert!(!json.contains(&text), "{text} in {json}");
    }
    let private = target().private_texts();
    for text in [
        "https://shop.internal.example:8443/api/v2",
        "shop.internal.example:8443",
        "shop.internal.example",
    ] {
        assert!(private.contains(&text.to_owned()), "{text} is not in {private:?}");
    }
}

/// What is put in place of what, and what is told.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "https://shop",
        "http://shop",
        "10:12: without TLS everybody on the way reads and changes what is sent (write https://, or plaintext = true if that is meant)",
    ),
    ("https://shop", "https://jo:pw@shop", "this is not the URL of an API"),
    ("/api/v2\"", "/api?x=1\"", "this is not the URL of an API"),
    (
        "https://shop.internal.example:8443/api/v2",
        "ftp://x",
        "this is not the URL of an API",
    ),
    (
        "token = { env = \"SHOP_TOKEN\" }",
        "token = \"abc\"",
        "the secret token is written into the file, or is no reference",
    ),
    (
        "kind = \"bearer\"",
        "kind = \"bearr\"",
        "there is no auth of the kind 'bearr' (did you mean 'bearer'?)",
    ),
    (
        "kind = \"bearer\", token",
        "kind = \"basic\", user = \"x\", passwort",
        "password is missing",
    ),
    (
        "auth = {",
        "allow_private = [\"10.0.0.1/8\"]\nauth = {",
        "'10.0.0.1/8' is neither an address nor a network",
    ),
    (
        "auth = {",
        "probe = \"release\"\nauth = {",
        "the operation 'release' can't be a probe",
    ),
    (
        "auth = {",
        "probe = \"helth\"\nauth = {",
        "there is no operation 'helth' (did you mean 'health'?)",
    ),
    (
        "auth = {",
        "client_certificate = \"/c.pem\"\nauth = {",
        "client_certificate and client_key belong together",
    ),
    (
        "[executor]",
        "[environment]\nA = \"b\"\n[executor]",
        "an API has no environment of its own",
    ),
    (
        "[executor]",
        "[secrets]\nA = { env = \"B\" }\n[executor]",
        "an API has no secrets of its own",
    ),
    (
        "auth = {",
        "ca = \"c.pem\"\nauth = {",
        "'c.pem' is not an absolute path",
    ),
    (
        "auth = {",
        "redirect_hosts = [\"https://x\"]\nauth = {",
        "'https://x' is not a host",
    ),
    ("method = \"GET\"", "method = \"get\"", "'get' is not known here"),
    (
        "path = \"/health\"",
        "path = \"health\"",
        "'health' is not the path of an operation",
    ),
    (
        "path = \"/health\"",
        "path = \"/a/../b\"",
        "'/a/../b' is not the path of an operation",
    ),
    (
        "path = \"/health\"",
        "path = \"/health?x=1\"",
        "is not the path of an operation",
    ),
    ("path = \"/health\"", "path = \"/{x}\"", "there is no parameter 'x'"),
    (
        "path = \"/health\"",
        "path = \"/{response:/id}\"",
        "there is no answer yet to take this from",
    ),
    (
        "path = \"/health\"",
        "path = \"/health\"\nbody = { a = 1 }",
        "GET has no body",
    ),
    (
        "path = \"/health\"",
        "path = \"/health\"\nheaders = { Authorization = \"x\" }",
        "the header 'Authorization' can't be set here",
    ),
    (
        "path = \"/health\"",
        "path = \"/health\"\nheaders = { Host = \"x\" }",
        "the header 'Host' can't be set here",
    ),
    (
        "path = \"/health\"",
        "path = \"/health\"\nretries = 99",
        "retries can't be 99",
    ),
    (
        "path = \"/health\"",
        "path = \"/health\"\nsuccess = { status = [\"9xx\"] }",
        "'9xx' is not a status",
    ),
    (
        "path = \"/health\"",
        "path = \"/health\"\nsuccess = { pointer = \"/a\" }",
        "it doesn't say which values count",
    ),
    (
        "path = \"/health\"",
        "path = \"/health\"\nresult = { a = \"b\" }",
        "'b' is not a JSON pointer",
    ),
    (
        "path = \"/health\"",
        "path = \"/health\"\ncancel = { method = \"DELETE\", path = \"/x\" }",
        "there is nothing that cancel could end",
    ),
    (
        "path = \"/health\"",
        "path = \"/health\"\neffects = [\"nothing\"]",
        "'nothing' is not known here",
    ),
    (
        "path = \"/health\"",
        "path = \"/health\"\npth = 1",
        "unknown key executor.operations.health.pth (did you mean 'path'?)",
    ),
    (
        "\"{version}\", replicas",
        "\"{verson}\", replicas",
        "there is no parameter 'verson' (did you mean 'version'?)",
    ),
    (
        "\"{version}\", replicas",
        "\"{version\", replicas",
        "this can't be filled in",
    ),
    (
        "header = \"location\", until",
        "until",
        "it must say in one way where the status is asked for",
    ),
    (
        ", until = { pointer = \"/status\", equals = \"done\" }",
        "",
        "it doesn't say when the work has ended",
    ),
    (
        "type = \"enum\", values = [\"web\", \"jobs\"]",
        "type = \"enum\"",
        "values belong to the types enum and list",
    ),
    (
        "default = 2",
        "default = \"2\"",
        "the default is not of the parameter's type",
    ),
    ("\"v[0-9]+(", "\"v[0-9+(", "this is not a pattern"),
    ("max_length = 20", "max_length = 0", "max_length can't be 0"),
    (
        "app = { type = \"string\", required = true",
        "app = { type = \"string\"",
        "the parameter 'app' may be missing from the path",
    ),
    (
        "app = { type = \"string\", required",
        "app = { type = \"list\", required",
        "the parameter 'app' is a list, which a path can't hold",
    ),
    (
        "replicas = { type",
        "operation = { type = \"string\", description = \"d\" }\nreplicas = { type",
        "'operation' can't be the name of a parameter",
    ),
];

#[test]
fn mistakes_are_told_at_their_place() {
    for (from, to, wanted) in MISTAKES {
        assert!(TARGET.contains(from), "{from}");
        let problems = told(&[("shop.toml", &TARGET.replacen(from, to, 1))]);
        assert!(
            problems.iter().any(|problem| problem.contains(wanted)),
            "{to}: {wanted} is not in {problems:#?}"
        );
    }
}

#[test]
fn the_example_can_be_read() {
    let text = include_str!("../../targets/examples/http.toml");
    let snapshot = loaded(&[("http.toml", text)]).expect("no mistakes");
    assert_eq!(snapshot.targets[0].executor.kind(), "http");
}
