//! The body of an answer: from the link to the client, and never complete unless the agent said so.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use prost::Message;
use tokio::time::{Sleep, sleep};

use super::{
    Hub, Toward, Upload,
    cut::Cut,
    failure::{Failed, Hop},
    reader::{Read, Reader},
};
use crate::{
    defaults,
    hub::{
        gateway::OpenRequest,
        links::StreamGuard,
        said::{MESSAGE, shown},
    },
    k8s::{Reason, RecordTracker, Status, error_event},
    transport::RecvError,
    wire::{self, generated::Failure},
};

/// An answer was cut; hyper cuts the client's connection or stream in turn.
#[derive(Debug, thiserror::Error)]
#[error("answer cut at the {hop}: {message}")]
pub(crate) struct Truncated {
    hop: &'static str,
    message: String,
}

/// The body of an answer to a client.
pub(crate) struct ProxyBody {
    kind: Kind,
    /// The request on an HTTP/2 connection.
    open: Option<OpenRequest>,
}

enum Kind {
    Full(Option<Bytes>),
    /// Of an answer that came whole. How long it is its headers say, to which hyper holds it: they are the cluster's.
    Whole(Option<Bytes>),
    Link(Box<LinkBody>),
}

/// What an answer's body holds on to until it ends.
pub(super) struct LinkBody {
    pub(super) hub: Arc<Hub>,
    pub(super) cluster: Arc<str>,
    pub(super) reader: Arc<Reader>,
    pub(super) cut: Cut,
    pub(super) upload: Option<Upload>,
    pub(super) stream: StreamGuard,
    /// Of a JSON watch: a failure is told in its own terms where a record ends.
    pub(super) watch: Option<RecordTracker>,
    /// Of a container's log, whether a line begins: a log that was cut says so itself, for a file of it has no exit code.
    pub(super) log: Option<bool>,
    /// The end of an answer whose last words are on their way.
    pub(super) ending: Option<(Pin<Box<Sleep>>, Truncated)>,
}

/// What a frame of an answer's body means to the client.
pub(crate) enum Next {
    /// More of it.
    Data(Bytes),
    /// Nothing that the client sees.
    Nothing,
    /// It is whole.
    End,
    /// It is not, and never will be.
    Cut(Hop, String),
}

impl Next {
    /// Of what came over the link. Only the clean end of the stream is an end.
    pub(crate) fn of(came: Result<Option<wire::Frame>, RecvError>) -> Self {
        match came {
            Ok(Some(wire::Frame::Data(bytes))) => Self::Data(bytes),
            Ok(Some(wire::Frame::Error(bytes))) => {
                let failure = Failure::decode(bytes).unwrap_or_default();
                Self::Cut(Failed::hop_of(&failure), shown(&failure.message, MESSAGE))
            }
            Ok(Some(_)) => Self::Nothing,
            Ok(None) => Self::End,
            Err(error) => Self::Cut(Hop::Link, error.to_string()),
        }
    }
}

impl ProxyBody {
    /// Bytes of the hub itself.
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { kind: Kind::Full((!bytes.is_empty()).then_some(bytes)), open: None }
    }

    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self { kind: Kind::Full(None), open: None }
    }

    /// Bytes of a cluster's answer that came whole.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole(Some(bytes)), open: None }
    }

    pub(super) fn link(body: LinkBody) -> Self {
        body.hub.metrics.streams.inc();
        Self { kind: Kind::Link(Box::new(body)), open: None }
    }

    /// As the answer to a request on an HTTP/2 connection, which lasts as long as this body.
    pub(in crate::hub) fn on(self, open: OpenRequest) -> Self {
        Self { open: Some(open), ..self }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = Truncated;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        let Self { kind, open } = self.get_mut();
        let body = match kind {
            Kind::Full(bytes) | Kind::Whole(bytes) => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            Kind::Link(body) => body,
        };
        let polled = body.poll(cx);
        if let (Poll::Ready(Some(Err(truncated))), Some(open)) = (&polled, open) {
            open.cut(|| format!("roadstead: cluster {:?}: {truncated}", body.cluster));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) | Kind::Whole(bytes) => bytes.is_none(),
            Kind::Link(body) => body.reader.is_closed() && body.ending.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            // Content-Length, when there is one, is in the headers; hyper holds the body to it.
            Kind::Whole(_) | Kind::Link(_) => SizeHint::default(),
        }
    }
}

impl LinkBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        if let Some((words, _)) = &mut self.ending {
            std::task::ready!(words.as_mut().poll(cx));
            return Poll::Ready(self.ending.take().map(|(_, truncated)| Err(truncated)));
        }
        if self.reader.is_closed() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(reason) = self.cut.poll(cx) {
            return self.fail(Hop::Hub, reason.as_str().to_owned());
        }
        let read = match std::task::ready!(self.reader.poll(cx)) {
            Read::Frame(read) => read,
            Read::Taken => {
                let message = "the client did not read its answer, and the cluster's link needed the room";
                return self.fail(Hop::Hub, message.to_owned());
            }
        };
        match Next::of(read) {
            Next::Data(bytes) => {
                self.hub.metrics.bytes(Toward::Client, bytes.len());
                if let Some(watch) = &mut self.watch {
                    watch.feed(&bytes);
                }
                if let Some(begins) = &mut self.log {
                    *begins = bytes.last() == Some(&b'\n');
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Next::Nothing => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Next::End => {
                self.reader.close();
                self.upload = None;
                Poll::Ready(None)
            }
            Next::Cut(hop, message) => match self.stream.cut_because() {
                Some(words) => self.fail(Hop::Hub, words.to_owned()),
                None => self.fail(hop, message),
            },
        }
    }

    fn fail(&mut self, hop: Hop, message: String) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        self.reader.close();
        self.upload = None;
        self.hub.metrics.truncated();
        tracing::info!(cluster = &*self.cluster, hop = hop.as_str(), message, "answer cut");
        if let Some(watch) = self.watch.take()
            && watch.at_boundary()
        {
            let text = format!("cluster {:?}: watch cut at the {}: {message}", self.cluster, hop.as_str());
            let event = error_event(&Status::new(Reason::InternalError, text));
            return Poll::Ready(Some(Ok(Frame::data(event))));
        }
        let truncated = Truncated { hop: hop.as_str(), message };
        if let Some(begins) = self.log.take() {
            let line = if begins { "" } else { "\n" };
            let text = format!("{line}roadstead: cluster {:?}: this log is incomplete: {truncated}\n", self.cluster);
            // hyper sends what it has while the body waits, and would drop it with the connection if it failed at once.
            self.ending = Some((Box::pin(sleep(defaults::LAST_WORDS)), truncated));
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))));
        }
        Poll::Ready(Some(Err(truncated)))
    }
}

impl Drop for LinkBody {
    fn drop(&mut self) {
        self.hub.metrics.streams.dec();
        let _ = &self.stream;
    }
}
