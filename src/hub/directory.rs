//! What the hub knows for good: clusters, hub tokens, join tokens and certificates issued. The store keeps it, memory
//! answers for it: no request waits for the disk.

mod records;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, RwLock},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;

pub(super) use self::records::{CertificateRecord, Cluster, HubToken, JoinRecord, Use};
use crate::{
    access::TokenRecord,
    defaults,
    identity::{ClusterUid, SecretHash, SpkiSha256, Token, TokenId, TokenKind},
    store::{CommitError, Expect, Op, Store, StoreError},
};

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
    /// Nothing of that name or id.
    #[error("{0} does not exist")]
    Missing(String),
}

impl DirectoryError {
    /// Whether the disk has no room: with room it works again.
    pub(super) fn is_disk_full(&self) -> bool {
        matches!(self, Self::Store(StoreError::Full) | Self::Commit(CommitError::Store(StoreError::Full)))
    }
}

/// A join token was not accepted. One text for every reason: the reason is in the hub's log only.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    /// Unknown, wrong, used or expired.
    #[error(
        "the join token is not valid: it may be mistyped, used or expired; make a new one with `roadstead cluster add`"
    )]
    Refused(&'static str),
    /// The store failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Directory {
    store: Arc<dyn Store>,
    memory: RwLock<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    by_name: BTreeMap<Arc<str>, Arc<Cluster>>,
    by_uid: HashMap<ClusterUid, Arc<Cluster>>,
    tokens: HashMap<TokenId, Arc<HubToken>>,
    seen: HashMap<ClusterUid, OffsetDateTime>,
    /// When the newest certificate of each cluster ends.
    certificates: HashMap<ClusterUid, OffsetDateTime>,
}

impl Directory {
    /// Reads everything from the store.
    ///
    /// # Errors
    /// When the store fails or holds what this version does not understand.
    pub(super) async fn load(store: Arc<dyn Store>) -> Result<Self, DirectoryError> {
        let mut memory = Memory::default();
        for (_, cluster) in list::<Cluster>(&*store, "clusters/").await? {
            memory.insert(Arc::new(cluster));
        }
        for (_, token) in list::<HubToken>(&*store, "tokens/").await? {
            memory.tokens.insert(token.id.clone(), Arc::new(token));
        }
        for (key, seen) in list::<records::Seen>(&*store, "seen/").await? {
            if let Ok(uid) = key.trim_start_matches("seen/").parse() {
                memory.seen.insert(uid, seen.at);
            }
        }
        for (_, certificate) in list::<CertificateRecord>(&*store, "certificates/").await? {
            memory.certified(&certificate);
        }
        Ok(Self { store, memory: RwLock::new(memory) })
    }

    /// When the newest certificate of a cluster's agent ends; `None` before it enrolled.
    pub(super) fn certificate_ends(&self, cluster: &ClusterUid) -> Option<OffsetDateTime> {
        self.read().certificates.get(cluster).copied()
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
        join_ttl: Duration,
        now: OffsetDateTime,
    ) -> Result<(Arc<Cluster>, Token, OffsetDateTime), DirectoryError> {
        let cluster = Cluster { uid: ClusterUid::generate(now), name: name.into(), labels, created: now };
        let token = Token::generate(TokenKind::Join);
        let expires = now + join_ttl;
        let join = JoinRecord { hash: token.hash(), cluster: cluster.uid.clone(), expires, used: None };
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
        Ok((cluster, token, expires))
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
        ];
        for (key, join) in list::<JoinRecord>(&*self.store, "join/").await? {
            if join.cluster == cluster.uid && ops.len() < crate::store::MAX_OPS {
                ops.push(Op::delete(key, Expect::Any));
            }
        }
        self.store.commit(ops).await.map_err(DirectoryError::Commit)?;
        let mut memory = self.write();
        memory.by_name.remove(&*cluster.name);
        memory.by_uid.remove(&cluster.uid);
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
        let op = put(format!("seen/{uid}"), &records::Seen { at }, Expect::Any);
        self.store.commit(vec![op]).await.map_err(DirectoryError::Commit)?;
        Ok(())
    }

    /// Makes a hub token.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn create_token(
        &self,
        user: String,
        groups: Vec<String>,
        admin: bool,
        ttl: Duration,
        now: OffsetDateTime,
    ) -> Result<(Arc<HubToken>, Token), DirectoryError> {
        let token = Token::generate(TokenKind::Hub);
        let record = HubToken {
            id: token.id().clone(),
            hash: token.hash(),
            record: TokenRecord { id: token.id().to_string(), user, groups, admin, expires: now + ttl },
            created: now,
            revoked: CancellationToken::new(),
        };
        let op = put(format!("tokens/{}", record.id), &record, Expect::Absent);
        self.store.commit(vec![op]).await.map_err(DirectoryError::Commit)?;
        let record = Arc::new(record);
        self.write().tokens.insert(record.id.clone(), record.clone());
        Ok((record, token))
    }

    /// Ends a hub token.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`], or the store's.
    pub(super) async fn revoke_token(&self, id: &str) -> Result<Arc<HubToken>, DirectoryError> {
        let missing = || DirectoryError::Missing(format!("token {id:?}"));
        let id: TokenId = id.parse().map_err(|_| missing())?;
        let record = self.read().tokens.get(&id).cloned().ok_or_else(missing)?;
        let op = Op::delete(format!("tokens/{id}"), Expect::Any);
        self.store.commit(vec![op]).await.map_err(DirectoryError::Commit)?;
        self.write().tokens.remove(&id);
        record.revoked.cancel();
        Ok(record)
    }

    /// All hub tokens, oldest first.
    pub(super) fn tokens(&self) -> Vec<Arc<HubToken>> {
        let mut tokens: Vec<_> = self.read().tokens.values().cloned().collect();
        tokens.sort_by_key(|t| (t.created, t.id.to_string()));
        tokens
    }

    /// The record of a token whose secret is right.
    pub(super) fn verify_token(&self, token: &Token) -> Option<Arc<HubToken>> {
        let record = self.read().tokens.get(token.id()).cloned();
        if SecretHash::verify(record.as_deref().map(|r| &r.hash), token) { record } else { None }
    }

    /// Uses up a join token for a key, and records the certificate that will be issued, in one commit.
    ///
    /// The same key may come again for [`defaults::JOIN_RETRY`]: an answer may be lost.
    ///
    /// # Errors
    /// [`JoinError::Refused`] with the reason for the log.
    pub(super) async fn join(
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
    pub(super) async fn record_certificate(&self, certificate: &CertificateRecord) -> Result<(), DirectoryError> {
        let op = put(format!("certificates/{}", certificate.serial), certificate, Expect::Absent);
        self.store.commit(vec![op]).await.map_err(DirectoryError::Commit)?;
        self.write().certified(certificate);
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

    fn certified(&mut self, certificate: &CertificateRecord) {
        let ends = self.certificates.entry(certificate.cluster.clone()).or_insert(certificate.not_after);
        *ends = (*ends).max(certificate.not_after);
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
