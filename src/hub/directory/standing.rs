//! Where certificates stand: enrolled, renewed, come into use, revoked with all of their cluster's. Each change is one compare-and-swap of
//! one record.

use std::sync::Arc;

use time::OffsetDateTime;

use super::{
    CertificateRecord, Directory, DirectoryError, JoinRecord, StandingRecord, decode, ledger::Denied, list, put,
};
use crate::{
    defaults,
    identity::{ClusterUid, Held, Position, RenewalRefused, SpkiSha256, Verdict, VerifiedPeer},
    store::{CommitError, Expect, MAX_OPS, Op, Revision},
};

/// Below it are standings, by the cluster's uid.
pub(super) const STANDINGS: &str = "standings/";

/// A change of a standing that is ready to be committed beside others.
pub(in crate::hub) struct Enrolling {
    pub(in crate::hub) op: Op,
    record: StandingRecord,
}

/// A link's certificate came into use, or was in use already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::hub) enum Admitted {
    /// Nothing changed.
    Current,
    /// What was next is current.
    Promoted,
    /// As [`Admitted::Promoted`], of a certificate that was not recorded.
    Adopted,
}

/// Why a certificate is not renewed.
#[derive(Debug, thiserror::Error)]
pub(in crate::hub) enum RenewError {
    /// Its cluster, certificate or key.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The request.
    #[error(transparent)]
    Refused(RenewalRefused),
    /// The key of another cluster's agent, or a revoked one.
    #[error("the key is another cluster's, or was revoked: make a new one")]
    Key,
    /// The agent speaks of another certificate than its link's.
    #[error("the request is about generation {asked}, the link's certificate is generation {held}")]
    Generation {
        /// What the agent says.
        asked: u64,
        /// What is recorded.
        held: u64,
    },
}

impl Directory {
    /// Whether a peer is let in and its link may stay, as of now. Waits for nothing.
    ///
    /// # Errors
    /// [`Denied`] says why not.
    pub(in crate::hub) fn judge(&self, peer: &VerifiedPeer, now: OffsetDateTime) -> Result<Verdict, Denied> {
        self.read().ledger.judge(peer, now)
    }

    /// What is recorded of a peer's certificate.
    pub(in crate::hub) fn held(&self, peer: &VerifiedPeer) -> Option<Held> {
        // What another CA issued may have the same serial.
        let own = peer.external().is_none();
        self.read().ledger.held(peer.serial()).filter(|_| own).map(|(_, held)| *held)
    }

    /// What is known of a cluster's certificates.
    pub(in crate::hub) fn standing(&self, cluster: &ClusterUid) -> Option<Arc<StandingRecord>> {
        self.read().ledger.standing(cluster).cloned()
    }

