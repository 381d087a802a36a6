//! HTTP/1.1 connections to the API server: one request at a time each, kept for the next.

use std::sync::Mutex;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{
    RequestBody,
    connect::{ConnectError, Endpoint, Protocol},
};
use crate::defaults;

pub(super) type Sender = SendRequest<RequestBody>;

/// Idle connections, the one used last on top.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<(Sender, Instant)>>,
}

impl Pool {
    /// An idle connection that the API server has not closed and will not close soon.
    pub(super) fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().expect("no panic while it is held");
        while let Some((sender, since)) = idle.pop() {
            if since.elapsed() > defaults::UPSTREAM_IDLE {
                // The rest of the stack is older still.
                idle.clear();
            } else if !sender.is_closed() && sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, sender: Sender) {
        let mut idle = self.idle.lock().expect("no panic while it is held");
        if !sender.is_closed() && idle.len() < defaults::UPSTREAM_IDLE_CONNECTIONS {
            idle.push((sender, Instant::now()));
        }
    }
}

/// A new connection.
pub(super) async fn connect(endpoint: &Endpoint, tasks: &TaskTracker) -> Result<Sender, ConnectError> {
    let io = endpoint.connect(Protocol::Http1).await?;
    let (sender, connection) = builder().handshake(TokioIo::new(io)).await.map_err(ConnectError::Http)?;
    tasks.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the API server ended");
        }
    });
    Ok(sender)
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(defaults::UPSTREAM_BUFFER);
    builder
}

/// A new connection that may stop being HTTP.
pub(super) async fn connect_for_upgrade(endpoint: &Endpoint, tasks: &TaskTracker) -> Result<Sender, ConnectError> {
    let io = endpoint.connect(Protocol::Http1).await?;
    let (sender, connection) = builder().handshake(TokioIo::new(io)).await.map_err(ConnectError::Http)?;
    tasks.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "upgraded connection to the API server ended");
        }
    });
    Ok(sender)
}
