//! The two dialects have the same schema, and migrating is safe to repeat and to share.

use crate::database::Base;
use std::collections::BTreeSet;
use std::path::Path;

use clawhand::domain::Digest;
use clawhand::store::{Changes, Store, StoreError};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _, SqlSafeStr as _};

use super::{World, on_both};

on_both!(
    migrating_again_changes_nothing,
    several_may_migrate_at_once,
    a_database_of_the_first_version_is_brought_up_to_date,
    a_migration_that_was_edited_is_refused,
    a_newer_schema_is_refused,
);

async fn migrating_again_changes_nothing(world: &World) {
    let task = world.task("operator").await;
    assert_eq!(world.store.schema_version().await, Ok(Some(Store::SCHEMA_VERSION)));
    assert_eq!(world.store.migrate().await, Ok(()));
    assert_eq!(world.store.task_get(task.id).await, Ok(Some(task)));
}

/// Runs statements on the database beside the store.
async fn tamper(world: &World, text: &'static str) {
    if world.settings.url.starts_with("sqlite") {
        sqlx::raw_sql(text)
            .execute(&mut raw_sqlite(world).await)
            .await
            .expect("the statement runs");
    } else {
        sqlx::raw_sql(text)
            .execute(&mut world.raw_postgres().await)
            .await
            .expect("the statement runs");
    }
}

async fn raw_sqlite(world: &World) -> SqliteConnection {
    let options: SqliteConnectOptions = world.settings.url.parse().expect("an address");
    options.connect().await.expect("connects")
}

/// A database without a schema beside the world's.
async fn empty(world: &World) -> World {
    let base = match world.settings.url.starts_with("sqlite") {
        true => Base::sqlite(),
        false => Base::postgres(&crate::database::cluster().expect("it was there")).await,
    };
    let settings = super::StoreSettings {
        url: base.url().to_owned(),
        max_connections: 2,
    };
    let store = Store::open(&settings, Changes::new()).await.expect("opens");
    World { store, settings, base }
}

async fn several_may_migrate_at_once(world: &World) {
    let world = empty(world).await;
    assert_eq!(world.store.schema_version().await, Ok(None));
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = world.another().await;
        set.spawn(async move {
            let result = store.migrate().await;
            store.close().await;
            result
        });
    }
    for result in set.join_all().await {
        assert_eq!(result, Ok(()));
    }
    assert_eq!(world.store.schema_version().await, Ok(Some(Store::SCHEMA_VERSION)));
    world.task("operator").await;
    world.end().await;
}

/// The file of a migration.
fn migration(dialect: &str, name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(dialect);
    std::fs::read_to_string(folder.join(name)).expect("reads")
}

async fn a_database_of_the_first_version_is_brought_up_to_date(fresh: &World) {
    let world = empty(fresh).await;
    let is_sqlite = world.settings.url.starts_with("sqlite");
    let text = migration(if is_sqlite { "sqlite" } else { "postgres" }, "0001_first.sql");
    let text = AssertSqlSafe(text).into_sql_str();
    let first = Migration::new(1, "first".into(), MigrationType::Simple, text, is_sqlite);
    let migrator = Migrator::with_migrations(vec![first]);
    if is_sqlite {
        let applied = migrator.run_direct(None, &mut raw_sqlite(&world).await, false).await;
        applied.expect("applies");
    } else {
        let applied = migrator.run_direct(None, &mut world.raw_postgres().await, false).await;
        applied.expect("applies");
    }
    tamper(
        &world,
        "INSERT INTO tasks (id, owner, client, spec, target, request_digest, created_at, active_at) \
             VALUES ('t', 'operator', 'test', '{}', 'lab', 'd', 1, 1); \
         INSERT INTO executions (id, task_id, owner, state, target, intent, plan, plan_digest, request_digest, created_at) \
             VALUES ('e', 't', 'operator', 'queued', 'lab', 'run', '{}', 'd', 'd', 1); \
         INSERT INTO attempts (id, execution_id, step_idx, epoch, started_at) VALUES ('a', 'e', 0, 1, 1)",
    )
    .await;
    assert_eq!(world.store.schema_version().await, Ok(Some(1)));
    assert_eq!(world.store.migrate().await, Ok(()));
    assert_eq!(world.store.schema_version().await, Ok(Some(Store::SCHEMA_VERSION)));
    let kept = "SELECT count(*) AS kept FROM executions JOIN attempts ON execution_id = executions.id \
                WHERE is_group = 0 AND told = 0 AND parent_id IS NULL AND secrets IS NULL";
    let (kept, same): (i64, bool) = if is_sqlite {
        let row = sqlx::query(kept).fetch_one(&mut raw_sqlite(&world).await).await;
        let same = sqlite_columns(&world).await == sqlite_columns(fresh).await;
        (row.expect("reads").get("kept"), same)
    } else {
        let row = sqlx::query(kept).fetch_one(&mut world.raw_postgres().await).await;
        let same = postgres_columns(&world).await == postgres_columns(fresh).await;
        (row.expect("reads").get("kept"), same)
    };
    assert_eq!((kept, same), (1, true));
    world.end().await;
}

/// Whoever has used it has it in a database, which would be refused.
#[test]
fn the_first_migration_stays_as_it_is() {
    for (dialect, digest) in [
        (
            "sqlite",
            "61c35e2fe757c3c71cfacaff955a3cdd7b190ac596b990b0a2a055d5e3703503",
        ),
        (
            "postgres",
            "76232e5d7202e27157e8a9073f1b538c2a793c6c5bb3aa23bf87f81d14d07b83",
        ),
    ] {
        let text = migration(dialect, "0001_first.sql");
        assert!(Digest::of(text.as_bytes()).to_string().ends_with(digest), "{dialect}");
    }
}

