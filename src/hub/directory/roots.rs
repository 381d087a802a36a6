//! What each cluster's agent is known to know and to hold of the authorities: what the gates of a rotation ask. Kept, for an agent that is
//! away says nothing.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Directory, DirectoryError, decode, put, seen};
use crate::{
    defaults,
    identity::{ClusterUid, SpkiSha256},
    store::{CommitError, Expect, Op, Revision, Store},
};

/// See the module. Roots are named by their pins.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub(in crate::hub) struct RootsRecord {
    /// Hash of the set of hub's roots that the agent said it keeps, in hexadecimal.
    pub(in crate::hub) acked: Option<String>,
    /// Of the authority that issued its newest certificate.
    pub(in crate::hub) certified: Option<SpkiSha256>,
    /// Of the authority that issued the certificate of its newest link.
    pub(in crate::hub) linked: Option<SpkiSha256>,
    /// Of the authority whose certificate the hub presented to that link.
    pub(in crate::hub) saw: Option<SpkiSha256>,
}

impl Directory {
    /// What is known of a cluster's agent.
    pub(in crate::hub) fn roots(&self, cluster: &ClusterUid) -> RootsRecord {
        self.read().roots.get(cluster).map(|(_, record)| record.clone()).unwrap_or_default()
    }

    /// Changes what is known; nothing is written when nothing changes.
    ///
    /// # Errors
    /// The store's.
    pub(in crate::hub) async fn note_roots(
        &self,
        cluster: &ClusterUid,
        change: impl Fn(&mut RootsRecord),
    ) -> Result<(), DirectoryError> {
        self.note(cluster, None, change).await
    }

    /// A link came up: that the cluster was seen, and what the link shows, in one commit. A fleet comes at once.
    ///
    /// # Errors
    /// The store's.
    pub(in crate::hub) async fn linked(
        &self,
        cluster: &ClusterUid,
        at: OffsetDateTime,
        change: impl Fn(&mut RootsRecord),
    ) -> Result<(), DirectoryError> {
        self.note(cluster, Some(seen(cluster, at)), change).await
    }

    async fn note(
        &self,
        cluster: &ClusterUid,
        besides: Option<Op>,
        change: impl Fn(&mut RootsRecord),
    ) -> Result<(), DirectoryError> {
        let key = key(cluster);
        let mut raced = None;
        for _ in 0..=defaults::STORE_RACES {
            let known = self.read().roots.get(cluster).cloned();
            let mut record = known.as_ref().map(|(_, record)| record.clone()).unwrap_or_default();
            change(&mut record);
            let changed = known.as_ref().is_none_or(|(_, known)| *known != record);
            let expect = known.map_or(Expect::Absent, |(revision, _)| Expect::Revision(revision));
            let ops = besides.iter().cloned().chain(changed.then(|| put(key.clone(), &record, expect)));
            let ops: Vec<_> = ops.collect();
            if ops.is_empty() || self.cluster_by_uid(cluster).is_none() {
                return Ok(());
            }
            match self.store.commit(ops).await {
                Ok(revision) if changed => {
                    self.learn(cluster, revision, record);
                    return Ok(());
                }
                Ok(_) => return Ok(()),
                // Another change of it was faster: on top of that one.
                Err(error @ CommitError::Conflict { .. }) => raced = Some(error),
                Err(error) => return Err(DirectoryError::Commit(error)),
            }
            if let Some(entry) = self.store.get(key.as_bytes()).await? {
                self.learn(cluster, entry.revision, decode(&key, &entry.value)?);
            }
        }
        raced.map_or(Ok(()), |error| Err(DirectoryError::Commit(error)))
    }

    /// Memory never goes back behind what it knows.
    fn learn(&self, cluster: &ClusterUid, revision: Revision, record: RootsRecord) {
        let mut memory = self.write();
        if memory.roots.get(cluster).is_none_or(|(known, _)| *known < revision) {
            memory.roots.insert(cluster.clone(), (revision, record));
        }
    }
}

pub(super) fn key(cluster: &ClusterUid) -> String {
    format!("roots/{cluster}")
}

pub(super) async fn load(store: &dyn Store) -> Result<HashMap<ClusterUid, (Revision, RootsRecord)>, DirectoryError> {
    let mut known = HashMap::new();
    let listing = store.list(b"roots/").await?;
    for entry in listing.entries {
        let key = String::from_utf8_lossy(&entry.key).into_owned();
        if let Ok(uid) = key.trim_start_matches("roots/").parse() {
            known.insert(uid, (entry.revision, decode(&key, &entry.value)?));
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use time::{Duration, OffsetDateTime};

    use super::*;
    use crate::{hub::directory::JoinWish, store::Embedded};

    #[tokio::test]
    async fn what_an_agent_shows_is_kept_and_changes_of_one_record_do_not_undo_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Embedded::open(&dir.path().join("store.redb")).await.unwrap());
        let directory = Directory::load(store.clone()).await.unwrap();
        let now = OffsetDateTime::now_utc();
        let wish = JoinWish { ttl: Duration::HOUR, max_uses: 1, sources: Vec::new(), by: String::new() };
        let added = directory.add_cluster("edge-1".into(), BTreeMap::new(), wish, now).await;
        let uid = added.unwrap().0.uid.clone();
        let pin = SpkiSha256::of(b"root");
        let (one, two, three) = tokio::join!(
            directory.note_roots(&uid, |r| r.acked = Some("00".into())),
            directory.note_roots(&uid, |r| r.linked = Some(pin)),
            directory.note_roots(&uid, |r| r.saw = Some(pin)),
        );
        one.and(two).and(three).unwrap();
        let expected = RootsRecord { acked: Some("00".into()), certified: None, linked: Some(pin), saw: Some(pin) };
        assert_eq!(directory.roots(&uid), expected);
        let again = Directory::load(store.clone()).await.unwrap();
        assert_eq!(again.roots(&uid), expected);
        directory.remove_cluster("edge-1").await.unwrap();
        directory.note_roots(&uid, |r| r.acked = None).await.unwrap();
        assert_eq!(Directory::load(store).await.unwrap().roots(&uid), RootsRecord::default());
    }
    /// Commits are counted by the revision that each makes one more of.
    #[tokio::test]
    async fn a_link_that_comes_up_is_one_commit_whatever_it_shows() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Embedded::open(&dir.path().join("store.redb")).await.unwrap());
        let directory = Directory::load(store.clone()).await.unwrap();
        let now = OffsetDateTime::now_utc();
        let wish = JoinWish { ttl: Duration::HOUR, max_uses: 1, sources: Vec::new(), by: String::new() };
        let uid = directory.add_cluster("edge-1".into(), BTreeMap::new(), wish, now).await.unwrap().0.uid.clone();
        let at = async || store.list(b"").await.unwrap().revision.get();
        let before = at().await;
        for (came, name) in [(1, "first"), (2, "first"), (3, "second")] {
            let (seen, pin) = (now + Duration::seconds(came), SpkiSha256::of(name.as_bytes()));
            directory.linked(&uid, seen, |known| known.linked = Some(pin)).await.unwrap();
            assert_eq!(at().await, before + came.unsigned_abs(), "{came}");
            let again = Directory::load(store.clone()).await.unwrap();
            assert_eq!((again.seen(), again.roots(&uid).linked), (vec![(uid.clone(), seen)], Some(pin)));
        }
        directory.remove_cluster("edge-1").await.unwrap();
        let before = at().await;
        directory.linked(&uid, now, |known| known.linked = None).await.unwrap();
        assert_eq!(at().await, before, "nothing is written of a cluster that was removed");
    }
}
