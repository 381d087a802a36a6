//! One stream: a request comes over the link, goes to the API server, and its answer goes back.
//!
//! The agent trusts the hub no further than this: it acts only for a named identity, never for itself, and only at its
//! own API server.

mod answer;
mod request;
mod upgrade;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use prost::Message;
use tokio::time::timeout;

use self::{
    answer::{relay, small_length},
    request::{Prepared, Source},
    upgrade::serve_upgrade,
};
use super::{
    allowance::Allowances,
    upstream::{RequestBody, SendFailure, Upstream},
};
use crate::{
    defaults,
    transport::{IncomingStream, Priority, RecvHalf, SendError, SendHalf},
    wire::{
        Frame, FrameKind, StreamCode,
        generated::{Failure, FailureCode, RequestHead, TrafficClass, Upgrade, open::Kind},
    },
};

/// What went wrong with one exchange, as the hub is told.
#[derive(Debug)]
pub(crate) struct Fault {
    code: FailureCode,
    message: String,
    dispatched: bool,
}

impl Fault {
    pub(crate) fn before(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), dispatched: false }
    }

    pub(crate) fn after(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), dispatched: true }
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        /// Longer messages help nobody, bytes.
        const MAX_MESSAGE: usize = 2048;
        let mut message = self.message;
        let end = (0..=MAX_MESSAGE.min(message.len())).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
        message.truncate(end);
        Failure { code: self.code.into(), message, dispatched: self.dispatched }.encode_to_vec()
    }
}

impl From<SendFailure> for Fault {
    fn from(failure: SendFailure) -> Self {
        match failure {
            SendFailure::Connect(error) => Self::before(FailureCode::UpstreamUnreachable, error.to_string()),
            SendFailure::Unsent(ref error) => {
                Self::before(FailureCode::UpstreamUnreachable, format!("{failure}: {}", chain(error)))
            }
            SendFailure::Lost(error) => Self::after(FailureCode::UpstreamLost, chain(&error)),
        }
    }
}

/// An error and its causes in one line, for people.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = plain(error);
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&plain(inner));
        cause = inner.source();
    }
    text
}

