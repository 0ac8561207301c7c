//! What happens at one gateway, kept for those who ask for it later: the newest events, each with a cursor, and which
//! approvals were seen.
//!
//! The session rows that gateways send with every message are not kept. What was missed is never passed over: where events
//! are known to be missing, one says so, and approvals that nobody was told of are found when a connection is made.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::socket::{Notice, Socket, Subscription};
use super::wire::{self, Approval, ApprovalKind, ApprovalResolved, Event, Hello, Nothing, Scope, SessionMessage};
use super::{Fault, GatewayError};

/// How many events are kept.
const EVENTS: usize = 1000;
/// How many bytes of them.
const BYTES: usize = 16 << 20;
/// How long a gateway may take to answer what is asked on a new connection.
const CATCH_UP: Duration = Duration::from_secs(30);

/// The events of one gateway. Cheap to clone; without one, the gateway is no longer followed.
#[derive(Debug, Clone)]
pub struct Feed {
    socket: Socket,
    log: Arc<Mutex<Log>>,
    /// Changes with the newest cursor.
    newest: watch::Receiver<u64>,
    news: Arc<watch::Sender<u64>>,
    standing: watch::Receiver<Standing>,
}

/// An event with its place. Cursors only grow.
#[derive(Debug)]
pub struct Entry {
    /// Its place.
    pub cursor: u64,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug)]
pub enum What {
    /// A message was added to a session.
    Message(Box<SessionMessage>),
    /// Somebody has to answer. Told once for each, whether it was seen live or found later.
    Requested(ApprovalKind, Box<Approval>),
    /// Somebody answered.
    Resolved(ApprovalKind, Box<ApprovalResolved>),
    /// A program that follows asks for leave itself, which an owner gives or denies in a conversation.
    Asks(Box<Asking>),
    /// Here events are missing: so many at least, or nobody knows how many, for there was no connection.
    Missing(Option<u64>),
}

/// What a program that follows a gateway asks leave for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// What an answer names.
    pub id: String,
    /// Its tool.
    pub tool: String,
    /// What it is about.
    pub about: String,
    /// How the tool's arguments begin.
    pub preview: String,
}

/// Events behind a cursor.
#[derive(Debug, Default)]
pub struct Page {
    /// In order.
    pub entries: Vec<Arc<Entry>>,
    /// What to ask with the next time.
    pub next_cursor: u64,
    /// The oldest cursor that there is, if older ones were asked for and are gone, or the cursor is none of this feed.
    pub oldest: Option<u64>,
}

/// The approvals that are open.
#[derive(Debug)]
pub struct Open {
    /// The oldest first.
    pub approvals: Vec<(ApprovalKind, Approval)>,
    /// What this connection lacks to see those that others asked for.
    pub lacks: Option<Scope>,
}

/// Whether the gateway tells what happens there.
#[derive(Debug, Clone)]
enum Standing {
    /// Not yet, or not any more.
    Away,
    /// It does, and what was open before is found.
    Followed,
    /// It doesn't want to.
    Refused(GatewayError),
}

#[derive(Debug, Default)]
struct Log {
    entries: VecDeque<(Arc<Entry>, usize)>,
    bytes: usize,
    /// Cursors begin behind it.
    begin: u64,
    last: u64,
}

/// The task that writes the log.
struct Writer {
    socket: Socket,
    log: Arc<Mutex<Log>>,
    news: Arc<watch::Sender<u64>>,
    standing: watch::Sender<Standing>,
    seen: BTreeSet<(ApprovalKind, String)>,
    /// There was a connection before.
    interrupted: bool,
}

