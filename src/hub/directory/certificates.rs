//! What was issued: shown, and forgotten some time after it ended, so that the store does not grow for ever.

use time::OffsetDateTime;

use super::{CertificateRecord, Directory, DirectoryError, RevokedCertificate, decode, deny::REVOKED, list};
use crate::{
    defaults,
    identity::Serial,
    store::{Expect, MAX_OPS, Op},
};

impl Directory {
    /// Everything that was issued and is still recorded, the oldest first.
    ///
    /// # Errors
    /// The store's.
    pub(in crate::hub) async fn certificates(&self) -> Result<Vec<CertificateRecord>, DirectoryError> {
        let listed = list::<CertificateRecord>(&*self.store, "certificates/").await?;
        let mut records: Vec<_> = listed.into_iter().map(|(_, record)| record).collect();
        records.sort_by_key(|record| (record.issued, record.not_after, record.serial));
        Ok(records)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`], or the store's.
    pub(in crate::hub) async fn certificate(&self, serial: Serial) -> Result<CertificateRecord, DirectoryError> {
        let key = format!("certificates/{serial}");
        let entry = self.store.get(key.as_bytes()).await?;
        let entry = entry.ok_or_else(|| DirectoryError::Missing(format!("certificate {serial}")))?;
        decode(&key, &entry.value)
    }

    /// Forgets certificates that ended [`defaults::CERTIFICATE_KEPT`] ago and more, revoked ones with them. The last one of a cluster that
    /// is still known stays: it says since when the agent has none. How many were forgotten.
    ///
    /// # Errors
    /// The store's; what is left is forgotten the next time.
    pub(in crate::hub) async fn forget_ended(&self, now: OffsetDateTime) -> Result<usize, DirectoryError> {
        let long_ended = |not_after: OffsetDateTime| not_after + defaults::CERTIFICATE_KEPT <= now;
        let mut gone = Vec::new();
        for (key, record) in list::<CertificateRecord>(&*self.store, "certificates/").await? {
            let known = self.cluster_by_uid(&record.cluster).is_some();
            let last = known && self.certificate_ends(&record.cluster) == Some(record.not_after);
            if long_ended(record.not_after) && !last {
                gone.push(key);
            }
        }
        for (key, revoked) in list::<RevokedCertificate>(&*self.store, REVOKED).await? {
            if long_ended(revoked.not_after) {
                gone.push(key);
            }
        }
        for keys in gone.chunks(MAX_OPS) {
            let ops = keys.iter().map(|key| Op::delete(key.clone(), Expect::Any)).collect();
            self.store.commit(ops).await.map_err(DirectoryError::Commit)?;
        }
        let external = self.forget_external(long_ended).await?;
        // What has ended is refused for that, and needs no place in memory; revoked keys stay refused as long as they are kept.
        self.write().ledger.forget(now, long_ended);
        Ok(gone.len() + external)
    }
}
