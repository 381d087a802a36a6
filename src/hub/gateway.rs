//! HTTPS: who may speak at all, and to which part of the hub. Everything ambiguous is refused before it has a meaning.

mod entrance;
mod framing;
mod gathering;
mod last_words;
mod strict;

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::task::TaskTracker;

pub(super) use self::last_words::OpenRequest;
use self::{
    entrance::Entrance,
    framing::{MAX_HEAD, MAX_HEADERS, Violation},
    gathering::gathering,
    last_words::{Farewell, Speaking},
    strict::{Strict, Verdict},
};
use super::{
    Hub, api,
    proxy::{Caller, ProxyBody, proxy, respond},
};
use crate::{
    access::Principal,
    defaults,
    identity::{Token, TokenKind},
    k8s::{Reason, Status},
};

/// Takes connections until the hub drains.
pub(super) async fn serve(hub: Arc<Hub>, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
    let entrance = Entrance::new(TlsAcceptor::from(tls));
    loop {
        let accepted = tokio::select! {
            biased;
            () = hub.draining.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => {
                hub.tasks.spawn(connection(hub.clone(), entrance.clone(), tcp, peer.ip()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: connections that end will free some.
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(defaults::ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(hub: Arc<Hub>, entrance: Entrance, tcp: TcpStream, from: IpAddr) {
    let _ = tcp.set_nodelay(true);
    // Where the kernel does not know it, a client that does not read holds more of the kernel's memory, and nothing else changes.
    let _ = SockRef::from(&tcp).set_tcp_notsent_lowat(defaults::CLIENT_UNSENT);
    let Some(tls) = entrance.pass(tcp).await else { return };
    let (_, state) = tls.get_ref();
    let sni = state.server_name().map(str::to_owned);
    if state.alpn_protocol() == Some(b"h2") {
        serve_h2(hub, tls, sni, from).await;
    } else {
        serve_h1(hub, tls, sni, from).await;
    }
}

async fn serve_h1(hub: Arc<Hub>, tls: TlsStream<TcpStream>, sni: Option<String>, from: IpAddr) {
    let verdict = Verdict::default();
    let io = TokioIo::new(Strict::new(tls, sni, verdict.clone()));
    let draining = hub.draining.clone();
    let service = service_fn(move |request| {
        let (hub, verdict) = (hub.clone(), verdict.next());
        async move {
            let response = match verdict {
                Some(violation) => refuse(&hub, violation),
                None => route(&hub, request, from).await,
            };
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(defaults::CLIENT_IDLE)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD + defaults::H1_HEAD_SLACK)
        .half_close(false)
        .serve_connection(io, service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        ended = &mut connection => return trace_end(ended),
        () = draining.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    trace_end(connection.await);
}

async fn serve_h2(hub: Arc<Hub>, tls: TlsStream<TcpStream>, sni: Option<String>, from: IpAddr) {
    let draining = hub.draining.clone();
    let farewell = Arc::new(Farewell::default());
    let (tls, gatherer) = gathering(defaults::H2_WRITE, tls);
    let io = TokioIo::new(Speaking::new(tls, farewell.clone()));
    let service = service_fn(move |request: Request<Incoming>| {
        let (hub, sni, open) = (hub.clone(), sni.clone(), farewell.request());
        async move {
            let response = match check_h2(&request, sni.as_deref()) {
                Err(violation) => refuse(&hub, violation),
                Ok(()) => route(&hub, request, from).await,
            };
            Ok::<_, Infallible>(response.map(|body| body.on(open)))
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(defaults::H2_STREAMS)
        .initial_stream_window_size(defaults::H2_STREAM_WINDOW)
        .initial_connection_window_size(defaults::H2_CONNECTION_WINDOW)
        .max_send_buf_size(defaults::H2_SEND_BUFFER)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(defaults::H2_PENDING_RESETS)
        .keep_alive_interval(defaults::H2_PING)
        .keep_alive_timeout(defaults::H2_PING)
        .serve_connection(io, service);
    tokio::pin!(connection);
    tokio::select! {
        ended = gatherer.drive(connection.as_mut()) => return trace_end(ended),
        () = draining.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    trace_end(gatherer.drive(connection).await);
}

fn trace_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "client connection ended");
    }
}

/// HTTP/2 has one framing; what is left to check are the pseudo-headers and repeated ones.
fn check_h2(request: &Request<Incoming>, sni: Option<&str>) -> Result<(), Violation> {
    framing::method(request.method().as_str())?;
    let authority = request.uri().authority().ok_or(Violation::Host)?;
    let hosts = request.headers().get_all(header::HOST);
    if hosts.iter().any(|host| host.as_bytes() != authority.as_str().as_bytes()) {
        return Err(Violation::Host);
    }
    if !framing::authority_matches(authority.as_str(), sni) {
        return Err(Violation::Misdirected);
    }
    if request.headers().get_all(header::AUTHORIZATION).iter().count() > 1 {
        return Err(Violation::Authorization);
    }
    if !request.uri().path().starts_with('/') {
        return Err(Violation::TargetForm);
    }
    Ok(())
}

fn refuse(hub: &Hub, violation: Violation) -> Response<ProxyBody> {
    hub.metrics.refused_request();
    let mut response = respond(&Status::new(violation.reason(), violation.to_string()));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn route(hub: &Arc<Hub>, request: Request<Incoming>, from: IpAddr) -> Response<ProxyBody> {
    let upgrade = request.headers().contains_key(header::UPGRADE);
    let response = answer(hub, request, from).await;
    if upgrade { closing(response) } else { response }
}

async fn answer(hub: &Arc<Hub>, request: Request<Incoming>, from: IpAddr) -> Response<ProxyBody> {
    let path = request.uri().path();
    if path == "/enrol/v1" || path == "/enrol/v1/nonce" {
        let hub = hub.clone();
        // Boxed, as everything that is rare: each request would carry its size.
        return Box::pin(to_its_end(hub.tasks.clone(), async move { api::enrol(&hub, request, from).await })).await;
    }
    match authenticate(hub, request.headers()) {
        Err(status) => respond(&status),
        Ok(caller) if path.starts_with("/clusters/") => proxy(hub, caller, request).await,
        Ok(caller) if path.starts_with("/api/v1/") => {
            let hub = hub.clone();
            let tasks = hub.tasks.clone();
            Box::pin(to_its_end(tasks, async move { api::serve(&hub, &caller.principal, request).await })).await
        }
        Ok(_) => respond(&Status::new(Reason::NotFound, "the hub serves /clusters/<name>/… and /api/v1/…")),
    }
}

/// An answer that is made to its end even when the client goes away meanwhile, for hyper would drop it wherever it is: a lock that is stored
/// must be in force, and links must be cut.
async fn to_its_end(
    tasks: TaskTracker,
    answer: impl Future<Output = Response<ProxyBody>> + Send + 'static,
) -> Response<ProxyBody> {
    let failed = || respond(&Status::new(Reason::InternalError, "the hub failed in the middle of it: see its log"));
    tasks.spawn(answer).await.unwrap_or_else(|_| failed())
}

/// Nothing is read as HTTP after an upgrade that was not granted (T047).
fn closing(mut response: Response<ProxyBody>) -> Response<ProxyBody> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Who is calling. Tokens come in `Authorization: Bearer` and nowhere else (not in a WebSocket's subprotocol, T044).
fn authenticate(hub: &Hub, headers: &HeaderMap) -> Result<Caller, Status> {
    let unauthorized = |message: &str| Status::new(Reason::Unauthorized, message);
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(unauthorized("no bearer token: make a kubeconfig with `roadstead kubeconfig`"));
    };
    let text = value.to_str().ok().and_then(|text| text.split_once(' '));
    let text = text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    let invalid = "the bearer token is not valid here: it may be mistyped, expired or revoked; ask for a new one (`roadstead token create`)";
    let token = text.and_then(|text| Token::parse(TokenKind::Hub, text).ok()).ok_or_else(|| unauthorized(invalid))?;
    let record = hub.directory.verify_token(&token).ok_or_else(|| unauthorized(invalid))?;
    let principal = Principal::from_token(&record.record, OffsetDateTime::now_utc())
        .map_err(|error| unauthorized(&error.to_string()))?;
    Ok(Caller { principal, revoked: record.revoked.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, F>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    /// It is moved and allocated for each request, and a watch holds it until its answer begins.
    #[test]
    fn a_request_carries_nothing_that_is_rare() {
        let bytes =
            size(|(hub, request, from): (&'static Arc<Hub>, Request<Incoming>, IpAddr)| route(hub, request, from));
        assert!(bytes <= 3 << 10, "{bytes} bytes");
    }
}