impl Entry {
    /// What kind of event it is, by the name that readers of the feed know it by.
    pub fn kind(&self) -> &'static str {
        match &self.what {
            What::Message(_) => "message",
            What::Requested(ApprovalKind::Exec, _) => "exec_approval_requested",
            What::Requested(ApprovalKind::Plugin, _) => "plugin_approval_requested",
            What::Resolved(ApprovalKind::Exec, _) => "exec_approval_resolved",
            What::Resolved(ApprovalKind::Plugin, _) => "plugin_approval_resolved",
            What::Asks(_) => "claude_permission_request",
            What::Missing(_) => "gap",
        }
    }

    /// The session that it belongs to.
    pub fn session_key(&self) -> Option<&str> {
        match &self.what {
            What::Message(message) => Some(&message.session_key),
            What::Requested(_, approval) => approval.asked("sessionKey"),
            What::Resolved(_, resolved) => resolved.request.get("sessionKey")?.as_str(),
            What::Asks(_) | What::Missing(_) => None,
        }
    }

    /// Whether whoever asks for this session wants it. That something is missing is for everybody.
    fn is_for(&self, session: Option<&str>) -> bool {
        matches!(self.what, What::Missing(_)) || session.is_none() || self.session_key() == session
    }
}

impl Feed {
    /// Follows a gateway from now on, and keeps its connection up. Cursors begin behind `begin`: if that grows from one start
    /// of the program to the next, a cursor from before is known as such.
    pub fn start(socket: &Socket, tracker: &TaskTracker, begin: u64) -> Self {
        let subscription = socket.subscribe(|name| name == "session.message" || ApprovalKind::is_told_by(name));
        let log = Arc::new(Mutex::new(Log::beginning(begin)));
        let (news, newest) = watch::channel(begin);
        let news = Arc::new(news);
        let (standing, seen) = watch::channel(Standing::Away);
        let writer = Writer {
            socket: socket.clone(),
            log: log.clone(),
            news: news.clone(),
            standing,
            seen: BTreeSet::new(),
            interrupted: false,
        };
        tracker.spawn(writer.run(subscription));
        Self {
            socket: socket.clone(),
            log,
            newest,
            news,
            standing: seen,
        }
    }

    /// Adds what a program that follows asks.
    pub fn ask(&self, asking: Asking) {
        let Asking {
            tool, about, preview, ..
        } = &asking;
        let bytes = tool.len() + about.len() + preview.len();
        let cursor = lock(&self.log).add(What::Asks(Box::new(asking)), bytes);
        self.news.send_replace(cursor);
    }

    /// Waits for at most `limit` until the gateway tells what happens and what was open before is found.
    ///
    /// # Errors
    /// When there is no connection and none can be made now, or the gateway doesn't tell.
    pub async fn followed(&self, limit: Duration) -> Result<(), GatewayError> {
        let deadline = Instant::now() + limit;
        self.socket.hello(limit).await?;
        let mut standing = self.standing.clone();
        let known = standing.wait_for(|standing| !matches!(standing, Standing::Away));
        let late = || GatewayError::new(Fault::NotReady, "the gateway did not say in time what happens there");
        let known = timeout_at(deadline, known).await.map_err(|_| late())?;
        match &*known.map_err(|_| late())? {
            Standing::Refused(why) => Err(why.clone()),
            Standing::Away | Standing::Followed => Ok(()),
        }
    }

    /// At most `limit` events behind the cursor `after`, of one session or of all.
    pub fn page(&self, after: u64, session: Option<&str>, limit: usize) -> Page {
        lock(&self.log).page(after, session, limit)
    }

    /// The next event behind the cursor `after`, when there is one; an empty page when there was none for `patience`. A
    /// page that only says that older events are gone comes at once.
    pub async fn next(&self, after: u64, session: Option<&str>, patience: Duration) -> Page {
        let deadline = Instant::now() + patience;
        let mut newest = self.newest.clone();
        loop {
            newest.borrow_and_update();
            let page = self.page(after, session, 1);
            if !page.entries.is_empty() || page.oldest.is_some() {
                return page;
            }
            match timeout_at(deadline, newest.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return page,
            }
        }
    }

    /// The approvals that are open now, asked of the gateway.
    ///
    /// # Errors
    /// When the gateway can't be asked.
    pub async fn open_approvals(&self, limit: Duration) -> Result<Open, GatewayError> {
        let hello = self.socket.hello(limit).await?;
        let mut approvals = open_approvals(&self.socket, limit).await?;
        approvals.sort_by_key(|(_, approval)| approval.created_at_ms);
        let lacks = (!hello.may(Scope::Admin)).then_some(Scope::Admin);
        Ok(Open { approvals, lacks })
    }
}

impl Log {
    fn beginning(begin: u64) -> Self {
        Self {
            begin,
            last: begin,
            ..Self::default()
        }
    }

