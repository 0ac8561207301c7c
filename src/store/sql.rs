//! Statements, their values, and rows: the one place that knows how the domain's types are written in columns.
//!
//! A statement is one text for both dialects with `$1` placeholders. Values are text, integers or bytes only, so that
//! both drivers and both databases mean the same by them.

use std::borrow::Cow;
use std::str::FromStr;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};

use super::StoreError;
use crate::domain::approval::ApprovalState;
use crate::domain::artifact::ArtifactRole;
use crate::domain::execution::{ExecutionState, StepState};
use crate::domain::id::{Id, IdKind};
use crate::domain::{Digest, UnixMs};

/// A statement with its values.
#[derive(Debug, Clone)]
pub(super) struct Sql {
    text: Cow<'static, str>,
    values: Vec<Value>,
    /// Whether connections keep it prepared.
    kept: bool,
}

/// A value of a statement. Each kind knows how it is null, because PostgreSQL asks for the type of a null.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(Option<String>),
    Int(Option<i64>),
    Bytes(Vec<u8>),
}

/// Begins a statement.
pub(super) fn sql(text: &'static str) -> Sql {
    Sql {
        text: Cow::Borrowed(text),
        values: Vec::new(),
        kept: true,
    }
}

impl Sql {
    /// A text that was put together from literals of this program; never from a value.
    pub(super) fn composed(text: String) -> Self {
        Self {
            text: Cow::Owned(text),
            values: Vec::new(),
            kept: true,
        }
    }

    /// Planned for its values each time: for filters that may be left out.
    pub(super) fn planned_anew(mut self) -> Self {
        self.kept = false;
        self
    }

    /// The next placeholder's value.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }
}

macro_rules! run_on {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for value in $values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Int(number) => query.bind(number),
                Value::Bytes(bytes) => query.bind(bytes),
            };
        }
        query
    }};
}

/// An open connection of either dialect.
pub(super) enum Conn<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl Conn<'_> {
    /// Runs a statement; answers how many rows it changed.
    pub(super) async fn execute(self, sql: Sql) -> Result<u64, sqlx::Error> {
        let text = AssertSqlSafe(sql.text);
        match self {
            Self::Sqlite(conn) => {
                let done = run_on!(sqlx::query(text).persistent(sql.kept), sql.values)
                    .execute(conn)
                    .await?;
                Ok(done.rows_affected())
            }
            Self::Postgres(conn) => {
                let done = run_on!(sqlx::query(text).persistent(sql.kept), sql.values)
                    .execute(conn)
                    .await?;
                Ok(done.rows_affected())
            }
        }
    }

    /// Runs a statement; answers its rows.
    pub(super) async fn fetch(self, sql: Sql) -> Result<Vec<Row>, sqlx::Error> {
        let text = AssertSqlSafe(sql.text);
        match self {
            Self::Sqlite(conn) => {
                let rows = run_on!(sqlx::query(text).persistent(sql.kept), sql.values)
                    .fetch_all(conn)
                    .await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(conn) => {
                let rows = run_on!(sqlx::query(text).persistent(sql.kept), sql.values)
                    .fetch_all(conn)
                    .await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }
}

/// A row of either dialect.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! raw {
    ($row:expr, $column:expr) => {
        match $row {
            Row::Sqlite(row) => row.try_get_unchecked($column),
            Row::Postgres(row) => row.try_get_unchecked($column),
        }
    };
}

impl Row {
    /// The value of a column.
    pub(super) fn get<T: Column>(&self, column: &str) -> Result<T, StoreError> {
        self.find(column)?
            .ok_or_else(|| StoreError::Corrupt(format!("column {column} is null")))
    }

    /// The value of a column that may be null.
    pub(super) fn find<T: Column>(&self, column: &str) -> Result<Option<T>, StoreError> {
        T::read(self, column)
    }

    /// The value of a column that holds JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text).map_err(|error| unreadable(column, &error))
    }
}

fn unreadable(column: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("column {column}: {error}"))
}

/// What can be read from a column.
pub(super) trait Column: Sized {
    fn read(row: &Row, column: &str) -> Result<Option<Self>, StoreError>;
}

impl Column for i64 {
    fn read(row: &Row, column: &str) -> Result<Option<Self>, StoreError> {
        raw!(row, column).map_err(|error: sqlx::Error| unreadable(column, &error))
    }
}

impl Column for String {
    fn read(row: &Row, column: &str) -> Result<Option<Self>, StoreError> {
        raw!(row, column).map_err(|error: sqlx::Error| unreadable(column, &error))
    }
}

impl Column for Vec<u8> {
    fn read(row: &Row, column: &str) -> Result<Option<Self>, StoreError> {
        raw!(row, column).map_err(|error: sqlx::Error| unreadable(column, &error))
    }
}

