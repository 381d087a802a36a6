//! The keys by which clusters prove themselves: pinned, or seen and waiting for an administrator. A key is of one cluster.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, serde::rfc3339};

use super::{Cluster, Directory, DirectoryError, decode, put};
use crate::{
    identity::{
        ClusterUid,
        service_account::{KeySet, ServiceAccountName, Thumbprint},
    },
    store::{CommitError, Expect, Op},
};

/// How often a change is tried again when another one came in between.
const TRIES: usize = 4;

/// How a cluster may prove itself beside join tokens.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Attest {
    /// The account of its agent.
    pub service_account: ServiceAccountName,
    /// The keys that are trusted; `None` = no such proof is accepted.
    pub pinned: Option<Pinned>,
    /// Keys that the agent showed and that share none with those that are pinned.
    pub pending: Option<Pinned>,
}

/// A set of keys, and whence it is known.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Pinned {
    /// Public keys.
    pub keys: KeySet,
    /// When they came.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// Who said so: `token:admin`, or `agent`.
    pub by: String,
}

/// Keys were not pinned.
#[derive(Debug, thiserror::Error)]
pub(in crate::hub) enum AttestError {
    /// Another cluster has one of them: a clone, or a virtual cluster. Either could speak for the other.
    #[error(
        "a key of the set is pinned for cluster {0:?}: each of the two could prove itself as the other; give one of them a signing key of its own"
    )]
    Shared(String),
    /// Nothing waits.
    #[error("no keys of cluster {0:?} wait to be accepted")]
    NothingPending(String),
    /// The store.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// What is done about keys that an agent shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::hub) enum Seen {
    /// They are those that are pinned.
    Same,
    /// They are pinned now.
    Pinned,
    /// An administrator must look at them.
    Pending,
}

impl Default for Attest {
    fn default() -> Self {
        let service_account = DEFAULT_ACCOUNT.parse().expect("it is one");
        Self { service_account, pinned: None, pending: None }
    }
}

/// Of `deploy/agent.yaml.in` in its default namespace.
const DEFAULT_ACCOUNT: &str = "roadstead/roadstead-agent";

impl Directory {
    /// How a cluster may prove itself.
    pub(in crate::hub) fn attest(&self, cluster: &ClusterUid) -> Arc<Attest> {
        self.read().attests.get(cluster).cloned().unwrap_or_default()
    }

    /// Pins keys because an administrator says so, and whose account is the agent's, if that is said.
    ///
    /// # Errors
    /// [`AttestError`].
    pub(in crate::hub) async fn pin_keys(
        &self,
        cluster: &Cluster,
        keys: Option<Pinned>,
        account: Option<ServiceAccountName>,
    ) -> Result<Arc<Attest>, AttestError> {
        let change = |attest: &mut Attest| {
            if let Some(account) = &account {
                attest.service_account = account.clone();
            }
            if let Some(keys) = &keys {
                (attest.pinned, attest.pending) = (Some(keys.clone()), None);
            }
            Ok(())
        };
        self.change_attest(cluster, change).await
    }

    /// Pins the keys that wait, because an administrator says so.
    ///
    /// # Errors
    /// [`AttestError`].
    pub(in crate::hub) async fn accept_keys(&self, cluster: &Cluster, by: &str) -> Result<Arc<Attest>, AttestError> {
        let change = |attest: &mut Attest| match attest.pending.take() {
            Some(pending) => {
                attest.pinned = Some(Pinned { by: by.to_owned(), ..pending });
                Ok(())
            }
            None => Err(AttestError::NothingPending(cluster.name.to_string())),
        };
        self.change_attest(cluster, change).await
    }

