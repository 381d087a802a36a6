//! A request's body on its way from the link to the API server.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    transport::{RecvError, RecvHalf},
    wire,
};

/// What the hub sends after the head.
pub(crate) enum RequestBody {
    /// Nothing.
    Empty,
    /// DATA frames. Cut before its end, the API server sees a body that is cut, too.
    Link(Box<RecvHalf>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RecvError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RecvError>>> {
        let Self::Link(recv) = self.get_mut() else { return Poll::Ready(None) };
        loop {
            match ready!(recv.poll_frame(cx)) {
                Ok(Some(wire::Frame::Data(bytes))) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                // Kubernetes reads no request trailers.
                Ok(Some(_)) => {}
                Ok(None) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Link(_) => SizeHint::default(),
        }
    }
}
