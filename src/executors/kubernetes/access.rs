//! Reaching the API of a cluster, and what its refusals mean.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::KubernetesExecutor;
use crate::domain::target::KubernetesBlock;
use crate::executors::contract::ExecutorError;

/// A server that takes longer to answer a small question is as good as gone.
const ANSWER_MAX: Duration = Duration::from_secs(15);
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// One client for each kubeconfig and context, made anew when the file changes.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<Source, (String, Client)>>);

/// A kubeconfig and a context of it, as far as the target names them.
type Source = (Option<String>, Option<String>);

/// The objects of one namespace.
#[derive(Clone)]
pub(super) struct Access {
    pub client: Client,
    pub jobs: Api<Job>,
    pub pods: Api<Pod>,
    pub secrets: Api<Secret>,
}

impl KubernetesExecutor {
    /// The way into the target's namespace. Nothing is asked of the cluster yet.
    pub(super) async fn access(&self) -> Result<Access, ExecutorError> {
        let client = self.pool.clients.get(&self.block).await?;
        let namespace = &self.block.namespace;
        Ok(Access {
            jobs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            client,
        })
    }
}

impl Clients {
    async fn get(&self, block: &KubernetesBlock) -> Result<Client, ExecutorError> {
        let key = (block.kubeconfig.clone(), block.context.clone());
        let text = match &block.kubeconfig {
            Some(path) => read(Path::new(path))?,
            None => String::new(),
        };
        let known = |(have, client): &(String, Client)| (*have == text).then(|| client.clone());
        let found = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .and_then(known);
        if let Some(client) = found {
            return Ok(client);
        }
        let mut config = config(block, &text).await?;
        config.connect_timeout = Some(CONNECT_MAX);
        let client = Client::try_from(config).map_err(|error| {
            ExecutorError::Refused(format!("the cluster's configuration can't be used: {}", chain(&error)))
        })?;
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clients.insert(key, (text, client.clone()));
        Ok(client)
    }
}

fn read(path: &Path) -> Result<String, ExecutorError> {
    std::fs::read_to_string(path)
        .map_err(|error| ExecutorError::Refused(format!("the kubeconfig {} can't be read: {error}", path.display())))
}

async fn config(block: &KubernetesBlock, text: &str) -> Result<Config, ExecutorError> {
    let refused = |error: &(dyn std::error::Error + 'static)| {
        ExecutorError::Refused(format!("the cluster's configuration can't be used: {}", chain(error)))
    };
    let Some(path) = &block.kubeconfig else {
        return Config::incluster().map_err(|error| refused(&error));
    };
    let mut kubeconfig = Kubeconfig::from_yaml(text).map_err(|error| refused(&error))?;
    make_absolute(&mut kubeconfig, Path::new(path));
    let options = KubeConfigOptions {
        context: block.context.clone(),
        ..KubeConfigOptions::default()
    };
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| refused(&error))
}

/// Files that a kubeconfig names are beside it.
fn make_absolute(kubeconfig: &mut Kubeconfig, path: &Path) {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let absolute = |file: &mut Option<String>| {
        if let Some(file) = file {
            *file = folder.join(&*file).to_string_lossy().into_owned();
        }
    };
    for cluster in kubeconfig
        .clusters
        .iter_mut()
        .filter_map(|named| named.cluster.as_mut())
    {
        absolute(&mut cluster.certificate_authority);
    }
    for user in kubeconfig
        .auth_infos
        .iter_mut()
        .filter_map(|named| named.auth_info.as_mut())
    {
        absolute(&mut user.client_certificate);
        absolute(&mut user.client_key);
        absolute(&mut user.token_file);
    }
}

/// What the API server's host is called, with and without its port, if a kubeconfig tells it.
pub(super) fn hosts(block: &KubernetesBlock) -> Vec<String> {
    let url = server(block);
    let parts = url.as_ref().and_then(http::Uri::authority);
    let whole = parts.map(|parts| parts.as_str().to_owned());
    whole
        .into_iter()
        .chain(parts.map(|parts| parts.host().to_owned()))
        .collect()
}

fn server(block: &KubernetesBlock) -> Option<http::Uri> {
    let text = std::fs::read_to_string(block.kubeconfig.as_ref()?).ok()?;
    let kubeconfig = Kubeconfig::from_yaml(&text).ok()?;
    let context = block.context.clone().or(kubeconfig.current_context)?;
    let context = kubeconfig
        .contexts
        .into_iter()
        .find(|named| named.name == context)?
        .context?;
    let cluster = kubeconfig
        .clusters
        .into_iter()
        .find(|named| named.name == context.cluster)?;
    cluster.cluster?.server?.parse().ok()
}

/// Asks the cluster, but not for ever.
pub(super) async fn asked<T>(
    what: &str,
    question: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ExecutorError> {
    match tokio::time::timeout(ANSWER_MAX, question).await {
        Ok(answer) => answer.map_err(|error| failed(what, &error)),
        Err(_) => Err(ExecutorError::Unreachable(format!(
            "failed to {what}: the cluster doesn't answer"
        ))),
    }
}

/// An answer in which an object that isn't there is none.
pub(super) fn found<T>(answer: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        answer => answer.map(Some),
    }
}

/// Whether the cluster said that this exists already, or is not what it was.
pub(super) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// An error of the cluster as one of the contract.
pub(super) fn failed(what: &str, error: &kube::Error) -> ExecutorError {
    let text = format!("failed to {what}: {}", chain(error));
    match error {
        kube::Error::Api(status) if status.message.contains("exceeded quota") => ExecutorError::Refused(text),
        kube::Error::Api(status) if matches!(status.code, 400 | 403 | 404 | 405 | 409 | 413 | 422) => {
            ExecutorError::Refused(text)
        }
        kube::Error::UpgradeConnection(kube::client::UpgradeConnectionError::ProtocolSwitch(code))
            if code.as_u16() == 403 =>
        {
            ExecutorError::Refused(format!("{text}; it needs the verbs get and create on pods/exec"))
        }
        kube::Error::BuildRequest(_) | kube::Error::SerdeError(_) => ExecutorError::Refused(text),
        _ => ExecutorError::Unreachable(text),
    }
}

/// For what goes on whether clawhand may ask or not: a right that was taken away may come back.
pub(super) fn later(error: ExecutorError) -> ExecutorError {
    match error {
        ExecutorError::Refused(text) => ExecutorError::Unreachable(text),
        other => other,
    }
}

/// An error with its causes, which are what tells something.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(kube::Error::Api(status)) = error.downcast_ref::<kube::Error>() {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
