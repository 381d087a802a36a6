//! The agent's health and metrics, plain HTTP.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::{metrics::Metrics, run::RunError};
use crate::defaults;

/// What the probes ask about.
#[derive(Debug, Default)]
pub(super) struct Health {
    connected: AtomicBool,
    pub(super) metrics: Metrics,
}

impl Health {
    pub(super) fn connected(&self, yes: bool) {
        self.connected.store(yes, Ordering::Relaxed);
        self.metrics.connected.set(i64::from(yes));
    }
}

/// Serves `/healthz`, `/readyz` and `/metrics`.
pub(super) async fn serve_admin(address: SocketAddr, health: Arc<Health>) -> Result<(), RunError> {
    let listener = TcpListener::bind(address).await.map_err(|source| RunError::Admin { address, source })?;
    let tasks = TaskTracker::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            tokio::time::sleep(defaults::ACCEPT_PAUSE).await;
            continue;
        };
        let health = health.clone();
        tasks.spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(&health, request.uri().path());
                async move { Ok::<_, Infallible>(answer) }
            });
            // A probe that went away is nobody's concern.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(defaults::REQUEST_HEAD)
                .serve_connection(TokioIo::new(tcp), service)
                .await;
        });
    }
}

fn answer(health: &Health, path: &str) -> Response<Full<Bytes>> {
    if path == "/metrics" {
        let mut response = Response::new(Full::new(Bytes::from(health.metrics.render())));
        let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(openmetrics));
        return response;
    }
    let (code, text) = match path {
        "/healthz" => (StatusCode::OK, "ok\n"),
        "/readyz" if health.connected.load(Ordering::Relaxed) => (StatusCode::OK, "ok\n"),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "not ready: no link to the hub\n"),
        _ => (StatusCode::NOT_FOUND, "try /healthz, /readyz or /metrics\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = code;
    response
}
