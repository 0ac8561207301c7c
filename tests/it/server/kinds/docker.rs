//! A Docker daemon, with all that it says while a test runs.

use async_trait::async_trait;
use bollard::query_parameters::EventsOptions;
use futures_util::StreamExt as _;

use super::site::{Site, Watched, write_to_pipe};
use crate::executors::suite_docker::Daemon;

pub struct Containers {
    pub daemon: Daemon,
    pub endpoint: String,
    /// `ACTION EXECUTION` of what was done to attempts, and `id WORD` of everything that has an id or a name.
    pub events: Watched,
    pub image: String,
}

impl Containers {
    pub async fn find() -> Option<Self> {
        let daemon = Daemon::find().await?;
        let docker = daemon.docker.clone();
        // Nothing is missed: this waits until the daemon tells.
        docker.ping().await.expect("answers");
        let events = Watched::new(|hear| async move {
            let mut events = Box::pin(docker.events(None::<EventsOptions>));
            while let Some(Ok(event)) = events.next().await {
                let Some(actor) = event.actor else { continue };
                let attributes = actor.attributes.unwrap_or_default();
                let Some(execution) = attributes.get("io.clawhand.execution") else {
                    continue;
                };
                let action = event.action.unwrap_or_default();
                let (id, name) = (
                    actor.id.unwrap_or_default(),
                    attributes.get("name").cloned().unwrap_or_default(),
                );
                hear.add(format!("id {execution} {id}"));
                hear.add(format!("id {execution} {name}"));
                let what = match attributes.contains_key("io.clawhand.attempt") {
                    true => "attempt",
                    false => "holder",
                };
                hear.add(format!("{what} {action} {execution} {id}"));
            }
        });
        let image = crate::executors::variable("CLAWHAND_TEST_IMAGE").expect("an image with a shell");
        Some(Self {
            endpoint: daemon.endpoint.clone(),
            daemon,
            events,
            image,
        })
    }

    pub fn tables_with(endpoint: &str, image: &str) -> String {
        format!("[executor]\nkind = \"docker\"\nendpoint = {endpoint:?}\nimage = {image:?}\npull = \"never\"\n")
    }

    /// Everything that tells where it is, of what these executions were.
    pub async fn private(&self, executions: &[String]) -> Vec<String> {
        let info = self.daemon.docker.info().await.expect("tells");
        let image = self.daemon.docker.inspect_image(&self.image).await.expect("is there");
        let image = image.id.expect("has an id").replace("sha256:", "");
        let mut private = vec![
            self.endpoint.replace("unix://", ""),
            self.image.clone(),
            image[..12].to_owned(),
            info.docker_root_dir.expect("has one"),
            "clawhand-exec".into(),
            "clawhand-att".into(),
            "/clawhand/".into(),
        ];
        for heard in self.events.all() {
            let mut words = heard.split(' ');
            let (Some("id"), Some(execution), Some(id)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if executions.iter().any(|mine| mine == execution) && !id.is_empty() {
                private.push(id.get(..12).filter(|_| id.len() == 64).unwrap_or(id).to_owned());
            }
        }
        private
    }
}

#[async_trait]
impl Site for Containers {
    fn tables(&self) -> String {
        Self::tables_with(&self.endpoint, &self.image)
    }

    async fn open_gate(&self, execution: &str) {
        let volume = format!("clawhand-{execution}");
        let volume = self.daemon.docker.inspect_volume(&volume);
        let folder = volume.await.expect("is there").mountpoint;
        write_to_pipe(std::path::Path::new(&folder).join("work/gate")).await;
    }

    async fn begun(&self, execution: &str) -> usize {
        self.events.count(&format!("attempt start {execution}"))
    }
}
