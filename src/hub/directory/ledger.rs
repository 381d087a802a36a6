//! What is denied and where certificates stand, in memory: it answers on every handshake, so it never waits for the store.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use time::OffsetDateTime;

use super::{
    CertificateRecord, DirectoryError,
    deny::{KEYS, LOCKS, REVOKED},
    list,
    records::{Lock, RevokedCertificate, RevokedKey, StandingRecord},
    standing::STANDINGS,
};
use crate::{
    identity::{ClusterUid, Held, Serial, SpkiSha256, Verdict, VerifiedPeer},
    store::{Revision, Store},
    wire::CloseCode,
};

/// Why an agent is not let in, or its link is cut.
#[derive(Clone, Debug, thiserror::Error)]
pub(in crate::hub) enum Denied {
    /// By an administrator, or by the hub.
    #[error("the cluster is locked: {}", .0.reason)]
    Locked(Arc<Lock>),
    /// The certificates of the cluster.
    #[error("the cluster's certificates were revoked{}", .0.as_ref().map_or(String::new(), |why| format!(": {why}")))]
    ClusterRevoked(Option<String>),
    /// The certificate, or its key.
    #[error("certificate {0} was revoked")]
    CertificateRevoked(Serial),
    /// The key of a certificate of an external CA.
    #[error("the key {0} was revoked")]
    KeyRevoked(SpkiSha256),
    /// A restored hub cannot tell whether it is revoked.
    #[error("certificate {0} is not recorded here, and the cluster's certificates were revoked once")]
    Unrecorded(Serial),
    /// Another agent has joined since.
    #[error("another agent of the cluster has joined since")]
    Replaced,
    /// Sent before its successor came into use.
    #[error("the certificate was replaced moments ago")]
    Late,
    /// Its successor is in use for longer than that.
    #[error("certificate {0} was shown after its successor came into use: there is a copy of the agent's key")]
    Copied(Serial),
}

impl Denied {
    /// What the agent is told. No `_` arm.
    pub(in crate::hub) fn close_code(&self) -> CloseCode {
        match self {
            // A copy locks the cluster: the agent hears what follows from it.
            Self::Locked(_) | Self::Copied(_) => CloseCode::Locked,
            Self::ClusterRevoked(_)
            | Self::CertificateRevoked(_)
            | Self::KeyRevoked(_)
            | Self::Unrecorded(_)
            | Self::Replaced => CloseCode::Revoked,
            Self::Late => CloseCode::Superseded,
        }
    }

    /// Whether a link that is up must go. A spent certificate's may serve on until its successor's link has taken over.
    pub(in crate::hub) fn cuts_live_links(&self) -> bool {
        match self {
            Self::Locked(_)
            | Self::ClusterRevoked(_)
            | Self::CertificateRevoked(_)
            | Self::KeyRevoked(_)
            | Self::Unrecorded(_) => true,
            Self::Replaced | Self::Late | Self::Copied(_) => false,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) locks: HashMap<ClusterUid, Arc<Lock>>,
    pub(super) revoked: HashMap<Serial, Arc<RevokedCertificate>>,
    revoked_keys: HashSet<SpkiSha256>,
    /// Keys of external certificates.
    pub(super) external_keys: HashMap<SpkiSha256, Arc<RevokedKey>>,
    standings: HashMap<ClusterUid, (Revision, Arc<StandingRecord>)>,
    /// Certificates that have not ended.
    issued: HashMap<Serial, (ClusterUid, Held)>,
    /// The last of each key.
    keys: HashMap<SpkiSha256, Serial>,
}

impl Ledger {
    /// Reads what is denied and where certificates stand.
    pub(super) async fn load(&mut self, store: &dyn Store) -> Result<(), DirectoryError> {
        for (_, lock) in list::<Lock>(store, LOCKS).await? {
            self.locks.insert(lock.cluster.clone(), Arc::new(lock));
        }
        for (_, revoked) in list::<RevokedCertificate>(store, REVOKED).await? {
            self.revoke(revoked);
        }
        for (_, key) in list::<RevokedKey>(store, KEYS).await? {
            self.external_keys.insert(key.spki, Arc::new(key));
        }
        for (key, record) in list::<StandingRecord>(store, STANDINGS).await? {
            if let Ok(uid) = key.trim_start_matches(STANDINGS).parse() {
                // Whatever is committed from now on is later.
                self.stand(&uid, Revision::ZERO, record);
            }
        }
        Ok(())
    }