    fn add(&mut self, what: What, bytes: usize) -> u64 {
        self.last += 1;
        let cursor = self.last;
        self.bytes += bytes;
        self.entries.push_back((Arc::new(Entry { cursor, what }), bytes));
        // The newest stays, however large it is.
        while self.entries.len() > 1 && (self.entries.len() > EVENTS || self.bytes > BYTES) {
            self.bytes -= self.entries.pop_front().map_or(0, |(_, bytes)| bytes);
        }
        cursor
    }

    fn page(&self, after: u64, session: Option<&str>, limit: usize) -> Page {
        let oldest = self.entries.front().map_or(self.last + 1, |(entry, _)| entry.cursor);
        // Without a cursor, from the beginning. One from the future is another feed's, and so it begins anew, too.
        let is_other = after > self.last;
        let after = if after == 0 || is_other { self.begin } else { after };
        let behind = self.entries.iter().filter(|(entry, _)| entry.cursor > after);
        let mut wanted = behind.filter(|(entry, _)| entry.is_for(session));
        let entries: Vec<_> = wanted.by_ref().take(limit).map(|(entry, _)| entry.clone()).collect();
        // With nothing more to come of those that are kept, the others need not be looked at again.
        let next_cursor = match (entries.last(), wanted.next()) {
            (Some(last), Some(_)) => last.cursor,
            (None, Some(_)) => after,
            (_, None) => after.max(self.last),
        };
        Page {
            entries,
            next_cursor,
            oldest: (is_other || after.saturating_add(1) < oldest).then_some(oldest),
        }
    }
}

impl Writer {
    async fn run(mut self, mut subscription: Subscription) {
        loop {
            let notice = tokio::select! {
                notice = subscription.next() => notice,
                () = self.news.closed() => None,
            };
            let Some(notice) = notice else { return };
            match notice {
                Notice::Connected(hello) => self.connected(&hello).await,
                Notice::Disconnected(_) => {
                    self.interrupted = true;
                    self.standing.send_replace(Standing::Away);
                }
                Notice::Gap { missed } => {
                    self.add(What::Missing(Some(missed)), 0);
                    self.find_approvals().await;
                }
                Notice::Event(event) => self.event(&event),
            }
        }
    }

    /// Has everything told on a new connection, and finds out what was not told before.
    async fn connected(&mut self, hello: &Hello) {
        if self.interrupted {
            self.add(What::Missing(None), 0);
        }
        let subscribed = self.socket.call(&wire::SESSIONS_SUBSCRIBE, &Nothing {}, CATCH_UP).await;
        if hello.may(Scope::Approvals) {
            self.find_approvals().await;
        }
        self.standing.send_replace(match subscribed {
            Ok(_) => Standing::Followed,
            Err(why) => {
                tracing::warn!(why = why.message, "an OpenClaw gateway does not tell what happens");
                Standing::Refused(why)
            }
        });
    }

    async fn find_approvals(&mut self) {
        match open_approvals(&self.socket, CATCH_UP).await {
            Ok(approvals) => {
                // What isn't open any more may be forgotten.
                let open = |kind, id: &String| approvals.iter().any(|(other, one)| *other == kind && one.id == *id);
                self.seen.retain(|(kind, id)| open(*kind, id));
                for (kind, approval) in approvals {
                    self.requested(kind, Box::new(approval));
                }
            }
            Err(error) if matches!(error.fault, Fault::MissingScope(_)) => {}
            Err(why) => tracing::warn!(why = why.message, "an OpenClaw gateway does not list its approvals"),
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::SessionMessage(message) => {
                let bytes = size(&message.message.0);
                self.add(What::Message(message.clone()), bytes);
            }
            Event::ApprovalRequested(kind, approval) => self.requested(*kind, approval.clone()),
            Event::ApprovalResolved(kind, resolved) => {
                self.seen.remove(&(*kind, resolved.id.clone()));
                let bytes = size(&resolved.request);
                self.add(What::Resolved(*kind, resolved.clone()), bytes);
            }
            _ => {}
        }
    }