    /// A link with the peer's certificate is admitted: what was next comes into use.
    ///
    /// # Errors
    /// The store's. Nothing has changed then, and the next link tries again.
    pub(in crate::hub) async fn admit(
        &self,
        peer: &VerifiedPeer,
        now: OffsetDateTime,
    ) -> Result<Admitted, DirectoryError> {
        if peer.external().is_some() {
            return Ok(Admitted::Current);
        }
        let adopted = self.held(peer).is_none();
        for _ in 0..defaults::STANDING_RACES {
            let (expect, mut record) = self.stored_standing(peer.cluster()).await?;
            let (known, mut ops) = (self.held(peer), Vec::new());
            let mut certificate = None;
            let held = match known {
                Some(held) => held,
                None => {
                    let Some(position) = record.standing.adopt() else { return Ok(Admitted::Current) };
                    let adopted = CertificateRecord::adopted(peer, position);
                    ops.push(put(format!("certificates/{}", adopted.serial), &adopted, Expect::Any));
                    certificate.insert(adopted).held()
                }
            };
            if !record.standing.promote(&held, now) {
                return Ok(Admitted::Current);
            }
            ops.push(put(standing_key(peer.cluster()), &record, expect));
            match self.store.commit(ops).await {
                Ok(revision) => {
                    let mut memory = self.write();
                    certificate.iter().for_each(|certificate| memory.certified(certificate));
                    memory.ledger.stand(peer.cluster(), revision, record);
                    return Ok(if adopted { Admitted::Adopted } else { Admitted::Promoted });
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(DirectoryError::Commit(error)),
            }
        }
        Err(DirectoryError::Busy)
    }

    /// Gives a first certificate its place, to be committed with the rest of the enrolment; then [`Directory::enrolled`]. The same key
    /// keeps its place: its answer was lost.
    ///
    /// # Errors
    /// The store's.
    pub(in crate::hub) async fn enrolling(
        &self,
        certificate: &mut CertificateRecord,
    ) -> Result<Option<Enrolling>, DirectoryError> {
        let (expect, mut record) = self.stored_standing(&certificate.cluster).await?;
        let again = self.read().ledger.by_key(certificate.spki).map(|(_, held)| held.position);
        if let Some(position) = again.filter(|position| !record.standing.buries(*position)) {
            certificate.position = position;
            return Ok(None);
        }
        certificate.position = record.standing.enrol();
        Ok(Some(Enrolling { op: put(standing_key(&certificate.cluster), &record, expect), record }))
    }

    /// An enrolment was committed at `revision`.
    pub(in crate::hub) fn enrolled(
        &self,
        certificate: &CertificateRecord,
        enrolling: Option<Enrolling>,
        revision: Revision,
    ) {
        let mut memory = self.write();
        if let Some(Enrolling { record, .. }) = enrolling {
            memory.ledger.stand(&certificate.cluster, revision, record);
        }
        memory.certified(certificate);
    }

    /// Whether a key may have a first certificate of a cluster.
    ///
    /// # Errors
    /// A lock; a key that was revoked, or that another cluster has.
    pub(in crate::hub) fn may_enrol(&self, cluster: &ClusterUid, spki: SpkiSha256) -> Result<(), RenewError> {
        let memory = self.read();
        if let Some(lock) = memory.ledger.locks.get(cluster) {
            return Err(Denied::Locked(lock.clone()).into());
        }
        let elsewhere = memory.ledger.by_key(spki).is_some_and(|(other, _)| other != cluster);
        if elsewhere || memory.ledger.is_key_revoked(spki) { Err(RenewError::Key) } else { Ok(()) }
    }

    /// The place of the certificate that renews the peer's for the key `spki`; `generation` is what the agent says its own has, if it
    /// says it.
    ///
    /// # Errors
    /// See [`RenewError`].
    pub(in crate::hub) fn renewing(
        &self,
        peer: &VerifiedPeer,
        generation: Option<u64>,
        spki: SpkiSha256,
        now: OffsetDateTime,
    ) -> Result<Position, RenewError> {
        self.judge(peer, now).map(drop).or_else(|denied| match denied {
            // The rules below tell an old request from a copy.
            Denied::Late | Denied::Copied(_) => Ok(()),
            denied => Err(denied),
        })?;
        self.may_enrol(peer.cluster(), spki)?;
        let (Some(held), record) = (self.held(peer), self.standing(peer.cluster()).unwrap_or_default()) else {
            return Err(Denied::Unrecorded(peer.serial()).into());
        };
        if let Some(asked) = generation.filter(|asked| *asked != held.position.generation) {
            return Err(RenewError::Generation { asked, held: held.position.generation });
        }
        record.standing.successor(&held, spki, now).map_err(|refused| match refused {
            RenewalRefused::Standing(Verdict::Copied) => Denied::Copied(peer.serial()).into(),
            RenewalRefused::Standing(Verdict::Late) => Denied::Late.into(),
            refused => RenewError::Refused(refused),
        })
    }

    /// Kills every certificate of a cluster that was issued so far, and its join tokens.
    ///
    /// # Errors
    /// The store's.
    pub(in crate::hub) async fn revoke_certificates(
        &self,
        cluster: &ClusterUid,
        by: String,
        reason: Option<String>,
        now: OffsetDateTime,
    ) -> Result<(), DirectoryError> {
        // Before all else: their CA may sign for them again, and a later certificate is good.
        let shown = self.read().external.of_cluster(cluster);
        for certificate in shown.iter().filter(|certificate| certificate.not_after > now) {
            self.revoke_key(certificate, by.clone(), reason.clone(), now).await?;
        }
        for _ in 0..defaults::STANDING_RACES {
            let (expect, mut record) = self.stored_standing(cluster).await?;
            record.standing.revoke(now);
            (record.revoked_by, record.revoked_reason) = (Some(by.clone()), reason.clone());
            let mut ops = vec![put(standing_key(cluster), &record, expect)];
            for (key, join) in list::<JoinRecord>(&*self.store, "join/").await? {
                if join.cluster == *cluster && ops.len() < MAX_OPS {
                    ops.push(Op::delete(key, Expect::Any));
                }
            }
            match self.store.commit(ops).await {
                Ok(revision) => {
                    self.write().ledger.stand(cluster, revision, record);
                    return Ok(());
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(DirectoryError::Commit(error)),
            }
        }
        Err(DirectoryError::Busy)
    }

    /// What the store has, and what a change of it expects.
    async fn stored_standing(&self, cluster: &ClusterUid) -> Result<(Expect, StandingRecord), DirectoryError> {
        let key = standing_key(cluster);
        match self.store.get(key.as_bytes()).await? {
            Some(entry) => Ok((Expect::Revision(entry.revision), decode(&key, &entry.value)?)),
            None => Ok((Expect::Absent, StandingRecord::default())),
        }
    }
}

pub(super) fn standing_key(cluster: &ClusterUid) -> String {
    format!("{STANDINGS}{cluster}")
}
