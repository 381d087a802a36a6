//! The one API server of this agent: connections to it, kept warm, and the agent's own credential.
//!
//! There is no way to name another address: the endpoint is fixed when the agent starts.

pub(super) mod attempts;
mod body;
mod connect;
mod credential;
mod h1;
mod h2;

use std::sync::atomic::{AtomicUsize, Ordering};

use ::h2::Reason;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header::HOST, uri::PathAndQuery};
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio_util::task::TaskTracker;

pub(super) use self::body::RequestBody;
pub use self::connect::{ConnectError, SetupError};
use self::{
    attempts::{Again, Attempts, Broken},
    connect::Endpoint,
    credential::Credential,
};
use crate::{defaults, wire::generated::TrafficClass};

/// The API server did not answer a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendFailure {
    /// No connection: nothing was sent.
    #[error("cannot connect to the API server")]
    Connect(#[from] ConnectError),
    /// There was a connection, and it broke before a byte was sent; or the API server refused the request unseen.
    #[error("connection to the API server lost before the request was sent")]
    Unsent(#[source] hyper::Error),
    /// The connection broke after bytes may have been sent.
    #[error("connection to the API server lost")]
    Lost(#[source] hyper::Error),
}

/// The API server and the connections to it.
pub(super) struct Upstream {
    endpoint: Endpoint,
    credential: Credential,
    h1: h1::Pool,
    h2: h2::Pool,
    /// Requests of a kind that are under way.
    short: AtomicUsize,
    long: AtomicUsize,
    tasks: TaskTracker,
}

/// A connection in use by one request, of either protocol.
pub(super) struct Lease {
    connection: Connection,
    reused: bool,
}

enum Connection {
    H1(h1::Sender),
    H2(h2::Stream),
}

/// Counts a request for as long as it lives.
pub(super) struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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
            h1: h1::Pool::default(),
            h2: h2::Pool::default(),
            short: AtomicUsize::new(0),
            long: AtomicUsize::new(0),
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

    /// Counts a request of a class while it is under way.
    pub(super) fn count(&self, class: TrafficClass) -> Counted<'_> {
        let counter = match class {
            TrafficClass::Short | TrafficClass::Bulk => &self.short,
            TrafficClass::LongRunning => &self.long,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Counted(counter)
    }

    /// A connection for one request. HTTP/1.1, which is faster for one request and for bulk, and where nobody's
    /// cancellations break another's stream; HTTP/2 for what is small when much is under way, and for what would take too
    /// many connections.
    pub(super) async fn lease(&self, class: TrafficClass) -> Result<Lease, ConnectError> {
        let shared = match class {
            TrafficClass::Bulk => false,
            TrafficClass::Short => self.short.load(Ordering::Relaxed) > defaults::UPSTREAM_SHORT_H1,
            TrafficClass::LongRunning => self.long.load(Ordering::Relaxed) > defaults::UPSTREAM_LONG_H1,
        };
        if shared && let Some((stream, reused)) = self.h2.stream(&self.endpoint, class, &self.tasks).await? {
            return Ok(Lease { connection: Connection::H2(stream), reused });
        }
        match self.h1.take() {
            Some(sender) => Ok(Lease { connection: Connection::H1(sender), reused: true }),
            None => self.fresh().await,
        }
    }

    async fn fresh(&self) -> Result<Lease, ConnectError> {
        let sender = Box::pin(h1::connect(&self.endpoint, &self.tasks)).await?;
        Ok(Lease { connection: Connection::H1(sender), reused: false })
    }

    /// Sends a request; hands back the connection with the answer. `copy` makes it once more, for one that may be sent twice.
    pub(super) async fn send(
        &self,
        mut lease: Lease,
        request: Box<Request<RequestBody>>,
        copy: Option<impl Fn() -> Option<Box<Request<RequestBody>>> + Send>,
    ) -> Result<(Response<Incoming>, Lease), SendFailure> {
        match self.try_send(&mut lease, *request).await {
            Ok(response) => Ok((self.seen(response), lease)),
            Err(failure) => Box::pin(self.send_again(lease, failure, copy)).await,
        }
    }

    async fn send_again(
        &self,
        mut lease: Lease,
        mut failure: TrySendError<Request<RequestBody>>,
        copy: Option<impl Fn() -> Option<Box<Request<RequestBody>>>>,
    ) -> Result<(Response<Incoming>, Lease), SendFailure> {
        let mut attempts = Attempts::default();
        loop {
            let unsent = failure.take_message();
            let refused = refused(failure.error());
            let broken = Broken { unsent: unsent.is_some(), reused: lease.reused, refused, copy: copy.is_some() };
            let request = match attempts.broke(broken) {
                Again::Same => unsent.map(Box::new),
                Again::Copy => copy.as_ref().and_then(|copy| copy()),
                Again::No => None,
            };
            let Some(request) = request else { return Err(lost(&attempts, failure.into_error())) };
            lease = match self.fresh().await {
                Ok(lease) => lease,
                Err(_) if attempts.may_have_run() => return Err(SendFailure::Lost(failure.into_error())),
                Err(error) => return Err(error.into()),
            };
            failure = match self.try_send(&mut lease, *request).await {
                Ok(response) => return Ok((self.seen(response), lease)),
                Err(failure) => failure,
            };
        }
    }

    async fn try_send(
        &self,
        lease: &mut Lease,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match &mut lease.connection {
            Connection::H1(sender) => {
                if request.uri().authority().is_some() {
                    let target = request.uri().path_and_query().cloned();
                    *request.uri_mut() = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
                }
                request.headers_mut().insert(HOST, self.host());
                sender.try_send_request(request).await
            }
            Connection::H2(stream) => {
                // The authority takes the place of Host (RFC 9113 § 8.3.1).
                request.headers_mut().remove(HOST);
                if let Some(absolute) = self.endpoint.absolute(request.uri()) {
                    *request.uri_mut() = absolute;
                }
                stream.sender().try_send_request(request).await
            }
        }
    }

    /// Sends an upgrade on a connection of its own, which is never used again (CVE-2018-1002105).
    pub(super) async fn send_upgrade(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendFailure> {
        let mut sender = h1::connect_for_upgrade(&self.endpoint, &self.tasks).await?;
        let answered = sender.try_send_request(request).await.map_err(|mut failure| match failure.take_message() {
            Some(_) => SendFailure::Unsent(failure.into_error()),
            None => SendFailure::Lost(failure.into_error()),
        })?;
        Ok(self.seen(answered))
    }

    /// An answer may say that the agent's own credential is not valid any more.
    fn seen(&self, response: Response<Incoming>) -> Response<Incoming> {
        if response.status() == StatusCode::UNAUTHORIZED {
            self.credential.rejected();
        }
        response
    }

    /// Gives a connection back once its answer was read to the end.
    pub(super) fn give_back(&self, lease: Lease) {
        if let Connection::H1(sender) = lease.connection {
            self.h1.put(sender);
        }
    }
}

/// What all attempts together came to.
fn lost(attempts: &Attempts, error: hyper::Error) -> SendFailure {
    if attempts.may_have_run() { SendFailure::Lost(error) } else { SendFailure::Unsent(error) }
}

/// Whether HTTP/2 says that the API server did nothing with the request.
fn refused(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(h2) = inner.downcast_ref::<::h2::Error>() {
            return h2.reason() == Some(Reason::REFUSED_STREAM);
        }
        cause = inner.source();
    }
    false
}

#[cfg(test)]
mod tests;
