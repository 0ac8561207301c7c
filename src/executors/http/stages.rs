//! What an attempt does: asks, judges the answer, waits for the work that it began, ends that work.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::answer::Answer;
use super::auth::Sign;
use super::client::{Client, Request};
use super::fault::{Fault, Kind, Sent};
use super::notes::{self, Progress, Waiting};
use super::report::{Report, shortened};
use super::request::{Asked, plain};
use super::run::Run;
use crate::domain::plan::Call;
use crate::domain::target::http::{Operation, Poll, PollUrl};
use crate::executors::attempts::End;
use crate::executors::contract::ExitReport;

/// The longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// An attempt under way.
pub(super) struct Stage<'a> {
    pub run: &'a Run,
    pub client: &'a Arc<Client>,
    pub sign: Sign<'a>,
    pub operation: &'a Operation,
    pub call: &'a Call,
    pub progress: Progress,
    pub report: &'a mut Report,
}

/// Either there is more to do, or it has ended.
type Step<T> = Result<T, End>;

fn said_no(why: String) -> End {
    End::Ended(ExitReport {
        exit_code: Some(1),
        exec_error: Some(why),
        ..ExitReport::default()
    })
}

fn said_yes() -> End {
    End::Ended(ExitReport {
        exit_code: Some(0),
        ..ExitReport::default()
    })
}

/// How often something was tried, and since when it can't be reached.
#[derive(Default)]
struct Tries {
    repeated: u32,
    out_of_reach: Option<(Instant, u32)>,
    renewed: bool,
    /// The API may have carried it out at least once, whatever becomes of the next try.
    perhaps: bool,
}