    fn requested(&mut self, kind: ApprovalKind, approval: Box<Approval>) {
        if self.seen.insert((kind, approval.id.clone())) {
            let bytes = size(&approval.request);
            self.add(What::Requested(kind, approval), bytes);
        }
    }

    fn add(&mut self, what: What, bytes: usize) {
        let cursor = lock(&self.log).add(what, bytes);
        self.news.send_replace(cursor);
    }
}

/// How much a value is.
fn size(value: &Value) -> usize {
    serde_json::to_vec(value).map_or(0, |text| text.len())
}

/// The open approvals of both kinds that this connection may see.
pub(crate) async fn open_approvals(
    socket: &Socket,
    limit: Duration,
) -> Result<Vec<(ApprovalKind, Approval)>, GatewayError> {
    let nothing = Nothing {};
    let (exec, plugin) = tokio::try_join!(
        socket.call(&wire::EXEC_APPROVAL_LIST, &nothing, limit),
        socket.call(&wire::PLUGIN_APPROVAL_LIST, &nothing, limit),
    )?;
    let exec = exec.into_iter().map(|approval| (ApprovalKind::Exec, approval));
    let plugin = plugin.into_iter().map(|approval| (ApprovalKind::Plugin, approval));
    Ok(exec.chain(plugin).collect())
}

/// No lock here is held across anything that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(session: &str) -> What {
        let json = serde_json::json!({ "sessionKey": session, "message": { "role": "user", "content": "x" } });
        What::Message(serde_json::from_value(json).expect("a message"))
    }

    fn cursors(page: &Page) -> Vec<u64> {
        page.entries.iter().map(|entry| entry.cursor).collect()
    }

    #[test]
    fn pages_lead_from_one_to_the_next() {
        let mut log = Log::default();
        for session in ["a", "b", "a", "b", "a"] {
            log.add(message(session), 1);
        }
        let page = log.page(0, None, 2);
        assert_eq!((cursors(&page), page.next_cursor, page.oldest), (vec![1, 2], 2, None));
        let page = log.page(2, None, 200);
        assert_eq!((cursors(&page), page.next_cursor), (vec![3, 4, 5], 5));
        let page = log.page(0, Some("a"), 2);
        assert_eq!((cursors(&page), page.next_cursor), (vec![1, 3], 3));
        let page = log.page(3, Some("b"), 2);
        assert_eq!(
            (cursors(&page), page.next_cursor),
            (vec![4], 5),
            "the rest was looked at"
        );
        let page = log.page(5, None, 2);
        assert_eq!((cursors(&page), page.next_cursor, page.oldest), (vec![], 5, None));
    }

    #[test]
    fn a_cursor_of_another_feed_is_told_from_ones_own() {
        let mut log = Log::beginning(1000);
        let page = log.page(0, None, 10);
        assert_eq!((cursors(&page), page.next_cursor, page.oldest), (vec![], 1000, None));
        log.add(message("a"), 1);
        log.add(message("a"), 1);
        let page = log.page(0, None, 1);
        assert_eq!(
            (cursors(&page), page.next_cursor, page.oldest),
            (vec![1001], 1001, None)
        );
        for other in [7, 999, 1003, u64::MAX] {
            let page = log.page(other, None, 10);
            assert_eq!(
                (cursors(&page), page.next_cursor, page.oldest),
                (vec![1001, 1002], 1002, Some(1001)),
                "{other}"
            );
        }
    }

    #[test]
    fn what_is_gone_is_told() {
        let mut log = Log::default();
        for _ in 0..EVENTS + 5 {
            log.add(message("a"), 1);
        }
        let page = log.page(0, None, 1);
        assert_eq!((cursors(&page), page.oldest), (vec![6], Some(6)));
        assert_eq!(log.page(5, None, 1).oldest, None);
        log.add(message("large"), BYTES + 1);
        let page = log.page(5, None, 10);
        assert_eq!((page.entries.len(), page.oldest), (1, Some(EVENTS as u64 + 6)));
    }

    #[test]
    fn that_something_is_missing_is_for_everybody() {
        let mut log = Log::default();
        log.add(message("a"), 1);
        log.add(What::Missing(Some(3)), 0);
        let page = log.page(0, Some("b"), 10);
        assert_eq!(page.entries[0].kind(), "gap");
    }
}
