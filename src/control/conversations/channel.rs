//! A client that wants to be told what happens in conversations without asking, and that has its own questions answered
//! there: Claude's channel mode.
//!
//! A question is answered by an owner of the gateway who writes `yes` or `no` and the five letters of the question into any
//! conversation. Start reading at [`Channel::follow`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Conversations;
use crate::gateway::feed::Asking;
use crate::gateway::socket::{Notice, Subscription};
use crate::gateway::wire::{Event, SessionMessage};
use crate::redact::Clean;

/// How long a question can be answered.
const ANSWERABLE: Duration = Duration::from_secs(60 * 60);
/// How many questions wait for an answer at once.
const QUESTIONS: usize = 1000;
/// The longest text of a question, in characters.
const TEXT_MAX: usize = 20_000;

/// The client's side of the conversations. Cheap to clone.
#[derive(Clone)]
pub struct Channel {
    conversations: Conversations,
    waiting: Arc<Mutex<Questions>>,
}

/// What the client wants to do, and asks leave for.
#[derive(Debug, Clone, Deserialize)]
pub struct ClientAsks {
    /// The five letters that an answer names.
    pub request_id: String,
    /// The client's tool.
    pub tool_name: String,
    /// What it is about.
    pub description: String,
    /// How the tool's arguments begin.
    pub input_preview: String,
}

/// What the client is told.
#[derive(Debug)]
pub enum News {
    /// Somebody said something.
    Said(Clean<Value>),
    /// An owner answered a question of the client.
    Answered(Clean<Value>),
}

/// What is told of one gateway.
pub struct Follower {
    channel: Channel,
    subscription: Subscription,
    /// Its name, if there are others.
    instance: Option<String>,
}

/// The questions that wait, by what an answer names, with their own id and since when.
#[derive(Default)]
struct Questions(BTreeMap<String, (String, Instant)>);

impl Questions {
    fn add(&mut self, id: &str, now: Instant) {
        self.0.retain(|_, (_, since)| now.duration_since(*since) < ANSWERABLE);
        if self.0.len() >= QUESTIONS
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (_, since))| *since)
        {
            let oldest = oldest.0.clone();
            self.0.remove(&oldest);
        }
        self.0.insert(id.to_ascii_lowercase(), (id.to_owned(), now));
    }

    /// Takes the question that `letters` name out: it is answered once, over whichever gateway.
    fn take(&mut self, letters: &str, now: Instant) -> Option<String> {
        let (id, since) = self.0.remove(&letters.to_ascii_lowercase())?;
        (now.duration_since(since) < ANSWERABLE).then_some(id)
    }
}

impl Channel {
    /// A client of these conversations.
    pub fn new(conversations: Conversations) -> Self {
        Self {
            conversations,
            waiting: Arc::default(),
        }
    }

    /// The client asks for leave. Whoever polls for events is told, too.
    pub fn ask(&self, asks: ClientAsks) {
        let bounded = |text: String| text.chars().take(TEXT_MAX).collect::<String>();
        let asking = Asking {
            id: bounded(asks.request_id),
            tool: bounded(asks.tool_name),
            about: bounded(asks.description),
            preview: bounded(asks.input_preview),
        };
        tracing::info!(id = asking.id, "a client asks for leave over the channels of gateways");
        lock(&self.waiting).add(&asking.id, Instant::now());
        for gateway in self.conversations.gateways.list() {
            gateway.feed().ask(asking.clone());
        }
    }

    /// What is told of each gateway from now on.
    pub fn follow(&self) -> Vec<Follower> {
        let gateways = self.conversations.gateways.list();
        let named = gateways.len() > 1;
        let followers = gateways.iter().map(|gateway| {
            // The feed has the gateway tell.
            gateway.feed();
            Follower {
                channel: self.clone(),
                subscription: gateway.socket().subscribe(|name| name == "session.message"),
                instance: named.then(|| gateway.instance().name.to_string()),
            }
        });
        followers.collect()
    }
}

