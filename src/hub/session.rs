//! One agent's link at the hub: admitted, said hello, served until it ends.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use time::OffsetDateTime;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{sleep, timeout},
};

use super::{
    Hub,
    links::{AgentInfo, ClusterLink},
    said::{NAME, shown},
};
use crate::{
    defaults,
    hub::directory::{CertificateRecord, Cluster},
    identity::{AgentRequest, Serial, VerifiedCsr, VerifiedPeer, verify::PeerError},
    transport::{AcceptError, Handshake, HandshakeError, Link, LinkEnd, RecvHalf, SendHalf},
    wire::{
        ALLOWANCE, CloseCode, Frame, FrameKind, RENEW, StreamCode,
        generated::{
            Allowance, Allowances, ControlMessage, Drain, Hello, RenewRequest, RenewResponse, Welcome,
            control_message::Body, open::Kind,
        },
    },
};

/// What this version can do beyond version 1 of the wire.
const CAPABILITIES: [&str; 2] = [RENEW, ALLOWANCE];

/// An agent was not admitted.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("certificate refused")]
    Peer(#[from] PeerError),
    #[error("cluster {0} is not known here: it was removed, or the hub was restored from a backup")]
    UnknownCluster(String),
    #[error("no hello within {} s", defaults::HELLO.as_secs())]
    NoHello,
    #[error("hello is not valid")]
    Hello,
    #[error("control stream failed")]
    Stream(#[from] AcceptError),
    #[error("link ended: {0}")]
    Ended(LinkEnd),
}

/// Serves one peer that dials, to the end of its link.
pub(super) async fn serve(hub: Arc<Hub>, handshake: Handshake, room: OwnedSemaphorePermit) {
    let address = handshake.remote_address();
    // Boxed: what it took is given back before the link idles for days.
    let admitted = Box::pin(admit(&hub, handshake)).await;
    drop(room);
    match admitted {
        Ok((link, control, cluster)) => run(&hub, link, control, &cluster).await,
        Err(error) => {
            hub.metrics.refused_link();
            tracing::warn!(%address, error = &error as &dyn std::error::Error, "agent refused");
        }
    }
}

/// The control stream, and what was agreed on it.
struct Control {
    send: SendHalf,
    recv: RecvHalf,
    renews: bool,
}

async fn admit(hub: &Hub, handshake: Handshake) -> Result<(Arc<ClusterLink>, Control, Arc<Cluster>), SessionError> {
    let link = handshake.finish().await?;
    let now = OffsetDateTime::now_utc();
    let refuse = |code: CloseCode, error: SessionError| {
        link.close(code);
        Err(error)
    };
    let peer = match VerifiedPeer::from_chain(&hub.pki.verifier, &link.peer_chain(), now) {
        Ok(peer) => peer,
        Err(error) => return refuse(CloseCode::Protocol, error.into()),
    };
    let Some(cluster) = hub.directory.cluster_by_uid(peer.cluster()) else {
        return refuse(CloseCode::Revoked, SessionError::UnknownCluster(peer.cluster().to_string()));
    };
    let (mut send, recv, hello) = match timeout(defaults::HELLO, hello(&link)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(error)) => return refuse(CloseCode::Protocol, error),
        Err(_) => return refuse(CloseCode::Protocol, SessionError::NoHello),
    };
    let agent = AgentInfo {
        version: shown(&hello.agent_version, NAME),
        instance: shown(&hello.instance, NAME),
        kubernetes_version: shown(&hello.kubernetes_version, NAME),
    };
    let agreed = CAPABILITIES.into_iter().filter(|can| hello.capabilities.iter().any(|c| c == can));
    let capabilities: Vec<_> = agreed.map(str::to_owned).collect();
    let [renews, paced] = [RENEW, ALLOWANCE].map(|capability| capabilities.iter().any(|c| c == capability));
    let welcome = Welcome {
        hub_version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities,
        cluster_name: cluster.name.to_string(),
        hub_time_ms: i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0),
    };
    say(&mut send, Body::Welcome(welcome));
    if let Err(error) = send.flush().await {
        tracing::debug!(%error, "welcome not sent");
        return Err(SessionError::Ended(link.end().unwrap_or(LinkEnd::Here)));
    }
    let link = hub.links.register(link.clone(), peer, agent, paced.then(Arc::default));
    // A cluster that was removed while its agent dialled must not slip in: look again, now that it is registered.
    if hub.directory.cluster_by_uid(&cluster.uid).is_none() {
        hub.links.unregister(&link, LinkEnd::Here, now);
        link.link.close(CloseCode::Revoked);
        return Err(SessionError::UnknownCluster(cluster.uid.to_string()));
    }
    Ok((link, Control { send, recv, renews }, cluster))
}

async fn hello(link: &Link) -> Result<(SendHalf, RecvHalf, Hello), SessionError> {
    let incoming = link.accept().await.map_err(SessionError::Ended)?;
    let (Kind::Control(_), send, mut recv) = incoming.open().await? else { return Err(SessionError::Hello) };
    let Ok(Some(Frame::Message(bytes))) = recv.frame().await else { return Err(SessionError::Hello) };
    match ControlMessage::decode(bytes) {
        Ok(ControlMessage { body: Some(Body::Hello(hello)) }) => Ok((send, recv, hello)),
        _ => Err(SessionError::Hello),
    }
}

