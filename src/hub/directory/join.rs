//! Certificates: the uses of join tokens, and what was issued. Recorded before anything leaves the hub.

use std::{net::IpAddr, sync::Arc};

use time::OffsetDateTime;

use super::{CertificateRecord, Cluster, Directory, DirectoryError, JoinRecord, RenewError, Use, decode, put};
use crate::{
    defaults,
    identity::{SecretHash, SpkiSha256, Token},
    store::{CommitError, Expect, Op},
};

/// A join token was not accepted. One text for every reason: the reason is in the hub's log only.
#[derive(Debug, thiserror::Error)]
pub(in crate::hub) enum JoinError {
    /// Unknown, wrong, used, expired, or not for this address.
    #[error(
        "the join token is not valid: it may be mistyped, used, revoked, expired or bound to other addresses; make a new one with `roadstead cluster token create`"
    )]
    Refused(&'static str),
    /// The token is right, but the cluster is locked, or the key may not be used.
    #[error("the cluster cannot be joined now: {0}")]
    Denied(#[source] RenewError),
    /// The store failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// An agent that comes with a join token.
#[derive(Debug)]
pub(in crate::hub) struct Joining<'a> {
    /// The token, whose secret is not checked yet.
    pub token: &'a Token,
    /// The key that wants a certificate.
    pub spki: SpkiSha256,
    /// Whence it comes.
    pub from: IpAddr,
    /// When.
    pub now: OffsetDateTime,
}

impl Directory {
    /// Uses up a join token for a key, and records the certificate that will be issued, in one commit.
    ///
    /// The same key may come again for [`defaults::JOIN_RETRY`]: an answer may be lost. Where several keys may use the token and come at
    /// once, each is looked at again after the one that was faster.
    ///
    /// # Errors
    /// [`JoinError::Refused`] with the reason for the log.
    pub(in crate::hub) async fn join(
        &self,
        joining: &Joining<'_>,
        mut issue: impl FnMut(&Cluster) -> Result<CertificateRecord, DirectoryError>,
    ) -> Result<Arc<Cluster>, JoinError> {
        let key = format!("join/{}", joining.token.id());
        for _ in 0..defaults::JOIN_RACES {
            let entry = self.store.get(key.as_bytes()).await.map_err(DirectoryError::from)?;
            let record = entry.as_ref().map(|e| decode::<JoinRecord>(&key, &e.value)).transpose()?;
            let right = SecretHash::verify(record.as_ref().map(|r| &r.hash), joining.token);
            let (Some(entry), Some(mut record), true) = (entry, record, right) else {
                return Err(JoinError::Refused("unknown id or wrong secret"));
            };
            let used = record.use_by(joining)?;
            let cluster = self.cluster_by_uid(&record.cluster).ok_or(JoinError::Refused("its cluster was removed"))?;
            self.may_enrol(&cluster.uid, joining.spki).map_err(JoinError::Denied)?;
            let mut certificate = issue(&cluster)?;
            let enrolling = self.enrolling(&mut certificate).await?;
            let seen = Expect::Revision(entry.revision);
            let mut ops = vec![
                match used {
                    Used::New => put(key.clone(), &record, seen),
                    // Nothing to write: many that come again at once are not in each other's way.
                    Used::Again => Op::check(key.clone(), seen),
                },
                put(format!("certificates/{}", certificate.serial), &certificate, Expect::Absent),
            ];
            ops.extend(enrolling.iter().map(|enrolling| enrolling.op.clone()));
            match self.store.commit(ops).await {
                Ok(revision) => {
                    self.enrolled(&certificate, enrolling, revision);
                    return Ok(cluster);
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(DirectoryError::Commit(error).into()),
            }
        }
        Err(JoinError::Refused("used by others at the same moment"))
    }

    /// Records the certificate of an agent that proved itself without a token, with its place among its cluster's.
    ///
    /// # Errors
    /// [`JoinError::Denied`] where the cluster is locked or the key may not be used; or the store's.
    pub(in crate::hub) async fn enrol_proven(&self, mut certificate: CertificateRecord) -> Result<(), JoinError> {
        for _ in 0..defaults::JOIN_RACES {
            self.may_enrol(&certificate.cluster, certificate.spki).map_err(JoinError::Denied)?;
            let enrolling = self.enrolling(&mut certificate).await?;
            let mut ops = vec![put(format!("certificates/{}", certificate.serial), &certificate, Expect::Absent)];
            ops.extend(enrolling.iter().map(|enrolling| enrolling.op.clone()));
            match self.store.commit(ops).await {
                Ok(revision) => {
                    self.enrolled(&certificate, enrolling, revision);
                    return Ok(());
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(DirectoryError::Commit(error).into()),
            }
        }
        Err(DirectoryError::Busy.into())
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

/// A use of a token that is granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Used {
    /// It stands in the record now.
    New,
    /// It stood there before: an answer was lost.
    Again,
}

impl JoinRecord {
    fn use_by(&mut self, joining: &Joining<'_>) -> Result<Used, JoinError> {
        let Joining { spki, from, now, .. } = *joining;
        if !self.sources.is_empty() && !self.sources.iter().any(|range| range.contains(from)) {
            return Err(JoinError::Refused("not from an address that it is bound to"));
        }
        // An answer that was lost is given again, even of a token that expired meanwhile.
        if self.uses().any(|used| used.spki == spki && now < used.at + defaults::JOIN_RETRY) {
            return Ok(Used::Again);
        }
        if now >= self.expires {
            return Err(JoinError::Refused("expired"));
        }
        if !self.is_open(now) {
            let again = self.uses().any(|used| used.spki == spki);
            return Err(JoinError::Refused(if again { "used" } else { "used by another key" }));
        }
        let by = Use { spki, at: now, from: Some(from) };
        match &self.used {
            None => self.used = Some(by),
            Some(_) => self.more.push(by),
        }
        Ok(Used::New)
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, macros::datetime};

    use super::*;
    use crate::{hub::directory::JoinWish, identity::ClusterUid};

    const NOW: OffsetDateTime = datetime!(2026-11-25 12:00 UTC);

    fn key(name: &str) -> SpkiSha256 {
        SpkiSha256::of(name.as_bytes())
    }

    fn record(max_uses: u32, sources: &[&str]) -> (Token, JoinRecord) {
        let sources = sources.iter().map(|range| range.parse().unwrap()).collect();
        let wish = JoinWish { ttl: Duration::HOUR, max_uses, sources, by: "token:admin".to_owned() };
        wish.token_for(&ClusterUid::generate(NOW), NOW)
    }

    /// Why `name` is refused, so many seconds after the token was made.
    fn refused(record: &mut JoinRecord, name: &str, from: &str, after: i64) -> Option<&'static str> {
        let token = Token::generate(crate::identity::TokenKind::Join);
        let now = NOW + Duration::seconds(after);
        let joining = Joining { token: &token, spki: key(name), from: from.parse().unwrap(), now };
        match record.use_by(&joining) {
            Ok(_) => None,
            Err(JoinError::Refused(why)) => Some(why),
            Err(JoinError::Denied(error)) => panic!("{error}"),
            Err(JoinError::Directory(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn a_token_of_one_use_is_for_one_key_and_its_lost_answer() {
        let (_, mut record) = record(1, &[]);
        assert_eq!(refused(&mut record, "a", "192.0.2.1", 0), None);
        assert_eq!(refused(&mut record, "b", "192.0.2.1", 1), Some("used by another key"));
        assert_eq!(refused(&mut record, "a", "192.0.2.9", 599), None);
        assert_eq!(record.uses().count(), 1, "a lost answer counts twice");
        assert_eq!(refused(&mut record, "a", "192.0.2.1", 600), Some("used"));
        assert_eq!(record.used.unwrap().from, Some("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_token_of_several_uses_counts_keys() {
        let (_, mut record) = record(2, &[]);
        assert_eq!(refused(&mut record, "a", "192.0.2.1", 0), None);
        assert_eq!(refused(&mut record, "a", "192.0.2.1", 1), None);
        assert_eq!(refused(&mut record, "b", "192.0.2.1", 1), None);
        assert_eq!(refused(&mut record, "c", "192.0.2.1", 1), Some("used by another key"));
        assert_eq!(record.uses().map(|used| used.spki).collect::<Vec<_>>(), [key("a"), key("b")]);
    }

    #[test]
    fn an_expired_token_gives_only_lost_answers_again() {
        let (_, mut record) = record(2, &[]);
        assert_eq!(refused(&mut record, "a", "192.0.2.1", 3_599), None);
        assert_eq!(refused(&mut record, "b", "192.0.2.1", 3_600), Some("expired"));
        assert_eq!(refused(&mut record, "a", "192.0.2.1", 3_700), None);
        assert_eq!(refused(&mut record, "a", "192.0.2.1", 3_599 + 600), Some("expired"));
    }

    #[test]
    fn a_token_that_is_bound_to_addresses_is_for_nobody_else() {
        let (_, mut record) = record(1, &["192.0.2.0/24", "2001:db8::/32"]);
        let elsewhere = Some("not from an address that it is bound to");
        assert_eq!(refused(&mut record, "a", "198.51.100.1", 0), elsewhere);
        assert_eq!(record.uses().count(), 0);
        assert_eq!(refused(&mut record, "a", "2001:db8::1", 0), None);
        assert_eq!(refused(&mut record, "a", "198.51.100.1", 1), elsewhere, "the answer goes elsewhere");
    }

    /// What an older hub wrote is one use, and what this one writes an older hub does not take for unused.
    #[test]
    fn records_of_older_hubs_are_read() {
        let (token, fresh) = record(1, &[]);
        let old = serde_json::json!({
            "hash": token.hash(), "cluster": fresh.cluster, "expires": "2026-11-25T13:00:00Z",
            "used": {"spki": key("a"), "at": "2026-11-25T12:00:00Z"},
        });
        let mut old: JoinRecord = serde_json::from_value(old).unwrap();
        assert_eq!((old.max_uses, old.created, old.by.clone()), (1, None, None));
        assert_eq!(refused(&mut old, "b", "192.0.2.1", 1), Some("used by another key"));
        let written = serde_json::to_value(&old).unwrap();
        assert!(written["used"]["spki"].is_string());
    }
}
