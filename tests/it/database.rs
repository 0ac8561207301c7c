//! A database for one test: an SQLite file in a folder of its own, or a PostgreSQL database of its own.
//!
//! CLAWHAND_TEST_POSTGRES is the address of a database of a cluster in which databases may be made. Without it the
//! PostgreSQL half is left out, which is an error where CI is set.

use clawhand::domain::TaskId;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tempfile::TempDir;

/// A database that is there for one test.
pub struct Base {
    url: String,
    /// The name of the database that was made, and how to reach the cluster's own one.
    made: Option<(String, PgConnectOptions)>,
    _dir: TempDir,
}

impl Base {
    /// An SQLite file that doesn't exist yet.
    pub fn sqlite() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", dir.path().join("state.db").display());
        Self {
            url,
            made: None,
            _dir: dir,
        }
    }

    /// An empty database in the cluster at `address`.
    pub async fn postgres(address: &str) -> Self {
        let options: PgConnectOptions = address.parse().expect("CLAWHAND_TEST_POSTGRES is an address");
        let name = format!("t_{}", &TaskId::random().to_string()[4..]);
        administer(&options, format!("CREATE DATABASE {name}")).await;
        let url = options.clone().database(&name).to_url_lossy().to_string();
        Self {
            url,
            made: Some((name, options)),
            _dir: tempfile::tempdir().expect("a folder"),
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A database that was made goes.
    pub async fn end(self) {
        if let Some((name, options)) = self.made {
            administer(&options, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

async fn administer(options: &PgConnectOptions, statement: String) {
    let mut connection: PgConnection = options.connect().await.expect("the cluster answers");
    let ran = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await;
    ran.expect("the statement runs");
}

/// The address of the cluster, or none where the PostgreSQL half is left out.
#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by its environment what there is"
)]
pub fn cluster() -> Option<String> {
    match std::env::var("CLAWHAND_TEST_POSTGRES") {
        Ok(base) if !base.is_empty() => Some(base),
        _ => {
            assert!(
                std::env::var("CI").is_err(),
                "CI is set, but CLAWHAND_TEST_POSTGRES is not"
            );
            eprintln!("left out: the PostgreSQL half, because CLAWHAND_TEST_POSTGRES is not set");
            None
        }
    }
}
