//! External CAs of agents in force: who is let in by their word, and who goes when it no longer counts.

use time::OffsetDateTime;

use super::{
    Hub,
    directory::{Cluster, ExternalCa, ExternalError, MappedName},
    pki::PkiError,
    rotation,
};
use crate::{
    identity::{
        Role, SanName, SpiffeId, SpkiSha256, VerifiedPeer,
        verify::{ExternalRoot, ExternalVerifier, LONG_EXTERNAL_LIFE, PeerError, RootError, Vouched},
    },
    transport::LinkEnd,
    wire::CloseCode,
};

/// What a link's clients are told when its certificate stands for its cluster no more.
const UNMAPPED: &str = "the certificate of the cluster's agent is not mapped to the cluster any more";

/// An external CA or a name is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum RefusedExternal {
    /// The certificate.
    #[error("this certificate cannot be trusted for agents: {0}")]
    Root(#[from] RootError),
    /// The hub has it.
    #[error(
        "this key is {0} of this hub: an external CA has a key of its own, or whoever holds one of them could pass for the other"
    )]
    OwnKey(&'static str),
    /// A name of the hub's own kind.
    #[error("{0} is a name of this hub's own trust domain: there it stands for the cluster of that uid, or for none")]
    OwnName(SanName),
    /// What is known.
    #[error(transparent)]
    Known(#[from] ExternalError),
    /// The hub's own authorities.
    #[error("the hub cannot read its authorities now")]
    Pki(#[from] PkiError),
    /// rustls.
    #[error("the certificate cannot be used as a root")]
    Verifier,
}

/// Who the peer with this chain is, and which root vouches for it.
pub(super) fn identify(
    hub: &Hub,
    chain: &[rustls_pki_types::CertificateDer<'_>],
    now: OffsetDateTime,
) -> Result<(VerifiedPeer, SpkiSha256), PeerError> {
    match hub.pki.verifier.verify(chain, now)? {
        Vouched::Own(peer, root) => Ok((peer, root)),
        Vouched::External(peer) => {
            let peer = peer.mapped(|ca, name| hub.directory.cluster_named(ca, name))?;
            let root = peer.external().map(|external| external.root()).ok_or(PeerError::NotPinned)?;
            Ok((peer, root))
        }
    }
}

/// Whether what a live link's certificate says still makes it its cluster's. Costs look-ups, no signature.
pub(super) fn holds(hub: &Hub, peer: &VerifiedPeer) -> Result<(), PeerError> {
    let Some(external) = peer.external() else { return Ok(()) };
    let (cluster, _) = external.cluster(|ca, name| hub.directory.cluster_named(ca, name))?;
    if cluster == *peer.cluster() && hub.pki.verifier.trusts(&external.root()) {
        return Ok(());
    }
    Err(PeerError::NotPinned)
}

/// An agent with an external certificate was let in.
pub(super) async fn shown(hub: &Hub, cluster: &Cluster, peer: &VerifiedPeer, now: OffsetDateTime) {
    let Some(external) = peer.external() else { return };
    let (name, serial) = (&*cluster.name, peer.serial());
    match hub.directory.external_shown(peer, now).await {
        Ok(false) => {}
        Ok(true) => {
            let (ca, key, not_after) = (external.root(), peer.spki_sha256(), peer.not_after());
            tracing::info!(cluster = name, %serial, %key, %ca, %not_after, "certificate of an external CA came into use");
            if not_after - external.not_before() > LONG_EXTERNAL_LIFE {
                let days = (not_after - external.not_before()).whole_days();
                tracing::warn!(
                    cluster = name,
                    days,
                    "the certificate lives long: a copy of its key is good until it is revoked here or it ends"
                );
            }
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(cluster = name, %serial, error, "an external certificate that is in use cannot be recorded now");
        }
    }
}

/// Trusts what the directory says from the next handshake on.
pub(super) fn put_in_force(hub: &Hub) {
    let verifier = |ca: &ExternalCa| {
        let root = ExternalRoot::stored(&ca.pem).map_err(|error| error.to_string())?;
        ExternalVerifier::new(&root).map_err(|error| error.to_string())
    };
    let mut verifiers = Vec::new();
    for ca in hub.directory.external_cas() {
        match verifier(&ca) {
            Ok(verifier) => verifiers.push(verifier),
            Err(error) => {
                tracing::error!(ca = %ca.pin, error, "an external CA in the store cannot be used: its agents are refused")
            }
        }
    }
    hub.pki.verifier.replace_external(verifiers);
}

/// Trusts an external CA for agents.
pub(super) async fn add(hub: &Hub, pem: &str, by: String) -> Result<ExternalRoot, RefusedExternal> {
    let now = OffsetDateTime::now_utc();
    let root = ExternalRoot::from_pem(pem, now)?;
    if let Some(which) = own_key(hub, &root.pin(), now).await? {
        return Err(RefusedExternal::OwnKey(which));
    }
    ExternalVerifier::new(&root).map_err(|_| RefusedExternal::Verifier)?;
    hub.directory.add_external(ExternalCa { pin: root.pin(), pem: pem.to_owned(), at: now, by }).await?;
    put_in_force(hub);
    Ok(root)
}

/// What a key is to this hub, if it is one of its authorities', past ones included.
async fn own_key(hub: &Hub, pin: &SpkiSha256, now: OffsetDateTime) -> Result<Option<&'static str>, PkiError> {
    let keys = hub.pki.keys();
    for (_, _, authority) in rotation::authorities(&keys) {
        if authority.pin() == *pin || authority.issuing_pin() == *pin {
            return Ok(Some("that of an authority"));
        }
    }
    let distrusted = hub.pki.distrusted(now).await?.into_iter().any(|(past, _)| past == *pin);
    Ok(distrusted.then_some("that of an authority that was distrusted"))
}

/// Trusts it no more; how many links were closed by it.
pub(super) async fn remove(hub: &Hub, pin: &SpkiSha256) -> Result<usize, RefusedExternal> {
    let removed = hub.directory.remove_external(pin).await;
    // Whatever failed after its record was gone: it is not trusted.
    put_in_force(hub);
    let cut = cut_unmapped(hub);
    removed?;
    Ok(cut)
}

/// Maps a name to a cluster; how many links were closed by it, for a certificate may have two names.
pub(super) async fn map(
    hub: &Hub,
    cluster: &Cluster,
    ca: SpkiSha256,
    name: SanName,
    by: String,
) -> Result<usize, RefusedExternal> {
    let own = name.as_uri().and_then(|uri| uri.parse::<SpiffeId>().ok());
    let domain = hub.pki.agents().trust_domain().clone();
    if own.is_some_and(|id| id.trust_domain == domain && id.role != Role::Cluster(cluster.uid.clone())) {
        return Err(RefusedExternal::OwnName(name));
    }
    let (at, cluster) = (OffsetDateTime::now_utc(), cluster.uid.clone());
    hub.directory.map_name(MappedName { ca, name, cluster, at, by }).await?;
    Ok(cut_unmapped(hub))
}

/// A name stands for a cluster no more; how many links were closed by it.
pub(super) async fn unmap(
    hub: &Hub,
    cluster: &Cluster,
    ca: &SpkiSha256,
    name: &SanName,
) -> Result<usize, RefusedExternal> {
    hub.directory.unmap_name(ca, name, cluster).await?;
    Ok(cut_unmapped(hub))
}

/// Closes every link whose certificate does not make it its cluster's any more.
fn cut_unmapped(hub: &Hub) -> usize {
    let mut cut = 0;
    for link in hub.links.all() {
        if holds(hub, &link.peer).is_err() {
            link.cut(CloseCode::Unmapped, UNMAPPED.to_owned());
            cut += usize::from(link.link.end() == Some(LinkEnd::Here));
        }
    }
    hub.metrics.cut_links(cut);
    cut
}
