//! Retention and uploads of the same content in every order: nothing that is in use is deleted, and nothing else stays.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use clawhand::blobs::{BlobSettings, Blobs, Stored};
use clawhand::domain::execution::ExecutionState;
use clawhand::domain::{Artifact, ArtifactRole, Blob, Event, Outcome, Task};
use clawhand::store::{ArtifactInsert, Finish, Going, Store, TaskFilter};
use futures_util::FutureExt as _;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use tokio::sync::Barrier;

use super::{World, artifact, at, on_both};

on_both!(
    content_that_comes_again_in_any_order_stays,
    a_janitor_that_dies_anywhere_is_followed_by_the_next,
    outputs_are_kept_like_inputs,
    a_second_copy_goes_and_the_first_stays,
    a_replaced_input_goes,
    many_at_once_lose_nothing,
);

const CONTENT: &[u8] = b"the same again";

/// An artifact store in a folder.
struct Kept {
    blobs: Blobs,
    dir: TempDir,
}

impl Kept {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = BlobSettings {
            url: format!("file://{}", dir.path().join("blobs").display()),
            scratch: dir.path().join("scratch"),
            aws: Default::default(),
        };
        let blobs = Blobs::open(&settings).expect("opens");
        Self { blobs, dir }
    }

    async fn put(&self) -> Stored {
        self.blobs.put(Bytes::from_static(CONTENT)).await.expect("is stored")
    }

    async fn is_whole(&self, blob: Blob) -> bool {
        self.blobs
            .read(blob, 100)
            .await
            .is_ok_and(|bytes| bytes.as_ref() == CONTENT)
    }

    /// Copies on disk.
    fn count(&self) -> usize {
        files(&self.dir.path().join("blobs"))
    }
}

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder)
        .expect("reads")
        .map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| match entry.file_type().expect("a type").is_dir() {
            true => files(&entry.path()),
            false => 1,
        })
        .sum()
}

/// An input with content that was put.
fn input(task: &Task, stored: Stored) -> Artifact {
    Artifact {
        copy: stored.copy,
        created_at: at(0),
        ..artifact(task, "a.txt", CONTENT)
    }
}

/// A task from long ago that has the content.
async fn old_task(world: &World, kept: &Kept) -> Artifact {
    let mut task = super::task("old");
    task.created_at = at(-100);
    world.store.task_insert(&task).await.expect("stored");
    let mut old = input(&task, kept.put().await);
    old.created_at = at(-100);
    assert_eq!(
        world.store.artifact_insert_input(&old).await,
        Ok(ArtifactInsert::Stored)
    );
    old
}

/// What keeps house, one step at a time.
#[derive(Default)]
struct Janitor {
    steps: usize,
    going: Vec<Going>,
}

impl Janitor {
    const STEPS: usize = 4;

    async fn step(&mut self, store: &Store, kept: &Kept) {
        match self.steps {
            0 => drop(store.purge(at(-1), 1000).await.expect("purges")),
            1 => self.going = store.blobs_going(1000).await.expect("answers"),
            2 => {
                for going in &self.going {
                    kept.blobs.delete(going.blob).await.expect("deletes");
                }
            }
            _ => {
                for going in &self.going {
                    store.blobs_gone(going.blob).await.expect("forgets");
                }
            }
        }
        self.steps += 1;
    }

    /// A whole round.
    async fn round(store: &Store, kept: &Kept) {
        let mut janitor = Self::default();
        for _ in 0..Self::STEPS {
            janitor.step(store, kept).await;
        }
    }
}

/// The uploader puts the bytes before the janitor's step `put`, and inserts the row before its step `insert`.
fn orders() -> impl Iterator<Item = (usize, usize)> {
    (0..=Janitor::STEPS).flat_map(|put| (put..=Janitor::STEPS).map(move |insert| (put, insert)))
}

async fn expect_only(world: &World, kept: &Kept, artifact: &Artifact, case: &str) {
    let found = world
        .store
        .artifact_get(artifact.id)
        .await
        .expect("reads")
        .expect("is there");
    assert!(kept.is_whole(found.blob()).await, "{case}: the bytes are lost");
    Janitor::round(&world.store, kept).await;
    assert!(
        kept.is_whole(found.blob()).await,
        "{case}: a later round took the bytes"
    );
    assert_eq!(kept.count(), 1, "{case}: something is left behind");
}

