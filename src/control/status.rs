//! `get_status`: where an execution stands and a page of its log, waiting for news if asked to.

use std::time::Duration;

use super::contract::{GetStatus, LogView, ProgressView, QueueView, Status};
use super::room::char_in_json;
use super::{Answer, Control, require, validate, views};
use crate::domain::{Actor, Execution, ExecutionId, ExecutionState, Refusal, Scope, StepState};
use crate::store::{ExecutionView, Topic};

/// The longest wait in one call.
const WAIT: Duration = Duration::from_millis(25_000);
/// The least, the usual and the most log in one answer, in bytes.
const PAGE: (u64, u64, u64) = (1024, 20 * 1024, 64 * 1024);

/// What a caller has seen already. Opaque to it: `OFFSET.STATE.DONE`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    offset: u64,
    state: ExecutionState,
    done: u32,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let cursor = Self {
            offset: parts.next()?.parse().ok()?,
            state: ExecutionState::parse(parts.next()?)?,
            done: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(cursor)
    }

    fn text(&self) -> String {
        format!("{}.{}.{}", self.offset, self.state.as_str(), self.done)
    }
}

impl Control {
    /// Where an execution stands.
    pub async fn get_status(&self, actor: &Actor, args: GetStatus) -> Answer {
        let result = self.status(actor, args).await;
        self.answer(result)
    }

    async fn status(&self, actor: &Actor, args: GetStatus) -> Result<Status, Refusal> {
        require(actor, Scope::Tasks)?;
        let id: ExecutionId = validate::id("execution", &args.execution_id)?;
        let page = args.max_bytes.unwrap_or(PAGE.1).clamp(PAGE.0, PAGE.2);
        let seen = args.cursor.as_deref().map(parse_cursor).transpose()?;
        let wait = args.wait_ms.map_or(Duration::ZERO, Duration::from_millis).min(WAIT);
        // Watched before the first look, so that nothing can happen unnoticed in between.
        let mut watch = (!wait.is_zero()).then(|| self.store().changes().watch(Topic::Execution(id)));
        let mut view = self.view_for(actor, id).await?;
        let deadline = tokio::time::Instant::now() + wait;
        while let (Some(watch), Some(seen)) = (&mut watch, &seen) {
            if view.execution.state.is_terminal() || is_news(&view, seen) {
                break;
            }
            if tokio::time::timeout_at(deadline, watch.changed()).await.is_err() {
                break;
            }
            view = self.view_for(actor, id).await?;
        }
        self.status_of(view, seen.map_or(0, |seen| seen.offset), page).await
    }

    /// The execution, if it exists for this actor.
    pub(super) async fn view_for(&self, actor: &Actor, id: ExecutionId) -> Result<ExecutionView, Refusal> {
        let view = self.store().execution_view(id).await?;
        let view = view
            .filter(|view| actor.sees(&view.execution.owner))
            .ok_or_else(|| Refusal::not_found("execution"))?;
        self.with_members(view).await
    }

    async fn status_of(&self, view: ExecutionView, from: u64, page: u64) -> Result<Status, Refusal> {
        let execution = &view.execution;
        let size = execution.log_size;
        if from > size {
            return Err(Refusal::invalid(
                "cursor lies behind the end of the log",
                "use next_cursor of the last answer, or leave cursor out to begin again",
            ));
        }
        let bytes = match from < size {
            true => {
                self.store()
                    .log_read(execution.id, from, usize::try_from(page).unwrap_or(usize::MAX))
                    .await?
                    .0
            }
            false => Vec::new(),
        };
        let ended = execution.state.is_terminal();
        let whole = ended && from + bytes.len() as u64 == size;
        let (text, taken) = page_text(&bytes, whole, room(page));
        let cursor = Cursor {
            offset: from + taken as u64,
            state: execution.state,
            done: steps_done(&view),
        };
        let queue = self.queue_of(execution).await?;
        let running = view.steps.iter().find(|step| step.state == StepState::Running);
        Ok(Status {
            state: execution.state.as_str().into(),
            step: running.map(|step| step.name.clone()),
            progress: Some(ProgressView {
                done: cursor.done,
                total: u32::try_from(view.steps.len()).unwrap_or(u32::MAX),
            }),
            log: LogView {
                text,
                done: ended && cursor.offset == size,
                next_cursor: cursor.text(),
            },
            approval: view.approval.as_ref().map(views::approval),
            queue,
        })
    }

