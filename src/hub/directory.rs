//! What the hub knows for good: clusters, hub tokens, join tokens and certificates issued. The store keeps it, memory
//! answers for it: no request waits for the disk.

mod attest;
mod certificates;
mod deny;
mod external;
mod join;
mod join_tokens;
mod ledger;
mod records;
mod roots;
mod standing;
mod tokens;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, RwLock},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use time::OffsetDateTime;

pub(super) use self::{
    attest::{Attest, AttestError, Pinned, Seen},
    deny::LOCKS,
    external::{ExternalCa, ExternalCertificate, ExternalError, MappedName},
    join::{JoinError, Joining},
    join_tokens::JoinWish,
    ledger::Denied,
    records::{
        CertificateRecord, Cluster, HubToken, JoinRecord, Lock, LockedBy, RevokedCertificate, RevokedKey,
        StandingRecord, Use,
    },
    roots::RootsRecord,
    standing::{Admitted, RenewError},
};
use crate::{
    defaults,
    identity::{ClusterUid, Token, TokenId},
    store::{CommitError, Expect, Op, Revision, Store, StoreError},
};

/// Below it are clusters, by uid.
pub(super) const CLUSTERS: &str = "clusters/";
/// Below it are hub tokens, by id.
pub(super) const TOKENS: &str = "tokens/";

/// Reading or writing failed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The store, while writing.
    #[error("the change was not stored")]
    Commit(#[source] CommitError),
    /// What is stored is not what this version writes.
    #[error("the record {key:?} in the store cannot be read")]
    Record {
        /// Its key.
        key: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// The name is taken.
    #[error("a cluster named {0:?} exists")]
    NameTaken(String),
    /// So many are open already.
    #[error(
        "cluster {name:?} has {} open join tokens already; revoke one with `roadstead cluster token revoke`",
        defaults::JOIN_TOKENS
    )]
    TooManyTokens {
        /// The cluster.
        name: String,
    },
    /// Nothing of that name or id.
    #[error("{0} does not exist")]
    Missing(String),
    /// Others changed the same record each time that this was tried.
    #[error("the record was changed by others at the same moment")]
    Busy,
}

