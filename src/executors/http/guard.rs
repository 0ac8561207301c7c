//! Lets connections be made only to addresses that the target allows.
//!
//! What is judged is the address that is connected to, at the moment of connecting: a name that leads elsewhere the
//! next time it is asked for gains nothing, for no connection is used twice.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::domain::target::http::{Network, may_reach};

/// Finds the addresses of a name.
pub type Names = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// As the system finds them.
pub fn system_names() -> Names {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// The target doesn't allow an address.
#[derive(Debug, thiserror::Error)]
#[error("{name} leads to {address}, which is not public and not in allow_private")]
pub(super) struct NotAllowed {
    name: String,
    address: IpAddr,
}

/// A name that leads nowhere.
#[derive(Debug, thiserror::Error)]
#[error("the name {name} can't be found: {why}")]
pub(super) struct NoSuchName {
    name: String,
    why: String,
}

/// Finds addresses and keeps those that are allowed.
pub(super) struct Guard {
    pub names: Names,
    pub allowed: Arc<[Network]>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let (finding, allowed) = ((self.names)(name.clone()), self.allowed.clone());
        Box::pin(async move {
            let nowhere = |why: String| NoSuchName {
                name: name.clone(),
                why,
            };
            let found = finding.await.map_err(|error| nowhere(error.to_string()))?;
            let Some(first) = found.first().copied() else {
                return Err(nowhere("it has no address".to_owned()).into());
            };
            let kept: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| may_reach(*address, &allowed))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            match kept.is_empty() {
                true => Err(NotAllowed { name, address: first }.into()),
                false => Ok(Box::new(kept.into_iter()) as Addrs),
            }
        })
    }
}

/// The same for a URL that has an address in place of a name: no resolver is asked for it.
pub(super) fn check_url(url: &Url, allowed: &[Network]) -> Result<(), NotAllowed> {
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
    match literal {
        Ok(address) if !may_reach(address, allowed) => Err(NotAllowed {
            name: host.to_owned(),
            address,
        }),
        _ => Ok(()),
    }
}
