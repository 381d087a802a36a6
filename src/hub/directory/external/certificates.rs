//! The certificates of external CAs that were shown and let in: recorded by their keys, forgotten some time after they ended.

use std::sync::Arc;

use time::OffsetDateTime;

use super::{CERTIFICATES, Directory, ExternalCertificate};
use crate::{
    defaults,
    hub::directory::{DirectoryError, put},
    identity::{ClusterUid, SpkiSha256, VerifiedPeer},
    store::{Expect, MAX_OPS, Op},
};

impl Directory {
    /// An agent with an external certificate was let in: its certificate is recorded. True if it is another one than before.
    ///
    /// # Errors
    /// The store's; the next link tries again.
    pub(in crate::hub) async fn external_shown(
        &self,
        peer: &VerifiedPeer,
        now: OffsetDateTime,
    ) -> Result<bool, DirectoryError> {
        let Some(external) = peer.external() else { return Ok(false) };
        let certificate = ExternalCertificate {
            cluster: peer.cluster().clone(),
            ca: external.root(),
            names: external.names().iter().take(defaults::EXTERNAL_NAMES).map(ToString::to_string).collect(),
            serial: peer.serial(),
            spki: peer.spki_sha256(),
            not_before: external.not_before(),
            not_after: peer.not_after(),
            since: now,
        };
        {
            let memory = self.read();
            let in_use = memory.in_use_external(peer.cluster());
            if in_use.is_some_and(|known| ExternalCertificate { since: known.since, ..certificate.clone() } == **known)
            {
                return Ok(false);
            }
        }
        self.commit_external(vec![put(certificate_key(&certificate.spki), &certificate, Expect::Any)]).await?;
        self.write().external.shown(certificate);
        Ok(true)
    }

    /// The external certificate that a cluster's agent showed last.
    pub(in crate::hub) fn external_certificate(&self, cluster: &ClusterUid) -> Option<Arc<ExternalCertificate>> {
        self.read().external.newest_of(cluster).cloned()
    }

    /// Every external certificate that is recorded, in the order in which they were shown.
    pub(in crate::hub) fn external_certificates(&self) -> Vec<Arc<ExternalCertificate>> {
        let mut all: Vec<_> = self.read().external.certificates.values().cloned().collect();
        all.sort_by_key(|certificate| (certificate.since, certificate.spki));
        all
    }

    /// The recorded external certificate of a key.
    pub(in crate::hub) fn external_by_key(&self, spki: &SpkiSha256) -> Option<Arc<ExternalCertificate>> {
        self.read().external.certificates.get(spki).cloned()
    }

    /// Whether the certificates of its cluster were revoked after this one was issued.
    pub(in crate::hub) fn was_revoked_since(&self, shown: &ExternalCertificate) -> bool {
        let standing = self.standing(&shown.cluster);
        standing.and_then(|record| record.standing.revoked_at()).is_some_and(|at| shown.not_before <= at)
    }

    /// As [`Directory::forget_ended`], of external certificates.
    ///
    /// # Errors
    /// The store's; what is left is forgotten the next time.
    pub(in crate::hub::directory) async fn forget_external(
        &self,
        long_ended: impl Fn(OffsetDateTime) -> bool,
    ) -> Result<usize, DirectoryError> {
        let last = |c: &ExternalCertificate| {
            let newest = self.external_certificate(&c.cluster).is_some_and(|newest| newest.spki == c.spki);
            newest && self.cluster_by_uid(&c.cluster).is_some()
        };
        let gone: Vec<_> =
            self.external_certificates().into_iter().filter(|c| long_ended(c.not_after) && !last(c)).collect();
        for some in gone.chunks(MAX_OPS) {
            let ops = some.iter().map(|c| Op::delete(certificate_key(&c.spki), Expect::Any)).collect();
            self.commit_external(ops).await?;
        }
        let mut memory = self.write();
        for certificate in &gone {
            memory.external.certificates.remove(&certificate.spki);
        }
        Ok(gone.len())
    }
}

fn certificate_key(spki: &SpkiSha256) -> String {
    format!("{CERTIFICATES}{spki}")
}
