//! The only wiring: configuration -> handles of the rooms -> tasks -> router.
//!
//! Everything that exists once in a process is made here and handed on; no room makes another. Start reading at
//! [`Home::open`], then [`server`].

pub mod bridge;
mod key_file;
pub mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use crate::auth::Keys;
use crate::blobs::{BlobSettings, Blobs};
use crate::config::{Config, Environment};
use crate::control::links::Links;
use crate::control::{self, Control, ControlSettings};
use crate::domain::signing::SigningKey;
use crate::domain::{Clock, ExecutionId, Target};
use crate::engine::{self, Engine, EngineSettings};
use crate::executors::{Executor, ExecutorSettings, Executors, LocalSettings};
use crate::gateway::socket::Surroundings;
use crate::gateway::{Gateway, Gateways, ReadSecret, Secret};
use crate::inventory::Inventory;
use crate::lifecycle::Lifecycle;
use crate::redact::Vault;
use crate::store::{Changes, Store, StoreSettings};

/// An installation that is open: its configuration and the rooms of floor 1.
pub struct Home {
    /// What was configured.
    pub config: Config,
    /// Durable state.
    pub store: Store,
    /// Targets and recipes.
    pub inventory: Inventory,
    /// The time.
    pub clock: Clock,
    /// Ends what is started here.
    pub lifecycle: Lifecycle,
    blobs: Blobs,
    executors: Arc<Executors>,
    gateways: Gateways,
    vault: Vault,
    signing: SigningKey,
}

/// A wish that can't be granted as it is: the one who asked has to change something. Everything else that fails is
/// clawhand's or the machine's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The folders below the data folder.
struct Folders {
    scratch: PathBuf,
    runs: PathBuf,
}

impl Home {
    /// Opens the installation, making its folders, key and database where they are missing. What it starts later on its own
    /// account, such as a connection to a gateway, ends with `lifecycle`.
    ///
    /// # Errors
    /// When something of it can't be opened; the text names it and what to do.
    pub async fn open(config: Config, environment: &Environment, lifecycle: Lifecycle) -> anyhow::Result<Self> {
        let folders = make_folders(&config.data)?;
        let clock = system_clock();
        let store = open_store(&config).await?;
        store
            .migrate()
            .await
            .context("the database can't be brought up to date")?;
        let blobs = Blobs::open(&blob_settings(&config, environment, &folders.scratch))
            .context("the artifact store can't be opened")?;
        let vault = Vault::new(environment.all().clone());
        // A client may outlive this process: the cursors of the next one are larger.
        let cursors = u64::try_from(clock.now().0).unwrap_or_default();
        let gateways = open_gateways(&config, &vault, &lifecycle, cursors);
        let inventory = open_inventory(&config.targets, chats(&gateways))?;
        let executors = Executors::new(ExecutorSettings {
            gateways: gateways.clone(),
            local: LocalSettings {
                runs: folders.runs,
                program: std::env::current_exe().context("clawhand can't find its own program file")?,
                path: environment
                    .get("PATH")
                    .unwrap_or("/usr/local/bin:/usr/bin:/bin")
                    .to_owned(),
                now: clock.clone(),
            },
            scratch: folders.scratch.clone(),
            secrets: {
                let vault = vault.clone();
                Arc::new(move |reference| vault.read(reference).map_err(|error| error.to_string()))
            },
        });
        Ok(Self {
            signing: key_file::open(&config.data.join("secret.key"))?,
            gateways,
            vault,
            executors: Arc::new(executors),
            config,
            store,
            inventory,
            clock,
            lifecycle,
            blobs,
        })
    }

    /// The same installation by another clock and with one executor in place of every other: for tests of what
    /// happens when, and of what executors do seldom.
    #[must_use]
    pub fn with(self, clock: Clock, executor: Arc<dyn Executor>) -> Self {
        let executors = Executors::clone(&self.executors).with(executor);
        Self {
            clock,
            executors: Arc::new(executors),
            ..self
        }
    }

