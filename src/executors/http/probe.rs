//! Learning whether an API can be reached and takes the credentials.

use std::collections::BTreeMap;

use http::HeaderMap;
use reqwest::Url;

use super::HttpSettings;
use super::auth::{Sign, Tokens};
use super::client::Client;
use super::fault::{Fault, Kind};
use super::mask::Mask;
use super::request::{Asked, plain};
use crate::domain::plan::Call;
use crate::domain::target::HttpBlock;
use crate::domain::{AttemptId, Facts};
use crate::executors::contract::Trouble;

/// Calls the operation that the target names, or only connects and takes any answer.
pub(super) async fn probe(settings: &HttpSettings, block: &HttpBlock, tokens: &Tokens) -> Result<Facts, Trouble> {
    let client = Client::new(settings, block).map_err(|fault| trouble(&fault))?;
    let sign = Sign {
        auth: block.auth.as_ref(),
        secrets: &settings.secrets,
        tokens,
    };
    let mut mask = Mask::default();
    // Also where no operation is called: a credential that can't be read is a trouble to be told now.
    let headers = sign
        .headers(&client, &mut mask)
        .await
        .map_err(|fault| trouble(&fault))?;
    let called = block
        .probe
        .as_ref()
        .and_then(|name| Some((name, block.operations.get(name)?)));
    match called {
        Some((name, operation)) => {
            let parameters = operation.parameters.iter();
            let call = Call {
                operation: name.clone(),
                parameters: parameters
                    .filter_map(|(name, parameter)| Some((name.clone(), parameter.default.clone()?)))
                    .collect(),
            };
            let asked = Asked {
                block,
                operation,
                call: &call,
            };
            let request = asked.request(AttemptId::random()).map_err(|fault| trouble(&fault))?;
            let answer = client.send(&request, &headers).await.map_err(|fault| trouble(&fault))?;
            let status = answer.status();
            if status.as_u16() == 401
                && let Some(auth) = &block.auth
            {
                tokens.forget(auth).await;
            }
            if !operation.success.has_status(status.as_u16()) {
                return Err(said_no(name, status));
            }
        }
        None => {
            let url = Url::parse(&block.base_url)
                .map_err(|error| trouble(&Fault::not_sent(Kind::Setup, error.to_string())))?;
            let asked = client.send(&plain("HEAD", url), &HeaderMap::new()).await;
            asked.map_err(|fault| trouble(&fault))?;
        }
    }
    Ok(Facts {
        os: "api".to_owned(),
        arch: if block.plaintext { "http" } else { "https" }.to_owned(),
        tools: BTreeMap::new(),
        isolation: Vec::new(),
        learned_at: settings.now.now(),
    })
}

fn said_no(name: &str, status: http::StatusCode) -> Trouble {
    let hint = match status.as_u16() {
        401 => "the API doesn't know the credentials: check [executor.auth] and the secret that it names",
        403 => "the API knows the credentials and they may not do this: give them the right, or name another probe",
        404 => "check base_url and the operation's path",
        _ => "see what the API's own log says of it",
    };
    Trouble::new(format!("the operation {name} was answered with HTTP {status}"), hint)
}

fn trouble(fault: &Fault) -> Trouble {
    let (what, hint) = match fault.kind {
        Kind::Setup => (
            "the target can't be used as it is",
            "correct the target's file, or the file that it names",
        ),
        Kind::Credentials => (
            "the credentials can't be used",
            "check [executor.auth]: that the secret is there, and that it is the right one",
        ),
        Kind::Address => (
            "the address is not allowed",
            "if it is the right one, name it in allow_private; else correct base_url or the DNS",
        ),
        Kind::Name => (
            "the name can't be found",
            "check the host in base_url, and the DNS of this machine",
        ),
        Kind::Refused => (
            "nobody answers there",
            "see that the API runs and that a firewall lets clawhand through",
        ),
        Kind::Tls => (
            "the connection can't be trusted",
            "check ca (who signed the server's certificate), the host's name, the dates, and client_certificate",
        ),
        Kind::Slow => (
            "there was no answer in time",
            "see that the API runs; raise connect_timeout if it is far away",
        ),
        Kind::Redirect => (
            "it leads elsewhere",
            "name the host in redirect_hosts, or correct base_url",
        ),
        Kind::Broken => (
            "the connection broke",
            "see that base_url is an HTTP API and whether it speaks TLS",
        ),
        Kind::Disk => ("the answer can't be kept", "make room on clawhand's disk"),
    };
    Trouble::new(format!("{what}: {}", fault.detail), hint)
}
