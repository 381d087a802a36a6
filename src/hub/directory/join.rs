//! Certificates: the uses of join tokens, and what was issued. Recorded before anything leaves the hub.

use std::sync::Arc;

use time::OffsetDateTime;

use super::{CertificateRecord, Cluster, Directory, DirectoryError, JoinRecord, Use, decode, put};
use crate::{
    defaults,
    identity::{SecretHash, SpkiSha256, Token},
    store::{CommitError, Expect},
};

/// A join token was not accepted. One text for every reason: the reason is in the hub's log only.
#[derive(Debug, thiserror::Error)]
pub(in crate::hub) enum JoinError {
    /// Unknown, wrong, used or expired.
    #[error(
        "the join token is not valid: it may be mistyped, used or expired; make a new one with `roadstead cluster add`"
    )]
    Refused(&'static str),
    /// The store failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl Directory {
    /// Uses up a join token for a key, and records the certificate that will be issued, in one commit.
    ///
    /// The same key may come again for [`defaults::JOIN_RETRY`]: an answer may be lost.
    ///
    /// # Errors
    /// [`JoinError::Refused`] with the reason for the log.
    pub(in crate::hub) async fn join(
        &self,
        token: &Token,
        spki: SpkiSha256,
        issue: impl FnOnce(&Cluster) -> Result<CertificateRecord, DirectoryError>,
        now: OffsetDateTime,
    ) -> Result<Arc<Cluster>, JoinError> {
        let key = format!("join/{}", token.id());
        let entry = self.store.get(key.as_bytes()).await.map_err(DirectoryError::from)?;
        let record = entry.as_ref().map(|e| decode::<JoinRecord>(&key, &e.value)).transpose()?;
        let right = SecretHash::verify(record.as_ref().map(|r| &r.hash), token);
        let (Some(entry), Some(mut record), true) = (entry, record, right) else {
            return Err(JoinError::Refused("unknown id or wrong secret"));
        };
        record.use_by(spki, now)?;
        let cluster = self.cluster_by_uid(&record.cluster).ok_or(JoinError::Refused("its cluster was removed"))?;
        let certificate = issue(&cluster)?;
        let ops = vec![
            put(key, &record, Expect::Revision(entry.revision)),
            put(format!("certificates/{}", certificate.serial), &certificate, Expect::Absent),
        ];
        match self.store.commit(ops).await {
            Ok(_) => {
                self.write().certified(&certificate);
                Ok(cluster)
            }
            Err(CommitError::Conflict { .. }) => Err(JoinError::Refused("used by another agent at the same moment")),
            Err(error) => Err(DirectoryError::Commit(error).into()),
        }
    }

    /// Records a certificate before it leaves the hub.
    ///
    /// # Errors
    /// The store's.
    pub(in crate::hub) async fn record_certificate(
        &self,
        certificate: &CertificateRecord,
    ) -> Result<(), DirectoryError> {
        let op = put(format!("certificates/{}", certificate.serial), certificate, Expect::Absent);
        self.store.commit(vec![op]).await.map_err(DirectoryError::Commit)?;
        self.write().certified(certificate);
        Ok(())
    }
}

impl JoinRecord {
    fn use_by(&mut self, spki: SpkiSha256, now: OffsetDateTime) -> Result<(), JoinError> {
        match &self.used {
            Some(used) if used.spki != spki => Err(JoinError::Refused("used by another key")),
            Some(used) if now >= used.at + defaults::JOIN_RETRY => Err(JoinError::Refused("used")),
            Some(_) => Ok(()),
            None if now >= self.expires => Err(JoinError::Refused("expired")),
            None => {
                self.used = Some(Use { spki, at: now });
                Ok(())
            }
        }
    }
}