    /// Control whose links begin with `public_url`; without one it makes no links.
    pub fn control(&self, public_url: Option<String>) -> Control {
        let rooms = control::Rooms {
            store: self.store.clone(),
            blobs: self.blobs.clone(),
            inventory: self.inventory.clone(),
            executors: self.executors.clone(),
            vault: self.vault.clone(),
            links: Links::new(self.signing.clone(), public_url),
            gateways: self.gateways.clone(),
            signing: self.signing.clone(),
            clock: self.clock.clone(),
        };
        let settings = ControlSettings {
            max_artifact: self.config.uploads.max_size.0,
            upload_link_expires: self.config.uploads.link_expires.0,
            download_link_expires: self.config.downloads.link_expires.0,
            facts_max_age: self.config.facts.max_age.0,
            max_group_members: self.config.limits.max_group_members,
            per_owner: self.config.per_owner(),
            scratch: self.config.data.join("scratch"),
            private_texts: private_texts(&self.config, &self.gateways),
        };
        Control::new(rooms, settings)
    }

    /// A worker; for one execution alone if it is named.
    pub fn engine(&self, only: Option<ExecutionId>) -> Engine {
        let rooms = engine::Rooms {
            store: self.store.clone(),
            blobs: self.blobs.clone(),
            executors: self.executors.clone(),
            inventory: self.inventory.clone(),
            vault: self.vault.clone(),
            signing: self.signing.clone(),
            clock: self.clock.clone(),
        };
        let worker = &self.config.worker;
        let settings = EngineSettings {
            worker: format!("{}-{}", std::process::id(), uuid::Uuid::now_v7().simple()),
            parallel: worker.parallel as usize,
            per_owner: self.config.per_owner(),
            lease: worker.lease.0,
            grace: worker.grace.0,
            unreachable: worker.unreachable.0,
            scratch: self.config.data.join("scratch"),
            presence: self.config.data.join("workers"),
            only,
            retention: self.config.retention.after.0,
        };
        Engine::new(rooms, settings)
    }

    /// The bearer keys.
    pub fn keys(&self) -> Keys {
        Keys::new(self.store.clone(), self.signing.clone(), self.clock.clone())
    }

    /// Starts what every long-running process of clawhand needs: hearing of changes and of edited targets.
    pub fn start_listening(&self, lifecycle: &Lifecycle) {
        let (store, stop) = (self.store.clone(), lifecycle.soft());
        lifecycle.spawn("changes", async move { store.listen(stop).await });
        let (inventory, stop) = (self.inventory.clone(), lifecycle.soft());
        lifecycle.spawn("targets", async move {
            if let Err(error) = inventory.watch(stop).await {
                tracing::warn!(%error, "edits of targets are not noticed until a restart");
            }
        });
        let (inventory, stop) = (self.inventory.clone(), lifecycle.soft());
        lifecycle.spawn("targets-report", async move {
            let mut reads = inventory.reads();
            loop {
                tokio::select! {
                    changed = reads.changed() => if changed.is_err() { return },
                    () = stop.cancelled() => return,
                }
                report_problems(&inventory);
            }
        });
    }

    /// Starts the worker and its housekeeping.
    pub fn start_worker(&self, lifecycle: &Lifecycle, only: Option<ExecutionId>) {
        let engine = self.engine(only);
        lifecycle.spawn("worker", engine.clone().run(lifecycle.soft()));
        lifecycle.spawn("housekeeping", engine.keep_house(lifecycle.soft()));
    }
}

fn report_problems(inventory: &Inventory) {
    let problems = inventory.problems();
    if problems.is_empty() {
        tracing::info!(targets = inventory.snapshot().targets.len(), "targets were read anew");
    }
    for problem in problems {
        tracing::error!(%problem, "the targets have a mistake; the last good ones stay in use");
    }
}

/// Opens the database that is configured, without bringing it up to date.
///
/// # Errors
/// When it can't be reached.
pub async fn open_store(config: &Config) -> anyhow::Result<Store> {
    let settings = StoreSettings {
        url: config.database_url(),
        max_connections: config.database.max_connections,
    };
    let shown = crate::config::without_password(&settings.url);
    Store::open(&settings, Changes::new())
        .await
        .with_context(|| format!("the database {shown} can't be opened"))
}

