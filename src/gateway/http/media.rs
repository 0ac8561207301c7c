//! Fetching a file that came with a reply, from a path that the gateway gave out a moment ago.

use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use reqwest::Response;

use super::answer::{Body, failed, reason, said_no};
use super::within;
use crate::gateway::{Fault, Gateway, GatewayError};

/// A file on its way. Dropping it ends the transfer.
pub struct Media {
    response: Response,
    idle: Duration,
    left: u64,
}

impl Gateway {
    /// Begins to fetch what is at `path` of this gateway, of which at most `max` bytes are taken.
    ///
    /// # Errors
    /// When the path leads elsewhere, the gateway can't be reached, or says no.
    pub async fn media(&self, path: &str, max: u64) -> Result<Media, GatewayError> {
        let (instance, client) = (self.instance(), self.client()?);
        let Some(url) = instance.address.below(path) else {
            let message = "the gateway names a file that is not its own";
            return Err(GatewayError::new(Fault::Protocol, message));
        };
        let mut asked = client.request(Method::GET, url);
        if let Some(credential) = self.headers()?.remove(AUTHORIZATION) {
            asked = asked.header(AUTHORIZATION, credential);
        }
        let sent = asked.send();
        let response = within(instance.idle_timeout, sent)
            .await?
            .map_err(|error| failed(&error))?;
        if response.status() != StatusCode::OK {
            return Err(said_no(&Body::read(response, instance).await?));
        }
        Ok(Media {
            response,
            idle: instance.idle_timeout,
            left: max,
        })
    }
}

impl Media {
    /// The next part, or nothing at the end.
    ///
    /// # Errors
    /// When the connection breaks, nothing comes for too long, or there is too much.
    pub async fn next(&mut self) -> Result<Option<Bytes>, GatewayError> {
        let part = within(self.idle, self.response.chunk()).await?.map_err(|error| {
            let message = format!("the connection broke while a file came: {}", reason(&error));
            GatewayError::new(Fault::Unreachable, message)
        })?;
        let Some(part) = part else { return Ok(None) };
        let Some(left) = self.left.checked_sub(part.len() as u64) else {
            return Err(GatewayError::new(Fault::TooLarge, "the file is too large"));
        };
        self.left = left;
        Ok(Some(part))
    }
}
