//! The objects that are made in a cluster: a Job for each attempt and one for the inputs, and a Secret for each attempt.
//!
//! Pure: from values to values. Nothing of a caller's text is in a Job; it is in the Secret.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::domain::target::KubernetesBlock;
use crate::domain::{AttemptId, ExecutionId};
use crate::executors::contract::{ExecutorError, StartAttempt};
use crate::executors::posix::{self, Layout, OutputMode};

/// Where the volume is in every container.
pub(super) const ROOT: &str = "/clawhand";
pub(super) const WORK: &str = "/clawhand/work";
pub(super) const HOME: &str = "/clawhand/home";
pub(super) const TMP: &str = "/clawhand/tmp";
/// Where the step's container finds its job.
const JOB: &str = "/clawhand-job";

/// The container of the work.
pub(super) const STEP: &str = "step";
/// The container that keeps the volume within reach.
pub(super) const KEEP: &str = "keep";

pub(super) const MANAGED: (&str, &str) = ("app.kubernetes.io/managed-by", "clawhand");
pub(super) const EXECUTION: &str = "io.clawhand/execution";
pub(super) const ATTEMPT: &str = "io.clawhand/attempt";
/// The place of a Job among those of its execution.
pub(super) const ORDER: &str = "io.clawhand/order";
/// A throw-away execution, which nobody will ask about.
pub(super) const PROBE: &str = "io.clawhand/probe";

/// PATH of steps where the target doesn't say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a Job is kept in the cluster after its pod is gone, should clawhand never come back.
const FINISHED_KEPT: Duration = Duration::from_secs(10 * 60);
/// Between the time at which a step should have ended and that at which the cluster ends it.
const OVERDUE: Duration = Duration::from_secs(60);

/// Begins once the workspace is laid. Asked to end before, it has nothing to end.
const WAIT_AND_RUN: &str = "trap 'exit 143' TERM\nuntil [ -e /clawhand/go ]; do sleep 0.1 2>/dev/null || sleep 1; done\ntrap - TERM\nexec sh /clawhand-job/job";
/// Lives until it is told to end; the cluster ends it when its time is over. Its end is no success: of a pod whose containers
/// all succeeded the node forgets that it evicted it.
const KEEP_ON: &str = "trap 'exit 143' TERM\nwhile :; do sleep 3600 & wait $!; done";

/// The name of the Job of an attempt.
pub(super) fn attempt_name(attempt: AttemptId) -> String {
    format!("clawhand-{}", hexadecimal(&attempt.to_string()))
}

/// The name of the Job that holds the inputs of an execution.
pub(super) fn inputs_name(execution: ExecutionId) -> String {
    format!("clawhand-{}-inputs", hexadecimal(&execution.to_string()))
}

fn hexadecimal(id: &str) -> &str {
    id.rsplit('_').next().unwrap_or(id)
}

/// Where the parts of an attempt are in its pod.
pub(super) fn layout(block: &KubernetesBlock, attempt: AttemptId) -> Layout {
    Layout {
        attempt: format!("{ROOT}/attempts/{attempt}"),
        work: WORK.to_owned(),
        home: HOME.to_owned(),
        tmp: TMP.to_owned(),
        path: block.path.clone().unwrap_or_else(|| PATH.to_owned()),
        output: OutputMode::File,
    }
}

/// What a Job is to be.
pub(super) struct Wanted<'a> {
    pub block: &'a KubernetesBlock,
    pub execution: ExecutionId,
    /// None: it holds the inputs.
    pub start: Option<&'a StartAttempt>,
    pub order: u32,
}

/// The Job of an attempt, or of the inputs.
pub(super) fn job(wanted: &Wanted<'_>) -> Result<Job, ExecutorError> {
    let (block, execution) = (wanted.block, wanted.execution);
    let name = wanted
        .start
        .map_or_else(|| inputs_name(execution), |start| attempt_name(start.attempt));
    let mut labels = BTreeMap::from([
        (MANAGED.0.to_owned(), MANAGED.1.to_owned()),
        (EXECUTION.to_owned(), execution.to_string()),
    ]);
    labels.extend(
        wanted
            .start
            .map(|start| (ATTEMPT.to_owned(), start.attempt.to_string())),
    );
    let (timeout, grace) = wanted
        .start
        .map_or((Duration::ZERO, Duration::ZERO), |start| (start.timeout, start.grace));
    let deadline = block.start_timeout + timeout + grace + OVERDUE + block.keep;
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {ORDER: wanted.order.to_string()},
        },
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            // Never a second pod for what may have run.
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": deadline.as_secs(),
            "ttlSecondsAfterFinished": FINISHED_KEPT.as_secs(),
            "template": template(wanted, &name, &labels, grace),
        },
    });
    serde_json::from_value(job).map_err(|error| {
        ExecutorError::Refused(format!("the pod of the target's file is none for the cluster: {error}"))
    })
}