/// The gateways, whose credentials are read once here, so that they are scrubbed before they are used. Whoever needs one
/// that can't be read is told then.
fn open_gateways(config: &Config, vault: &Vault, lifecycle: &Lifecycle, cursors: u64) -> Gateways {
    let vault = vault.clone();
    let secrets: ReadSecret = Arc::new(move |secret: &Secret| match secret {
        Secret::At(reference) => vault.read(reference).map_err(|error| error.to_string()),
        Secret::Given(value) => {
            vault.remember(value);
            Ok(value.clone())
        }
    });
    let instances = config.instances();
    for credential in instances.iter().filter_map(|instance| instance.credential.as_ref()) {
        if let Err(error) = secrets(credential.secret()) {
            tracing::debug!(%error, "the credential of an OpenClaw gateway can't be read now");
        }
    }
    let surroundings = Surroundings {
        identity: Some(config.data.join("identity")),
        cursors,
        ..Surroundings::new(lifecycle.tracker(), lifecycle.soft())
    };
    Gateways::new(instances, &secrets, &surroundings)
}

/// What tells something of this installation and no caller may read.
fn private_texts(config: &Config, gateways: &Gateways) -> Vec<String> {
    let mut texts = vec![config.data.display().to_string()];
    for gateway in gateways.list() {
        texts.extend(gateway.instance().private_texts());
    }
    texts
}

/// A target for chats with each gateway that go on in the background.
fn chats(gateways: &Gateways) -> Vec<Target> {
    let instances = gateways.list().iter().map(Gateway::instance);
    instances
        .map(|instance| {
            Target::for_chats(
                instance.name.as_str(),
                instance.max_concurrent,
                instance.max_reply,
                instance.task_timeout,
            )
        })
        .collect()
}

/// Reads the folder of targets, and adds those that no file describes.
///
/// # Errors
/// Every mistake in it, a line each.
pub fn open_inventory(folder: &Path, builtin: Vec<Target>) -> anyhow::Result<Inventory> {
    Inventory::open_with(folder, builtin).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(
            "the targets in {} have mistakes:\n{}",
            folder.display(),
            lines.join("\n")
        )
    })
}

/// The system's clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place where time comes in")]
pub fn system_clock() -> Clock {
    Clock::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        crate::domain::UnixMs(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
    })
}

/// The artifact store's settings: what the configuration says wins over the environment's `AWS_*`.
fn blob_settings(config: &Config, environment: &Environment, scratch: &Path) -> BlobSettings {
    let mut aws: BTreeMap<String, String> = environment
        .all()
        .iter()
        .filter(|(name, _)| name.starts_with("AWS_"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut set = |name: &str, value: &str| {
        if !value.is_empty() {
            aws.insert(name.to_owned(), value.to_owned());
        }
    };
    set("AWS_ENDPOINT_URL", &config.artifacts.endpoint);
    set("AWS_REGION", &config.artifacts.region);
    if config.artifacts.allow_http {
        set("AWS_ALLOW_HTTP", "true");
    }
    BlobSettings {
        url: config.artifacts_url(),
        scratch: scratch.to_path_buf(),
        aws,
    }
}

/// The data folder lets others pass (steps of another user work below `runs`), but not look.
fn make_folders(data: &Path) -> anyhow::Result<Folders> {
    use std::os::unix::fs::PermissionsExt as _;
    let folders = Folders {
        scratch: data.join("scratch"),
        runs: data.join("runs"),
    };
    let open = std::fs::Permissions::from_mode(0o711);
    for folder in [data, &folders.scratch, &folders.runs] {
        std::fs::create_dir_all(folder).with_context(|| {
            format!(
                "can't make the folder {}: set CLAWHAND_DATA to one that can be written",
                folder.display()
            )
        })?;
    }
    for folder in [data, &folders.runs] {
        std::fs::set_permissions(folder, open.clone())
            .with_context(|| format!("can't set the mode of {}", folder.display()))?;
    }
    Ok(folders)
}
