//! The API server's answer on its way back: head, body, end.

use std::{future::Future, pin::Pin, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;

use super::{Fault, chain, fail};
use crate::{
    defaults,
    transport::{SendError, SendHalf},
    wire::{
        FrameKind, MAX_PAYLOAD, StreamCode,
        generated::{FailureCode, Header, ResponseHead},
    },
};

/// Sends the whole answer. `true` when it came to its clean end and its connection can be used again.
pub(super) async fn relay(
    mut send: SendHalf,
    response: Response<Incoming>,
    stopped: &mut Pin<&mut impl Future<Output = Option<StreamCode>>>,
) -> bool {
    let (parts, mut body) = response.into_parts();
    if let Err(fault) = queue_head(&mut send, parts.status, &parts.headers) {
        fail(send, fault).await;
        return false;
    }
    let mut pieces = Vec::new();
    loop {
        let gathered = tokio::select! {
            biased;
            _ = &mut *stopped => return false,
            gathered = gather(send.queued() > 0, &mut pieces, &mut body) => gathered,
        };
        send.queue_pieces(&pieces);
        pieces.clear();
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
    let head = ResponseHead { status: status.as_u16().into(), headers: encode_headers(headers) }.encode_to_vec();
    if head.len() > MAX_PAYLOAD {
        let message = format!("head of the answer has {} bytes, more than {MAX_PAYLOAD}", head.len());
        return Err(Fault::after(FailureCode::UpstreamInvalid, message));
    }
    send.queue(FrameKind::Head, &head);
    Ok(())
}

fn encode_headers(headers: &HeaderMap) -> Vec<Header> {
    headers
        .iter()
        .map(|(name, value)| Header { name: name.as_str().to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) })
        .collect()
}

enum Gathered {
    More,
    End,
}

/// Takes what the body has: waits for the first piece only when nothing is to be sent (`ready`), then takes what is there, up to
/// [`defaults::BODY_BATCH`]. Before it is content with less it lets the connection read once more: on one thread whatever came
/// meanwhile is taken, too, which halves the packets of a large answer.
///
/// # Cancel safety
/// Safe: what was taken is in `pieces`.
async fn gather(ready: bool, pieces: &mut Vec<Bytes>, body: &mut Incoming) -> Result<Gathered, hyper::Error> {
    let (mut bytes, mut yielded) = (0, false);
    std::future::poll_fn(|cx| {
        loop {
            match Pin::new(&mut *body).poll_frame(cx) {
                // Trailers: the API server sends none.
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        bytes += data.len();
                        pieces.push(data);
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(Gathered::End)),
                Poll::Pending if !ready && bytes == 0 => return Poll::Pending,
                Poll::Pending if std::mem::replace(&mut yielded, true) => return Poll::Ready(Ok(Gathered::More)),
                Poll::Pending => {
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
    match tokio::time::timeout(defaults::REFUSED_UPGRADE, limited.collect()).await {
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
