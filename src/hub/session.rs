//! One agent's link at the hub: admitted, said hello, served until it ends.

mod asking;
mod turns;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};

use asking::Asking;
use turns::Place;
pub(super) use turns::Turns;

use super::{
    Hub,
    enrol::keys_shown,
    external,
    links::{AgentInfo, Arrival, ClusterLink},
    metrics::Alert,
    revocation,
    rotation::{self, Made, Telling},
};
use crate::{
    defaults,
    hub::directory::{Admitted, Cluster, Denied},
    identity::{VerifiedPeer, verify::PeerError},
    transport::{AcceptError, Handshake, HandshakeError, Link, LinkEnd, RecvHalf, SendHalf},
    wire::{
        ALLOWANCE, CloseCode, Frame, FrameKind, GENERATION, RENEW, ROTATE, StreamCode,
        generated::{Allowance, Allowances, ControlMessage, Drain, Hello, Welcome, control_message::Body, open::Kind},
    },
};

/// What this version can do beyond version 1 of the wire.
const CAPABILITIES: [&str; 4] = [RENEW, ALLOWANCE, GENERATION, ROTATE];

/// An agent was not admitted.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("certificate refused")]
    Peer(#[from] PeerError),
    #[error("cluster {0} is not known here: it was removed, or the hub was restored from a backup")]
    UnknownCluster(String),
    #[error("cluster {cluster} is not let in: {denied}")]
    Denied { cluster: Arc<str>, denied: Denied },
    #[error("no hello within {} s", defaults::HELLO.as_secs())]
    NoHello,
    #[error("hello is not valid")]
    Hello,
    #[error("control stream failed")]
    Stream(#[from] AcceptError),
    #[error("link ended: {0}")]
    Ended(LinkEnd),
}

/// Lets in one peer that dials when it has its turn, and has its link served to its end.
pub(super) async fn serve(hub: Arc<Hub>, handshake: Handshake, mut place: Place) {
    let has_turn = tokio::select! {
        has_turn = place.turn() => has_turn,
        () = hub.draining.cancelled() => false,
    };
    if !has_turn {
        hub.metrics.refused_link();
        return handshake.refuse();
    }
    let address = handshake.remote_address();
    let admitted = Box::pin(admit(&hub, handshake)).await;
    drop(place);
    match admitted {
        // A task of its own: what admitting took is given back before the link idles for days.
        Ok((link, control, cluster)) => drop(hub.tasks.spawn(run(hub.clone(), link, control, cluster))),
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
    /// Requests for renewal say what they succeed.
    counts: bool,
    /// The cluster's ServiceAccount keys, as its agent shows them; may be empty.
    keys: Bytes,
    telling: Telling,
}

async fn admit(hub: &Hub, handshake: Handshake) -> Result<(Arc<ClusterLink>, Control, Arc<Cluster>), SessionError> {
    let saw = hub.pki.hub().pin();
    let link = handshake.finish().await?;
    let now = OffsetDateTime::now_utc();
    let refuse = |code: CloseCode, error: SessionError| {
        link.close(code);
        Err(error)
    };
    let (peer, root) = match external::identify(hub, &link.peer_chain(), now) {
        Ok(verified) => verified,
        Err(error @ (PeerError::Unmapped { .. } | PeerError::Ambiguous(_))) => {
            return refuse(CloseCode::Unmapped, error.into());
        }
        Err(error) => return refuse(CloseCode::Protocol, error.into()),
    };
    let Some(cluster) = hub.directory.cluster_by_uid(peer.cluster()) else {
        return refuse(CloseCode::Revoked, SessionError::UnknownCluster(peer.cluster().to_string()));
    };
    if let Err(denied) = revocation::check(hub, &peer) {
        return refuse(denied.close_code(), turned_away(hub, &cluster, &peer, denied).await);
    }
    let (mut send, recv, hello) = match timeout(defaults::HELLO, hello(&link)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(error)) => return refuse(CloseCode::Protocol, error),
        Err(_) => return refuse(CloseCode::Protocol, SessionError::NoHello),
    };
    let agent = AgentInfo::of(&hello, OffsetDateTime::now_utc());
    // Certificates of other CAs are renewed there.
    let own = peer.external().is_none();
    let can = CAPABILITIES.into_iter().filter(|can| own || ![RENEW, GENERATION].contains(can));
    let agreed = can.filter(|can| hello.capabilities.iter().any(|c| c == can));
    let capabilities: Vec<_> = agreed.map(str::to_owned).collect();
    let [renews, paced, counts, rotates] = CAPABILITIES.map(|can| capabilities.iter().any(|c| c == can));
    // Before the agent is told: one that hears nothing comes again with the same certificate.
    came_into_use(hub, &cluster, &peer, &agent, now).await;
    let keys = hello.service_account_keys;
    let welcome = Welcome {
        hub_version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities,
        cluster_name: cluster.name.to_string(),
        hub_time_ms: i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0),
        generation: hub.directory.held(&peer).map_or(0, |held| held.position.generation),
    };
    say(&mut send, Body::Welcome(welcome));
    if let Err(error) = send.flush().await {
        tracing::debug!(%error, "welcome not sent");
        return Err(SessionError::Ended(link.end().unwrap_or(LinkEnd::Here)));
    }
    let outbox = paced.then(Arc::default);
    let made = Made { root, saw };
    let link = hub.links.register(Arrival { link: link.clone(), peer, agent, made, outbox });
    if let Err((code, error)) = look_again(hub, &link, &cluster).await {
        hub.links.unregister(&link, LinkEnd::Here, now);
        link.link.close(code);
        return Err(error);
    }
    if hub.links.flaps(&link) {
        hub.metrics.alert(Alert::Flapping);
        tracing::error!(
            event = "identity.flapping",
            cluster = &*cluster.name,
            "two agents take turns at one cluster: most likely two installations with a copy of one Secret; keep one of them"
        );
    }
    let telling = Telling::new(hub, rotates, renews);
    Ok((link, Control { send, recv, renews, counts, telling, keys }, cluster))
}