impl Follower {
    /// The next thing to tell; `None` when there will be nothing more.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            match self.subscription.next().await? {
                Notice::Event(event) => {
                    if let Event::SessionMessage(message) = &*event
                        && let Some(news) = self.news(message)
                    {
                        return Some(news);
                    }
                }
                Notice::Gap { missed } => tracing::warn!(missed, "a client is not told of all that was said"),
                Notice::Connected(_) | Notice::Disconnected(_) => {}
            }
        }
    }

    /// What of a message is to be told: an answer to a question, or what somebody said where it can be replied to.
    fn news(&self, message: &SessionMessage) -> Option<News> {
        if message.message.role() != Some("user") {
            return None;
        }
        let text = message.message.text();
        let rules = (self.channel.conversations.rules)();
        let is_owner = message
            .sender_is_owner
            .unwrap_or_else(|| message.message.is_from_owner());
        if is_owner && let Some((allows, letters)) = text.as_deref().and_then(answer_in) {
            let answered = lock(&self.channel.waiting).take(letters, Instant::now());
            if let Some(id) = answered {
                let behavior = if allows { "allow" } else { "deny" };
                let params = json!({ "request_id": id, "behavior": behavior });
                return Some(News::Answered(rules.json(params)));
            }
        }
        let route = message.row().route()?;
        let told = |text: Option<String>| text.unwrap_or_default();
        let mut meta = json!({
            "session_key": message.session_key,
            "channel": told(route.channel),
            "to": told(route.to),
            "account_id": told(route.account_id),
            "thread_id": told(route.thread_id),
            "message_id": message.id().unwrap_or_default(),
        });
        if let Some(instance) = &self.instance {
            meta["instance"] = json!(instance);
        }
        let content = text.as_deref().unwrap_or("[non-text message]");
        Some(News::Said(rules.json(json!({ "content": content, "meta": meta }))))
    }
}

/// The answer that a text is: `yes` or `no`, and five letters without l, which would be read as 1 or I.
fn answer_in(text: &str) -> Option<(bool, &str)> {
    let (word, letters) = text.trim().split_once(char::is_whitespace)?;
    let letters = letters.trim_start();
    let is_letter = |c: char| c.is_ascii_alphabetic() && !c.eq_ignore_ascii_case(&'l');
    if letters.len() != 5 || !letters.chars().all(is_letter) {
        return None;
    }
    match word.to_ascii_lowercase().as_str() {
        "yes" => Some((true, letters)),
        "no" => Some((false, letters)),
        _ => None,
    }
}

/// No lock here is held across anything that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_word_and_five_letters() {
        assert_eq!(answer_in("yes abcde"), Some((true, "abcde")));
        assert_eq!(answer_in(" NO \t KMnoz\n"), Some((false, "KMnoz")));
        for other in [
            "yes",
            "yes abcd",
            "yes abcdef",
            "yes abcle",
            "yes abcLe",
            "yes ab1de",
            "yes, abcde",
            "yesabcde",
            "maybe abcde",
            "yes abcde please",
            "oh yes abcde",
            "yes äbcd",
            "",
        ] {
            assert_eq!(answer_in(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_question_waits_for_an_hour() {
        let mut questions = Questions::default();
        let begin = Instant::now();
        questions.add("AbCde", begin);
        let just = begin + ANSWERABLE - Duration::from_secs(1);
        assert!(questions.take("other", just).is_none());
        assert_eq!(questions.take("abcDE", just).as_deref(), Some("AbCde"));
        assert!(questions.take("abcde", just).is_none(), "it is answered once");
        questions.add("AbCde", begin);
        assert!(questions.take("abcde", begin + ANSWERABLE).is_none());
        questions.add("AbCde", begin);
        questions.add("fghij", begin + ANSWERABLE);
        assert_eq!(questions.0.len(), 1, "what can't be answered any more is forgotten");
    }

    #[test]
    fn so_many_questions_that_the_oldest_is_forgotten() {
        let mut questions = Questions::default();
        let begin = Instant::now();
        for number in 0..=QUESTIONS {
            let later = Duration::from_millis(number as u64);
            questions.add(&number.to_string(), begin + later);
        }
        assert_eq!(questions.0.len(), QUESTIONS);
        assert!(questions.take("0", begin).is_none());
        assert!(questions.take("1000", begin + Duration::from_secs(2)).is_some());
    }
}
