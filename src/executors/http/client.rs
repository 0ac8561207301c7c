//! Sends requests to where the target allows, and nowhere else.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Certificate, Identity, Response, Url};

use super::HttpSettings;
use super::fault::{Fault, Kind, Sent};
use super::guard::{Guard, check_url};
use crate::domain::target::HttpBlock;
use crate::domain::target::http::Network;

/// The most redirects that are followed.
const HOPS: usize = 5;

/// Connections to one API. None is kept after its answer: the next request judges the address anew.
pub(super) struct Client {
    /// Shows the target's certificate.
    own: reqwest::Client,
    /// For hosts that requests are redirected to: they get no credential of any kind.
    stranger: reqwest::Client,
    allowed: Arc<[Network]>,
    base: Url,
    redirect_hosts: Vec<String>,
    plaintext: bool,
}

/// A request as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
}

impl Client {
    pub(super) fn new(settings: &HttpSettings, block: &HttpBlock) -> Result<Arc<Self>, Fault> {
        let setup = |why: String| Fault::not_sent(Kind::Setup, why);
        let base = Url::parse(&block.base_url).map_err(|error| setup(error.to_string()))?;
        let allowed: Arc<[Network]> = block.allow_private.clone().into();
        let stranger = builder(settings, block, &allowed)?;
        let mut own = builder(settings, block, &allowed)?;
        if let Some(shown) = &block.client_certificate {
            let key = (settings.secrets)(&shown.key).map_err(|why| Fault::not_sent(Kind::Credentials, why))?;
            let mut pem = read(&shown.certificate)?;
            pem.push(b'\n');
            pem.extend_from_slice(key.as_bytes());
            // The error of a key that can't be read must not repeat it.
            let identity = Identity::from_pem(&pem)
                .map_err(|_| Fault::not_sent(Kind::Credentials, "the client certificate or its key can't be used"))?;
            own = own.identity(identity);
        }
        Ok(Arc::new(Self {
            own: own.build()?,
            stranger: stranger.build()?,
            allowed,
            base,
            redirect_hosts: block.redirect_hosts.clone(),
            plaintext: block.plaintext,
        }))
    }

    /// Sends one request as it is, to an address that the target allows.
    pub(super) async fn execute(&self, request: reqwest::Request) -> Result<Response, Fault> {
        let client = match self.is_own(request.url()) {
            true => &self.own,
            false => &self.stranger,
        };
        if !self.plaintext && request.url().scheme() != "https" {
            return Err(Fault::not_sent(Kind::Setup, "a request without TLS is not sent"));
        }
        check_url(request.url(), &self.allowed).map_err(|error| Fault::not_sent(Kind::Address, error.to_string()))?;
        Ok(client.execute(request).await?)
    }

    /// Sends a request, and follows redirects to the hosts that the target lists. An answer that leads elsewhere is an
    /// answer like any other.
    pub(super) async fn send(&self, request: &Request, credentials: &HeaderMap) -> Result<Response, Fault> {
        let mut next = request.clone();
        for hop in 0..=HOPS {
            let mut sent = reqwest::Request::new(next.method.clone(), next.url.clone());
            *sent.headers_mut() = next.headers.clone();
            if self.is_own(&next.url) {
                sent.headers_mut().extend(credentials.clone());
            }
            *sent.body_mut() = next.body.clone().map(reqwest::Body::from);
            let response = self.execute(sent).await.map_err(|fault| match hop {
                0 => fault,
                // The first host had it.
                _ => Fault {
                    sent: Sent::Perhaps,
                    ..fault
                },
            })?;
            match self.redirected(&next, &response) {
                Some(elsewhere) if hop < HOPS => next = elsewhere,
                Some(_) => break,
                None => return Ok(response),
            }
        }
        Err(Fault::perhaps(Kind::Redirect, "it was redirected too often"))
    }

    /// Whether it is at the API itself.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Whether a status may be asked for there, or a redirect followed.
    pub(super) fn may_follow(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let listed = match url.port() {
            Some(port) => self.redirect_hosts.contains(&format!("{host}:{port}")),
            None => self.redirect_hosts.iter().any(|listed| listed == host),
        };
        listed && (self.plaintext || url.scheme() == "https")
    }

    /// Where a URL of an answer leads, if a status may be asked for there.
    pub(super) fn status_url(&self, answered: &Url, text: &str) -> Option<Url> {
        let url = answered.join(text).ok()?;
        let clean = url.username().is_empty() && url.password().is_none();
        (clean && (self.is_own(&url) || self.may_follow(&url))).then_some(url)
    }

    fn redirected(&self, sent: &Request, response: &Response) -> Option<Request> {
        let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
        let url = response.url().join(location).ok().filter(|url| self.may_follow(url))?;
        let is_safe = matches!(sent.method, Method::GET | Method::HEAD);
        let (method, body) = match response.status() {
            StatusCode::SEE_OTHER if !is_safe => (Method::GET, None),
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER if is_safe => {
                (sent.method.clone(), None)
            }
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => (sent.method.clone(), sent.body.clone()),
            _ => return None,
        };
        let headers = match self.is_own(&url) {
            true => sent.headers.clone(),
            false => plain_headers(body.is_some()),
        };
        Some(Request {
            method,
            url,
            headers,
            body,
        })
    }
}

/// What every request says.
pub(super) fn plain_headers(has_body: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, */*;q=0.5"));
    if has_body {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers
}

fn builder(
    settings: &HttpSettings,
    block: &HttpBlock,
    allowed: &Arc<[Network]>,
) -> Result<reqwest::ClientBuilder, Fault> {
    let guard = Guard {
        names: settings.names.clone(),
        allowed: allowed.clone(),
    };
    let mut builder = reqwest::Client::builder()
        .dns_resolver(guard)
        // A proxy of the environment would connect to wherever it likes.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_max_idle_per_host(0)
        .connect_timeout(block.connect_timeout)
        .read_timeout(block.idle_timeout)
        .user_agent(concat!("clawhand/", env!("CARGO_PKG_VERSION")));
    if let Some(ca) = &block.ca {
        let trusted = Certificate::from_pem_bundle(&read(ca)?)?;
        if trusted.is_empty() {
            return Err(Fault::not_sent(Kind::Setup, format!("{ca} has no certificate")));
        }
        builder = builder.tls_certs_only(trusted);
    }
    Ok(builder)
}

fn read(path: &str) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(|error| Fault::not_sent(Kind::Setup, format!("{path} can't be read: {error}")))
}
