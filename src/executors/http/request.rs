//! From an operation and its values to a request.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use reqwest::Url;
use serde_json::Value;

use super::client::{Request, plain_headers};
use super::fault::{Fault, Kind};
use crate::domain::AttemptId;
use crate::domain::plan::Call;
use crate::domain::target::HttpBlock;
use crate::domain::target::http::{Filling, Operation, Template, Unfit};

/// What is asked, of which API.
pub(super) struct Asked<'a> {
    pub block: &'a HttpBlock,
    pub operation: &'a Operation,
    pub call: &'a Call,
}

fn unfit(error: &Unfit) -> Fault {
    let name = error.parameter.as_deref().unwrap_or("?");
    Fault::not_sent(Kind::Setup, format!("the value of {name} {}", error.why))
}

impl Asked<'_> {
    fn filling<'a>(&'a self, response: Option<&'a Value>) -> Filling<'a> {
        Filling {
            parameters: &self.call.parameters,
            response,
        }
    }

    /// The request of the operation itself.
    pub(super) fn request(&self, attempt: AttemptId) -> Result<Request, Fault> {
        let filling = self.filling(None);
        let mut url = self.url(&self.operation.path, None)?;
        let mut pairs = Vec::new();
        for (key, template) in &self.operation.query {
            pairs.extend(template.query(key, &filling).map_err(|error| unfit(&error))?);
        }
        if !pairs.is_empty() {
            url.set_query(Some(&pairs.join("&")));
        }
        let body = match &self.operation.body {
            Some(body) => filling.body(body).map_err(|error| unfit(&error))?,
            None => None,
        };
        let mut headers = plain_headers(body.is_some());
        for (name, template) in &self.operation.headers {
            if let Some(value) = template.header(&filling).map_err(|error| unfit(&error))? {
                headers.insert(header_name(name)?, header_value(&value)?);
            }
        }
        if let Some(name) = &self.operation.idempotency_header {
            headers.insert(header_name(name)?, header_value(&attempt.to_string())?);
        }
        Ok(Request {
            method: method(self.operation.method.as_str()),
            url,
            headers,
            body: body.map(|body| Bytes::from(body.to_string())),
        })
    }

    /// The URL of a path below the base. It is checked once more that it is one.
    pub(super) fn url(&self, path: &Template, response: Option<&Value>) -> Result<Url, Fault> {
        let setup = |why: &str| Fault::not_sent(Kind::Setup, why);
        let path = path.path(&self.filling(response)).map_err(|error| unfit(&error))?;
        let base = Url::parse(&self.block.base_url).map_err(|_| setup("base_url is not a URL"))?;
        let text = format!("{}{path}", self.block.base_url);
        let url = Url::parse(&text).map_err(|_| setup("the path is not one of a URL"))?;
        let parts = |url: &Url| url.path().matches('/').count();
        let wanted = base.path().trim_end_matches('/').matches('/').count() + path.matches('/').count();
        let stays = url.origin() == base.origin() && url.query().is_none() && url.fragment().is_none();
        match stays && parts(&url) == wanted {
            true => Ok(url),
            false => Err(setup("the path leads elsewhere")),
        }
    }
}

/// A request that only asks, or ends what goes on.
pub(super) fn plain(method_name: &str, url: Url) -> Request {
    Request {
        method: method(method_name),
        url,
        headers: plain_headers(false),
        body: None,
    }
}

fn method(name: &str) -> Method {
    Method::from_bytes(name.as_bytes()).unwrap_or(Method::GET)
}

fn header_name(name: &str) -> Result<HeaderName, Fault> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|error| Fault::not_sent(Kind::Setup, error.to_string()))
}

fn header_value(value: &str) -> Result<HeaderValue, Fault> {
    HeaderValue::from_str(value).map_err(|error| Fault::not_sent(Kind::Setup, error.to_string()))
}
