//! A rotation of the authorities, between its rules and the fleet: who is a member and what it showed, what each agent is told over its
//! link, and steps from request to effect.

use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::{
    Hub,
    directory::{Cluster, DirectoryError},
    links::ClusterLink,
    metrics::AuthorityLabels,
    pki::{Keys, Pair, StepError},
    serve::files,
};
use crate::{
    defaults,
    identity::{
        Authority, AuthorityKind, ClusterUid, SpkiSha256,
        rotation::{Generation, Member, Step},
    },
    transport::LinkEnd,
    wire::{
        CloseCode,
        generated::{Drain, RenewNow, TrustAck, TrustUpdate, control_message::Body},
    },
};

/// What a link was made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    /// The root that vouches for the agent's certificate.
    pub root: SpkiSha256,
    /// The root of what the hub presented, or of what it presented a moment before: then the agent is asked once too often to dial again.
    pub saw: SpkiSha256,
}

/// Every enrolled cluster, as a rotation sees it.
pub(super) fn members(hub: &Hub, keys: &Keys) -> Vec<Member> {
    let clusters = hub.directory.clusters();
    let told = hexadecimal(&keys.pins().hash());
    let enrolled = |uid: &ClusterUid| hub.directory.has_own_certificate(uid) || hub.directory.is_by_external(uid);
    clusters.iter().filter(|c| enrolled(&c.uid)).map(|c| member(hub, keys, &told, c)).collect()
}

/// One of them; `told` is what it acknowledges when it knows the roots of `keys`.
fn member(hub: &Hub, keys: &Keys, told: &str, cluster: &Cluster) -> Member {
    let known = hub.directory.roots(&cluster.uid);
    let external = hub.directory.is_by_external(&cluster.uid);
    let agents = |root: Option<SpkiSha256>| keys.generation(AuthorityKind::Agents, &root?);
    Member {
        uid: cluster.uid.to_string(),
        name: cluster.name.to_string(),
        live: hub.links.of(&cluster.uid).is_ok(),
        told: known.acked.as_deref() == Some(told),
        certified: agents(known.certified),
        linked: agents(known.linked),
        external,
        saw: known.saw.and_then(|root| keys.generation(AuthorityKind::Hub, &root)),
    }
}

/// Takes a step: agents and the hub's files follow, and who is trusted no more is cut.
pub(super) async fn step(hub: &Hub, step: &Step, seen: Option<u64>, by: &str) -> Result<(), StepError> {
    let before = hub.pki.keys().rotation.phase();
    let keys = hub.pki.step(step, seen, |keys| members(hub, keys), OffsetDateTime::now_utc()).await?;
    let rotation = &keys.rotation;
    tracing::info!(step = step.as_str(), from = %before, phase = %rotation.phase(), revision = rotation.revision(), by, "rotation of the authorities");
    if let Err(error) = files::publish_trust(hub) {
        let error = &error as &dyn std::error::Error;
        tracing::error!(
            error,
            "the files of the roots were not written: others read old ones until the next step or start"
        );
    }
    Ok(())
}

