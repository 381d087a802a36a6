//! Health and metrics on a listener of their own, plain HTTP.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::{Hub, expiry, rotation};
use crate::defaults;

/// Takes connections until the hub is gone.
pub(super) async fn serve(hub: Arc<Hub>, listener: TcpListener) {
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            tokio::time::sleep(defaults::ACCEPT_PAUSE).await;
            continue;
        };
        let hub = hub.clone();
        let service = {
            let hub = hub.clone();
            service_fn(move |request| {
                let hub = hub.clone();
                async move { Ok::<_, Infallible>(answer(&hub, &request).await) }
            })
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(defaults::REQUEST_HEAD)
            .serve_connection(TokioIo::new(tcp), service);
        hub.admin_tasks.spawn(async move {
            // A scraper that went away is nobody's concern.
            let _ = connection.await;
        });
    }
}

/// How far the clock of each cluster's agent is ahead, where that is known.
fn clocks(hub: &Hub) -> Vec<(Arc<str>, i64)> {
    let clusters = hub.directory.clusters().into_iter();
    let ahead = |uid: &_| hub.links.of(uid).ok().and_then(|link| link.agent.clock_ahead);
    clusters.filter_map(|c| ahead(&c.uid).map(|ahead| (c.name.clone(), ahead.whole_seconds()))).collect()
}

async fn answer(hub: &Hub, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => match ready(hub).await {
            Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        },
        "/metrics" => {
            hub.metrics.links.set(i64::try_from(hub.links.all().len()).unwrap_or(i64::MAX));
            hub.metrics.expiries(expiry::expiries(hub));
            rotation::measure(hub);
            hub.metrics.clocks(clocks(hub));
            let mut response = text(StatusCode::OK, hub.metrics.render(hub.directory.clusters().len()));
            let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(openmetrics));
            response
        }
        _ => text(StatusCode::NOT_FOUND, "try /healthz, /readyz or /metrics\n".to_owned()),
    }
}

/// Whether requests can be served: both listeners are up before this listener answers, so what is left is the store.
async fn ready(hub: &Hub) -> Result<(), &'static str> {
    if hub.draining.is_cancelled() {
        return Err("draining");
    }
    if !hub.directory.healthy().await {
        return Err("the store does not answer");
    }
    Ok(())
}

fn text(code: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    response
}