    /// Keys that an authenticated agent of the cluster shows. The first are taken at their word where `first` allows it; later ones replace
    /// those that are pinned only if they share one with them.
    ///
    /// # Errors
    /// [`AttestError`].
    pub(in crate::hub) async fn see_keys(
        &self,
        cluster: &Cluster,
        keys: KeySet,
        first: bool,
        now: OffsetDateTime,
    ) -> Result<Seen, AttestError> {
        let seen = judge(&self.attest(&cluster.uid), &keys, first);
        let shown = Pinned { keys, at: now, by: "agent".to_owned() };
        match seen {
            Seen::Same => {}
            Seen::Pinned => drop(self.pin_keys(cluster, Some(shown), None).await?),
            Seen::Pending => {
                let change = |attest: &mut Attest| {
                    if attest
                        .pending
                        .as_ref()
                        .is_none_or(|pending| pending.keys.thumbprints() != shown.keys.thumbprints())
                    {
                        attest.pending = Some(shown.clone());
                    }
                    Ok(())
                };
                self.change_attest(cluster, change).await?;
            }
        }
        Ok(seen)
    }

    async fn change_attest(
        &self,
        cluster: &Cluster,
        change: impl Fn(&mut Attest) -> Result<(), AttestError>,
    ) -> Result<Arc<Attest>, AttestError> {
        let key = format!("attest/{}", cluster.uid);
        for _ in 0..TRIES {
            let entry = self.store.get(key.as_bytes()).await.map_err(DirectoryError::from)?;
            let old: Attest = entry.as_ref().map(|e| decode(&key, &e.value)).transpose()?.unwrap_or_default();
            let mut new = old.clone();
            change(&mut new)?;
            let seen = entry.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
            let mut ops = vec![put(key.clone(), &new, seen)];
            let (before, after) = (prints(&old), prints(&new));
            ops.extend(
                after
                    .iter()
                    .filter(|print| !before.contains(print))
                    .map(|print| put(owner(print), &cluster.uid, Expect::Absent)),
            );
            ops.extend(
                before.iter().filter(|print| !after.contains(print)).map(|print| Op::delete(owner(print), Expect::Any)),
            );
            match self.store.commit(ops).await {
                Ok(_) => {
                    let new = Arc::new(new);
                    self.write().attests.insert(cluster.uid.clone(), new.clone());
                    return Ok(new);
                }
                Err(CommitError::Conflict { key: at }) if at != key.as_bytes() => {
                    return Err(AttestError::Shared(self.owner_of(&at).await?));
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(DirectoryError::Commit(error).into()),
            }
        }
        let key = key.into();
        Err(DirectoryError::Commit(CommitError::Conflict { key }).into())
    }

    async fn owner_of(&self, key: &[u8]) -> Result<String, DirectoryError> {
        let entry = self.store.get(key).await?;
        let uid = entry.and_then(|entry| serde_json::from_slice::<ClusterUid>(&entry.value).ok());
        let cluster = uid.as_ref().and_then(|uid| self.cluster_by_uid(uid));
        Ok(cluster.map_or_else(|| "?".to_owned(), |cluster| cluster.name.to_string()))
    }
}

/// What to do about keys that an agent shows.
fn judge(attest: &Attest, keys: &KeySet, first: bool) -> Seen {
    match &attest.pinned {
        Some(pinned) if pinned.keys == *keys => Seen::Same,
        Some(pinned) if pinned.keys.overlaps(keys) => Seen::Pinned,
        None if first => Seen::Pinned,
        _ => Seen::Pending,
    }
}

/// The operations that forget a cluster's keys.
pub(super) fn forget(uid: &ClusterUid, attest: &Attest) -> Vec<Op> {
    let owned = prints(attest).into_iter().map(|print| Op::delete(owner(&print), Expect::Any));
    std::iter::once(Op::delete(format!("attest/{uid}"), Expect::Any)).chain(owned).collect()
}

fn prints(attest: &Attest) -> Vec<Thumbprint> {
    attest.pinned.iter().flat_map(|pinned| pinned.keys.thumbprints()).collect()
}

/// Which cluster a key is of.
fn owner(print: &Thumbprint) -> String {
    format!("attest-keys/{print}")
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;
    use time::{Duration, macros::datetime};

    use super::*;
    use crate::{
        hub::directory::JoinWish,
        store::{Embedded, Store},
    };

    const NOW: OffsetDateTime = datetime!(2026-11-25 12:00 UTC);

    /// A set of keys with these numbers; nobody can sign with them.
    fn keys(numbers: &[u8]) -> KeySet {
        let text = |byte: u8| URL_SAFE_NO_PAD.encode([byte; 32]);
        let key = |n: &u8| json!({"kty": "EC", "crv": "P-256", "kid": format!("k{n}"), "x": text(*n), "y": text(*n)});
        KeySet::parse(json!({"keys": numbers.iter().map(key).collect::<Vec<_>>()}).to_string().as_bytes()).unwrap()
    }

    async fn directory(dir: &std::path::Path) -> Directory {
        let store: Arc<dyn Store> = Arc::new(Embedded::open(&dir.join("store.redb")).await.unwrap());
        Directory::load(store).await.unwrap()
    }

    async fn cluster(directory: &Directory, name: &str) -> Arc<Cluster> {
        let wish = JoinWish { ttl: Duration::HOUR, max_uses: 1, sources: Vec::new(), by: "token:admin".to_owned() };
        directory.add_cluster(name.to_owned(), std::collections::BTreeMap::new(), wish, NOW).await.unwrap().0
    }

    fn pinned(numbers: &[u8]) -> Option<Pinned> {
        Some(Pinned { keys: keys(numbers), at: NOW, by: "token:admin".to_owned() })
    }

    /// T016: only a set that shares a key takes the place of the pinned one by itself.
    #[tokio::test]
    async fn keys_follow_an_agent_only_where_they_overlap() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(dir.path()).await;
        let cluster = cluster(&directory, "edge-1").await;
        let see = async |numbers: &[u8], first| directory.see_keys(&cluster, keys(numbers), first, NOW).await.unwrap();
        assert_eq!(see(&[1], false).await, Seen::Pending, "a live link is the first to say which keys are good");
        assert_eq!(see(&[1, 2], true).await, Seen::Pinned);
        assert!(directory.attest(&cluster.uid).pending.is_none());
        assert_eq!(see(&[1, 2], false).await, Seen::Same);
        assert_eq!(see(&[2, 3], false).await, Seen::Pinned);
        assert_eq!(see(&[4], true).await, Seen::Pending, "a join token overwrites what is pinned");
        let attest = directory.attest(&cluster.uid);
        assert_eq!(attest.pinned.as_ref().map(|pinned| pinned.keys.clone()), Some(keys(&[2, 3])));
        directory.accept_keys(&cluster, "token:admin").await.unwrap();
        let attest = directory.attest(&cluster.uid);
        assert_eq!(attest.pinned.as_ref().map(|pinned| pinned.keys.clone()), Some(keys(&[4])));
        let nothing = directory.accept_keys(&cluster, "token:admin").await;
        assert!(matches!(nothing, Err(AttestError::NothingPending(_))));
    }