/// Ends when the root that vouches for a link's agent is trusted no more, and closes the link then. One whose agent has moved to a link that
/// is trusted may finish what it carries, as after every renewal, unless a key of that root is suspected.
pub(super) async fn distrusted(hub: &Hub, link: &ClusterLink) -> LinkEnd {
    let (mut changes, verifier) = (hub.pki.changes(), &hub.pki.verifier);
    let may_stay = || {
        let moved = || hub.links.is_replaced(link, |newer| verifier.trusts(&newer.made.root));
        verifier.trusts(&link.made.root) || (!hub.pki.is_severed(&link.made.root) && moved())
    };
    while may_stay() {
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
    tracing::warn!(cluster = %link.peer.cluster(), root = %link.made.root, "link cut: its certificate is of an authority that is trusted no more");
    let words = "the CA of the certificate of the link that it ran over is trusted no more: start it again once the agent is connected";
    link.cut(CloseCode::Revoked, words.to_owned());
    LinkEnd::Here
}

/// What the hub tells one agent about roots over one link: when it comes up, and whenever something else is in force.
pub(super) struct Telling {
    changes: watch::Receiver<()>,
    /// Both sides can.
    rotates: bool,
    renews: bool,
    roots: Option<[u8; 32]>,
    /// The revision at which it was last asked to renew.
    renewed: Option<u64>,
    /// Under which root it was last asked to dial again.
    moved: Option<SpkiSha256>,
}

impl Telling {
    /// For a link on which these capabilities were agreed.
    pub(super) fn new(hub: &Hub, rotates: bool, renews: bool) -> Self {
        let mut changes = hub.pki.changes();
        changes.mark_changed();
        Self { changes, rotates, renews, roots: None, renewed: None, moved: None }
    }

    /// Waits until there may be something to say.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn due(&mut self) {
        if !self.rotates || self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What there is to say now; each thing is said once.
    pub(super) fn say(&mut self, hub: &Hub, link: &ClusterLink, cluster: &Cluster) -> Vec<Body> {
        let (keys, mut bodies) = (hub.pki.keys(), Vec::new());
        let (hash, rotation) = (keys.pins().hash(), &keys.rotation);
        let member = member(hub, &keys, &hexadecimal(&hash), cluster);
        if self.roots != Some(hash) {
            self.roots = Some(hash);
            let pins = keys.pins().iter().map(|pin| Bytes::copy_from_slice(pin.as_bytes())).collect();
            bodies.push(Body::TrustUpdate(TrustUpdate { pins }));
        }
        let within = spread(hub.links.count());
        if self.renews && !member.is_on(rotation.signs()) && self.renewed != Some(rotation.revision()) {
            self.renewed = Some(rotation.revision());
            bodies.push(Body::RenewNow(RenewNow { within_ms: millis(within) }));
        }
        let presented = keys.hub().pin();
        // One that does not know the root would dial in vain, and not renew meanwhile.
        if member.told && link.made.saw != presented && self.moved != Some(presented) {
            self.moved = Some(presented);
            let left = link.peer.not_after() - OffsetDateTime::now_utc();
            let grace = Duration::try_from(left).unwrap_or(Duration::ZERO);
            bodies.push(Body::Drain(Drain { delay_ms: millis(within.mul_f64(chance())), grace_ms: millis(grace) }));
        }
        bodies
    }

    /// The agent keeps these roots. What follows from it is due.
    pub(super) async fn acknowledged(
        &mut self,
        hub: &Hub,
        cluster: &Cluster,
        ack: &TrustAck,
    ) -> Result<(), DirectoryError> {
        let Ok(hash) = <[u8; 32]>::try_from(&ack.hash[..]) else { return Ok(()) };
        let hash = hexadecimal(&hash);
        hub.directory.note_roots(&cluster.uid, |known| known.acked = Some(hash.clone())).await?;
        self.changes.mark_changed();
        Ok(())
    }
}

/// A certificate is about to be issued by the authority with this root: the agent may hold it from then on. A new identity (`fresh`) comes with
/// the roots of its settings, whatever the one before had acknowledged.
pub(super) async fn certified(
    hub: &Hub,
    cluster: &Cluster,
    root: SpkiSha256,
    fresh: bool,
) -> Result<(), DirectoryError> {
    let change = |known: &mut super::directory::RootsRecord| {
        known.certified = Some(root);
        if fresh {
            known.acked = None;
        }
    };
    hub.directory.note_roots(&cluster.uid, change).await
}

/// A link came up: that the cluster was seen is stored, and what the link was made with.
pub(super) async fn linked(hub: &Hub, cluster: &Cluster, made: Made) {
    let change = |known: &mut super::directory::RootsRecord| {
        (known.linked, known.saw) = (Some(made.root), Some(made.saw));
    };
    if let Err(error) = hub.directory.linked(&cluster.uid, OffsetDateTime::now_utc(), change).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(
            cluster = &*cluster.name,
            error,
            "cannot store that a cluster was seen, and what its link was made with: a rotation waits for the next one"
        );
    }
}

/// Over how long a fleet of so many links is spread.
fn spread(links: usize) -> Duration {
    Duration::from_secs(1) * u32::try_from(links).unwrap_or(u32::MAX) / defaults::ROTATION_RATE
}

/// Between 0 and 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system has randomness");
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn hexadecimal(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every authority that there is.
pub(super) fn authorities(keys: &Keys) -> impl Iterator<Item = (AuthorityKind, Generation, &Authority)> {
    let generations = [Generation::Current, Generation::Next].into_iter();
    let pairs = generations.filter_map(|g| keys.pair(g).map(|pair| (g, pair)));
    pairs.flat_map(|(g, Pair { agents, hub })| [(AuthorityKind::Agents, g, &**agents), (AuthorityKind::Hub, g, &**hub)])
}

/// A kind of authority in JSON and metrics.
pub(super) fn kind_word(kind: AuthorityKind) -> &'static str {
    match kind {
        AuthorityKind::Agents => "agents",
        AuthorityKind::Hub => "hub",
    }
}

/// A generation in JSON and metrics.
pub(super) fn generation_word(generation: Generation) -> &'static str {
    match generation {
        Generation::Current => "current",
        Generation::Next => "next",
    }
}

/// Brings the metrics of the authorities up to now.
pub(super) fn measure(hub: &Hub) {
    let keys = hub.pki.keys();
    let laggards = keys.rotation.laggards(&members(hub, &keys)).len();
    let ends = authorities(&keys).flat_map(|(kind, generation, authority)| {
        let (authority_word, generation) = (kind_word(kind), generation_word(generation));
        let of = |part| AuthorityLabels { authority: authority_word, generation, part };
        [(of("root"), authority.root_ends()), (of("issuing"), authority.issuing_ends())]
    });
    hub.metrics.ca.set(keys.rotation.phase(), laggards, ends);
}
