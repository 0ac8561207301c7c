//! What happens when the database goes away or the process is killed.

use crate::database::Base;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use clawhand::domain::TaskId;
use clawhand::store::{Changes, Store, StoreError, StoreSettings, TaskInsert};

use super::{World, task};

/// Ends every other connection to the test's database.
pub async fn end_every_connection(world: &World) {
    let mut raw = world.raw_postgres().await;
    let text = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::raw_sql(text).execute(&mut raw).await.expect("the statement runs");
}

/// Asks again as long as the database says that it is not there; gives up after as many times as there are
/// connections.
pub async fn until_available<T>(ask: impl AsyncFn() -> Result<T, StoreError>) -> T {
    for _ in 0..16 {
        match ask().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable(_)) => {}
            Err(other) => panic!("not the error of a lost connection: {other}"),
        }
    }
    panic!("the database did not come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_with_the_connections_of_postgres() {
    let Some(cluster) = crate::database::cluster() else {
        return;
    };
    let world = World::on(Base::postgres(&cluster).await).await;
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        for _ in 0..4 {
            let mut task = task("operator");
            task.idempotency_key = Some(format!("{round}-{}", task.id));
            until_available(async || world.store.task_insert(&task).await).await;
            acknowledged.push(task.id);
        }
        end_every_connection(&world).await;
        if round % 2 == 0 {
            assert_eq!(
                world.store.ping().await,
                Ok(()),
                "a read finds a new connection by itself"
            );
        }
        let new = super::execution(&task("gone"), super::ExecutionState::Queued);
        until_available(async || world.store.execution_insert(&new).await).await;
    }
    for id in acknowledged {
        assert!(
            world.store.task_get(id).await.expect("reads").is_some(),
            "{id} was acknowledged"
        );
    }
    world.end().await;
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_unavailable() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("a file");
    std::fs::write(&file, "not a database, but long enough to be taken for one".repeat(100)).expect("written");
    for (url, unavailable) in [
        // Nobody listens on the port: it was free a moment ago.
        ("postgres://postgres@127.0.0.1:1/none".to_owned(), true),
        (format!("sqlite://{}/no/such/folder/db", dir.path().display()), true),
        (format!("sqlite://{}", file.display()), false),
        ("mysql://localhost".to_owned(), false),
        ("nonsense".to_owned(), false),
    ] {
        let settings = StoreSettings {
            url: url.clone(),
            max_connections: 2,
        };
        let error = match Store::open(&settings, Changes::new()).await {
            Ok(store) => store.migrate().await.expect_err("can't be used"),
            Err(error) => error,
        };
        assert_eq!(
            matches!(error, StoreError::Unavailable(_)),
            unavailable,
            "{url}: {error:?}"
        );
        assert_eq!(
            matches!(error, StoreError::Corrupt(_)),
            !unavailable,
            "{url}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let world = World::on(Base::sqlite()).await;
    let clone = world.store.clone();
    let base = world.base;
    world.store.close().await;
    assert!(matches!(clone.ping().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(
        clone.task_insert(&task("operator")).await,
        Err(StoreError::Unavailable(_))
    ));
    base.end().await;
}

/// CLAWHAND_TEST_SMALL_DIR is an empty folder on a file system of a few megabytes, which takes root to make.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_loses_nothing() {
    let Some(dir) = std::env::var_os("CLAWHAND_TEST_SMALL_DIR") else {
        eprintln!("left out: the full disk, because CLAWHAND_TEST_SMALL_DIR is not set");
        return;
    };
    let dir = tempfile::tempdir_in(dir).expect("a folder");
    let ballast = dir.path().join("ballast");
    std::fs::write(&ballast, vec![0; 512 * 1024]).expect("there is room");
    let settings = StoreSettings::in_file(&dir.path().join("state.db"), 2).expect("an address");
    let store = Store::open(&settings, Changes::new()).await.expect("opens");
    store.migrate().await.expect("migrates");
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        // Until it is full; what was acknowledged by then.
        set.spawn(async move {
            let mut acknowledged = Vec::new();
            loop {
                let task = task("operator");
                let new = super::execution(&task, super::ExecutionState::Queued);
                match store.task_insert(&task).await {
                    Ok(_) => acknowledged.push(task.id),
                    Err(error) => return (acknowledged, error),
                }
                if let Err(error) = store.execution_insert(&new).await {
                    return (acknowledged, error);
                }
            }
        });
    }
    let ends = set.join_all().await;
    store.close().await;
    let store = Store::open(&settings, Changes::new())
        .await
        .expect("opens a full database");
    for (acknowledged, error) in ends {
        assert!(matches!(error, StoreError::Full(_)), "{error:?}");
        for id in acknowledged {
            assert!(
                store.task_get(id).await.expect("reads").is_some(),
                "{id} was acknowledged"
            );
        }
    }
    std::fs::remove_file(ballast).expect("removed");
    assert_eq!(
        store.task_insert(&task("operator")).await,
        Ok(TaskInsert::Inserted),
        "there is room again"
    );
    store.close().await;
}

const CHILD: &str = "CLAWHAND_TEST_STORE_CHILD";

/// Not a test of its own: the process that `kill_9_loses_nothing_acknowledged` kills. Writes as fast as it can and
/// tells each id after it was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes_until_it_is_killed() {
    let Some(url) = std::env::var_os(CHILD) else { return };
    let settings = StoreSettings {
        url: url.into_string().expect("a text"),
        max_connections: 2,
    };
    let store = Store::open(&settings, Changes::new()).await.expect("opens");
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        set.spawn(async move {
            loop {
                let task = task("operator");
                assert_eq!(store.task_insert(&task).await, Ok(TaskInsert::Inserted));
                println!("\nstored {}", task.id);
            }
        });
    }
    set.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing_acknowledged() {
    let world = World::on(Base::sqlite()).await;
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "store::failures::child_that_writes_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD, &world.settings.url)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut stored: Vec<TaskId> = Vec::new();
        let mut killed = false;
        while let Some(Ok(line)) = lines.next() {
            stored.extend(line.strip_prefix("stored ").and_then(|id| id.parse::<TaskId>().ok()));
            if stored.len() >= 200 && !killed {
                child.kill().expect("can be killed");
                killed = true;
            }
        }
        child.wait().expect("ends");
        assert!(killed, "it wrote only {} tasks", stored.len());
        for id in &stored {
            assert!(
                world.store.task_get(*id).await.expect("reads").is_some(),
                "{id} was acknowledged"
            );
        }
    }
    world.end().await;
}