    pub(super) fn issued(&mut self, record: &CertificateRecord) {
        self.issued.insert(record.serial, (record.cluster.clone(), record.held()));
        self.keys.insert(record.spki, record.serial);
    }

    pub(super) fn revoke(&mut self, revoked: RevokedCertificate) {
        self.revoked_keys.insert(revoked.spki);
        self.revoked.insert(revoked.serial, Arc::new(revoked));
    }

    /// Keeps a standing, unless a later one is known: commits may come back in another order than they were made.
    pub(super) fn stand(&mut self, cluster: &ClusterUid, revision: Revision, record: StandingRecord) {
        let known = self.standings.entry(cluster.clone()).or_default();
        if revision >= known.0 {
            *known = (revision, Arc::new(record));
        }
    }

    pub(super) fn standing(&self, cluster: &ClusterUid) -> Option<&Arc<StandingRecord>> {
        self.standings.get(cluster).map(|(_, record)| record)
    }

    /// A certificate that has not ended.
    pub(super) fn held(&self, serial: Serial) -> Option<&(ClusterUid, Held)> {
        self.issued.get(&serial)
    }

    /// The place of a key's certificate, and whose it is.
    pub(super) fn by_key(&self, spki: SpkiSha256) -> Option<&(ClusterUid, Held)> {
        self.issued.get(self.keys.get(&spki)?)
    }

    pub(super) fn is_key_revoked(&self, spki: SpkiSha256) -> bool {
        self.revoked_keys.contains(&spki) || self.external_keys.contains_key(&spki)
    }

    /// Forgets certificates that have ended, and revoked ones for which that is long ago.
    pub(super) fn forget(&mut self, now: OffsetDateTime, long_ended: impl Fn(OffsetDateTime) -> bool) {
        self.issued.retain(|_, (_, held)| held.not_after > now);
        self.keys.retain(|_, serial| self.issued.contains_key(serial));
        self.revoked.retain(|_, revoked| !long_ended(revoked.not_after));
        self.revoked_keys = self.revoked.values().map(|revoked| revoked.spki).collect();
    }

    /// Forgets a cluster that was removed; its certificates end by themselves.
    pub(super) fn forget_cluster(&mut self, cluster: &ClusterUid) {
        self.locks.remove(cluster);
        self.standings.remove(cluster);
    }

    /// What a peer's certificate means now, or why it is refused.
    pub(super) fn judge(&self, peer: &VerifiedPeer, now: OffsetDateTime) -> Result<Verdict, Denied> {
        if let Some(lock) = self.locks.get(peer.cluster()) {
            return Err(Denied::Locked(lock.clone()));
        }
        if let Some(external) = peer.external() {
            return self.judge_external(peer, external.not_before());
        }
        let serial = peer.serial();
        if self.revoked.contains_key(&serial) || self.is_key_revoked(peer.spki_sha256()) {
            return Err(Denied::CertificateRevoked(serial));
        }
        let Some(record) = self.standing(peer.cluster()) else { return Ok(Verdict::Next) };
        let held = match self.issued.get(&serial) {
            Some((_, held)) => *held,
            None => match record.standing.adopt() {
                Some(_) => return Ok(Verdict::Next),
                None => return Err(Denied::Unrecorded(serial)),
            },
        };
        match record.standing.judge(&held, now) {
            verdict @ (Verdict::Current | Verdict::Next) => Ok(verdict),
            Verdict::Late => Err(Denied::Late),
            Verdict::Copied => Err(Denied::Copied(serial)),
            Verdict::Replaced => Err(Denied::Replaced),
            Verdict::Revoked => Err(Denied::ClusterRevoked(record.revoked_reason.clone())),
        }
    }

    /// A certificate of an external CA: its serial may be one of ours by chance, it stands in no line of renewals, and that its predecessor
    /// is spent nobody says. It is dead if its key is, or if it was issued before the cluster's certificates were revoked.
    fn judge_external(&self, peer: &VerifiedPeer, not_before: OffsetDateTime) -> Result<Verdict, Denied> {
        let revoked = self.standing(peer.cluster()).filter(|record| {
            let at = record.standing.revoked_at();
            at.is_some_and(|at| not_before <= at)
        });
        if let Some(record) = revoked {
            return Err(Denied::ClusterRevoked(record.revoked_reason.clone()));
        }
        let spki = peer.spki_sha256();
        if self.is_key_revoked(spki) { Err(Denied::KeyRevoked(spki)) } else { Ok(Verdict::Current) }
    }
}