/// What was removed, locked or revoked while its agent dialled must not slip in: now that the link is registered, whoever denies it
/// finds it, and what was denied before is seen here.
async fn look_again(hub: &Hub, link: &ClusterLink, cluster: &Arc<Cluster>) -> Result<(), (CloseCode, SessionError)> {
    if hub.directory.cluster_by_uid(&cluster.uid).is_none() {
        return Err((CloseCode::Revoked, SessionError::UnknownCluster(cluster.uid.to_string())));
    }
    if let Err(error) = external::holds(hub, &link.peer) {
        return Err((CloseCode::Unmapped, error.into()));
    }
    match revocation::check(hub, &link.peer) {
        Ok(()) => Ok(()),
        Err(denied) => Err((denied.close_code(), turned_away(hub, cluster, &link.peer, denied).await)),
    }
}

/// What follows from a refusal: a copy of a key locks its cluster.
async fn turned_away(hub: &Hub, cluster: &Arc<Cluster>, peer: &VerifiedPeer, denied: Denied) -> SessionError {
    if let Denied::Copied(_) = denied {
        Box::pin(revocation::copied(hub, cluster, peer, "dialled")).await;
    }
    SessionError::Denied { cluster: cluster.name.clone(), denied }
}

/// The peer's certificate is the one in use from now on, if it was the next one.
async fn came_into_use(hub: &Hub, cluster: &Cluster, peer: &VerifiedPeer, agent: &AgentInfo, now: OffsetDateTime) {
    if peer.external().is_some() {
        return Box::pin(external::shown(hub, cluster, peer, now)).await;
    }
    let (name, serial) = (&*cluster.name, peer.serial());
    match Box::pin(hub.directory.admit(peer, now)).await {
        Ok(Admitted::Current) => {}
        Ok(Admitted::Promoted) => {
            tracing::info!(cluster = name, %serial, "certificate came into use");
            hub.links.outdate(peer, &agent.instance);
        }
        Ok(Admitted::Adopted) => {
            hub.metrics.alert(Alert::Unrecorded);
            tracing::error!(
                event = "identity.unrecorded", cluster = name, %serial,
                "a genuine certificate was not recorded here: the hub was restored from an older backup, or another hub has its CA"
            );
        }
        // The link is served all the same: the next one with this certificate tries again.
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(cluster = name, %serial, error, "cannot store that a certificate came into use");
        }
    }
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