async fn content_that_comes_again_in_any_order_stays(world: &World) {
    for (put, insert) in orders() {
        let case = format!("put before {put}, inserted before {insert}");
        let kept = Kept::new();
        let old = old_task(world, &kept).await;
        let task = world.task("new").await;
        let (mut janitor, mut stored, mut mine) = (Janitor::default(), None, None);
        for step in 0..=Janitor::STEPS {
            if step == put {
                stored = Some(kept.put().await);
            }
            if step == insert {
                let artifact = input(&task, stored.expect("was put"));
                assert_eq!(
                    world.store.artifact_insert_input(&artifact).await,
                    Ok(ArtifactInsert::Stored),
                    "{case}"
                );
                mine = Some(artifact);
            }
            if step < Janitor::STEPS {
                janitor.step(&world.store, &kept).await;
            }
        }
        let mine = mine.expect("was inserted");
        expect_only(world, &kept, &mine, &case).await;
        // A deletion that was asked for long ago and arrives only now.
        for going in &janitor.going {
            kept.blobs.delete(going.blob).await.expect("deletes");
        }
        expect_only(world, &kept, &mine, &case).await;
        assert_eq!(world.store.artifact_get(old.id).await, Ok(None));
        forget(world, &kept).await;
    }
}

/// Deletes every task, and expects that no bytes stay.
async fn forget(world: &World, kept: &Kept) {
    world.store.purge(at(1_000_000), 100).await.expect("purges");
    Janitor::round(&world.store, kept).await;
    assert_eq!(kept.count(), 0);
    assert_eq!(world.store.blobs_going(10).await, Ok(vec![]));
}

async fn a_janitor_that_dies_anywhere_is_followed_by_the_next(world: &World) {
    for died in 0..=Janitor::STEPS {
        let kept = Kept::new();
        old_task(world, &kept).await;
        let mut dead = Janitor::default();
        for _ in 0..died {
            dead.step(&world.store, &kept).await;
        }
        let task = world.task("new").await;
        let mine = input(&task, kept.put().await);
        world.store.artifact_insert_input(&mine).await.expect("stored");
        let next = world.another().await;
        Janitor::round(&next, &kept).await;
        next.close().await;
        // It was not dead, only slow.
        for _ in died..Janitor::STEPS {
            dead.step(&world.store, &kept).await;
        }
        expect_only(world, &kept, &mine, &format!("died before {died}")).await;
        forget(world, &kept).await;
    }
}

async fn outputs_are_kept_like_inputs(world: &World) {
    for (put, insert) in orders() {
        let case = format!("put before {put}, inserted before {insert}");
        let kept = Kept::new();
        old_task(world, &kept).await;
        let (execution, lease) = world.claimed().await;
        world
            .store
            .execution_move(&lease, Event::Prepared, at(1))
            .await
            .expect("runs");
        world
            .store
            .execution_move(&lease, Event::StepsOver, at(2))
            .await
            .expect("collects");
        let (mut janitor, mut outputs) = (Janitor::default(), Vec::new());
        for step in 0..=Janitor::STEPS {
            if step == put {
                // Two outputs with the same content, as builds have them.
                for name in ["a", "b"] {
                    let mut output = input(&super::task("operator"), kept.put().await);
                    output.task = execution.task;
                    output.execution = Some(execution.id);
                    output.role = ArtifactRole::Output;
                    output.name = name.into();
                    outputs.push(output);
                }
            }
            if step == insert {
                let finish = Finish {
                    event: Event::WorkSucceeded,
                    outcome: &Outcome::default(),
                    artifacts: &outputs,
                    now: at(3),
                };
                let ended = world.store.execution_finish(&lease, &finish).await;
                assert_eq!(ended, Ok(ExecutionState::Succeeded), "{case}");
            }
            if step < Janitor::STEPS {
                janitor.step(&world.store, &kept).await;
            }
        }
        for output in &outputs {
            expect_only(world, &kept, output, &case).await;
        }
        forget(world, &kept).await;
    }
}

async fn a_second_copy_goes_and_the_first_stays(world: &World) {
    let kept = Kept::new();
    let (first, second) = (world.task("a").await, world.task("b").await);
    let (one, two) = (input(&first, kept.put().await), input(&second, kept.put().await));
    for artifact in [&one, &two] {
        world.store.artifact_insert_input(artifact).await.expect("stored");
    }
    for artifact in [&one, &two] {
        let found = world
            .store
            .artifact_get(artifact.id)
            .await
            .expect("reads")
            .expect("is there");
        assert_eq!(found.blob(), one.blob());
    }
    let going = Going {
        blob: two.blob(),
        kept: Some(one.copy),
    };
    assert_eq!(world.store.blobs_going(10).await, Ok(vec![going]));
    expect_only(world, &kept, &two, "shared").await;
}

async fn a_replaced_input_goes(world: &World) {
    let kept = Kept::new();
    let task = world.task("a").await;
    let first = input(&task, kept.put().await);
    world.store.artifact_insert_input(&first).await.expect("stored");
    let other = artifact(&task, "a.txt", b"other");
    world.store.artifact_insert_input(&other).await.expect("stored");
    Janitor::round(&world.store, &kept).await;
    assert_eq!(kept.count(), 0);
}

