//! `clawhand serve`: the doors, and the worker beside them.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use super::{Home, Refused};
use crate::auth::guard::{Guard, Loopback, guard};
use crate::auth::peer::{Doorway, Peer};
use crate::config::Config;
use crate::domain::Actor;
use crate::lifecycle::{Lifecycle, Signals};
use crate::{http, mcp};

/// Serves MCP over HTTP until it is asked to stop.
///
/// # Errors
/// When the address can't be listened on, or must not be without keys.
pub async fn over_http(home: &Home, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let listener = listen(home).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let loopback = if address.ip().is_loopback() && is_private(&home.config) {
        Loopback::Only
    } else {
        Loopback::No
    };
    home.start_listening(lifecycle);
    let control = home.control(Some(public_url(&home.config, address)));
    if home.config.worker.enabled {
        home.start_worker(lifecycle, None);
        let (control, stop) = (control.clone(), lifecycle.soft());
        lifecycle.spawn("facts", async move {
            tokio::select! {
                () = control.refresh_facts() => {}
                () = stop.cancelled() => {}
            }
        });
    }
    let settings = mcp::HttpSettings {
        allowed_hosts: allowed_hosts(&home.config, address),
        allowed_origins: allowed_origins(&home.config),
        max_body_bytes: usize::try_from(home.config.http.max_request.0).unwrap_or(usize::MAX),
        legacy_sessions: home.config.http.legacy_sessions,
    };
    let keys = home.keys();
    let mcp =
        mcp::routes(&settings, control.clone(), lifecycle).layer(from_fn_with_state(Guard::new(keys, loopback), guard));
    let router: Router = mcp
        .merge(http::router(control, home.store.clone()))
        .layer(CatchPanicLayer::new());
    let signals = Signals::heed().context("signals can't be handled")?;
    // Told on standard error in one line that scripts and tests can wait for.
    tracing::info!("listening on http://{address}/mcp");
    let stop = lifecycle.soft();
    let service = router.into_make_service_with_connect_info::<Peer>();
    let served = axum::serve(Doorway::new(listener), service).with_graceful_shutdown(stop.cancelled_owned());
    lifecycle.spawn("http", async move {
        if let Err(error) = served.await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    lifecycle.run_with(signals).await;
    Ok(())
}

/// Serves one MCP client over standard input and output.
///
/// # Errors
/// When the other side doesn't speak MCP.
pub async fn over_stdio(home: &Home, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    home.start_listening(lifecycle);
    if home.config.worker.enabled {
        home.start_worker(lifecycle, None);
    }
    let control = home.control(None);
    let (soft, whole) = (lifecycle.soft(), lifecycle.clone());
    lifecycle.spawn("stdio", async move {
        if let Err(error) = mcp::serve_stdio(control, Actor::local_model("stdio"), soft).await {
            tracing::error!(%error, "MCP over stdio ended");
        }
        whole.stop();
    });
    lifecycle.run().await.context("signals can't be handled")
}

async fn listen(home: &Home) -> anyhow::Result<TcpListener> {
    let (host, port) = (home.config.http.host.as_str(), home.config.http.port);
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .with_context(|| format!("the address {host}:{port} can't be found"))?
        .collect();
    let open = addresses.iter().any(|address| !address.ip().is_loopback());
    if open && home.store.keys_active(home.clock.now()).await? == 0 {
        let refused = format!(
            "{host} can be reached from other machines, and there is no key yet: make one with \
             `clawhand keys create --name NAME`, or listen on 127.0.0.1"
        );
        return Err(Refused(refused).into());
    }
    TcpListener::bind(addresses.as_slice())
        .await
        .with_context(|| format!("can't listen on {host}:{port}: choose another with PORT or http.port"))
}

/// Whether nothing says that this server is meant to be reached from elsewhere, as through a proxy or a tunnel.
fn is_private(config: &Config) -> bool {
    let local = |host: &str| {
        let name = host
            .rsplit_once(':')
            .map_or(host, |(name, port)| match port.parse::<u16>() {
                Ok(_) => name,
                Err(_) => host,
            });
        let name = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    };
    let public = config.http.public_url.as_str();
    let host = public.split_once("://").map_or(public, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    (public.is_empty() || local(host)) && config.http.allowed_hosts.iter().all(|host| local(host))
}

fn public_url(config: &Config, address: SocketAddr) -> String {
    match config.http.public_url.as_str() {
        "" => format!("http://{address}"),
        url => url.to_owned(),
    }
}

/// Names by which this server may be called: loopback's, the public URL's, the configured ones.
fn allowed_hosts(config: &Config, address: SocketAddr) -> Vec<String> {
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1", "[::1]"].map(str::to_owned).to_vec();
    let own = address.ip().to_string();
    if !address.ip().is_unspecified() && !hosts.contains(&own) {
        hosts.push(own);
    }
    let public = config
        .http
        .public_url
        .split_once("://")
        .map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
    hosts.extend(public.map(str::to_owned));
    hosts.extend(config.http.allowed_hosts.iter().cloned());
    hosts
}

fn allowed_origins(config: &Config) -> Vec<String> {
    let mut origins = mcp::HttpSettings::default().allowed_origins;
    origins.extend(config.http.allowed_origins.iter().cloned());
    origins
}
