//! What follows when a cluster or a certificate is denied: links that are up go at once, their streams with words that name the reason.
//! The rules are the directory's; this acts on them.

use std::sync::Arc;

use time::OffsetDateTime;

use super::{
    Hub,
    directory::{CertificateRecord, Cluster, Denied, DirectoryError, ExternalCertificate, LockedBy},
    metrics::Alert,
};
use crate::{defaults, identity::VerifiedPeer, transport::LinkEnd, wire::CloseCode};

/// Locks a cluster on an administrator's word. How many links were closed by it.
///
/// # Errors
/// The store's; nothing has changed then.
pub(super) async fn lock(hub: &Hub, cluster: &Cluster, by: String, reason: String) -> Result<usize, DirectoryError> {
    hub.directory.lock(&cluster.uid, LockedBy::Admin(by), reason, OffsetDateTime::now_utc()).await?;
    Ok(cut_denied(hub, cluster))
}

/// Kills every certificate of a cluster that was issued so far. How many links were closed by it.
///
/// # Errors
/// The store's; nothing has changed then.
pub(super) async fn revoke_cluster(
    hub: &Hub,
    cluster: &Cluster,
    by: String,
    reason: Option<String>,
) -> Result<usize, DirectoryError> {
    hub.directory.revoke_certificates(&cluster.uid, by, reason, OffsetDateTime::now_utc()).await?;
    Ok(cut_denied(hub, cluster))
}

/// Kills one certificate and its key. How many links were closed by it.
///
/// # Errors
/// The store's; nothing has changed then.
pub(super) async fn revoke_certificate(
    hub: &Hub,
    certificate: &CertificateRecord,
    by: String,
    reason: Option<String>,
) -> Result<usize, DirectoryError> {
    hub.directory.revoke_certificate(certificate, by, reason, OffsetDateTime::now_utc()).await?;
    let cluster = hub.directory.cluster_by_uid(&certificate.cluster);
    Ok(cluster.map_or(0, |cluster| cut_denied(hub, &cluster)))
}

/// Kills the key of an external certificate, whatever its CA still signs for it. How many links were closed by it.
///
/// # Errors
/// The store's; nothing has changed then.
pub(super) async fn revoke_key(
    hub: &Hub,
    certificate: &ExternalCertificate,
    by: String,
    reason: Option<String>,
) -> Result<usize, DirectoryError> {
    hub.directory.revoke_key(certificate, by, reason, OffsetDateTime::now_utc()).await?;
    // It may have been shown as another cluster's before.
    Ok(hub.directory.clusters().iter().map(|cluster| cut_denied(hub, cluster)).sum())
}

/// Closes the links of a cluster that was removed, and forgets it.
pub(super) fn removed(hub: &Hub, cluster: &Cluster) {
    for link in hub.links.all_of(&cluster.uid) {
        link.cut(CloseCode::Revoked, "the cluster was removed from the hub".to_owned());
        hub.links.unregister(&link, LinkEnd::Here, OffsetDateTime::now_utc());
    }
    hub.links.forget(&cluster.uid);
}

/// A spent certificate was shown: nobody can tell which of two holders is the thief, so both are out until somebody decides.
pub(super) async fn copied(hub: &Hub, cluster: &Cluster, peer: &VerifiedPeer, shown: &str) {
    let (uid, serial, now) = (&cluster.uid, peer.serial(), OffsetDateTime::now_utc());
    let reason =
        format!("certificate {serial} {shown} after its successor came into use: there is a copy of the agent's key");
    hub.metrics.alert(Alert::CopiedKey);
    tracing::error!(
        event = "identity.copied",
        cluster = &*cluster.name, %uid, %serial, shown,
        "a copy of an agent's key is in use: the cluster is locked; its agent's Secret was copied, or restored from a backup"
    );
    if let Err(error) = hub.directory.lock(uid, LockedBy::CopiedKey, reason, now).await {
        // The certificate itself stays refused all the same.
        let error = &error as &dyn std::error::Error;
        tracing::error!(cluster = &*cluster.name, error, "the lock cannot be stored: the cluster is not locked");
        return;
    }
    cut_denied(hub, cluster);
}

/// Closes every link of a cluster that would not be let in any more, and says how many.
fn cut_denied(hub: &Hub, cluster: &Cluster) -> usize {
    let now = OffsetDateTime::now_utc();
    let mut cut = 0;
    for link in hub.links.all_of(&cluster.uid) {
        let Err(denied) = hub.directory.judge(&link.peer, now) else { continue };
        if denied.cuts_live_links() {
            link.cut(denied.close_code(), denied.to_string());
            cut += usize::from(link.link.end() == Some(LinkEnd::Here));
        }
    }
    hub.metrics.cut_links(cut);
    cut
}

/// What a link's certificate has come to, if the link must not be served.
pub(super) fn check(hub: &Hub, peer: &VerifiedPeer) -> Result<(), Denied> {
    hub.directory.judge(peer, OffsetDateTime::now_utc()).map(drop)
}

/// Forgets certificates that ended long ago, now and then.
pub(super) async fn forget_ended(hub: &Arc<Hub>) {
    loop {
        tokio::time::sleep(defaults::FORGET_CERTIFICATES).await;
        match hub.directory.forget_ended(OffsetDateTime::now_utc()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "records of certificates that ended long ago were removed"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "records of certificates that ended cannot be removed now");
            }
        }
    }
}