impl Stage<'_> {
    fn asked(&self) -> Asked<'_> {
        Asked {
            block: &self.run.block,
            operation: self.operation,
            call: self.call,
        }
    }

    /// From where it stands to its end.
    pub(super) async fn work(&mut self) -> Step<End> {
        if let (Some(waiting), Some(poll)) = (self.progress.waiting.clone(), &self.operation.poll) {
            self.report
                .line("[clawhand was interrupted; it goes on waiting for the work]");
            return self.wait(&waiting, poll).await;
        }
        if self.progress.sent && !self.operation.may_resend() {
            let why = "clawhand was interrupted while the API worked on the request";
            return Err(End::Lost(why.to_owned()));
        }
        if self.progress.sent {
            self.report
                .line("[clawhand was interrupted; the request is sent again]");
        }
        let request = self
            .asked()
            .request(self.run.driving.attempt)
            .map_err(|fault| self.unsent(&fault))?;
        let answer = self.ask(&request).await?;
        self.judge(answer).await
    }

    /// Sends the request until there is an answer to go by.
    async fn ask(&mut self, request: &Request) -> Step<Answer> {
        let mut tries = Tries {
            perhaps: self.progress.sent,
            ..Tries::default()
        };
        loop {
            self.mark(Progress {
                sent: true,
                waiting: None,
            })?;
            self.report.request(request);
            let seen = self.once(request, self.operation.max_response).await;
            let again = self.operation.may_resend() && tries.repeated < self.operation.retries;
            match seen {
                Ok(answer) if answer.status == 401 && self.renews(&mut tries).await => {
                    self.report.line("HTTP 401; asking again with a new token");
                }
                Ok(answer) if answer.may_pass() && again => {
                    tries.perhaps = true;
                    tries.repeated += 1;
                    let wait = answer.retry_after().unwrap_or_else(|| self.backoff(tries.repeated));
                    let text = format!(
                        "HTTP {}; asking again ({} of {})",
                        answer.line, tries.repeated, self.operation.retries
                    );
                    self.report.line(&text);
                    pause(wait).await;
                }
                Ok(answer) => return Ok(answer),
                Err(fault) if fault.sent == Sent::No => self.unreached(&fault, &mut tries).await?,
                Err(fault) if fault.may_pass() && again => {
                    tries.perhaps = true;
                    tries.repeated += 1;
                    self.tell(&fault);
                    let text = format!(
                        "{}; asking again ({} of {})",
                        fault.words(),
                        tries.repeated,
                        self.operation.retries
                    );
                    self.report.line(&text);
                    pause(self.backoff(tries.repeated)).await;
                }
                Err(fault) => {
                    self.tell(&fault);
                    self.report.line(fault.words());
                    return Err(End::Lost(format!(
                        "{}; what it did with the request is not known",
                        fault.words()
                    )));
                }
            }
        }
    }

    /// A failure before anything was sent: waited for, whatever the operation, for as long as the target says.
    async fn unreached(&mut self, fault: &Fault, tries: &mut Tries) -> Step<()> {
        self.mark(Progress {
            sent: tries.perhaps,
            waiting: None,
        })?;
        self.tell(fault);
        let (since, count) = tries.out_of_reach.get_or_insert((Instant::now(), 0));
        *count += 1;
        let (since, count) = (*since, *count);
        if count == 1 {
            self.report.line(fault.words());
        }
        if !fault.may_pass() || since.elapsed() >= self.run.block.outage {
            return Err(match tries.perhaps {
                true => End::Lost(format!(
                    "{}; what it did with an earlier request is not known",
                    fault.words()
                )),
                false => End::NeverStarted(fault.words().to_owned()),
            });
        }
        pause(self.backoff(count)).await;
        Ok(())
    }

    fn unsent(&self, fault: &Fault) -> End {
        self.tell(fault);
        match self.progress.sent {
            true => End::Lost(fault.words().to_owned()),
            false => End::NeverStarted(fault.words().to_owned()),
        }
    }

    /// Forgets a token that is not taken any more, once.
    async fn renews(&self, tries: &mut Tries) -> bool {
        let Some(auth) = self.sign.auth.filter(|auth| !tries.renewed && is_token(auth)) else {
            return false;
        };
        tries.renewed = true;
        self.sign.tokens.forget(auth).await;
        true
    }

    async fn once(&mut self, request: &Request, max: u64) -> Result<Answer, Fault> {
        let headers = self.sign.headers(self.client, &mut self.report.mask).await?;
        let response = self.client.send(request, &headers).await?;
        let incoming = self.run.driving.folder.note("answer");
        Answer::take(response, &self.report.mask, (&incoming, max))
            .await
            .map_err(|fault| Fault {
                sent: Sent::Perhaps,
                ..fault
            })
    }

    async fn judge(&mut self, answer: Answer) -> Step<End> {
        self.report.answer(&answer);
        let name = if self.operation.poll.is_some() {
            "submitted"
        } else {
            "response"
        };
        let document = answer.json();
        self.keep(&answer, name);
        if answer.too_large {
            let why = format!("the API's answer is larger than {} bytes", self.operation.max_response);
            return Err(said_no(why));
        }
        let success = &self.operation.success;
        if !success.has_status(answer.status) {
            return Err(said_no(format!("the API answered HTTP {}", answer.line)));
        }
        if let Some(says) = &success.says
            && !document.as_ref().is_some_and(|document| says.holds(document))
        {
            let found = document.as_ref().and_then(|document| document.pointer(&says.pointer));
            let found = found.map_or_else(|| "not there".to_owned(), |found| shortened(&found.to_string()));
            return Err(said_no(format!("the API answered, but {} is {found}", says.pointer)));
        }
        let Some(poll) = &self.operation.poll else {
            return Ok(self.results(document.as_ref()));
        };
        let waiting = self.waiting(poll, &answer, document.as_ref())?;
        self.mark(Progress {
            sent: true,
            waiting: Some(waiting.clone()),
        })?;
        self.wait(&waiting, poll).await
    }

    /// Where the work that was begun is asked for, and where it is ended.
    fn waiting(&mut self, poll: &Poll, answer: &Answer, document: Option<&Value>) -> Step<Waiting> {
        let text = match &poll.url {
            PollUrl::Path(path) => {
                let url = self
                    .asked()
                    .url(path, document)
                    .map_err(|fault| self.lost_sight(&fault.detail))?;
                Some(url.to_string())
            }
            PollUrl::Pointer(pointer) => document
                .and_then(|document| document.pointer(pointer)?.as_str())
                .map(str::to_owned),
            PollUrl::Header(name) => answer
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
        };
        let url = text
            .as_deref()
            .and_then(|text| self.client.status_url(&answer.url, text));
        let Some(url) = url else {
            return Err(self.lost_sight("the answer names no place that the target allows"));
        };
        let cancel = self.operation.cancel.as_ref().and_then(|cancel| {
            let url = self.asked().url(&cancel.path, document).ok()?;
            Some((cancel.method.as_str().to_owned(), url.to_string()))
        });
        Ok(Waiting {
            url: url.to_string(),
            cancel,
        })
    }

    fn lost_sight(&mut self, detail: &str) -> End {
        tracing::warn!(attempt = %self.run.driving.attempt, why = detail, "the state of work at an API can't be asked for");
        let words = "the API took the request, and did not say where its state can be asked for";
        self.report.line(words);
        End::Lost(words.to_owned())
    }

    /// Asks for the state of the work until it has ended.
    async fn wait(&mut self, waiting: &Waiting, poll: &Poll) -> Step<End> {
        let Ok(url) = reqwest::Url::parse(&waiting.url) else {
            return Err(self.lost_sight("a stored URL can't be read"));
        };
        let request = plain("GET", url);
        let deadline = poll.timeout.map(|timeout| Instant::now() + timeout);
        let mut tries = Tries::default();
        let mut before = None;
        self.report.request(&request);
        loop {
            match self.state(&request, &mut tries).await? {
                Some((answer, document)) => {
                    let value = document.pointer(&poll.until.pointer).cloned().unwrap_or(Value::Null);
                    if before.as_ref() != Some(&value) {
                        let shown = shortened(&value.to_string());
                        self.report.line(&format!("{} is {shown}", poll.until.pointer));
                        before = Some(value);
                    }
                    if poll.until.holds(&document) {
                        self.report.answer(&answer);
                        self.keep(&answer, "response");
                        return Ok(self.results(Some(&document)));
                    }
                    if let Some(failed) = poll.failed.as_ref().filter(|failed| failed.holds(&document)) {
                        self.report.answer(&answer);
                        self.keep(&answer, "response");
                        let value = document.pointer(&failed.pointer).cloned().unwrap_or(Value::Null);
                        let value = shortened(&value.to_string());
                        return Err(said_no(format!("the work failed: {} is {value}", failed.pointer)));
                    }
                    pause(poll.interval).await;
                }
                None => pause(poll.interval.min(self.backoff(1))).await,
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.end_work().await;
                self.report.line("ended: the work took longer than it may");
                return Err(End::Ended(ExitReport {
                    timed_out: true,
                    ..ExitReport::default()
                }));
            }
        }
    }

    /// One question for the state. Nothing when it can't be had now; asking does no harm, so failures are only counted
    /// by how long they last.
    async fn state(&mut self, request: &Request, tries: &mut Tries) -> Step<Option<(Answer, Value)>> {
        let failure = match self.once(request, self.operation.max_response).await {
            Ok(answer) if (200..300).contains(&answer.status) => match answer.json() {
                Some(document) => {
                    tries.out_of_reach = None;
                    tries.renewed = false;
                    return Ok(Some((answer, document)));
                }
                None => "the state is not JSON".to_owned(),
            },
            Ok(answer) if answer.status == 401 && self.renews(tries).await => return Ok(None),
            Ok(answer) if answer.may_pass() => format!("HTTP {}", answer.line),
            Ok(answer) => {
                let words = format!("the state of the work can't be asked for: HTTP {}", answer.line);
                self.report.line(&words);
                return Err(End::Lost(words));
            }
            Err(fault) => {
                self.tell(&fault);
                if !fault.may_pass() {
                    self.report.line(fault.words());
                    return Err(End::Lost(fault.words().to_owned()));
                }
                fault.words().to_owned()
            }
        };
        let (since, count) = tries.out_of_reach.get_or_insert((Instant::now(), 0));
        *count += 1;
        let (since, count) = (*since, *count);
        if count == 1 {
            self.report.line(&format!("{failure}; asking again"));
        }
        if since.elapsed() >= self.run.block.outage {
            return Err(End::Lost(format!(
                "the state of the work can't be asked for: {failure}"
            )));
        }
        Ok(None)
    }

    /// Ends the work that goes on at the API, where the target says how.
    pub(super) async fn end_work(&mut self) {
        let Some(waiting) = self.progress.waiting.clone() else {
            if self.progress.sent {
                self.report
                    .line("[the request was given up; what the API does with it is not known]");
            }
            return;
        };
        let target = waiting
            .cancel
            .and_then(|(method, url)| Some((method, reqwest::Url::parse(&url).ok()?)))
            // All APIs' notes lie together, and whoever cleans up may have been given another one.
            .filter(|(_, url)| self.client.is_own(url));
        let Some((method, url)) = target else {
            self.report
                .line("[nobody waits for the work any more; it may go on at the API]");
            return;
        };
        let request = plain(&method, url);
        self.report.request(&request);
        match self.once(&request, self.operation.max_response).await {
            Ok(answer) => self.report.answer(&answer),
            Err(fault) => {
                self.tell(&fault);
                self.report.line(fault.words());
            }
        }
    }

    /// What the target says is the result.
    fn results(&mut self, document: Option<&Value>) -> End {
        let mut found = Map::new();
        for (name, pointer) in &self.operation.result {
            let value = document.and_then(|document| document.pointer(pointer)).cloned();
            let value = value.unwrap_or(Value::Null);
            self.report.value(name, &value);
            found.insert(name.clone(), value);
        }
        if !found.is_empty() {
            let path = self.run.driving.folder.work().join("result.json");
            if let Err(error) = std::fs::write(path, Value::Object(found).to_string()) {
                self.tell(&Fault::from(error));
            }
        }
        said_yes()
    }

    fn keep(&mut self, answer: &Answer, name: &str) {
        if let Err(error) = answer.keep(&self.run.driving.folder.work(), name) {
            self.tell(&Fault::from(error));
            self.report.line("[the answer could not be kept]");
        }
    }

    /// On disk before what it says can happen.
    fn mark(&mut self, progress: Progress) -> Step<()> {
        if self.progress == progress {
            return Ok(());
        }
        if let Err(error) = notes::write_progress(&self.run.driving.folder, &progress) {
            let fault = Fault::not_sent(Kind::Disk, error.to_string());
            let end = self.unsent(&fault);
            return Err(end);
        }
        self.progress = progress;
        Ok(())
    }

    /// For the operator.
    fn tell(&self, fault: &Fault) {
        let detail = self.report.mask.text(&fault.detail);
        tracing::warn!(attempt = %self.run.driving.attempt, kind = ?fault.kind, why = detail, "an API did not answer");
    }

    fn backoff(&self, tried: u32) -> Duration {
        let doubled = self
            .run
            .settings
            .backoff
            .saturating_mul(1 << tried.saturating_sub(1).min(10));
        doubled.min(BACKOFF_MAX)
    }
}

const fn is_token(auth: &crate::domain::target::http::HttpAuth) -> bool {
    matches!(auth, crate::domain::target::http::HttpAuth::OAuth { .. })
}

/// Waits, unless the attempt is ended: then the whole future goes.
async fn pause(time: Duration) {
    tokio::time::sleep_until(Instant::now() + time).await;
}
