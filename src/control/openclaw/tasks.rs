//! Chats in the background: executions like any other, in the words of openclaw-mcp.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::bounds;
use crate::control::contract::openclaw::{
    OpenclawChatAsync, OpenclawTask, OpenclawTaskCancel, OpenclawTaskCancelled, OpenclawTaskEntry, OpenclawTaskList,
    OpenclawTaskQueued, OpenclawTaskStats, OpenclawTaskStatus, OpenclawTasks,
};
use crate::control::{Answer, Control, require};
use crate::domain::queue::Place;
use crate::domain::target::OpenclawBlock;
use crate::domain::task::{Constraints, TaskSpec};
use crate::domain::{
    Actor, ApprovalState, Artifact, Code, Digest, Execution, ExecutionId, ExecutionState, Refusal, Scope, Task, TaskId,
    UnixMs,
};
use crate::store::{Chat, ChatFilter, ExecutionInsert, NewExecution, TaskInsert, Topic};

/// What a task id begins with.
const PREFIX: &str = "task_";
/// What the only kind of task is called.
const CHAT: &str = "chat";
/// The least, the usual and the most tasks of a page.
const PAGE: (i64, i64, i64) = (1, 100, 500);
/// The farthest a priority may be from 0.
const PRIORITY_MAX: i64 = 1_000_000;
/// How long a cancel waits for the agent to stop.
const STOPPING: Duration = Duration::from_secs(10);
/// What is read of a log at once, to count its characters.
const LOG: usize = 1 << 20;
/// The client's own name is cut there.
const CLIENT: usize = 100;

