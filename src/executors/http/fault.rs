//! Why a request got no answer, and whether it may have been carried out all the same.

use std::error::Error;
use std::io;

use super::guard::{NoSuchName, NotAllowed};

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The target's file or one of the files that it names.
    Setup,
    /// A credential can't be read, or the place that gives out tokens refused.
    Credentials,
    /// An address that the target doesn't allow.
    Address,
    /// A name that leads nowhere.
    Name,
    /// Nobody listens there.
    Refused,
    /// The two sides don't trust one another.
    Tls,
    /// It took too long.
    Slow,
    /// A redirect that the target doesn't allow.
    Redirect,
    /// The connection broke, or what came was no HTTP.
    Broken,
    /// clawhand's own disk.
    Disk,
}

/// Whether the API may have seen the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is sure that it has not.
    No,
    /// It may have carried it out.
    Perhaps,
}

/// Why there is no answer. The detail is for the operator only.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub kind: Kind,
    pub sent: Sent,
    pub detail: String,
}

impl Fault {
    pub(super) fn not_sent(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            sent: Sent::No,
            detail: detail.into(),
        }
    }

    pub(super) fn perhaps(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            sent: Sent::Perhaps,
            ..Self::not_sent(kind, detail)
        }
    }

    /// Whether trying again later may help without anybody changing anything.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self.kind, Kind::Name | Kind::Refused | Kind::Slow | Kind::Broken)
    }

    /// For callers: nothing of where it happened.
    pub(super) const fn words(&self) -> &'static str {
        match self.kind {
            Kind::Setup => "the target is not set up correctly; the operator's log has the details",
            Kind::Credentials => "the target's credentials can't be used; the operator's log has the details",
            Kind::Address => "the target's address is not one that it allows; the operator's log has the details",
            Kind::Name => "the API's name can't be found now",
            Kind::Refused => "the API can't be reached now",
            Kind::Tls => "the connection to the API can't be trusted; the operator's log has the details",
            Kind::Slow => "the API did not answer in time",
            Kind::Redirect => "the API sent the request elsewhere, which the target doesn't allow",
            Kind::Broken => "the connection to the API broke",
            Kind::Disk => "what the API answered can't be kept",
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::perhaps(Kind::Disk, error.to_string())
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        // Its own text repeats the URL, which may be long; the chain says what happened.
        let found = chain(&error);
        let detail = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(": ");
        let kind = kind_of(&error, &found);
        // A refused certificate ends the handshake, whichever side hears of it later; a request before its end is not
        // looked at.
        let early = error.is_connect() || error.is_builder() || kind == Kind::Tls;
        Self {
            kind,
            sent: if early { Sent::No } else { Sent::Perhaps },
            detail,
        }
    }
}

fn kind_of(error: &reqwest::Error, found: &[&(dyn Error + 'static)]) -> Kind {
    let has = |is: fn(&(dyn Error + 'static)) -> bool| found.iter().any(|error| is(*error));
    if has(|error| error.is::<NotAllowed>()) {
        Kind::Address
    } else if has(|error| error.is::<NoSuchName>()) {
        Kind::Name
    } else if has(|error| error.downcast_ref::<rustls::Error>().is_some_and(is_distrust)) {
        Kind::Tls
    } else if error.is_timeout() {
        Kind::Slow
    } else if error.is_builder() {
        Kind::Setup
    } else if error.is_connect() {
        Kind::Refused
    } else {
        Kind::Broken
    }
}

/// What of TLS is about trust, and not about a connection that broke.
fn is_distrust(error: &rustls::Error) -> bool {
    !matches!(error, rustls::Error::General(_) | rustls::Error::FailedToGetCurrentTime)
}

/// The errors that an error is about. Errors of the system hide one in themselves.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut chain = Vec::new();
    let mut next = error.source();
    while let Some(error) = next {
        chain.push(error);
        let hidden = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|hidden| hidden as &(dyn Error + 'static));
        next = hidden.or_else(|| error.source());
        if chain.len() > 16 {
            break;
        }
    }
    chain
}