impl Column for UnixMs {
    fn read(row: &Row, column: &str) -> Result<Option<Self>, StoreError> {
        Ok(row.find::<i64>(column)?.map(UnixMs))
    }
}

macro_rules! narrow {
    ($($kind:ty),*) => {$(
        impl Column for $kind {
            fn read(row: &Row, column: &str) -> Result<Option<Self>, StoreError> {
                row.find::<i64>(column)?
                    .map(|number| <$kind>::try_from(number).map_err(|error| unreadable(column, &error)))
                    .transpose()
            }
        }
    )*};
}
narrow!(u8, i32, u32, u64);

fn parsed<T>(row: &Row, column: &str) -> Result<Option<T>, StoreError>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    row.find::<String>(column)?
        .map(|text| text.parse().map_err(|error| unreadable(column, &error)))
        .transpose()
}

impl<K: IdKind> Column for Id<K> {
    fn read(row: &Row, column: &str) -> Result<Option<Self>, StoreError> {
        parsed(row, column)
    }
}

impl Column for Digest {
    fn read(row: &Row, column: &str) -> Result<Option<Self>, StoreError> {
        parsed(row, column)
    }
}

/// Reads a word with the list of what it may be.
fn word<T: Copy>(row: &Row, column: &str, all: &[T], as_str: fn(T) -> &'static str) -> Result<Option<T>, StoreError> {
    let Some(text) = row.find::<String>(column)? else {
        return Ok(None);
    };
    match all.iter().find(|one| as_str(**one) == text) {
        Some(one) => Ok(Some(*one)),
        None => Err(unreadable(column, &"a word that is not known")),
    }
}

impl Column for ExecutionState {
    fn read(row: &Row, column: &str) -> Result<Option<Self>, StoreError> {
        word(row, column, &Self::ALL, Self::as_str)
    }
}

impl Column for StepState {
    fn read(row: &Row, column: &str) -> Result<Option<Self>, StoreError> {
        word(row, column, &Self::ALL, Self::as_str)
    }
}

impl Column for ApprovalState {
    fn read(row: &Row, column: &str) -> Result<Option<Self>, StoreError> {
        const ALL: [ApprovalState; 5] = [
            ApprovalState::Open,
            ApprovalState::Allowed,
            ApprovalState::Denied,
            ApprovalState::Expired,
            ApprovalState::Withdrawn,
        ];
        word(row, column, &ALL, Self::as_str)
    }
}

impl Column for ArtifactRole {
    fn read(row: &Row, column: &str) -> Result<Option<Self>, StoreError> {
        word(row, column, &[Self::Input, Self::Output], Self::as_str)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.clone())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(Some(number.into()))
    }
}

impl From<u64> for Value {
    /// Sizes and counts; what is past the largest signed number doesn't occur and stays at it.
    fn from(number: u64) -> Self {
        Self::Int(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<Option<i32>> for Value {
    fn from(number: Option<i32>) -> Self {
        Self::Int(number.map(i64::from))
    }
}

impl From<Option<u8>> for Value {
    fn from(number: Option<u8>) -> Self {
        Self::Int(number.map(i64::from))
    }
}

impl From<UnixMs> for Value {
    fn from(at: UnixMs) -> Self {
        Self::Int(Some(at.0))
    }
}

impl From<Option<UnixMs>> for Value {
    fn from(at: Option<UnixMs>) -> Self {
        Self::Int(at.map(|at| at.0))
    }
}

impl<K: IdKind> From<Id<K>> for Value {
    fn from(id: Id<K>) -> Self {
        Self::Text(Some(id.to_string()))
    }
}

impl<K: IdKind> From<Option<Id<K>>> for Value {
    fn from(id: Option<Id<K>>) -> Self {
        Self::Text(id.map(|id| id.to_string()))
    }
}

impl From<Digest> for Value {
    fn from(digest: Digest) -> Self {
        Self::Text(Some(digest.to_string()))
    }
}

impl From<Option<Digest>> for Value {
    fn from(digest: Option<Digest>) -> Self {
        Self::Text(digest.map(|digest| digest.to_string()))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<ExecutionState> for Value {
    fn from(state: ExecutionState) -> Self {
        state.as_str().into()
    }
}

impl From<StepState> for Value {
    fn from(state: StepState) -> Self {
        state.as_str().into()
    }
}

impl From<ApprovalState> for Value {
    fn from(state: ApprovalState) -> Self {
        state.as_str().into()
    }
}

impl From<ArtifactRole> for Value {
    fn from(role: ArtifactRole) -> Self {
        role.as_str().into()
    }
}