/// A task's status, in the words of openclaw-mcp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Pending,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    const ALL: [Self; 5] = [
        Self::Pending,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    const fn of(state: ExecutionState) -> Self {
        match state {
            ExecutionState::AwaitingApproval | ExecutionState::Queued => Self::Pending,
            ExecutionState::Preparing | ExecutionState::Running | ExecutionState::Collecting => Self::Running,
            ExecutionState::Succeeded => Self::Completed,
            ExecutionState::Cancelled => Self::Cancelled,
            ExecutionState::Failed
            | ExecutionState::TimedOut
            | ExecutionState::Denied
            | ExecutionState::Expired
            | ExecutionState::Unknown
            | ExecutionState::InfraFailed => Self::Failed,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn states(self) -> Vec<ExecutionState> {
        let all = ExecutionState::ALL.iter().copied();
        all.filter(|state| Self::of(*state) == self).collect()
    }
}

impl Control {
    /// Queues a message for an agent. The answer comes at once; the reply is told by `openclaw_task_status`.
    pub async fn openclaw_chat_async(&self, actor: &Actor, arguments: OpenclawChatAsync) -> Answer {
        self.answer(self.queue_chat(actor, arguments).await)
    }

    async fn queue_chat(&self, actor: &Actor, arguments: OpenclawChatAsync) -> Result<OpenclawTaskQueued, Refusal> {
        require(actor, Scope::Openclaw)?;
        let message = bounds::message(&arguments.message)?;
        let session = bounds::id("session_id", arguments.session_id.as_deref())?;
        let priority = bounds::whole("priority", arguments.priority, -PRIORITY_MAX..=PRIORITY_MAX)?.unwrap_or(0);
        let instance = self.gateway(arguments.instance.as_deref())?.instance().name.to_string();
        let target = self.target_of(&format!("{}{instance}", OpenclawBlock::CHATS))?;
        let spec = spec_of(message, &target.name, session, priority);
        let task = Task {
            id: TaskId::random(),
            owner: actor.subject.clone(),
            client: actor.client.chars().filter(|c| !c.is_control()).take(CLIENT).collect(),
            target: target.name.clone(),
            idempotency_key: None,
            request_digest: Digest::of(serde_json::to_string(&spec).unwrap_or_default().as_bytes()),
            created_at: self.now(),
            spec,
        };
        let plan = self.plan_with(&task, target, &[]).await?.plan;
        let lost = || {
            Refusal::new(
                Code::Busy,
                "the task could not be queued; nothing was sent",
                "ask again",
            )
        };
        let execution = self.new_execution(&task, plan.ok_or_else(lost)?);
        let (id, owner) = (execution.id, task.owner.clone());
        let new = NewExecution {
            execution,
            idempotency_key: None,
            request_digest: task.request_digest,
            approval: None,
            priority,
            session: session.map(str::to_owned),
            inputs: None,
        };
        let TaskInsert::Inserted = self.store().task_insert(&task).await? else {
            return Err(lost());
        };
        let ExecutionInsert::Inserted = self.store().execution_insert(&new).await? else {
            return Err(lost());
        };
        tracing::info!(execution.id = %id, instance, actor.subject = owner, "a chat was queued");
        Ok(OpenclawTaskQueued {
            task_id: task_id(id),
            status: Status::Pending.as_str().to_owned(),
            instance,
            message: "Task queued. Use openclaw_task_status to check progress.".to_owned(),
        })
    }

    /// Where a task stands, and its reply.
    pub async fn openclaw_task_status(&self, actor: &Actor, arguments: OpenclawTaskStatus) -> Answer {
        self.answer(self.task_view(actor, &arguments.task_id).await)
    }

    async fn task_view(&self, actor: &Actor, task: &str) -> Result<OpenclawTask, Refusal> {
        require(actor, Scope::Openclaw)?;
        let chat = self.chat_for(actor, task).await?;
        let status = Status::of(chat.state);
        let (replies, files): (Vec<_>, Vec<_>) = match chat.ended_at {
            Some(_) => {
                let outputs = self.store().artifact_outputs(chat.id).await?;
                outputs.into_iter().partition(|one| one.name == OpenclawBlock::REPLY)
            }
            None => Default::default(),
        };
        let result = match replies.first().filter(|_| status == Status::Completed) {
            Some(reply) => Some(self.text_of(reply).await?),
            None => None,
        };
        let progress_chars = match &result {
            Some(reply) => reply.chars().count() as u64,
            None => self.said_so_far(&chat).await?,
        };
        let (files, left_out) = self.views_of(&files).await;
        let text = |at: Option<UnixMs>| at.map(|at| at.to_string());
        Ok(OpenclawTask {
            task_id: task_id(chat.id),
            kind: CHAT.to_owned(),
            status: status.as_str().to_owned(),
            state: chat.state.as_str().to_owned(),
            waits: self.waits(&chat).await?,
            error: (status == Status::Failed).then(|| why(&chat)),
            instance: chat.instance,
            session_id: chat.session,
            priority: chat.priority,
            created_at: chat.created_at.to_string(),
            started_at: text(chat.started_at),
            completed_at: text(chat.ended_at),
            progress_chars,
            last_activity_at: text(chat.logged_at),
            result,
            files,
            files_left_out: left_out as u64,
        })
    }

    /// The tasks of a caller.
    pub async fn openclaw_task_list(&self, actor: &Actor, arguments: OpenclawTaskList) -> Answer {
        self.answer(self.task_page(actor, arguments).await)
    }

    async fn task_page(&self, actor: &Actor, arguments: OpenclawTaskList) -> Result<OpenclawTasks, Refusal> {
        require(actor, Scope::Openclaw)?;
        let status = arguments.status.as_deref().map(status_of).transpose()?;
        let session = bounds::id("session_id", arguments.session_id.as_deref())?;
        let instance = bounds::id("instance", arguments.instance.as_deref())?;
        let limit = bounds::whole("limit", arguments.limit, PAGE.0..=PAGE.2)?.unwrap_or(PAGE.1);
        let limit = u32::try_from(limit).unwrap_or(1);
        let owner = (!actor.has(Scope::Operator)).then(|| actor.subject.clone());
        let filter = ChatFilter {
            owner: owner.clone(),
            states: status.map(Status::states).unwrap_or_default(),
            session: session.map(str::to_owned),
            instance: instance.map(str::to_owned),
            limit: limit + 1,
            after: arguments.cursor.as_deref().map(cursor_of).transpose()?,
        };
        let mut chats = self.store().chat_list(&filter).await?;
        let more = chats.len() > limit as usize;
        chats.truncate(limit as usize);
        let last = chats.last().filter(|_| more);
        Ok(OpenclawTasks {
            stats: stats(&self.store().chat_counts(owner.as_deref()).await?),
            next_cursor: last.map(|chat| format!("{}.{}", chat.priority, chat.id)),
            tasks: chats.into_iter().map(entry).collect(),
        })
    }

    /// Cancels a task, also one that the agent works on.
    pub async fn openclaw_task_cancel(&self, actor: &Actor, arguments: OpenclawTaskCancel) -> Answer {
        self.answer(self.cancel_chat(actor, &arguments.task_id).await)
    }

    async fn cancel_chat(&self, actor: &Actor, task: &str) -> Result<OpenclawTaskCancelled, Refusal> {
        require(actor, Scope::Openclaw)?;
        let chat = self.chat_for(actor, task).await?;
        if chat.state.is_terminal() {
            let status = Status::of(chat.state).as_str();
            return Err(Refusal::new(
                Code::AlreadyEnded,
                format!("Cannot cancel task {}: it is {status}", task_id(chat.id)),
                "openclaw_task_status tells what came of it",
            ));
        }
        // Watched before it is asked for, so that the end can't come in between.
        let mut watch = self.store().changes().watch(Topic::Execution(chat.id));
        let (by, now) = (&actor.subject, self.now());
        self.store().execution_cancel(chat.id, None, by, now).await?;
        tracing::info!(execution.id = %chat.id, actor.subject = by, "a chat is to be cancelled");
        let deadline = tokio::time::Instant::now() + STOPPING;
        let state = loop {
            let state = self.chat_for(actor, task).await?.state;
            if state.is_terminal() || tokio::time::timeout_at(deadline, watch.changed()).await.is_err() {
                break state;
            }
        };
        let status = Status::of(state);
        let message = match status {
            Status::Cancelled => "Task cancelled successfully.",
            Status::Pending | Status::Running => "The agent is being stopped; openclaw_task_status tells when it has.",
            Status::Completed => "The agent had replied before it could be stopped.",
            Status::Failed => "It ended before it was cancelled; openclaw_task_status tells how.",
        };
        Ok(OpenclawTaskCancelled {
            task_id: task_id(chat.id),
            status: status.as_str().to_owned(),
            message: message.to_owned(),
        })
    }

    /// A field that isn't a number, or none where one must be.
    pub fn openclaw_number(&self, field: &str) -> crate::redact::Clean<Refusal> {
        self.rules().refusal(bounds::no_number(field))
    }

    /// The chat, if it exists for this actor.
    async fn chat_for(&self, actor: &Actor, task: &str) -> Result<Chat, Refusal> {
        let given = bounds::id("task_id", Some(task))?.unwrap_or_default();
        let unknown = || {
            Refusal::new(
                Code::NotFound,
                format!("Task not found: {given}"),
                "openclaw_task_list lists yours",
            )
        };
        let id = execution_of(given).ok_or_else(unknown)?;
        let chat = self.store().chat_get(id).await?;
        chat.filter(|chat| actor.sees(&chat.owner)).ok_or_else(unknown)
    }

    /// A reply, as it was kept.
    async fn text_of(&self, reply: &Artifact) -> Result<String, Refusal> {
        let bytes = self.blobs().read(reply.blob(), reply.size).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How many characters the log has behind its first line, which is clawhand's own.
    async fn said_so_far(&self, chat: &Chat) -> Result<u64, Refusal> {
        let (mut from, mut characters, mut is_header) = (0, 0, true);
        while from < chat.log_size {
            let (bytes, _) = self.store().log_read(chat.id, from, LOG).await?;
            if bytes.is_empty() {
                break;
            }
            from += bytes.len() as u64;
            let header = match is_header {
                true => bytes
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or(bytes.len(), |at| at + 1),
                false => 0,
            };
            is_header = false;
            // The first byte of each character: a page may begin within one.
            let begins = |byte: &&u8| **byte & 0b1100_0000 != 0b1000_0000;
            characters += bytes[header..].iter().filter(begins).count() as u64;
        }
        Ok(characters)
    }

    async fn waits(&self, chat: &Chat) -> Result<Option<String>, Refusal> {
        Ok(match chat.state {
            ExecutionState::Queued => {
                let at_once = self.0.rooms.inventory.snapshot().at_once(self.0.settings.per_owner);
                let place = self.store().queue_place(chat.id, &at_once).await?;
                place.map(Place::words)
            }
            ExecutionState::Running => {
                let view = self.store().execution_view(chat.id).await?;
                let asked = view.and_then(|view| view.approval);
                let open = asked.filter(|approval| approval.state == ApprovalState::Open);
                open.map(|approval| format!("a person has to answer {}: {}", approval.id, approval.question))
            }
            _ => None,
        })
    }
}

/// Among which it comes, and as part of what, when the task of a chat is executed.
pub(in crate::control) fn turn_of(execution: &Execution, task: &Task) -> (i64, Option<String>) {
    if execution.plan.intent != OpenclawBlock::CHAT {
        return (0, None);
    }
    let input = |name: &str| task.spec.inputs.get(name);
    let priority = input("priority").and_then(Value::as_i64).unwrap_or(0);
    let session = input("session_id").and_then(Value::as_str).map(str::to_owned);
    (priority, session)
}

fn spec_of(message: &str, target: &str, session: Option<&str>, priority: i64) -> TaskSpec {
    let session = session.map(|session| ("session_id".to_owned(), Value::from(session)));
    let priority = (priority != 0).then(|| ("priority".to_owned(), Value::from(priority)));
    TaskSpec {
        project_name: "openclaw".to_owned(),
        goal: message.to_owned(),
        target_ref: target.to_owned(),
        execution_intent: OpenclawBlock::CHAT.to_owned(),
        context: None,
        constraints: Constraints::default(),
        inputs: BTreeMap::from_iter(session.into_iter().chain(priority)),
    }
}

/// A task is an execution; its id is written as openclaw-mcp writes its ids.
fn task_id(execution: ExecutionId) -> String {
    let text = execution.to_string();
    let hex = text.rsplit('_').next().unwrap_or_default();
    match uuid::Uuid::try_parse(hex) {
        Ok(uuid) => format!("{PREFIX}{}", uuid.hyphenated()),
        Err(_) => text,
    }
}

fn execution_of(task: &str) -> Option<ExecutionId> {
    let uuid = uuid::Uuid::try_parse(task.strip_prefix(PREFIX)?).ok()?;
    Some(ExecutionId::from_uuid(uuid))
}

fn status_of(word: &str) -> Result<Status, Refusal> {
    let word = bounds::id("status", Some(word))?.unwrap_or_default();
    let found = Status::ALL.into_iter().find(|status| status.as_str() == word);
    found.ok_or_else(|| {
        let words: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        let words = words.join(", ");
        Refusal::invalid(format!("status must be one of: {words}"), "leave it out for all")
    })
}

fn cursor_of(text: &str) -> Result<(i64, ExecutionId), Refusal> {
    let parsed = text
        .split_once('.')
        .and_then(|(priority, id)| Some((priority.parse().ok()?, id.parse().ok()?)));
    parsed.ok_or_else(|| {
        Refusal::invalid(
            "cursor is not one that openclaw_task_list gave",
            "use next_cursor of the last answer, or leave cursor out",
        )
    })
}

fn stats(counts: &[(ExecutionState, u64)]) -> OpenclawTaskStats {
    let mut stats = OpenclawTaskStats::default();
    for (state, many) in counts {
        let count = match Status::of(*state) {
            Status::Pending => &mut stats.by_status.pending,
            Status::Running => &mut stats.by_status.running,
            Status::Completed => &mut stats.by_status.completed,
            Status::Failed => &mut stats.by_status.failed,
            Status::Cancelled => &mut stats.by_status.cancelled,
        };
        *count += many;
        stats.total += many;
    }
    stats
}

fn entry(chat: Chat) -> OpenclawTaskEntry {
    OpenclawTaskEntry {
        task_id: task_id(chat.id),
        kind: CHAT.to_owned(),
        status: Status::of(chat.state).as_str().to_owned(),
        instance: chat.instance,
        session_id: chat.session,
        priority: chat.priority,
        created_at: chat.created_at.to_string(),
        has_result: chat.state == ExecutionState::Succeeded && chat.has_reply,
    }
}

fn why(chat: &Chat) -> String {
    let summary = chat.outcome.as_ref().map(|outcome| outcome.summary.clone());
    summary.unwrap_or_else(|| chat.state.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_found_by_its_id_in_any_form() {
        let execution = ExecutionId::random();
        let task = task_id(execution);
        assert!(task.starts_with(PREFIX) && task.len() == PREFIX.len() + 36, "{task}");
        assert_eq!(execution_of(&task), Some(execution));
        assert_eq!(execution_of(&task.replace('-', "")), Some(execution));
        for other in ["", "task_", "task_x", &execution.to_string(), &task[1..]] {
            assert_eq!(execution_of(other), None, "{other}");
        }
    }

    #[test]
    fn every_state_has_a_status_and_every_status_its_states() {
        let all: usize = Status::ALL.iter().map(|status| status.states().len()).sum();
        assert_eq!(all, ExecutionState::ALL.len());
        assert_eq!(Status::Completed.states(), [ExecutionState::Succeeded]);
        assert!(Status::Failed.states().contains(&ExecutionState::Unknown));
    }
}
