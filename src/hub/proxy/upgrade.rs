//! exec, attach and port-forward: after 101 the hub carries bytes both ways, follows their framing, and when the way
//! breaks it says so in the session's own protocol, for kubectl would otherwise exit with 0.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    time::timeout,
};

use super::{
    Caller, ClusterLink, Hub, Judged, ProxyBody, Toward,
    answer::{self, Answered, await_head, clean},
    cut::Cut,
    failure::{Failed, Hop},
};
use crate::{
    defaults,
    hub::links::StreamGuard,
    k8s::{Injection, Outcome, Reason, Status, Streaming, Tracker},
    transport::{RecvHalf, SendHalf},
    wire::{Frame, StreamCode, generated::Failure},
};

/// Bytes read at once from a client's upgraded connection.
const READ: usize = 32 << 10;

/// The beginning of a message that is held back is at most this long, bytes; a longer message goes as it comes. The API
/// server's are up to 32 KiB.
const HELD: usize = 64 << 10;

type ClientIo = TokioIo<Upgraded>;

/// Asks for the upgrade; on 101 the session runs on as a task of the hub's.
pub(super) async fn exchange(
    hub: &Arc<Hub>,
    caller: Caller,
    judged: Judged,
    link: Arc<ClusterLink>,
    (send, recv): (SendHalf, RecvHalf),
    client: OnUpgrade,
) -> Result<Response<ProxyBody>, Status> {
    let answered = await_head(recv).await.map_err(|failed| failed.status(&judged))?;
    let cut = Cut::new(&caller, true);
    if answered.status != StatusCode::SWITCHING_PROTOCOLS {
        // The agent reads nothing more of this stream; whether END still reaches it does not matter.
        let _ = send.finish().await;
        return answer::respond(hub, judged, answered, None, cut, &link);
    }
    let Answered { status, mut headers, recv } = answered;
    clean(&mut headers, status, &judged)?;
    let Some(upgrade) = &judged.upgrade else {
        return Err(Failed::invalid(Hop::Hub, "101 without an upgrade").status(&judged));
    };
    let streaming = judged.info.streaming();
    let tracker = Tracker::for_upgrade(upgrade, streaming, &headers);
    let session = Session {
        hub: hub.clone(),
        cluster: Arc::from(judged.cluster.name.as_str()),
        request_id: judged.request_id,
        ends_with_status: matches!(streaming, Some(Streaming::Exec | Streaming::Attach)),
        tracker: Mutex::new(tracker),
        _stream: link.count_stream(),
    };
    hub.tasks.spawn(session.run(client, send, recv, cut));
    let mut response = Response::new(ProxyBody::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

struct Session {
    hub: Arc<Hub>,
    cluster: Arc<str>,
    request_id: String,
    /// exec and attach: an end without a result is no end.
    ends_with_status: bool,
    tracker: Mutex<Tracker>,
    _stream: StreamGuard,
}

/// How the direction to the client ended.
enum Down {
    /// The cluster ended the session.
    End,
    /// It was cut.
    Cut(Hop, String),
    /// The client takes no more.
    ClientGone,
}

impl Session {
    async fn run(self, client: OnUpgrade, send: SendHalf, recv: RecvHalf, mut cut: Cut) {
        let Ok(Ok(client)) = timeout(defaults::REQUEST_HEAD, client).await else {
            send.reset(StreamCode::Cancelled);
            return recv.stop(StreamCode::Cancelled);
        };
        self.hub.metrics.streams.inc();
        let (mut read, mut write) = split(TokioIo::new(client));
        let down = {
            let up = self.to_cluster(&mut read, send);
            let down = self.to_client(recv, &mut write);
            tokio::pin!(up, down);
            tokio::select! {
                biased;
                reason = cut.due() => Down::Cut(Hop::Hub, reason.as_str().to_owned()),
                down = &mut down => down,
                () = &mut up => match timeout(defaults::SESSION_GRACE, &mut down).await {
                    Ok(down) => down,
                    Err(_) => Down::ClientGone,
                },
            }
        };
        self.end(down, read, write).await;
        self.hub.metrics.streams.dec();
    }

    /// Until the client ends its direction or goes away.
    async fn to_cluster(&self, read: &mut ReadHalf<ClientIo>, mut send: SendHalf) {
        let mut buf = vec![0; READ];
        loop {
            match read.read(&mut buf).await {
                Ok(0) => {
                    let _ = send.finish().await;
                    return;
                }
                Ok(n) => {
                    self.lock().feed_from_client(&buf[..n]);
                    self.hub.metrics.bytes(Toward::Cluster, n);
                    send.queue_data(&buf[..n]);
                    if send.flush().await.is_err() {
                        // The agent ended the session: what it said last is on its way to the client.
                        return std::future::pending().await;
                    }
                }
                Err(_) => return send.reset(StreamCode::Cancelled),
            }
        }
    }

    async fn to_client(&self, mut recv: RecvHalf, write: &mut WriteHalf<ClientIo>) -> Down {
        let mut held = BytesMut::new();
        loop {
            match recv.frame().await {
                Ok(Some(Frame::Data(bytes))) => {
                    let bytes = self.sendable(&mut held, bytes);
                    if self.send(&bytes, write).await.is_err() {
                        return Down::ClientGone;
                    }
                }
                Ok(Some(Frame::Error(bytes))) => {
                    let failure = Failure::decode(bytes).unwrap_or_default();
                    return Down::Cut(Failed::hop_of(&failure), failure.message);
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    // A part of a message at the end is the cluster's own doing, and goes as it came.
                    return if self.send(&held, write).await.is_ok() { Down::End } else { Down::ClientGone };
                }
                Err(error) => return Down::Cut(Hop::Link, error.to_string()),
            }
        }
    }

    /// What may be sent now; the beginning of a message that is not whole yet waits in `held`.
    fn sendable(&self, held: &mut BytesMut, bytes: Bytes) -> Bytes {
        let tracker = self.lock();
        if held.is_empty() {
            let mut bytes = bytes;
            let whole = tracker.whole_to_client(&bytes);
            held.extend_from_slice(&bytes.split_off(whole));
            return bytes;
        }
        held.extend_from_slice(&bytes);
        let whole = if held.len() > HELD { held.len() } else { tracker.whole_to_client(held) };
        held.split_to(whole).freeze()
    }

    async fn send(&self, bytes: &[u8], write: &mut WriteHalf<ClientIo>) -> std::io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.hub.metrics.bytes(Toward::Client, bytes.len());
        write.write_all(bytes).await?;
        write.flush().await?;
        self.lock().feed_to_client(bytes);
        Ok(())
    }

    async fn end(&self, down: Down, mut read: ReadHalf<ClientIo>, mut write: WriteHalf<ClientIo>) {
        let (hop, message) = match down {
            Down::ClientGone => return,
            Down::End if !self.ends_with_status || self.lock().outcome() == Outcome::Complete => {
                let _ = timeout(defaults::SESSION_GRACE, write.shutdown()).await;
                return;
            }
            Down::End => (Hop::ApiServer, "the session ended without a status".to_owned()),
            Down::Cut(hop, message) => (hop, message),
        };
        tracing::info!(cluster = &*self.cluster, hop = hop.as_str(), message, "session cut");
        self.hub.metrics.truncated();
        let text = format!(
            "cluster {:?}: session cut at the {}: {message} (request {})",
            self.cluster,
            hop.as_str(),
            self.request_id
        );
        let injection = self.lock().failure(&Status::new(Reason::InternalError, text));
        if let Injection::Bytes(bytes) = injection {
            let say = async {
                write.write_all(&bytes).await?;
                write.flush().await?;
                write.shutdown().await?;
                // Closing with input unread would reset the connection, and the client might lose what it was told.
                tokio::io::copy(&mut read, &mut tokio::io::sink()).await
            };
            let _ = timeout(defaults::SESSION_GRACE, say).await;
        }
        // Dropped without TLS close_notify: a client that was told nothing sees a broken connection, not an end.
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tracker> {
        self.tracker.lock().expect("no panic while it is held")
    }
}
