//! The agent's health and metrics, plain HTTP.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
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

use super::{metrics::Metrics, redial::Shut, run::RunError};
use crate::defaults;

/// What the probes ask about.
#[derive(Debug, Default)]
pub(super) struct Health {
    connected: AtomicBool,
    pub(super) metrics: Metrics,
    /// Why there will be no link until an operator acts.
    shut: Mutex<Option<Shut>>,
    /// Why there is no identity; empty while there is one.
    waiting: Mutex<String>,
    /// The hub that answers is one that this agent does not trust.
    untrusted: AtomicBool,
}

impl Health {
    pub(super) fn connected(&self, yes: bool) {
        self.connected.store(yes, Ordering::Relaxed);
        self.metrics.connected.set(i64::from(yes));
        if yes {
            self.shut(None);
            self.untrusted(false);
        }
    }

    /// The hub does not let this agent in, for that reason.
    pub(super) fn shut(&self, shut: Option<Shut>) {
        *self.shut.lock().expect("no panic while it is held") = shut;
    }

    /// Whether the hub that answers is one that this agent does not trust. There is no way round it: an operator must act.
    pub(super) fn untrusted(&self, yes: bool) {
        if yes && !self.untrusted.swap(yes, Ordering::Relaxed) {
            tracing::error!(
                state = "HubUntrusted",
                "the hub presents a CA that this agent does not trust: if its CA was rotated while the agent was away, give it the new pin \
                 (hubCaPins, --hub-ca-pin; `roadstead ca status` shows it) and a new join token; if it was not, somebody else answers"
            );
        }
        self.untrusted.store(yes, Ordering::Relaxed);
    }

    fn ready(&self) -> Result<(), String> {
        if self.connected.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.untrusted.load(Ordering::Relaxed) {
            return Err("HubUntrusted: the hub presents a CA that this agent does not trust".to_owned());
        }
        let shut = *self.shut.lock().expect("no panic while it is held");
        Err(match (shut, self.why().as_str()) {
            (Some(shut), _) => shut.as_str().to_owned(),
            (None, "") => "no link to the hub".to_owned(),
            (None, why) => format!("no identity: {why}"),
        })
    }

    /// Why the agent has no identity; empty when it has one.
    pub(super) fn waiting(&self, why: &str) {
        why.clone_into(&mut self.why());
    }

    fn why(&self) -> MutexGuard<'_, String> {
        self.waiting.lock().expect("no panic while it is held")
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
    let (code, text) = match (path, health.ready()) {
        ("/healthz", _) | ("/readyz", Ok(())) => (StatusCode::OK, "ok\n".to_owned()),
        ("/readyz", Err(why)) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        _ => (StatusCode::NOT_FOUND, "try /healthz, /readyz or /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = code;
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn readiness_says_who_must_act() {
        let health = Health::default();
        let said = async |health: &Health| {
            let response = answer(health, "/readyz");
            let (code, body) = (response.status(), response.into_body().collect().await.unwrap().to_bytes());
            (code, String::from_utf8(body.to_vec()).unwrap())
        };
        assert!(said(&health).await.1.contains("no link to the hub"));
        health.waiting("there is no join token");
        assert!(said(&health).await.1.contains("no identity: there is no join token"));
        health.waiting("");
        health.shut(Some(Shut::Locked));
        let (code, text) = said(&health).await;
        assert!(code == StatusCode::SERVICE_UNAVAILABLE && text.contains("locked this cluster"), "{text}");
        health.connected(true);
        assert_eq!(said(&health).await.0, StatusCode::OK);
        health.connected(false);
        assert!(said(&health).await.1.contains("no link to the hub"), "an old reason is not kept");
    }
}