    /// What a queued execution waits for.
    pub(super) async fn queue_of(&self, execution: &Execution) -> Result<Option<QueueView>, Refusal> {
        if execution.state != ExecutionState::Queued {
            return Ok(None);
        }
        let at_once = self.0.rooms.inventory.snapshot().at_once(self.0.settings.per_owner);
        let place = self.store().queue_place(execution.id, &at_once).await?;
        Ok(place.map(views::queue))
    }
}

fn parse_cursor(text: &str) -> Result<Cursor, Refusal> {
    Cursor::parse(text).ok_or_else(|| {
        Refusal::invalid(
            "cursor is not one that get_status gave",
            "use next_cursor of the last answer, or leave cursor out to begin at the start of the log",
        )
    })
}

/// Whether there is something the caller hasn't seen.
fn is_news(view: &ExecutionView, seen: &Cursor) -> bool {
    view.execution.log_size > seen.offset || view.execution.state != seen.state || steps_done(view) != seen.done
}

fn steps_done(view: &ExecutionView) -> u32 {
    let over = |state| !matches!(state, StepState::Pending | StepState::Running);
    u32::try_from(view.steps.iter().filter(|step| over(step.state)).count()).unwrap_or(u32::MAX)
}

/// The most that a page may take in JSON. Control characters take more there than in the log; what has no room comes
/// with the next page.
fn room(page: u64) -> usize {
    usize::try_from(page + page / 8).unwrap_or(usize::MAX)
}

/// The text of a page and how many bytes it stands for. A character that the page cuts waits for the next page,
/// unless nothing follows; bytes that are no UTF-8 become U+FFFD.
fn page_text(bytes: &[u8], last: bool, room: usize) -> (String, usize) {
    let (mut text, mut taken, mut used) = (String::with_capacity(bytes.len()), 0, 0);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            used += char_in_json(c);
            if used > room {
                return (text, taken);
            }
            text.push(c);
            taken += c.len_utf8();
        }
        let bad = chunk.invalid();
        let cut = taken + bad.len() == bytes.len()
            && std::str::from_utf8(bad).is_err_and(|error| error.error_len().is_none());
        if bad.is_empty() {
            continue;
        }
        used += char_in_json(char::REPLACEMENT_CHARACTER);
        if used > room || (cut && !last && taken > 0) {
            break;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        taken += bad.len();
    }
    (text, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_and_garbage_does_not() {
        let cursor = Cursor {
            offset: 7,
            state: ExecutionState::Running,
            done: 2,
        };
        assert_eq!(Cursor::parse(&cursor.text()), Some(cursor));
        for bad in [
            "",
            "7",
            "7.running",
            "7.running.2.1",
            "-1.running.2",
            "7.flying.2",
            "x.running.2",
        ] {
            assert_eq!(Cursor::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn pages_cut_no_character() {
        let text = "aä€😀z".as_bytes();
        for cut in 1..text.len() {
            let (first, taken) = page_text(&text[..cut], false, 99);
            let (rest, _) = page_text(&text[taken..], true, 99);
            assert!(taken > 0);
            assert_eq!(format!("{first}{rest}"), "aä€😀z", "cut at {cut}");
        }
        assert_eq!(page_text(b"a\xffb", false, 99), ("a\u{fffd}b".into(), 3));
        assert_eq!(page_text(b"a\xe2\x82", true, 99), ("a\u{fffd}".into(), 3));
    }

    #[test]
    fn a_page_stays_within_its_room_and_loses_nothing() {
        let logs: [&[u8]; 4] = [b"\x1b[32mgreen\x1b[0m\n", b"\x00", b"\xff", "é\"\\".as_bytes()];
        for log in logs.map(|log| log.repeat(5_000)) {
            let (mut from, mut read) = (0, String::new());
            while from < log.len() {
                let end = log.len().min(from + 1024);
                let (text, taken) = page_text(&log[from..end], end == log.len(), room(1024));
                assert!(serde_json::to_string(&text).expect("JSON").len() <= room(1024) + 2);
                assert!(taken > 0, "it goes on");
                from += taken;
                read += &text;
            }
            assert_eq!(read, String::from_utf8_lossy(&log));
        }
    }
}
