//! The API server's answer on its way back: head, body, end.

use std::{future::Future, pin::Pin, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;
use tokio::time::timeout;

use super::{Fault, chain, fail};
use crate::{
    agent::allowance::Pacer,
    defaults,
    transport::{SendError, SendHalf},
    wire::{
        self, FrameKind, MAX_PAYLOAD, StreamCode,
        generated::{FailureCode, ResponseHead},
    },
};

/// Room for the head of most answers, bytes.
const HEAD: usize = 512;

/// How often more is looked for before a batch leaves: it is four records of TLS. More, and on a busy agent a watch would wait for its own events.
const TURNS: u8 = 4;

/// Sends the whole answer. `true` when it came to its clean end and its connection can be used again.
pub(super) async fn relay(
    mut send: SendHalf,
    response: Response<Incoming>,
    mut pacer: Pacer,
    stopped: &mut Pin<&mut impl Future<Output = Option<StreamCode>>>,
) -> bool {
    let (parts, mut body) = response.into_parts();
    let mut pieces = Vec::new();
    // Head, body and end of a small answer go in one piece, which spares the hub half the work.
    let small = small_length(&parts.headers);
    send.reserve(small.unwrap_or_default() + HEAD);
    let queued = queue_head(&mut send, parts.status, &parts.headers);
    drop(parts);
    if let Err(fault) = queued {
        fail(send, fault).await;
        return false;
    }
    let mut until = if small.is_some() { Until::End } else { Until::Now };
    loop {
        let gathered = tokio::select! {
            biased;
            _ = &mut *stopped => return false,
            gathered = gather(until, &mut pieces, &mut body) => gathered,
        };
        let bytes = pieces.iter().map(Bytes::len).sum();
        if !pacer.may_send(bytes) {
            tokio::select! {
                biased;
                _ = &mut *stopped => return false,
                () = Box::pin(pacer.raised(bytes)) => {}
            }
        }
        send.queue_pieces(&pieces);
        pieces.clear();
        until = Until::Something;
        match gathered {
            Ok(Gathered::More) => {
                if send.flush().await.is_err() {
                    return false;
                }
            }
            Ok(Gathered::End) => return send.finish().await.is_ok(),
            Err(error) => {
                let fault = Fault::after(FailureCode::UpstreamLost, format!("answer cut: {}", chain(&error)));
                fail(send, fault).await;
                return false;
            }
        }
    }
}

/// Queues the head of an answer.
pub(super) fn queue_head(send: &mut SendHalf, status: StatusCode, headers: &HeaderMap) -> Result<(), Fault> {
    let pairs = headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    let head = ResponseHead { status: status.as_u16().into(), headers: wire::headers(pairs) };
    let bytes = head.encoded_len();
    if bytes > MAX_PAYLOAD {
        let message = format!("head of the answer has {bytes} bytes, more than {MAX_PAYLOAD}");
        return Err(Fault::after(FailureCode::UpstreamInvalid, message));
    }
    send.queue_message(FrameKind::Head, &head);
    Ok(())
}

/// The length of the body, if the answer says that it is small.
pub(super) fn small_length(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    (length <= defaults::BODY_BATCH).then_some(length)
}

enum Gathered {
    More,
    End,
}

/// For what a body is waited.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Until {
    /// Nothing: something else is to be sent already.
    Now,
    /// Its next piece.
    Something,
    /// Its end, for [`defaults::WHOLE_ANSWER`]: what takes longer goes as it comes.
    End,
}

/// Takes what the body has, up to [`defaults::BODY_BATCH`].
///
/// # Cancel safety
/// Safe: what was taken is in `pieces`.
async fn gather(until: Until, pieces: &mut Vec<Bytes>, body: &mut Incoming) -> Result<Gathered, hyper::Error> {
    match until {
        Until::End => timeout(defaults::WHOLE_ANSWER, take(until, pieces, body)).await.unwrap_or(Ok(Gathered::More)),
        Until::Now | Until::Something => take(until, pieces, body).await,
    }
}

/// As [`gather`]. Before it is content with less than a batch it lets the connection read once more, and again if that brought something: on
/// one thread each turn takes one record of TLS. A large answer leaves in few system calls for it, and reaches its client in few.
async fn take<B>(until: Until, pieces: &mut Vec<Bytes>, body: &mut B) -> Result<Gathered, B::Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (mut bytes, mut turns, mut came) = (0, TURNS, true);
    std::future::poll_fn(|cx| {
        loop {
            match Pin::new(&mut *body).poll_frame(cx) {
                // Trailers: the API server sends none.
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        bytes += data.len();
                        pieces.push(data);
                        came = true;
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(Gathered::End)),
                Poll::Pending if until == Until::End || (until == Until::Something && bytes == 0) => {
                    return Poll::Pending;
                }
                Poll::Pending if turns == 0 || !came => return Poll::Ready(Ok(Gathered::More)),
                Poll::Pending => {
                    (turns, came) = (turns - 1, false);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            if bytes >= defaults::BODY_BATCH {
                return Poll::Ready(Ok(Gathered::More));
            }
        }
    })
    .await
}

/// Sends an answer to an upgrade that is no 101: status, headers and a short body, within a deadline.
pub(super) async fn relay_refusal(mut send: SendHalf, response: Response<Incoming>) -> Result<(), SendError> {
    let (parts, body) = response.into_parts();
    if let Err(fault) = queue_head(&mut send, parts.status, &parts.headers) {
        fail(send, fault).await;
        return Ok(());
    }
    let limited = http_body_util::Limited::new(body, MAX_PAYLOAD);
    match timeout(defaults::REFUSED_UPGRADE, limited.collect()).await {
        Ok(Ok(collected)) => {
            send.queue_data(&collected.to_bytes());
            send.finish().await
        }
        Ok(Err(_)) | Err(_) => {
            fail(send, Fault::after(FailureCode::UpstreamLost, "answer to the upgrade was cut")).await;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, task::Context};

    use http_body::Frame;

    use super::*;

    /// Has a piece of 16 KiB after each turn, as many as there are.
    struct Turns {
        pieces: usize,
        ready: bool,
    }

    impl Body for Turns {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.ready = !self.ready;
            if self.pieces == 0 || !self.ready {
                return Poll::Pending;
            }
            self.pieces -= 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 16 << 10])))))
        }
    }

    async fn taken(pieces: usize) -> usize {
        let mut taken = Vec::new();
        let _ = take(Until::Something, &mut taken, &mut Turns { pieces, ready: false }).await;
        taken.len()
    }

    #[tokio::test]
    async fn what_comes_turn_by_turn_leaves_together_and_does_not_wait_for_more_than_is_there() {
        assert_eq!(taken(9).await, defaults::BODY_BATCH / (16 << 10));
        assert_eq!(taken(2).await, 2);
        assert_eq!(taken(1).await, 1);
    }
}