fn plain(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<std::io::Error>() {
        // rustls explains at length, and with a link to its manual, that the peer is gone.
        Some(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => "the connection was cut".to_owned(),
        _ => error.to_string(),
    }
}

/// Serves one stream that the hub opened, to its end.
pub(super) async fn serve(incoming: IncomingStream, upstream: &Upstream, allowances: &Arc<Allowances>) {
    match incoming.open().await {
        Ok((Kind::Proxy(_), send, recv)) => serve_proxy(send, recv, upstream, allowances).await,
        Ok((Kind::Control(_), send, recv)) => {
            tracing::warn!("hub opened a control stream: only agents do");
            send.reset(StreamCode::Protocol);
            recv.stop(StreamCode::Protocol);
        }
        Err(error) => tracing::warn!(%error, "stream refused"),
    }
}

async fn serve_proxy(send: SendHalf, mut recv: RecvHalf, upstream: &Upstream, allowances: &Arc<Allowances>) {
    let head = match timeout(defaults::STREAM_HEAD, recv.frame()).await {
        Ok(Ok(Some(Frame::Head(head)))) => head,
        Ok(Err(error)) => return tracing::debug!(%error, "stream ended before its head"),
        Ok(Ok(_)) => return send.reset(StreamCode::Protocol),
        // The link stands still. Nothing was sent to the API server.
        Err(_) => return send.reset(StreamCode::Unstarted),
    };
    let prepared = match prepare(head, upstream).await {
        Ok(prepared) => prepared,
        Err(fault) => return fail(send, fault).await,
    };
    send.set_priority(prepared.priority);
    // Boxed, as everything that is rare: each request would carry its size.
    if prepared.upgrade {
        Box::pin(serve_upgrade(send, recv, prepared, upstream)).await;
    } else {
        serve_request(send, recv, prepared, (upstream, allowances)).await;
    }
}

async fn prepare(bytes: Bytes, upstream: &Upstream) -> Result<Prepared, Fault> {
    let head = RequestHead::decode(bytes.clone())
        .map_err(|error| Fault::before(FailureCode::Protocol, format!("request head is not valid: {error}")))?;
    let class = head.class();
    let upgrade = head.upgrade() != Upgrade::None;
    let bodyless = head.bodyless;
    let authorization = upstream
        .authorization()
        .await
        .map_err(|error| Fault::before(FailureCode::UpstreamUnreachable, error.to_string()))?;
    let request = request::build(head, upstream, authorization.clone())?;
    let repeatable = request::is_safe(request.method());
    let source = (repeatable && bodyless).then_some(Source { head: bytes, authorization });
    let priority = match class {
        TrafficClass::Short => Priority::Interactive,
        TrafficClass::LongRunning => Priority::Streaming,
        TrafficClass::Bulk => Priority::Bulk,
    };
    Ok(Prepared { request, source, class, upgrade, bodyless, repeatable, priority })
}

async fn serve_request(
    mut send: SendHalf,
    recv: RecvHalf,
    prepared: Prepared,
    (upstream, allowances): (&Upstream, &Arc<Allowances>),
) {
    let (class, counted) = (prepared.class, upstream.count(prepared.class));
    let stopped = send.stopped();
    tokio::pin!(stopped);
    let mut request = prepared.request;
    if !prepared.bodyless {
        *request.body_mut() = RequestBody::Link(Box::new(recv));
    }
    let attempt = Attempt { class, repeatable: prepared.repeatable, source: prepared.source };
    let answered = tokio::select! {
        biased;
        // The client went away: dropping the request closes its connection, and the API server sees it.
        _ = &mut stopped => return,
        answered = dispatch(&mut send, request, attempt, upstream) => answered,
    };
    match answered {
        Ok(Some((response, lease))) => {
            let _counted = still_counts(class, response.headers()).then_some(counted);
            let pacer = allowances.answer(send.number());
            if relay(send, response, pacer, &mut stopped).await {
                upstream.give_back(lease);
            }
        }
        Ok(None) => {}
        Err(fault) => fail(send, fault).await,
    }
}

/// Whether a request whose answer has this head counts among those of its class until the answer's end. A large answer lasts as long as its
/// client likes, and says nothing of how many small ones are under way: with it, what is small would go over connections that are shared
/// with answers that stand still.
fn still_counts(class: TrafficClass, head: &HeaderMap) -> bool {
    class == TrafficClass::LongRunning || small_length(head).is_some()
}

/// How a request is sent.
struct Attempt {
    class: TrafficClass,
    repeatable: bool,
    source: Option<Source>,
}

type Answered = (http::Response<hyper::body::Incoming>, super::upstream::Lease);

/// Sends the request. `None`: the hub stopped the stream.
///
/// For a request that changes something DISPATCHED is on its way before the first byte leaves; one that is harmless to
/// repeat needs no such word.
async fn dispatch(
    send: &mut SendHalf,
    request: Box<http::Request<RequestBody>>,
    Attempt { class, repeatable, source }: Attempt,
    upstream: &Upstream,
) -> Result<Option<Answered>, Fault> {
    let lease = upstream
        .lease(class)
        .await
        .map_err(|error| Fault::before(FailureCode::UpstreamUnreachable, error.to_string()))?;
    if !repeatable {
        send.queue(FrameKind::Dispatched, b"");
        match send.flush().await {
            Ok(()) => {}
            Err(SendError::Stopped(_) | SendError::Lost(_) | SendError::Closed) => return Ok(None),
        }
    }
    let copy = source.map(|source| move || source.request(upstream));
    Ok(Some(upstream.send(lease, request, copy).await?))
}

async fn fail(send: SendHalf, fault: Fault) {
    tracing::debug!(code = ?fault.code, message = fault.message, dispatched = fault.dispatched, "request failed");
    // Fails only when the hub does not listen any more.
    let _ = send.fail(&fault.encode()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_answers_do_not_count_among_what_is_small() {
        let head = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(http::HeaderName::from_static(name), http::HeaderValue::from_static(value))])
        };
        let [small, large] = ["263", "5242880"].map(|length| head("content-length", length));
        let chunked = head("transfer-encoding", "chunked");
        for class in [TrafficClass::Short, TrafficClass::Bulk] {
            assert!(still_counts(class, &small), "{class:?}");
            assert!(!still_counts(class, &large) && !still_counts(class, &chunked), "{class:?}");
        }
        assert!(still_counts(TrafficClass::LongRunning, &chunked), "a watch has no length");
    }

    fn size<A, F>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    /// It is moved and allocated for each request, and a watch holds it for hours.
    #[test]
    fn an_exchange_carries_nothing_that_is_rare() {
        let bytes =
            size(|(incoming, upstream, allowances): (IncomingStream, &'static Upstream, &'static Arc<Allowances>)| {
                serve(incoming, upstream, allowances)
            });
        assert!(bytes <= 4 << 10, "{bytes} bytes");
    }
}