async fn run(hub: &Hub, link: Arc<ClusterLink>, control: Control, cluster: &Cluster) {
    let address = link.link.remote_address();
    tracing::info!(cluster = &*cluster.name, %address, agent = link.agent.version, instance = link.agent.instance, "agent connected");
    Box::pin(remember(hub, cluster)).await;
    let end = tokio::select! {
        biased;
        end = link.link.closed() => end,
        () = expiry(&link) => {
            link.link.close(CloseCode::Expired);
            LinkEnd::Here
        }
        () = converse(hub, control, cluster, &link) => {
            link.link.close(CloseCode::Protocol);
            LinkEnd::Here
        }
        () = refuse_streams(&link.link) => link.link.end().unwrap_or(LinkEnd::Here),
    };
    let now = OffsetDateTime::now_utc();
    tracing::info!(cluster = &*cluster.name, %address, %end, streams = link.streams(), "agent disconnected");
    hub.links.unregister(&link, end, now);
    Box::pin(remember(hub, cluster)).await;
}

async fn remember(hub: &Hub, cluster: &Cluster) {
    if let Err(error) = hub.directory.record_seen(&cluster.uid, OffsetDateTime::now_utc()).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "cannot store when a cluster was last seen");
    }
}

/// TLS does not look at `notAfter` again once a link is up: the hub does.
async fn expiry(link: &ClusterLink) {
    let left = link.peer.not_after() - OffsetDateTime::now_utc();
    sleep(Duration::try_from(left).unwrap_or(Duration::ZERO)).await;
}

/// An agent opens its control stream and no other in this version.
async fn refuse_streams(link: &Link) {
    while let Ok(incoming) = link.accept().await {
        if let Ok((_, send, recv)) = Box::pin(incoming.open()).await {
            send.reset(StreamCode::Protocol);
            recv.stop(StreamCode::Protocol);
        }
    }
}

/// Answers the agent's messages until the stream ends; asks it to move when the hub drains.
async fn converse(hub: &Hub, Control { mut send, mut recv, renews }: Control, cluster: &Cluster, link: &ClusterLink) {
    let mut draining = false;
    loop {
        let frame = tokio::select! {
            biased;
            () = hub.draining.cancelled(), if !draining => {
                draining = true;
                say(&mut send, Body::Drain(Drain { delay_ms: 0, grace_ms: millis(defaults::DRAIN) }));
                if send.flush().await.is_err() { return }
                continue;
            }
            items = allowances(link) => {
                say(&mut send, Body::Allowances(Allowances { items }));
                if send.flush().await.is_err() { return }
                continue;
            }
            frame = recv.frame() => frame,
        };
        let Ok(Some(Frame::Message(bytes))) = frame else { return };
        match Box::pin(reply(hub, bytes, cluster, renews)).await {
            Ok(Some(body)) => {
                say(&mut send, body);
                if send.flush().await.is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(cluster = &*cluster.name, %error, "control message not understood");
                return;
            }
        }
    }
}

/// What is to be said of the link's answers; nothing ever to an agent that would not listen.
async fn allowances(link: &ClusterLink) -> Vec<Allowance> {
    match &link.outbox {
        Some(outbox) => outbox.take().await,
        None => std::future::pending().await,
    }
}

async fn reply(hub: &Hub, bytes: Bytes, cluster: &Cluster, renews: bool) -> Result<Option<Body>, prost::DecodeError> {
    Ok(match ControlMessage::decode(bytes)?.body {
        Some(Body::RenewRequest(request)) if renews => {
            let response = renew(hub, cluster, &request).await;
            hub.metrics.renewal(response.refusal.is_empty());
            Some(Body::RenewResponse(response))
        }
        // Messages of newer versions, of capabilities that were not agreed, and that make no sense from an agent, are ignored.
        _ => None,
    })
}

async fn renew(hub: &Hub, cluster: &Cluster, request: &RenewRequest) -> RenewResponse {
    let refused = |reason: String| RenewResponse { chain: Vec::new(), refusal: reason };
    let csr = match VerifiedCsr::parse(&request.csr) {
        Ok(csr) => csr,
        Err(error) => return refused(error.to_string()),
    };
    let now = OffsetDateTime::now_utc();
    let serial = Serial::random();
    let ttl = hub.certificate_life.into();
    let request = AgentRequest { csr: &csr, cluster: &cluster.uid, now, ttl, serial };
    let issued = match hub.pki.agents().issue_agent(&request) {
        Ok(issued) => issued,
        Err(error) => return refused(error.to_string()),
    };
    let record = CertificateRecord {
        serial,
        cluster: cluster.uid.clone(),
        spki: issued.spki_sha256,
        not_after: issued.not_after,
    };
    if let Err(error) = hub.directory.record_certificate(&record).await {
        tracing::error!(error = &error as &dyn std::error::Error, "certificate not recorded, so not issued");
        return refused("the hub cannot record the certificate now".to_owned());
    }
    tracing::info!(cluster = &*cluster.name, %serial, not_after = %issued.not_after, "certificate renewed");
    RenewResponse {
        chain: issued.chain.iter().map(|der| Bytes::copy_from_slice(der)).collect(),
        refusal: String::new(),
    }
}

fn say(send: &mut SendHalf, body: Body) {
    send.queue_message(FrameKind::Message, &ControlMessage { body: Some(body) });
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
