//! exec, attach and port-forward: after 101 the hub carries bytes both ways, follows their framing, and when the way
//! breaks it says so in the session's own protocol, for kubectl would otherwise exit with 0.

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
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
    hub::{
        links::StreamGuard,
        said::{MESSAGE, shown},
    },
    k8s::{Injection, Outcome, Reason, Status, Streaming, Tracker},
    transport::{RecvHalf, SendHalf},
    wire::{Frame, StreamCode, generated::Failure},
};

/// Bytes read at once from a client's upgraded connection.
const READ: usize = 32 << 10;

type ClientIo = TokioIo<Upgraded>;

/// Asks for the upgrade; on 101 the session runs on as a task of the hub's.
pub(super) async fn exchange(
    hub: &Arc<Hub>,
    caller: Caller,
    judged: Judged,
    link: Arc<ClusterLink>,
    (mut send, recv): (SendHalf, RecvHalf),
    client: OnUpgrade,
) -> Result<Response<ProxyBody>, Status> {
    send.flush().await.map_err(|error| Failed::lost(Hop::Link, error.to_string()).status(&judged))?;
    let answered = await_head(recv).await.map_err(|failed| failed.status(&judged))?;
    let cut = Cut::new(&caller, true);
    if answered.status != StatusCode::SWITCHING_PROTOCOLS {
        // The agent reads nothing more of this stream; whether END still reaches it does not matter.
        let _ = send.finish().await;
        return answer::respond(hub, &judged, answered, None, cut, &link).await;
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
        cluster: judged.cluster.name.clone(),
        request_id: judged.request_id,
        ends_with_status: matches!(streaming, Some(Streaming::Exec | Streaming::Attach)),
        tracker: Mutex::new(tracker),
        stream: link.count_stream(),
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
    stream: StreamGuard,
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

    /// Writes whole frames of the session's protocol, so that whatever happens next can be said behind them.
    async fn to_client(&self, mut recv: RecvHalf, write: &mut WriteHalf<ClientIo>) -> Down {
        let mut held = BytesMut::new();
        loop {
            match recv.frame().await {
                Ok(Some(Frame::Data(bytes))) => {
                    self.hub.metrics.bytes(Toward::Client, bytes.len());
                    held.extend_from_slice(&bytes);
                    let whole = self.lock().ready(&held);
                    if self.write(write, &held.split_to(whole)).await.is_err() {
                        return Down::ClientGone;
                    }
                }
                Ok(Some(Frame::Error(bytes))) => {
                    let failure = Failure::decode(bytes).unwrap_or_default();
                    return Down::Cut(Failed::hop_of(&failure), shown(&failure.message, MESSAGE));
                }
                Ok(Some(_)) => {}
                // Half a frame at the end is the API server's own, and the client's to judge.
                Ok(None) => {
                    return match self.write(write, &held).await {
                        Ok(()) => Down::End,
                        Err(_) => Down::ClientGone,
                    };
                }
                Err(error) => return Down::Cut(Hop::Link, error.to_string()),
            }
        }
    }

    async fn write(&self, write: &mut WriteHalf<ClientIo>, bytes: &[u8]) -> std::io::Result<()> {
        if !bytes.is_empty() {
            write.write_all(bytes).await?;
            write.flush().await?;
            self.lock().feed_to_client(bytes);
        }
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
            Down::Cut(hop, message) => match self.stream.cut_because() {
                Some(words) => (Hop::Hub, words.to_owned()),
                None => (hop, message),
            },
        };
        tracing::info!(cluster = &*self.cluster, hop = hop.as_str(), message, "session cut");
        self.hub.metrics.truncated();
        let text = format!(
            "cluster {:?}: session cut at the {}: {message} (request {})",
            self.cluster,
            hop.as_str(),
            self.request_id
        );
        let status = Status::new(Reason::InternalError, text);
        match timeout(defaults::SESSION_LAST_WORD, self.say(&status, &mut read, &mut write)).await {
            Ok(Ok(true)) | Err(_) => drop(timeout(defaults::SESSION_GRACE, write.shutdown()).await),
            // Dropped without TLS close_notify: a client that was told nothing sees a broken connection, not an end.
            Ok(Ok(false) | Err(_)) => {}
        }
    }

    /// Tells the client and listens until it closes: closing with its input unread would reset the connection, and it might
    /// lose what it was told. What it opens meanwhile is answered, too. `false` when nothing can be said.
    async fn say(
        &self,
        status: &Status,
        read: &mut ReadHalf<ClientIo>,
        write: &mut WriteHalf<ClientIo>,
    ) -> std::io::Result<bool> {
        let mut buf = vec![0; READ];
        loop {
            let Injection::Bytes(bytes) = self.lock().failure(status) else { return Ok(false) };
            self.write(write, &bytes).await?;
            match read.read(&mut buf).await? {
                0 => return Ok(true),
                n => self.lock().feed_from_client(&buf[..n]),
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tracker> {
        self.tracker.lock().expect("no panic while it is held")
    }
}