async fn a_migration_that_was_edited_is_refused(world: &World) {
    let text = if world.settings.url.starts_with("sqlite") {
        "UPDATE _sqlx_migrations SET checksum = x'00'"
    } else {
        "UPDATE _sqlx_migrations SET checksum = '\\x00'"
    };
    tamper(world, text).await;
    assert!(matches!(world.store.migrate().await, Err(StoreError::Corrupt(_))));
}

async fn a_newer_schema_is_refused(world: &World) {
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 SELECT 9999, 'newer', success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1";
    tamper(world, newer).await;
    assert_eq!(world.store.schema_version().await, Ok(Some(9999)));
    let error = world.store.migrate().await.expect_err("is refused");
    assert!(error.to_string().contains("newer version"), "{error}");
}

/// Table, column, type, and whether it may be null.
type Columns = BTreeSet<(String, String, String, bool)>;

async fn sqlite_columns(world: &World) -> Columns {
    let rows = sqlx::query(
        "SELECT m.name AS tab, c.name AS col, c.type AS kind, c.\"notnull\" = 0 AS nullable \
         FROM sqlite_schema m JOIN pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\'",
    )
    .fetch_all(&mut raw_sqlite(world).await)
    .await
    .expect("reads");
    rows.iter()
        .map(|row| {
            (
                row.get("tab"),
                row.get("col"),
                row.get("kind"),
                row.get::<i64, _>("nullable") != 0,
            )
        })
        .collect()
}

async fn postgres_columns(world: &World) -> Columns {
    let rows = sqlx::query(
        "SELECT table_name::text AS tab, column_name::text AS col, data_type::text AS kind, \
                is_nullable = 'YES' AS nullable \
         FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'",
    )
    .fetch_all(&mut world.raw_postgres().await)
    .await
    .expect("reads");
    rows.iter()
        .map(|row| {
            let kind = match row.get::<String, _>("kind").as_str() {
                "bytea" => "BLOB".to_owned(),
                other => other.to_uppercase(),
            };
            (row.get("tab"), row.get("col"), kind, row.get("nullable"))
        })
        .collect()
}

#[tokio::test]
async fn both_dialects_have_the_same_tables_columns_and_indexes() {
    let Some(cluster) = crate::database::cluster() else {
        return;
    };
    let sqlite = World::on(Base::sqlite()).await;
    let postgres = World::on(Base::postgres(&cluster).await).await;
    let (left, right) = (sqlite_columns(&sqlite).await, postgres_columns(&postgres).await);
    assert!(left.len() > 80, "the query finds the columns: {}", left.len());
    assert_eq!(
        left.difference(&right).collect::<Vec<_>>(),
        Vec::<&_>::new(),
        "only in SQLite"
    );
    assert_eq!(
        right.difference(&left).collect::<Vec<_>>(),
        Vec::<&_>::new(),
        "only in PostgreSQL"
    );

    let left = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name")
        .fetch_all(&mut raw_sqlite(&sqlite).await)
        .await
        .expect("reads");
    let left: BTreeSet<String> = left.iter().map(|row| row.get("name")).collect();
    let right = sqlx::query(
        "SELECT indexname::text AS name FROM pg_indexes WHERE schemaname = 'public' \
         AND indexname NOT LIKE '%\\_pkey' AND indexname NOT LIKE '%\\_key'",
    )
    .fetch_all(&mut postgres.raw_postgres().await)
    .await
    .expect("reads");
    // Unique indexes of ours end in `_by_key`, those of PostgreSQL for a UNIQUE column in `_key` alone.
    let mut right: BTreeSet<String> = right.iter().map(|row| row.get("name")).collect();
    right.extend(left.iter().filter(|name| name.ends_with("_by_key")).cloned());
    assert_eq!(left, right);
    sqlite.end().await;
    postgres.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_may_open_a_new_file_at_once() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = super::StoreSettings::in_file(&dir.path().join("new.db"), 2).expect("an address");
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let settings = settings.clone();
            set.spawn(async move {
                let store = Store::open(&settings, Changes::new())
                    .await
                    .map_err(|error| error.to_string())?;
                store.migrate().await.map_err(|error| error.to_string())
            });
        }
        for result in set.join_all().await {
            assert_eq!(result, Ok(()));
        }
    }
}

#[test]
fn both_folders_have_the_same_files() {
    let names = |dialect: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(dialect);
        let entries = std::fs::read_dir(folder).expect("the folder is there");
        entries
            .map(|entry| entry.expect("reads").file_name())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(names("sqlite"), names("postgres"));
    let count = i64::try_from(names("sqlite").len()).expect("few");
    assert_eq!(
        count,
        Store::SCHEMA_VERSION,
        "every file is embedded, and the versions have no gap"
    );
}

#[tokio::test]
async fn sqlite_waits_for_the_disk_and_lets_readers_read() {
    let world = World::on(Base::sqlite()).await;
    let row = sqlx::query("PRAGMA journal_mode")
        .fetch_one(&mut raw_sqlite(&world).await)
        .await
        .expect("reads");
    assert_eq!(row.get::<String, _>(0), "wal");
    world.end().await;
}
