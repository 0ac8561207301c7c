//! Credentials for requests: read or fetched when one is made, and kept nowhere but in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use oauth2::{AsyncHttpClient, ClientId, ClientSecret, Scope, TokenResponse as _, TokenUrl};
use tokio::time::Instant;

use super::client::Client;
use super::fault::{Fault, Kind};
use super::mask::Mask;
use crate::domain::target::http::HttpAuth;
use crate::executors::SecretReader;
use crate::executors::attempts::locked;

/// So long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_secs(10);
/// A token that doesn't say how long it holds.
const HOLDS: Duration = Duration::from_secs(5 * 60);
/// The largest answer of a place that gives out tokens, in bytes.
const TOKEN_MAX: usize = 1024 * 1024;

/// Tokens that were given out, by who asked for them. The inner lock is held while one is fetched, so that many
/// attempts cause one request.
#[derive(Clone, Default)]
pub(super) struct Tokens(Arc<Mutex<HashMap<String, Slot>>>);

type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

struct Token {
    value: String,
    until: Instant,
}

impl Tokens {
    fn slot(&self, auth: &HttpAuth) -> Slot {
        // It has references in it and no secret.
        locked(&self.0).entry(format!("{auth:?}")).or_default().clone()
    }

    /// A token that the API doesn't take any more.
    pub(super) async fn forget(&self, auth: &HttpAuth) {
        *self.slot(auth).lock().await = None;
    }
}

/// What authorizes requests of a target.
pub(super) struct Sign<'a> {
    pub auth: Option<&'a HttpAuth>,
    pub secrets: &'a SecretReader,
    pub tokens: &'a Tokens,
}

impl Sign<'_> {
    /// The headers for a request now. What is secret about them is masked from here on.
    pub(super) async fn headers(&self, client: &Arc<Client>, mask: &mut Mask) -> Result<HeaderMap, Fault> {
        let mut headers = HeaderMap::new();
        let Some(auth) = self.auth else {
            return Ok(headers);
        };
        let secret = (self.secrets)(auth.secret()).map_err(|why| Fault::not_sent(Kind::Credentials, why))?;
        mask.add(&secret);
        let (name, value) = match auth {
            HttpAuth::Bearer(_) => (header::AUTHORIZATION, format!("Bearer {secret}")),
            HttpAuth::Basic { user, .. } => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"));
                mask.add(&pair);
                (header::AUTHORIZATION, format!("Basic {pair}"))
            }
            HttpAuth::Header { name, .. } => {
                let name = HeaderName::from_bytes(name.as_bytes())
                    .map_err(|error| Fault::not_sent(Kind::Setup, error.to_string()))?;
                (name, secret)
            }
            HttpAuth::OAuth { .. } => {
                let token = self.token(auth, secret, client).await?;
                mask.add(&token);
                (header::AUTHORIZATION, format!("Bearer {token}"))
            }
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            Fault::not_sent(
                Kind::Credentials,
                "the credential has characters that no header can carry",
            )
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(headers)
    }

    async fn token(&self, auth: &HttpAuth, secret: String, client: &Arc<Client>) -> Result<String, Fault> {
        let slot = self.tokens.slot(auth);
        let mut slot = slot.lock().await;
        if let Some(token) = slot.as_ref().filter(|token| token.until > Instant::now()) {
            return Ok(token.value.clone());
        }
        let fetched: BoxFuture<'static, _> = Box::pin(fetch(auth.clone(), secret, client.clone()));
        let token = fetched.await?;
        let value = token.value.clone();
        *slot = Some(token);
        Ok(value)
    }
}

/// A failure on the way to a token, as an error of the kind that the crate takes.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.detail)]
struct OnTheWay(Fault);

/// How the crate asks: through the client that goes only where the target allows.
struct Carrier(Arc<Client>);

impl<'c> AsyncHttpClient<'c> for Carrier {
    type Error = OnTheWay;
    type Future = BoxFuture<'c, Result<oauth2::HttpResponse, OnTheWay>>;

    fn call(&'c self, request: oauth2::HttpRequest) -> Self::Future {
        Box::pin(async move { exchange(&self.0, request).await.map_err(OnTheWay) })
    }
}

async fn fetch(auth: HttpAuth, secret: String, client: Arc<Client>) -> Result<Token, Fault> {
    let HttpAuth::OAuth {
        token_url,
        client_id,
        scopes,
        ..
    } = auth
    else {
        return Err(Fault::not_sent(Kind::Setup, "the target has no token_url"));
    };
    let token_url = TokenUrl::new(token_url).map_err(|error| Fault::not_sent(Kind::Setup, error.to_string()))?;
    let asking = oauth2::basic::BasicClient::new(ClientId::new(client_id))
        .set_client_secret(ClientSecret::new(secret))
        .set_token_uri(token_url);
    let carrier = Carrier(client);
    let asked = asking
        .exchange_client_credentials()
        .add_scopes(scopes.into_iter().map(Scope::new))
        .request_async(&carrier)
        .await;
    match asked {
        Ok(token) => Ok(Token {
            value: token.access_token().secret().clone(),
            until: Instant::now() + token.expires_in().unwrap_or(HOLDS).saturating_sub(MARGIN),
        }),
        // Whatever became of the request for a token, the API itself was asked nothing.
        Err(oauth2::RequestTokenError::Request(OnTheWay(fault))) => Err(Fault::not_sent(fault.kind, fault.detail)),
        Err(oauth2::RequestTokenError::ServerResponse(said)) => Err(Fault::not_sent(
            Kind::Credentials,
            format!("no token was given out: {}", said.error()),
        )),
        Err(_) => Err(Fault::not_sent(
            Kind::Credentials,
            "what gives out tokens did not answer with a token",
        )),
    }
}

async fn exchange(client: &Client, request: oauth2::HttpRequest) -> Result<oauth2::HttpResponse, Fault> {
    let request = reqwest::Request::try_from(request)?;
    let mut response = client.execute(request).await?;
    let status = response.status();
    if status.is_server_error() {
        return Err(Fault::not_sent(
            Kind::Refused,
            format!("no token was given out: HTTP {status}"),
        ));
    }
    let headers = response.headers().clone();
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        body.extend_from_slice(&piece);
        if body.len() > TOKEN_MAX {
            return Err(Fault::not_sent(
                Kind::Credentials,
                "the answer with a token is too large",
            ));
        }
    }
    let mut answer = http::Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}
