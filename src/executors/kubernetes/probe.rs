//! Learning what steps find in the cluster, and what is in clawhand's way there.
//!
//! First each thing that can be wrong is asked for by itself, so that the operator hears of the verb that is missing and
//! not of what came of it. Then a step is run as any other, and tells which tools it finds.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::KubernetesExecutor;
use super::access::{Access, asked};
use super::objects::{self, Wanted};
use super::pods;
use super::state::hindrance;
use crate::domain::{ExecutionId, Facts};
use crate::executors::contract::{AttemptState, Executor as _, ExecutorError, Trouble};
use crate::executors::posix::{ask_for_tools, told_tools};

/// What clawhand does in a namespace: API group, resource, subresource, verbs.
pub const NEEDED: [(&str, &str, &str, &[&str]); 4] = [
    ("batch", "jobs", "", &["create", "get", "list", "patch", "delete"]),
    ("", "pods", "", &["list", "watch"]),
    ("", "pods", "exec", &["get", "create"]),
    ("", "secrets", "", &["create"]),
];

/// For all tools together.
const TIMEOUT: Duration = Duration::from_secs(60);

impl KubernetesExecutor {
    pub(super) async fn learn(&self) -> Result<Facts, Trouble> {
        let access = self.access().await.map_err(|error| {
            Trouble::new(
                error.to_string(),
                "correct kubeconfig and context in the target's file, or the kubeconfig itself",
            )
        })?;
        self.check_rights(&access).await?;
        let execution = ExecutionId::random();
        self.check_objects(&access, execution).await?;
        let learned = self.ask(execution).await;
        let removed = self.remove(execution).await;
        let output = learned?;
        removed?;
        Ok(Facts {
            isolation: ["container", "own_user"].map(str::to_owned).into(),
            ..told_tools(&output, self.now.now())
        })
    }

    /// Asks the cluster for each verb whether clawhand has it.
    async fn check_rights(&self, access: &Access) -> Result<(), Trouble> {
        let reviews: Api<SelfSubjectAccessReview> = Api::all(access.client.clone());
        let mut missing = Vec::new();
        for (group, resource, subresource, verbs) in NEEDED {
            for verb in verbs {
                let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                    "metadata": {}, "spec": {"resourceAttributes": {
                        "namespace": self.block.namespace, "verb": verb, "group": group,
                        "resource": resource, "subresource": subresource}}});
                let review = serde_json::from_value(review)
                    .map_err(|error| ExecutorError::Refused(format!("a review can't be asked for: {error}")))?;
                let params = PostParams::default();
                let answer = asked("ask for clawhand's rights", reviews.create(&params, &review)).await;
                let allowed = answer
                    .map_err(|error| unanswered(&error))?
                    .status
                    .is_some_and(|status| status.allowed);
                if !allowed {
                    let name = [resource, subresource].join("/");
                    missing.push(format!("{verb} {}", name.trim_end_matches('/')));
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Trouble::new(
            format!(
                "in the namespace {} clawhand may not {}",
                self.block.namespace,
                missing.join(", ")
            ),
            "bind the role of docs/TARGETS.md to the account of the kubeconfig, in this namespace",
        ))
    }

    /// Has the cluster look at a Job without making it.
    async fn check_objects(&self, access: &Access, execution: ExecutionId) -> Result<(), Trouble> {
        let wanted = Wanted {
            block: &self.block,
            execution,
            start: None,
            order: 0,
        };
        let job = objects::job(&wanted)?;
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        match asked("make a job", access.jobs.create(&params, &job)).await {
            Ok(_) => Ok(()),
            Err(ExecutorError::Refused(why)) if why.contains("namespaces") && why.contains("not found") => Err(
                Trouble::new(why, "make the namespace, or correct it in the target's file"),
            ),
            Err(ExecutorError::Refused(why)) => Err(Trouble::new(
                why,
                "the cluster takes no such job: correct the target's file, above all [executor.pod]",
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs a step that asks for the tools.
    async fn ask(&self, execution: ExecutionId) -> Result<String, Trouble> {
        let workspace = self
            .prepare(execution, &[])
            .await
            .map_err(|error| hinted(&error.to_string()))?;
        let start = ask_for_tools(TIMEOUT);
        let handle = self.start(&workspace, &start).await?;
        let mut output = Vec::new();
        loop {
            let seen = self.observe(&handle, output.len() as u64, usize::MAX, TIMEOUT).await?;
            output.extend_from_slice(&seen.output);
            match seen.state {
                AttemptState::Running => {}
                AttemptState::Ended(report) if report.exec_error.is_none() => {
                    return Ok(String::from_utf8_lossy(&output).into_owned());
                }
                AttemptState::NeverStarted(_) => {
                    let job = self.access().await?.job(&objects::attempt_name(start.attempt)).await?;
                    let why = job.as_ref().map(hindrance).unwrap_or_default();
                    return Err(hinted(&format!("{}: {}", why.words, why.detail)));
                }
                other => return Err(hinted(&format!("a step that looks for tools ended as {other:?}"))),
            }
        }
    }
}

fn unanswered(error: &ExecutorError) -> Trouble {
    let text = error.to_string();
    let hint = match () {
        () if text.contains("Unauthorized") => {
            "the cluster doesn't know who clawhand is: renew the kubeconfig's token or certificate"
        }
        () if text.contains("certificate") => "the server's certificate is not the one that the kubeconfig trusts",
        () => "see that the cluster's API runs and can be reached from here, then try again",
    };
    Trouble::new(text, hint)
}

fn hinted(text: &str) -> Trouble {
    let hints = [
        (
            pods::PULL,
            "correct image or helper_image in the target's file, or give image_pull_secrets",
        ),
        (
            pods::NO_NODE,
            "ask for less cpu and memory, or correct node_selector and tolerations in the target's file",
        ),
        (
            pods::NO_POD,
            "look at the events of the namespace: a quota, or Pod Security, may not allow the pod",
        ),
        (
            pods::NO_CONTAINER,
            "the image needs a POSIX shell, and the helper image a shell and tar",
        ),
    ];
    let hint = hints.into_iter().find(|(words, _)| text.contains(words));
    Trouble::new(
        text,
        hint.map_or("see the operator's log and the events of the namespace", |(_, hint)| {
            hint
        }),
    )
}