fn template(wanted: &Wanted<'_>, name: &str, labels: &BTreeMap<String, String>, grace: Duration) -> Value {
    let block = wanted.block;
    let mut containers = Vec::new();
    let mut volumes =
        vec![json!({"name": "clawhand", "emptyDir": without_nulls(json!({"sizeLimit": block.workspace_size}))})];
    if wanted.start.is_some() {
        containers.push(step(block, name));
        volumes.push(json!({"name": "job", "secret": {
            "secretName": name, "defaultMode": 0o440, "items": [{"key": "job", "path": "job"}],
        }}));
    }
    containers.push(keep(block));
    let pod = without_nulls(json!({
        "restartPolicy": "Never",
        "serviceAccountName": block.service_account,
        "automountServiceAccountToken": block.service_account_token,
        "enableServiceLinks": false,
        // What a step finds as its host's name, instead of the pod's.
        "hostname": "step",
        "terminationGracePeriodSeconds": grace.as_secs() + 5,
        "nodeSelector": block.node_selector,
        "tolerations": block.tolerations.iter().map(|toleration| without_nulls(json!({
            "key": toleration.key, "operator": toleration.operator,
            "value": toleration.value, "effect": toleration.effect,
        }))).collect::<Vec<_>>(),
        "imagePullSecrets": block.image_pull_secrets.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": block.user, "runAsGroup": block.user, "fsGroup": block.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": containers,
        "volumes": volumes,
    }));
    let mut template = json!({"metadata": {}, "spec": pod});
    lay_over(&mut template, &block.pod);
    // By these its pod is found again, whatever the target's file says.
    for (label, value) in labels {
        template["metadata"]["labels"][label] = value.clone().into();
    }
    template["spec"]["restartPolicy"] = "Never".into();
    template
}

fn step(block: &KubernetesBlock, secret: &str) -> Value {
    let resources = &block.resources;
    without_nulls(json!({
        "name": STEP,
        "image": block.image,
        "imagePullPolicy": block.pull_policy,
        "command": ["sh", "-c", WAIT_AND_RUN],
        "workingDir": "/",
        "env": [{"name": "CLAWHAND_SECRETS", "valueFrom": {"secretKeyRef": {"name": secret, "key": "secrets"}}}],
        "resources": {
            "requests": {"cpu": resources.cpu, "memory": resources.memory},
            "limits": {"cpu": resources.cpu_limit, "memory": resources.memory_limit},
        },
        "securityContext": confined(),
        "volumeMounts": [
            {"name": "clawhand", "mountPath": ROOT},
            // Some programs write to /tmp whatever TMPDIR says, and the image's own is read-only.
            {"name": "clawhand", "mountPath": "/tmp", "subPath": "tmp"},
            {"name": "job", "mountPath": JOB, "readOnly": true},
        ],
    }))
}

fn keep(block: &KubernetesBlock) -> Value {
    without_nulls(json!({
        "name": KEEP,
        "image": block.helper(),
        "imagePullPolicy": block.pull_policy,
        "command": ["sh", "-c", KEEP_ON],
        "workingDir": "/",
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"memory": "256Mi"},
        },
        "securityContext": confined(),
        "volumeMounts": [{"name": "clawhand", "mountPath": ROOT}],
    }))
}

/// As Pod Security's level `restricted` asks for, and a little more.
fn confined() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

/// The Secret of an attempt, which goes with its Job.
pub(super) fn secret(block: &KubernetesBlock, start: &StartAttempt, job: &Job) -> Result<Secret, ExecutorError> {
    let texts = posix::job(start, &layout(block, start.attempt))?;
    let name = attempt_name(start.attempt);
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "labels": job.labels(),
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job.uid(),
                "controller": false, "blockOwnerDeletion": false,
            }],
        },
        "immutable": true,
        "stringData": {"job": texts.public, "secrets": texts.secret},
    });
    serde_json::from_value(secret).map_err(|error| ExecutorError::Refused(format!("the secret can't be made: {error}")))
}

/// Lays one value over another: tables are merged, lists whose items have names are merged by name, the rest replaced.
fn lay_over(below: &mut Value, above: &Value) {
    match (below, above) {
        (_, Value::Null) => {}
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(below), Value::Array(above)) if is_named(below) && is_named(above) && !below.is_empty() => {
            for item in above {
                match below.iter_mut().find(|have| have["name"] == item["name"]) {
                    Some(have) => lay_over(have, item),
                    None => below.push(item.clone()),
                }
            }
        }
        (below, above) => *below = above.clone(),
    }
}

fn is_named(items: &[Value]) -> bool {
    items.iter().all(|item| item["name"].is_string())
}

/// What the target's file doesn't say is left to the cluster.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_the_targets_file_is_laid_over_by_name() {
        let mut below = json!({"a": 1, "list": [1, 2], "containers": [
            {"name": "step", "image": "x", "env": [{"name": "A", "value": "1"}]}, {"name": "keep"}]});
        lay_over(
            &mut below,
            &json!({"a": 2, "b": {"c": true}, "list": [3], "containers": [
            {"name": "step", "env": [{"name": "B", "value": "2"}]}, {"name": "more"}]}),
        );
        assert_eq!(
            below,
            json!({"a": 2, "b": {"c": true}, "list": [3], "containers": [
            {"name": "step", "image": "x", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"name": "keep"}, {"name": "more"}]})
        );
    }

    #[test]
    fn the_names_are_ones_that_a_cluster_takes() {
        for name in [attempt_name(AttemptId::random()), inputs_name(ExecutionId::random())] {
            assert!(
                name.len() <= 63
                    && name
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{name}"
            );
        }
    }
}
