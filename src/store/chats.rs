//! Chats in the background: executions on the targets that clawhand has for them, as whoever asked for them sees them.

use super::sql::{Row, sql};
use super::{Store, StoreError};
use crate::domain::target::OpenclawBlock;
use crate::domain::{ExecutionId, ExecutionState, Outcome, UnixMs};

/// What is read of a chat.
macro_rules! chat_columns {
    () => {
        "e.id, e.owner, e.state, e.target, e.session, e.priority, e.created_at, e.started_at, e.ended_at, \
         e.logged_at, e.log_size, e.outcome, (SELECT MAX(a.id) FROM artifacts a \
           WHERE a.execution_id = e.id AND a.role = 'output' AND a.name = 'reply.md') AS reply"
    };
}

/// Which executions are chats.
macro_rules! is_chat {
    () => {
        "e.intent = 'chat' AND e.target LIKE 'openclaw:%'"
    };
}

/// A chat in the background.
#[derive(Debug, Clone, PartialEq)]
pub struct Chat {
    /// The execution.
    pub id: ExecutionId,
    /// Whose it is.
    pub owner: String,
    /// Where it stands.
    pub state: ExecutionState,
    /// The instance.
    pub instance: String,
    /// The conversation, if its caller named one.
    pub session: Option<String>,
    /// Its priority.
    pub priority: i64,
    /// When it was asked for.
    pub created_at: UnixMs,
    /// When a worker took it.
    pub started_at: Option<UnixMs>,
    /// When it ended.
    pub ended_at: Option<UnixMs>,
    /// When something was last added to its log.
    pub logged_at: Option<UnixMs>,
    /// The size of its log.
    pub log_size: u64,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// Whether there is a reply.
    pub has_reply: bool,
}

/// Which chats to list.
#[derive(Debug, Clone, Default)]
pub struct ChatFilter {
    /// Only those of this owner.
    pub owner: Option<String>,
    /// Only those in one of these states; empty is any.
    pub states: Vec<ExecutionState>,
    /// Only those of this conversation.
    pub session: Option<String>,
    /// Only those with this instance.
    pub instance: Option<String>,
    /// At most so many.
    pub limit: u32,
    /// Only those that come after this one, by its priority and its id.
    pub after: Option<(i64, ExecutionId)>,
}

impl Store {
    /// A chat.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn chat_get(&self, id: ExecutionId) -> Result<Option<Chat>, StoreError> {
        let get = sql(concat!(
            "SELECT ",
            chat_columns!(),
            " FROM executions e WHERE e.id = $1 AND ",
            is_chat!()
        ))
        .bind(id);
        self.row(get).await?.map(|row| read(&row)).transpose()
    }

    /// Chats, the highest priority first and among equals the oldest.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn chat_list(&self, filter: &ChatFilter) -> Result<Vec<Chat>, StoreError> {
        let words: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
        let target = filter
            .instance
            .as_ref()
            .map(|name| format!("{}{name}", OpenclawBlock::CHATS));
        let list = sql(concat!(
            "SELECT ",
            chat_columns!(),
            " FROM executions e WHERE ",
            is_chat!(),
            " AND ($1 IS NULL OR e.owner = $1) AND ($2 IS NULL OR $2 LIKE '% ' || e.state || ' %') \
              AND ($3 IS NULL OR e.session = $3) AND ($4 IS NULL OR e.target = $4) \
              AND ($5 IS NULL OR e.priority < $5 OR (e.priority = $5 AND e.id > $6)) \
              ORDER BY e.priority DESC, e.id LIMIT $7"
        ))
        .bind(&filter.owner)
        .bind((!words.is_empty()).then(|| format!(" {} ", words.join(" "))))
        .bind(&filter.session)
        .bind(target)
        .bind(filter.after.map(|(priority, _)| priority))
        .bind(filter.after.map(|(_, id)| id))
        .bind(filter.limit)
        .planned_anew();
        self.rows(list).await?.iter().map(read).collect()
    }

    /// How many chats of an owner, or of all, there are in each state.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn chat_counts(&self, owner: Option<&str>) -> Result<Vec<(ExecutionState, u64)>, StoreError> {
        let count = sql(concat!(
            "SELECT e.state, COUNT(*) AS many FROM executions e WHERE ",
            is_chat!(),
            " AND ($1 IS NULL OR e.owner = $1) GROUP BY e.state"
        ))
        .bind(owner)
        .planned_anew();
        let rows = self.rows(count).await?;
        rows.iter()
            .map(|row| Ok((row.get("state")?, row.get("many")?)))
            .collect()
    }
}

fn read(row: &Row) -> Result<Chat, StoreError> {
    let outcome: Option<String> = row.find("outcome")?;
    let target: String = row.get("target")?;
    Ok(Chat {
        id: row.get("id")?,
        owner: row.get("owner")?,
        state: row.get("state")?,
        instance: OpenclawBlock::instance_of(&target).unwrap_or_default().to_owned(),
        session: row.find("session")?,
        priority: row.get("priority")?,
        created_at: row.get("created_at")?,
        started_at: row.find("started_at")?,
        ended_at: row.find("ended_at")?,
        logged_at: row.find("logged_at")?,
        log_size: row.get("log_size")?,
        outcome: match outcome {
            Some(_) => Some(row.json("outcome")?),
            None => None,
        },
        has_reply: row.find::<String>("reply")?.is_some(),
    })
}