    /// T015: and it is so after a restart, and until the other cluster is removed.
    #[tokio::test]
    async fn a_key_is_of_one_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(dir.path()).await;
        let (one, other) = (cluster(&directory, "one").await, cluster(&directory, "other").await);
        directory.pin_keys(&one, pinned(&[1, 2]), None).await.unwrap();
        let shared = directory.pin_keys(&other, pinned(&[2, 3]), None).await;
        assert!(matches!(shared, Err(AttestError::Shared(name)) if name == "one"));
        assert!(directory.attest(&other.uid).pinned.is_none());
        assert!(matches!(directory.see_keys(&other, keys(&[1]), true, NOW).await, Err(AttestError::Shared(_))));
        // A key that one gives up is free for the other.
        directory.pin_keys(&one, pinned(&[1]), Some("fleet/agent".parse().unwrap())).await.unwrap();
        directory.pin_keys(&other, pinned(&[2, 3]), None).await.unwrap();
        let store = directory.store.clone();
        drop(directory);
        let directory = Directory::load(store).await.unwrap();
        let attest = directory.attest(&one.uid);
        assert_eq!(attest.service_account, "fleet/agent".parse().unwrap());
        assert!(matches!(directory.pin_keys(&other, pinned(&[1]), None).await, Err(AttestError::Shared(_))));
        directory.remove_cluster("one").await.unwrap();
        directory.pin_keys(&other, pinned(&[1]), None).await.unwrap();
    }
}