/// Uploads and janitors on several handles, truly at once.
async fn many_at_once_lose_nothing(world: &World) {
    let kept = Arc::new(Kept::new());
    let other = world.another().await;
    let barrier = Arc::new(Barrier::new(6));
    let mut set = tokio::task::JoinSet::new();
    for worker in 0..6 {
        let store = if worker % 2 == 0 {
            world.store.clone()
        } else {
            other.clone()
        };
        let (kept, barrier) = (Arc::clone(&kept), Arc::clone(&barrier));
        set.spawn(async move {
            barrier.wait().await;
            for round in 0..15 {
                if worker < 2 {
                    Janitor::round(&store, &kept).await;
                    continue;
                }
                let mut task = super::task("operator");
                // Every other one is old enough to be deleted at once.
                task.created_at = if round % 2 == 0 { at(-100) } else { at(0) };
                store.task_insert(&task).await.expect("stored");
                let mut mine = input(&task, kept.put().await);
                mine.created_at = task.created_at;
                let inserted = store.artifact_insert_input(&mine).await.expect("answers");
                let found = store.artifact_get(mine.id).await.expect("reads");
                if inserted == ArtifactInsert::NoTask {
                    kept.blobs.delete(mine.blob()).await.expect("deletes");
                }
                if task.created_at == at(0) {
                    assert_eq!(inserted, ArtifactInsert::Stored);
                    assert!(kept.is_whole(found.expect("is there").blob()).await, "lost");
                }
            }
        });
    }
    set.join_all().await;
    other.close().await;
    let everything = TaskFilter {
        limit: 1000,
        ..TaskFilter::default()
    };
    let all = world.store.task_list(&everything).await.expect("lists");
    for row in all.iter().filter(|row| row.task.created_at == at(0)) {
        let inputs = world.store.artifact_inputs(row.task.id).await.expect("reads");
        assert!(kept.is_whole(inputs[0].blob()).await, "lost");
    }
    Janitor::round(&world.store, &kept).await;
    assert_eq!(kept.count(), 1);
    forget(world, &kept).await;
}

/// The two transactions that meet at a digest, held open: whoever comes second waits, and then sees what the first did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_the_second_waits_for_the_first() {
    let Some(cluster) = crate::database::cluster() else {
        return;
    };
    let world = World::on(crate::database::Base::postgres(&cluster).await).await;
    let kept = Kept::new();
    for janitor_first in [false, true] {
        let old = old_task(&world, &kept).await;
        world.store.purge(at(-1), 1000).await.expect("purges");
        let task = world.task("new").await;
        let mine = input(&task, kept.put().await);
        // An artifact that is being inserted, or a janitor's transaction, that hasn't committed yet.
        let mut raw = world.raw_postgres().await;
        let (digest, copy) = (old.digest, old.copy);
        let first = match janitor_first {
            true => format!(
                "BEGIN; UPDATE blobs SET copy = copy WHERE digest = '{digest}'; \
                 DELETE FROM blobs WHERE digest = '{digest}'; INSERT INTO blobs_going VALUES ('{digest}', '{copy}')"
            ),
            false => format!(
                "BEGIN; INSERT INTO blobs VALUES ('{digest}', '{}') \
                   ON CONFLICT (digest) DO UPDATE SET copy = blobs.copy; \
                 INSERT INTO blobs_going VALUES ('{digest}', '{}'); \
                 INSERT INTO artifacts VALUES ('{}', '{}', NULL, 'new', 'input', 'a.txt', 1, '{digest}', '', \
                   '{{\"files\":{{}},\"manifests\":{{}}}}', 0)",
                mine.copy, mine.copy, mine.id, task.id
            ),
        };
        sqlx::raw_sql(AssertSqlSafe(first))
            .execute(&mut raw)
            .await
            .expect("runs");
        let second = {
            let (store, mine) = (world.store.clone(), mine.clone());
            async move {
                match janitor_first {
                    true => drop(store.artifact_insert_input(&mine).await.expect("stored")),
                    false => drop(store.blobs_going(10).await.expect("answers")),
                }
            }
        };
        let mut second = std::pin::pin!(second);
        // Until the server says that somebody waits for a lock.
        while waiting(&world).await == 0 {
            assert!(second.as_mut().now_or_never().is_none(), "it went past the first");
        }
        sqlx::raw_sql("COMMIT").execute(&mut raw).await.expect("commits");
        second.await;
        Janitor::round(&world.store, &kept).await;
        expect_only(&world, &kept, &mine, &format!("janitor first: {janitor_first}")).await;
        forget(&world, &kept).await;
    }
    world.end().await;
}

async fn waiting(world: &World) -> i64 {
    let count = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    sqlx::query_scalar(count)
        .fetch_one(&mut world.raw_postgres().await)
        .await
        .expect("reads")
}
