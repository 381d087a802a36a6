//! The one API server of this agent: connections to it, kept warm, and the agent's own credential.
//!
//! There is no way to name another address: the endpoint is fixed when the agent starts.

mod body;
mod connect;
mod credential;

use std::sync::Mutex;

use http::{HeaderValue, Request, Response};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub(super) use self::body::RequestBody;
pub use self::connect::{ConnectError, SetupError};
use self::{connect::Endpoint, credential::Credential};
use crate::defaults;

/// The API server did not answer a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendFailure {
    /// No connection: nothing was sent.
    #[error("cannot connect to the API server")]
    Connect(#[from] ConnectError),
    /// The connection broke after bytes may have been sent.
    #[error("connection to the API server lost")]
    Lost(#[source] hyper::Error),
}

/// The API server and the connections to it.
pub(super) struct Upstream {
    endpoint: Endpoint,
    credential: Credential,
    idle: Mutex<Vec<Idle>>,
    tasks: TaskTracker,
}

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
}

/// A connection in use by one request.
pub(super) struct Lease {
    sender: http1::SendRequest<RequestBody>,
    reused: bool,
}

impl Upstream {
    /// From what a kubeconfig or the pod's environment says. `tasks` owns the connections.
    ///
    /// # Errors
    /// When it names no usable HTTPS address, CA or credential.
    pub(super) fn new(config: &kube::Config, tasks: TaskTracker) -> Result<Self, SetupError> {
        Ok(Self {
            endpoint: Endpoint::new(config)?,
            credential: Credential::new(config)?,
            idle: Mutex::new(Vec::new()),
            tasks,
        })
    }

    /// The agent's own `Authorization`; `None` when it uses a client certificate.
    pub(super) async fn authorization(&self) -> Result<Option<HeaderValue>, ConnectError> {
        self.credential.header().await
    }

    /// What the request line must say for `target`: an API server may live below a path.
    pub(super) fn request_target(&self, target: &str) -> String {
        format!("{}{target}", self.endpoint.base_path)
    }

    /// The `Host` header.
    pub(super) fn host(&self) -> HeaderValue {
        self.endpoint.host.clone()
    }

    /// A connection for one request: an idle one, or a new one.
    pub(super) async fn lease(&self) -> Result<Lease, ConnectError> {
        if let Some(sender) = self.take_idle() {
            return Ok(Lease { sender, reused: true });
        }
        self.fresh().await
    }

    async fn fresh(&self) -> Result<Lease, ConnectError> {
        let io = self.endpoint.connect().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(ConnectError::Http)?;
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the API server ended");
            }
        });
        Ok(Lease { sender, reused: false })
    }

    /// Sends a request that can be repeated when `repeatable`; hands back the connection with the answer.
    pub(super) async fn send(
        &self,
        mut lease: Lease,
        mut request: Request<RequestBody>,
        repeatable: bool,
    ) -> Result<(Response<Incoming>, Lease), SendFailure> {
        loop {
            let spare = if repeatable { repeat(&request) } else { None };
            let mut failure = match lease.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, lease)),
                Err(failure) => failure,
            };
            // An idle connection may have been closed while it lay there. Not sent, or harmless to send twice: again.
            request = match (failure.take_message(), spare) {
                (Some(unsent), _) if lease.reused => unsent,
                (None, Some(copy)) if lease.reused => copy,
                _ => return Err(SendFailure::Lost(failure.into_error())),
            };
            lease = self.fresh().await?;
        }
    }

    /// Sends an upgrade on a connection of its own, which is never used again (CVE-2018-1002105).
    pub(super) async fn send_upgrade(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendFailure> {
        let io = self.endpoint.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(io))
            .await
            .map_err(|error| SendFailure::Connect(ConnectError::Http(error)))?;
        self.tasks.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upgraded connection to the API server ended");
            }
        });
        sender.send_request(request).await.map_err(SendFailure::Lost)
    }

    /// Gives a connection back once its answer was read to the end.
    pub(super) fn give_back(&self, lease: Lease) {
        if !lease.sender.is_closed() {
            let mut idle = self.idle.lock().expect("no panic while it is held");
            if idle.len() < defaults::UPSTREAM_IDLE_CONNECTIONS {
                idle.push(Idle { sender: lease.sender, since: Instant::now() });
            }
        }
    }

    fn take_idle(&self) -> Option<http1::SendRequest<RequestBody>> {
        let mut idle = self.idle.lock().expect("no panic while it is held");
        while let Some(Idle { sender, since }) = idle.pop() {
            if since.elapsed() > defaults::UPSTREAM_IDLE {
                // The rest of the stack is older still.
                idle.clear();
            } else if !sender.is_closed() && sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }
}

/// A second copy of a request without a body.
fn repeat(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !matches!(request.body(), RequestBody::Empty) {
        return None;
    }
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
