//! The smallest role of docs/TARGETS.md suffices where Pod Security's level `restricted` is enforced, and less doesn't.

use clawhand::domain::ExecutionId;
use clawhand::domain::target::KubernetesBlock;
use clawhand::executors::{AttemptState, Executor, ExecutorError, KubernetesExecutor};
use serde_json::{Value, json};

use super::super::suite::{ALL, LONG, sh};
use super::cluster::{self, InNamespace};

/// The rules as they stand in the documentation.
pub fn documented() -> Vec<Value> {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/TARGETS.md")).expect("reads");
    let rules = docs.lines().filter_map(|line| {
        let rule = line.trim().strip_prefix("- {apiGroups: [")?;
        let (group, rest) = rule.split_once("], resources: [")?;
        let (resource, verbs) = rest.split_once("], verbs: [")?;
        let verbs: Vec<&str> = verbs.trim_end_matches("]}").split(", ").collect();
        Some(json!({"apiGroups": [group.trim_matches('"')], "resources": [resource.trim_matches('"')], "verbs": verbs}))
    });
    rules.collect()
}

/// All that the engine asks of an executor, once.
async fn whole_life(executor: &KubernetesExecutor, execution: ExecutionId) -> Result<(), ExecutorError> {
    let workspace = executor.prepare(execution, &[]).await?;
    let handle = executor.start(&workspace, &sh("echo done > file; echo done")).await?;
    let mut from = 0;
    loop {
        let seen = executor.observe(&handle, from, 1000, LONG).await?;
        from += seen.output.len() as u64;
        match seen.state {
            AttemptState::Running => {}
            AttemptState::Ended(report) => break assert_eq!(report.exit_code, Some(0)),
            other => return Err(ExecutorError::Refused(format!("ended as {other:?}"))),
        }
    }
    let found = executor.collect(&workspace, &["file".to_owned()], ALL).await?;
    assert_eq!(found.files.len(), 1);
    if !executor.leftovers().await?.contains(&execution) {
        return Err(ExecutorError::Refused("its leftovers are not found".to_owned()));
    }
    executor.cancel(&handle, LONG).await?;
    executor.clean_up(execution).await
}

async fn with(system: &InNamespace, name: &str, rules: &[Value]) -> std::sync::Arc<KubernetesExecutor> {
    let kubeconfig = system.account(name, json!(rules)).await;
    system.executor_of(KubernetesBlock {
        kubeconfig: Some(kubeconfig.display().to_string()),
        ..system.block.clone()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_smallest_role_suffices() {
    let Some(system) = cluster::namespace().await else {
        return;
    };
    let executor = with(&system, "smallest", &documented()).await;
    let execution = ExecutionId::random();
    whole_life(&executor, execution).await.expect("lives");
    let facts = executor.probe().await.unwrap_or_else(|trouble| panic!("{trouble}"));
    assert!(facts.tools.contains_key("sh"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verb_less_does_not() {
    let Some(system) = cluster::namespace().await else {
        return;
    };
    let rules = documented();
    assert_eq!(rules.len(), 4, "{rules:?}");
    for (index, rule) in rules.iter().enumerate() {
        let verbs = rule["verbs"].as_array().expect("is a list");
        for verb in verbs.iter().filter_map(Value::as_str) {
            let resource = rule["resources"][0].as_str().expect("is a name");
            let mut fewer = rules.clone();
            fewer[index]["verbs"] = verbs.iter().filter(|other| **other != *verb).cloned().collect();
            fewer.retain(|rule| rule["verbs"] != json!([]));
            let name = format!("without-{verb}-{}", resource.replace('/', "-"));
            let executor = with(&system, &name, &fewer).await;
            let execution = ExecutionId::random();
            let lived = whole_life(&executor, execution).await;
            assert!(lived.is_err(), "{name} is enough");
            let trouble = executor.probe().await.expect_err(&name);
            assert!(
                trouble.what.contains(&format!("may not {verb} {resource}")),
                "{trouble:?}"
            );
            system
                .executor_of(system.block.clone())
                .clean_up(execution)
                .await
                .expect("cleans up");
        }
    }
}