impl DirectoryError {
    /// Whether the disk has no room: with room it works again.
    pub(super) fn is_disk_full(&self) -> bool {
        matches!(self, Self::Store(StoreError::Full) | Self::Commit(CommitError::Store(StoreError::Full)))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Directory {
    store: Arc<dyn Store>,
    memory: RwLock<Memory>,
    /// Held from looking at external CAs and names to having changed them.
    external_changes: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Memory {
    by_name: BTreeMap<Arc<str>, Arc<Cluster>>,
    by_uid: HashMap<ClusterUid, Arc<Cluster>>,
    tokens: HashMap<TokenId, Arc<HubToken>>,
    seen: HashMap<ClusterUid, OffsetDateTime>,
    /// How clusters prove themselves beside join tokens.
    attests: HashMap<ClusterUid, Arc<Attest>>,
    /// When the newest certificate of each cluster ends.
    certificates: HashMap<ClusterUid, OffsetDateTime>,
    ledger: ledger::Ledger,
    external: external::External,
    /// What each cluster's agent knows and holds of the authorities, and the commit that wrote it.
    roots: HashMap<ClusterUid, (Revision, RootsRecord)>,
}

impl Directory {
    /// Reads everything from the store.
    ///
    /// # Errors
    /// When the store fails or holds what this version does not understand.
    pub(super) async fn load(store: Arc<dyn Store>) -> Result<Self, DirectoryError> {
        let mut memory = Memory::default();
        for (_, cluster) in list::<Cluster>(&*store, CLUSTERS).await? {
            memory.insert(Arc::new(cluster));
        }
        for (_, token) in list::<HubToken>(&*store, TOKENS).await? {
            memory.tokens.insert(token.id.clone(), Arc::new(token));
        }
        for (key, seen) in list::<records::Seen>(&*store, "seen/").await? {
            if let Ok(uid) = key.trim_start_matches("seen/").parse() {
                memory.seen.insert(uid, seen.at);
            }
        }
        for (key, attest) in list::<Attest>(&*store, "attest/").await? {
            if let Ok(uid) = key.trim_start_matches("attest/").parse() {
                memory.attests.insert(uid, Arc::new(attest));
            }
        }
        memory.roots = roots::load(&*store).await?;
        for (_, certificate) in list::<CertificateRecord>(&*store, "certificates/").await? {
            memory.certified(&certificate);
        }
        memory.ledger.load(&*store).await?;
        memory.external = external::External::load(&*store).await?;
        Ok(Self { store, memory: RwLock::new(memory), external_changes: tokio::sync::Mutex::default() })
    }

    /// When the newest certificate of a cluster's agent ends; `None` before it enrolled. Of own and external ones, that which came into use
    /// last counts.
    pub(super) fn certificate_ends(&self, cluster: &ClusterUid) -> Option<OffsetDateTime> {
        let memory = self.read();
        let own = memory.certificates.get(cluster).copied();
        memory.in_use_external(cluster).map(|external| external.not_after).or(own)
    }

    /// Whether a certificate of the hub's own was ever issued to a cluster's agent and is recorded.
    pub(super) fn has_own_certificate(&self, cluster: &ClusterUid) -> bool {
        self.read().certificates.contains_key(cluster)
    }

    /// The external certificate that a cluster's agent showed last, if it showed none of the hub's own since.
    pub(super) fn in_use_external(&self, cluster: &ClusterUid) -> Option<Arc<ExternalCertificate>> {
        self.read().in_use_external(cluster).cloned()
    }

    /// When each cluster was last seen before this process.
    pub(super) fn seen(&self) -> Vec<(ClusterUid, OffsetDateTime)> {
        self.read().seen.iter().map(|(uid, at)| (uid.clone(), *at)).collect()
    }

    /// The cluster of that exact name.
    pub(super) fn cluster(&self, name: &str) -> Option<Arc<Cluster>> {
        self.read().by_name.get(name).cloned()
    }

    /// The cluster of that identity.
    pub(super) fn cluster_by_uid(&self, uid: &ClusterUid) -> Option<Arc<Cluster>> {
        self.read().by_uid.get(uid).cloned()
    }

    /// All clusters, by name.
    pub(super) fn clusters(&self) -> Vec<Arc<Cluster>> {
        self.read().by_name.values().cloned().collect()
    }

    /// Adds a cluster and a join token for it.
    ///
    /// # Errors
    /// [`DirectoryError::NameTaken`], or the store's.
    pub(super) async fn add_cluster(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
        wish: JoinWish,
        now: OffsetDateTime,
    ) -> Result<(Arc<Cluster>, Token, JoinRecord), DirectoryError> {
        let cluster = Cluster { uid: ClusterUid::generate(now), name: name.into(), labels, created: now };
        let (token, join) = wish.token_for(&cluster.uid, now);
        let ops = vec![
            put(format!("names/{}", cluster.name), &cluster.uid, Expect::Absent),
            put(format!("clusters/{}", cluster.uid), &cluster, Expect::Absent),
            put(format!("join/{}", token.id()), &join, Expect::Absent),
        ];
        match self.store.commit(ops).await {
            Ok(_) => {}
            Err(CommitError::Conflict { .. }) => return Err(DirectoryError::NameTaken(cluster.name.to_string())),
            Err(error) => return Err(DirectoryError::Commit(error)),
        }
        let cluster = Arc::new(cluster);
        self.write().insert(cluster.clone());
        Ok((cluster, token, join))
    }

    /// Removes a cluster; its agent is refused from now on, and its join tokens are dead.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`], or the store's.
    pub(super) async fn remove_cluster(&self, name: &str) -> Result<Arc<Cluster>, DirectoryError> {
        let cluster = self.cluster(name).ok_or_else(|| DirectoryError::Missing(format!("cluster {name:?}")))?;
        let mut ops = vec![
            Op::delete(format!("names/{}", cluster.name), Expect::Any),
            Op::delete(format!("clusters/{}", cluster.uid), Expect::Any),
            Op::delete(format!("seen/{}", cluster.uid), Expect::Any),
            Op::delete(standing::standing_key(&cluster.uid), Expect::Any),
            Op::delete(format!("{}{}", deny::LOCKS, cluster.uid), Expect::Any),
            Op::delete(roots::key(&cluster.uid), Expect::Any),
        ];
        ops.extend(attest::forget(&cluster.uid, &self.attest(&cluster.uid)));
        let _changing = self.external_changes.lock().await;
        ops.extend(self.read().external.forget_ops(&cluster.uid));
        for (key, join) in list::<JoinRecord>(&*self.store, "join/").await? {
            if join.cluster == cluster.uid && ops.len() < crate::store::MAX_OPS {
                ops.push(Op::delete(key, Expect::Any));
            }
        }
        self.store.commit(ops).await.map_err(DirectoryError::Commit)?;
        let mut memory = self.write();
        memory.by_name.remove(&*cluster.name);
        memory.by_uid.remove(&cluster.uid);
        memory.ledger.forget_cluster(&cluster.uid);
        memory.external.forget_cluster(&cluster.uid);
        memory.attests.remove(&cluster.uid);
        memory.roots.remove(&cluster.uid);
        Ok(cluster)
    }

    /// Remembers that a cluster was there.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn record_seen(&self, uid: &ClusterUid, at: OffsetDateTime) -> Result<(), DirectoryError> {
        if self.cluster_by_uid(uid).is_none() {
            return Ok(());
        }
        self.store.commit(vec![seen(uid, at)]).await.map_err(DirectoryError::Commit)?;
        Ok(())
    }

    /// Whether the store answers.
    pub(super) async fn healthy(&self) -> bool {
        self.store.get(b"schema").await.is_ok()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Memory> {
        self.memory.read().expect("no panic while it is held")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Memory> {
        self.memory.write().expect("no panic while it is held")
    }
}

impl Memory {
    fn insert(&mut self, cluster: Arc<Cluster>) {
        self.by_uid.insert(cluster.uid.clone(), cluster.clone());
        self.by_name.insert(cluster.name.clone(), cluster);
    }

    fn in_use_external(&self, cluster: &ClusterUid) -> Option<&Arc<ExternalCertificate>> {
        let standing = self.ledger.standing(cluster);
        let own_since = standing.and_then(|record| record.standing.current()).map(|current| current.since);
        self.external.newest_of(cluster).filter(|newest| own_since.is_none_or(|since| since <= newest.since))
    }

    fn certified(&mut self, certificate: &CertificateRecord) {
        let ends = self.certificates.entry(certificate.cluster.clone()).or_insert(certificate.not_after);
        *ends = (*ends).max(certificate.not_after);
        self.ledger.issued(certificate);
    }
}

fn seen(uid: &ClusterUid, at: OffsetDateTime) -> Op {
    put(format!("seen/{uid}"), &records::Seen { at }, Expect::Any)
}

fn put(key: String, value: &impl Serialize, expect: Expect) -> Op {
    Op::put(key, serde_json::to_vec(value).expect("records have string keys only"), expect)
}

fn decode<T: DeserializeOwned>(key: &str, value: &Bytes) -> Result<T, DirectoryError> {
    serde_json::from_slice(value).map_err(|source| DirectoryError::Record { key: key.to_owned(), source })
}

async fn list<T: DeserializeOwned>(store: &dyn Store, prefix: &str) -> Result<Vec<(String, T)>, DirectoryError> {
    let listing = store.list(prefix.as_bytes()).await?;
    listing
        .entries
        .into_iter()
        .map(|entry| {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            decode(&key, &entry.value).map(|value| (key, value))
        })
        .collect()
}

#[cfg(test)]
mod tests;
