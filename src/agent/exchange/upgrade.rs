//! An upgraded exchange (exec, attach, port-forward): after 101, bytes both ways at full duplex.

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

use super::{
    Fault,
    answer::{queue_head, relay_refusal},
    chain, fail,
    request::Prepared,
};
use crate::{
    agent::upstream::Upstream,
    transport::{RecvHalf, SendHalf},
    wire::{Frame, FrameKind, StreamCode, generated::FailureCode},
};

/// Bytes read at once from an upgraded connection.
const READ: usize = 32 << 10;

type UpgradedIo = TokioIo<Upgraded>;

/// Serves an upgrade to its end, on a connection of its own.
pub(super) async fn serve_upgrade(mut send: SendHalf, recv: RecvHalf, prepared: Prepared, upstream: &Upstream) {
    let stopped = send.stopped();
    send.queue(FrameKind::Dispatched, b"");
    let answered = tokio::select! {
        biased;
        _ = stopped => return,
        answered = upstream.send_upgrade(*prepared.request) => answered,
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(failure) => return fail(send, failure.into()).await,
    };
    if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        // Fails only when the hub does not listen any more.
        let _ = relay_refusal(send, response).await;
        return;
    }
    let upgraded = hyper::upgrade::on(&mut response).await;
    match (upgraded, queue_head(&mut send, response.status(), response.headers())) {
        (Ok(upgraded), Ok(())) => duplex(send, recv, TokioIo::new(upgraded)).await,
        (Err(error), _) => fail(send, Fault::after(FailureCode::UpstreamLost, chain(&error))).await,
        (_, Err(fault)) => fail(send, fault).await,
    }
}

async fn duplex(mut send: SendHalf, recv: RecvHalf, io: UpgradedIo) {
    if send.flush().await.is_err() {
        return;
    }
    let stopped = send.stopped();
    let (read, write) = split(io);
    let down = to_hub(send, read);
    let up = to_api_server(recv, write);
    tokio::pin!(down, up, stopped);
    // The API server ends a session: when its direction is done, so is the stream. The hub's end is a half-close only.
    let mut up_done = false;
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            () = &mut down => return,
            complete = &mut up, if !up_done => {
                if !complete {
                    return;
                }
                up_done = true;
            }
        }
    }
}

async fn to_hub(mut send: SendHalf, mut read: ReadHalf<UpgradedIo>) {
    let mut buf = vec![0; READ];
    loop {
        match read.read(&mut buf).await {
            Ok(0) => {
                let _ = send.finish().await;
                return;
            }
            Ok(n) => {
                send.queue_data(&buf[..n]);
                if send.flush().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let message = format!("connection to the API server broke: {}", chain(&error));
                return fail(send, Fault::after(FailureCode::UpstreamLost, message)).await;
            }
        }
    }
}

/// `true` when the hub's direction came to its clean end; `false` when it was cut and the session must not go on.
async fn to_api_server(mut recv: RecvHalf, mut write: WriteHalf<UpgradedIo>) -> bool {
    loop {
        match recv.frame().await {
            Ok(Some(Frame::Data(bytes))) => {
                if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                    // What the API server still says decides how the session ends.
                    recv.stop(StreamCode::UpstreamLost);
                    return true;
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => {
                let _ = write.shutdown().await;
                return true;
            }
            Err(error) => {
                tracing::debug!(%error, "session cut by the hub");
                return false;
            }
        }
    }
}
