//! HTTP/2 connections to the API server: many requests each, but never as many as it allows, because it closes a
//! connection on which too many are cancelled, and with it everyone's.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::task::TaskTracker;

use super::{
    RequestBody,
    connect::{ConnectError, Endpoint, Protocol},
};
use crate::{defaults, wire::generated::TrafficClass};

/// Connections with room. Short and long requests never share one.
#[derive(Default)]
pub(super) struct Pool {
    shared: Mutex<Vec<Arc<Shared>>>,
    /// One connects while others that need the same wait for it.
    connecting: tokio::sync::Mutex<()>,
}

struct Shared {
    sender: SendRequest<RequestBody>,
    long: bool,
    streams: AtomicUsize,
}

/// Room for one request on a connection.
pub(super) struct Stream {
    shared: Arc<Shared>,
    sender: SendRequest<RequestBody>,
}

impl Stream {
    fn of(shared: &Arc<Shared>) -> Self {
        shared.streams.fetch_add(1, Ordering::Relaxed);
        Self { shared: shared.clone(), sender: shared.sender.clone() }
    }

    pub(super) fn sender(&mut self) -> &mut SendRequest<RequestBody> {
        &mut self.sender
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// Room on a connection, and whether it was there before; `None` when the API server does not speak HTTP/2.
    pub(super) async fn stream(
        &self,
        endpoint: &Endpoint,
        class: TrafficClass,
        tasks: &TaskTracker,
    ) -> Result<Option<(Stream, bool)>, ConnectError> {
        let long = class == TrafficClass::LongRunning;
        if let Some(stream) = self.room(long) {
            return Ok(Some((stream, true)));
        }
        let _one = self.connecting.lock().await;
        if let Some(stream) = self.room(long) {
            return Ok(Some((stream, true)));
        }
        // Boxed, as everything that is rare: each request would carry its size.
        let Some(sender) = Box::pin(connect(endpoint, tasks)).await? else { return Ok(None) };
        let shared = Arc::new(Shared { sender, long, streams: AtomicUsize::new(0) });
        let stream = Stream::of(&shared);
        self.lock().push(shared);
        Ok(Some((stream, false)))
    }

    fn room(&self, long: bool) -> Option<Stream> {
        let mut shared = self.lock();
        // What is closed goes; of what is idle one of a kind stays.
        let mut idle = [false; 2];
        shared.retain(|s| {
            let spare =
                s.streams.load(Ordering::Relaxed) == 0 && std::mem::replace(&mut idle[usize::from(s.long)], true);
            !s.sender.is_closed() && !spare
        });
        let fits =
            |s: &&Arc<Shared>| s.long == long && s.streams.load(Ordering::Relaxed) < defaults::UPSTREAM_H2_STREAMS;
        shared.iter().find(fits).map(Stream::of)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Shared>>> {
        self.shared.lock().expect("no panic while it is held")
    }
}

async fn connect(endpoint: &Endpoint, tasks: &TaskTracker) -> Result<Option<SendRequest<RequestBody>>, ConnectError> {
    let io = endpoint.connect(Protocol::Http2).await?;
    if io.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Ok(None);
    }
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(defaults::UPSTREAM_H2_STREAM_WINDOW)
        .initial_connection_window_size(defaults::UPSTREAM_H2_CONNECTION_WINDOW)
        .keep_alive_interval(defaults::UPSTREAM_H2_PING)
        .keep_alive_timeout(defaults::UPSTREAM_H2_PING / 2)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(io))
        .await
        .map_err(ConnectError::Http)?;
    tasks.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "HTTP/2 connection to the API server ended");
        }
    });
    Ok(Some(sender))
}
