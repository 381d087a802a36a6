//! The deny list: clusters that are locked, certificates that were revoked. Kept in the store, answered from memory.

use std::sync::Arc;

use time::OffsetDateTime;

use super::{
    CertificateRecord, Directory, DirectoryError, ExternalCertificate, Lock, LockedBy, RevokedCertificate, RevokedKey,
    put,
};
use crate::{
    identity::{ClusterUid, Serial, SpkiSha256},
    store::{Expect, Op},
};

/// Below it are clusters, by uid.
pub(in crate::hub) const LOCKS: &str = "deny/clusters/";
/// Below it are certificates, by serial.
pub(super) const REVOKED: &str = "deny/certificates/";

/// Below it are keys of external certificates.
pub(super) const KEYS: &str = "deny/keys/";

impl Directory {
    /// The lock of a cluster.
    pub(in crate::hub) fn lock_of(&self, cluster: &ClusterUid) -> Option<Arc<Lock>> {
        self.read().ledger.locks.get(cluster).cloned()
    }

    /// That a certificate was revoked by itself.
    pub(in crate::hub) fn revoked_certificate(&self, serial: Serial) -> Option<Arc<RevokedCertificate>> {
        self.read().ledger.revoked.get(&serial).cloned()
    }

    /// Locks a cluster. One that is locked already stays so since then; an administrator's reason takes the place of the last.
    ///
    /// # Errors
    /// The store's.
    pub(in crate::hub) async fn lock(
        &self,
        cluster: &ClusterUid,
        by: LockedBy,
        reason: String,
        now: OffsetDateTime,
    ) -> Result<Arc<Lock>, DirectoryError> {
        let at = match self.lock_of(cluster) {
            Some(known) if by == LockedBy::CopiedKey => return Ok(known),
            Some(known) => known.at,
            None => now,
        };
        let lock = Lock { cluster: cluster.clone(), reason, by, at };
        self.commit(put(format!("{LOCKS}{cluster}"), &lock, Expect::Any)).await?;
        let lock = Arc::new(lock);
        self.write().ledger.locks.insert(cluster.clone(), lock.clone());
        Ok(lock)
    }

    /// Unlocks a cluster; what the lock was, if there was one.
    ///
    /// # Errors
    /// The store's.
    pub(in crate::hub) async fn unlock(&self, cluster: &ClusterUid) -> Result<Option<Arc<Lock>>, DirectoryError> {
        self.commit(Op::delete(format!("{LOCKS}{cluster}"), Expect::Any)).await?;
        Ok(self.write().ledger.locks.remove(cluster))
    }

    /// Revokes one certificate and its key.
    ///
    /// # Errors
    /// The store's.
    pub(in crate::hub) async fn revoke_certificate(
        &self,
        certificate: &CertificateRecord,
        by: String,
        reason: Option<String>,
        now: OffsetDateTime,
    ) -> Result<(), DirectoryError> {
        let CertificateRecord { serial, spki, cluster, not_after, .. } = certificate.clone();
        let revoked = RevokedCertificate { serial, spki, cluster, by, reason, at: now, not_after };
        self.commit(put(format!("{REVOKED}{serial}"), &revoked, Expect::Any)).await?;
        self.write().ledger.revoke(revoked);
        Ok(())
    }

    /// That a key of external certificates was revoked.
    pub(in crate::hub) fn revoked_key(&self, spki: &SpkiSha256) -> Option<Arc<RevokedKey>> {
        self.read().ledger.external_keys.get(spki).cloned()
    }

    /// Revokes the key of an external certificate, and with it whatever its CA signs for it.
    ///
    /// # Errors
    /// The store's.
    pub(in crate::hub) async fn revoke_key(
        &self,
        certificate: &ExternalCertificate,
        by: String,
        reason: Option<String>,
        now: OffsetDateTime,
    ) -> Result<(), DirectoryError> {
        let key = RevokedKey { spki: certificate.spki, cluster: certificate.cluster.clone(), by, reason, at: now };
        self.commit(put(format!("{KEYS}{}", key.spki), &key, Expect::Any)).await?;
        self.write().ledger.external_keys.insert(key.spki, Arc::new(key));
        Ok(())
    }

    async fn commit(&self, op: Op) -> Result<(), DirectoryError> {
        self.store.commit(vec![op]).await.map(drop).map_err(DirectoryError::Commit)
    }
}