async fn run(hub: Arc<Hub>, link: Arc<ClusterLink>, mut control: Control, cluster: Arc<Cluster>) {
    let (hub, cluster) = (&*hub, &*cluster);
    let address = link.link.remote_address();
    tracing::info!(cluster = &*cluster.name, %address, agent = link.agent.version, instance = link.agent.instance, "agent connected");
    if let Some(ahead) = link.agent.clock_ahead.filter(|_| link.agent.clock_is_off()) {
        let ahead_s = ahead.whole_seconds();
        tracing::warn!(
            cluster = &*cluster.name,
            ahead_s,
            "the clock of the cluster's agent differs from the hub's; set it by NTP"
        );
    }
    Box::pin(rotation::linked(hub, cluster, link.made)).await;
    if !control.keys.is_empty() {
        // A live agent may show new keys beside those that are pinned; it cannot be the first to say which are.
        Box::pin(keys_shown(hub, cluster, &control.keys, false)).await;
        control.keys = Bytes::new();
    }
    let mut conversation = std::pin::pin!(converse(hub, &mut control, &link, cluster));
    let mut talks = true;
    let end = tokio::select! {
        biased;
        end = link.link.closed() => end,
        () = expiry(&link) => {
            link.cut(CloseCode::Expired, hub.links.expired(&link).to_owned());
            LinkEnd::Here
        }
        end = rotation::distrusted(hub, &link) => end,
        () = &mut conversation => {
            talks = false;
            link.link.close(CloseCode::Protocol);
            LinkEnd::Here
        }
        () = refuse_streams(&link.link) => link.link.end().unwrap_or(LinkEnd::Here),
    };
    let now = OffsetDateTime::now_utc();
    let why = link.cut_because();
    tracing::info!(cluster = &*cluster.name, %address, %end, why, streams = link.streams(), "agent disconnected");
    hub.links.unregister(&link, end, now);
    if talks {
        // It hears nothing more, and brings to its end what it is at: a certificate that is stored, a copy that locks its cluster.
        conversation.await;
    }
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
async fn converse(hub: &Hub, control: &mut Control, link: &ClusterLink, cluster: &Cluster) {
    let Control { send, recv, renews, counts, telling, .. } = control;
    let asking = Asking { hub, cluster, link, renews: *renews, counts: *counts };
    let (mut draining, mut outdated) = (false, false);
    loop {
        let frame = tokio::select! {
            biased;
            () = hub.draining.cancelled(), if !draining => {
                draining = true;
                say(send, Body::Drain(Drain { delay_ms: 0, grace_ms: millis(defaults::DRAIN) }));
                if send.flush().await.is_err() { return }
                continue;
            }
            () = telling.due() => {
                telling.say(hub, link, cluster).into_iter().for_each(|body| say(send, body));
                if send.flush().await.is_err() { return }
                continue;
            }
            items = allowances(link) => {
                say(send, Body::Allowances(Allowances { items }));
                if send.flush().await.is_err() { return }
                continue;
            }
            () = link.outdated.cancelled(), if !outdated => {
                outdated = true;
                let left = Duration::try_from(link.peer.not_after() - OffsetDateTime::now_utc()).unwrap_or(Duration::ZERO);
                say(send, Body::Drain(Drain { delay_ms: 0, grace_ms: millis(left) }));
                if send.flush().await.is_err() { return }
                continue;
            }
            frame = recv.frame() => frame,
        };
        let Ok(Some(Frame::Message(bytes))) = frame else { return };
        match Box::pin(asking.reply(bytes, telling)).await {
            Ok(Some(body)) => {
                say(send, body);
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

fn say(send: &mut SendHalf, body: Body) {
    send.queue_message(FrameKind::Message, &ControlMessage { body: Some(body) });
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hub has as many of these as clusters. Past 2,560 the allocator's next size is 3,072, and tokio adds what a task needs.
    #[test]
    fn what_an_idle_link_keeps_of_its_session_is_small() {
        fn size<A, B, C, D, F: Future>(_: impl Fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(run);
        assert!(size <= 2_400, "{size} bytes");
    }
}
