//! External CAs that are trusted for agents, and the names of their certificates that stand for clusters. The map is exact: one CA, one name,
//! one cluster.

mod certificates;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, serde::rfc3339};

use super::{Directory, DirectoryError, list, put};
use crate::{
    defaults,
    identity::{ClusterUid, SanName, Serial, SpkiSha256},
    store::{CommitError, Expect, MAX_OPS, Op, Store},
};

const CAS: &str = "external/cas/";
const NAMES: &str = "external/names/";
const CERTIFICATES: &str = "external/certificates/";

/// A root that an administrator added.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in crate::hub) struct ExternalCa {
    /// Of its key: how it is named.
    pub pin: SpkiSha256,
    /// Its certificate.
    pub pem: String,
    /// When it was added.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// By whom.
    pub by: String,
}

/// A name that stands for a cluster.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in crate::hub) struct MappedName {
    /// Whose certificates carry it.
    pub ca: SpkiSha256,
    /// The name.
    pub name: SanName,
    /// The cluster.
    pub cluster: ClusterUid,
    /// When it was mapped.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// By whom.
    pub by: String,
}

/// The newest certificate of a key that an agent showed and that was let in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::hub) struct ExternalCertificate {
    /// As whose.
    pub cluster: ClusterUid,
    /// Who vouches for it.
    pub ca: SpkiSha256,
    /// Its names.
    pub names: Vec<String>,
    /// Its serial: unique among those of its issuer only.
    pub serial: Serial,
    /// Of its key: how it is named.
    pub spki: SpkiSha256,
    /// Valid since.
    #[serde(with = "rfc3339")]
    pub not_before: OffsetDateTime,
    /// Valid until.
    #[serde(with = "rfc3339")]
    pub not_after: OffsetDateTime,
    /// When it was first shown.
    #[serde(with = "rfc3339")]
    pub since: OffsetDateTime,
}

/// What is known, in memory.
#[derive(Debug, Default)]
pub(super) struct External {
    cas: BTreeMap<SpkiSha256, Arc<ExternalCa>>,
    names: HashMap<(SpkiSha256, SanName), ClusterUid>,
    by_cluster: BTreeMap<ClusterUid, BTreeMap<(SpkiSha256, SanName), Arc<MappedName>>>,
    certificates: HashMap<SpkiSha256, Arc<ExternalCertificate>>,
    /// The key of each cluster's newest certificate.
    newest: HashMap<ClusterUid, SpkiSha256>,
}

/// Why an external CA or a name of it cannot be changed so.
#[derive(Debug, thiserror::Error)]
pub(in crate::hub) enum ExternalError {
    /// The store.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// It is there.
    #[error("the external CA {0} is trusted already")]
    Exists(SpkiSha256),
    /// It is not.
    #[error("no external CA {0} is trusted: see `roadstead ca external list`")]
    NoCa(SpkiSha256),
    /// Enough.
    #[error("{} external CAs are trusted, and no more can be", defaults::EXTERNAL_CAS)]
    TooManyCas,
    /// Of one cluster.
    #[error("cluster {name:?} has {} names, and no more can be mapped to it", defaults::EXTERNAL_NAMES)]
    TooManyNames {
        /// The cluster.
        name: String,
    },
    /// One name, one cluster.
    #[error("{name} of the external CA {ca} is mapped to cluster {cluster:?} already: `roadstead cluster unmap` first")]
    Taken {
        /// Whose certificates.
        ca: SpkiSha256,
        /// The name.
        name: SanName,
        /// The cluster.
        cluster: String,
    },
    /// It is not mapped to that cluster.
    #[error("{name} of the external CA {ca} is not mapped to cluster {cluster:?}")]
    NotMapped {
        /// Whose certificates.
        ca: SpkiSha256,
        /// The name.
        name: SanName,
        /// The cluster.
        cluster: String,
    },
}

impl External {
    pub(super) async fn load(store: &dyn Store) -> Result<Self, DirectoryError> {
        let mut known = Self::default();
        for (_, ca) in list::<ExternalCa>(store, CAS).await? {
            known.cas.insert(ca.pin, Arc::new(ca));
        }
        for (_, mapped) in list::<MappedName>(store, NAMES).await? {
            known.map(mapped);
        }
        for (_, certificate) in list::<ExternalCertificate>(store, CERTIFICATES).await? {
            known.shown(certificate);
        }
        Ok(known)
    }

    fn map(&mut self, mapped: MappedName) {
        let (key, cluster) = ((mapped.ca, mapped.name.clone()), mapped.cluster.clone());
        self.names.insert(key.clone(), cluster.clone());
        self.by_cluster.entry(cluster).or_default().insert(key, Arc::new(mapped));
    }

    fn unmap(&mut self, key: &(SpkiSha256, SanName)) {
        let Some(cluster) = self.names.remove(key) else { return };
        if let Some(names) = self.by_cluster.get_mut(&cluster) {
            names.remove(key);
        }
    }

    fn of(&self, cluster: &ClusterUid) -> impl Iterator<Item = &Arc<MappedName>> {
        self.by_cluster.get(cluster).into_iter().flat_map(BTreeMap::values)
    }

    fn shown(&mut self, certificate: ExternalCertificate) {
        let newest = self.newest_of(&certificate.cluster).map(|newest| newest.since);
        if newest.is_none_or(|since| since <= certificate.since) {
            self.newest.insert(certificate.cluster.clone(), certificate.spki);
        }
        self.certificates.insert(certificate.spki, Arc::new(certificate));
    }

    pub(super) fn newest_of(&self, cluster: &ClusterUid) -> Option<&Arc<ExternalCertificate>> {
        self.certificates.get(self.newest.get(cluster)?).filter(|newest| newest.cluster == *cluster)
    }

    /// What is to be deleted with a cluster.
    pub(super) fn forget_ops(&self, cluster: &ClusterUid) -> Vec<Op> {
        self.of(cluster).map(|mapped| Op::delete(name_key(&mapped.ca, &mapped.name), Expect::Any)).collect()
    }

    pub(super) fn forget_cluster(&mut self, cluster: &ClusterUid) {
        for key in self.by_cluster.remove(cluster).unwrap_or_default().keys() {
            self.names.remove(key);
        }
        self.newest.remove(cluster);
    }

    /// The keys that a cluster's agent has shown.
    pub(super) fn of_cluster(&self, cluster: &ClusterUid) -> Vec<Arc<ExternalCertificate>> {
        self.certificates.values().filter(|certificate| certificate.cluster == *cluster).cloned().collect()
    }
}

impl Directory {
    /// The external CAs, by pin.
    pub(in crate::hub) fn external_cas(&self) -> Vec<Arc<ExternalCa>> {
        self.read().external.cas.values().cloned().collect()
    }

    /// Whether an external CA has this root.
    pub(in crate::hub) fn is_external(&self, root: &SpkiSha256) -> bool {
        self.read().external.cas.contains_key(root)
    }

    /// Whether a cluster's agent came last with an external certificate, of a CA that is trusted and has names of it still.
    pub(in crate::hub) fn is_by_external(&self, cluster: &ClusterUid) -> bool {
        let memory = self.read();
        let known = |ca: &SpkiSha256| {
            memory.external.cas.contains_key(ca) && memory.external.of(cluster).any(|mapped| mapped.ca == *ca)
        };
        memory.in_use_external(cluster).is_some_and(|certificate| known(&certificate.ca))
    }

    /// The cluster that a name of a CA's certificates stands for.
    pub(in crate::hub) fn cluster_named(&self, ca: &SpkiSha256, name: &SanName) -> Option<ClusterUid> {
        let memory = self.read();
        let known = memory.external.cas.contains_key(ca);
        memory.external.names.get(&(*ca, name.clone())).filter(|_| known).cloned()
    }

    /// Every name that stands for a cluster, or for that one; in the order of clusters and names.
    pub(in crate::hub) fn mapped_names(&self, cluster: Option<&ClusterUid>) -> Vec<Arc<MappedName>> {
        let memory = self.read();
        match cluster {
            Some(cluster) => memory.external.of(cluster).cloned().collect(),
            None => memory.external.by_cluster.values().flat_map(BTreeMap::values).cloned().collect(),
        }
    }

    /// Trusts an external CA.
    ///
    /// # Errors
    /// [`ExternalError`]; nothing has changed then.
    pub(in crate::hub) async fn add_external(&self, ca: ExternalCa) -> Result<(), ExternalError> {
        let _changing = self.external_changes.lock().await;
        {
            let memory = self.read();
            if memory.external.cas.contains_key(&ca.pin) {
                return Err(ExternalError::Exists(ca.pin));
            }
            if memory.external.cas.len() >= defaults::EXTERNAL_CAS {
                return Err(ExternalError::TooManyCas);
            }
        }
        // Names of another time, should removing them have failed, must not come back with it.
        self.forget_names(&ca.pin).await?;
        self.commit_external(vec![put(ca_key(&ca.pin), &ca, Expect::Absent)]).await?;
        self.write().external.cas.insert(ca.pin, Arc::new(ca));
        Ok(())
    }

    /// Trusts an external CA no more, and forgets its names.
    ///
    /// # Errors
    /// [`ExternalError::NoCa`], or the store's.
    pub(in crate::hub) async fn remove_external(&self, pin: &SpkiSha256) -> Result<Arc<ExternalCa>, ExternalError> {
        let _changing = self.external_changes.lock().await;
        let known = self.read().external.cas.get(pin).cloned().ok_or(ExternalError::NoCa(*pin))?;
        self.commit_external(vec![Op::delete(ca_key(pin), Expect::Any)]).await?;
        self.write().external.cas.remove(pin);
        self.forget_names(pin).await?;
        Ok(known)
    }

    async fn forget_names(&self, pin: &SpkiSha256) -> Result<(), DirectoryError> {
        let of_it = |(ca, _): &(SpkiSha256, SanName)| ca == pin;
        let gone: Vec<_> = self.read().external.names.keys().filter(|key| of_it(key)).cloned().collect();
        for some in gone.chunks(MAX_OPS) {
            let ops = some.iter().map(|(ca, name)| Op::delete(name_key(ca, name), Expect::Any)).collect();
            self.commit_external(ops).await?;
        }
        let mut memory = self.write();
        gone.iter().for_each(|key| memory.external.unmap(key));
        Ok(())
    }

    /// Maps a name to a cluster. To map it to the same one again changes nothing.
    ///
    /// # Errors
    /// [`ExternalError`]; nothing has changed then.
    pub(in crate::hub) async fn map_name(&self, mapped: MappedName) -> Result<(), ExternalError> {
        let _changing = self.external_changes.lock().await;
        let MappedName { ca, name, cluster, .. } = &mapped;
        let called = |uid: &ClusterUid| self.cluster_by_uid(uid).map_or_else(String::new, |c| c.name.to_string());
        if self.cluster_by_uid(cluster).is_none() {
            return Err(DirectoryError::Missing(format!("cluster {cluster}")).into());
        }
        if !self.is_external(ca) {
            return Err(ExternalError::NoCa(*ca));
        }
        match self.cluster_named(ca, name) {
            Some(known) if known == *cluster => return Ok(()),
            Some(known) => {
                return Err(ExternalError::Taken { ca: *ca, name: name.clone(), cluster: called(&known) });
            }
            None => {}
        }
        if self.mapped_names(Some(cluster)).len() >= defaults::EXTERNAL_NAMES {
            return Err(ExternalError::TooManyNames { name: called(cluster) });
        }
        self.commit_external(vec![put(name_key(ca, name), &mapped, Expect::Absent)]).await?;
        self.write().external.map(mapped);
        Ok(())
    }

    /// A name stands for a cluster no more.
    ///
    /// # Errors
    /// [`ExternalError::NotMapped`], or the store's.
    pub(in crate::hub) async fn unmap_name(
        &self,
        ca: &SpkiSha256,
        name: &SanName,
        cluster: &super::Cluster,
    ) -> Result<(), ExternalError> {
        let _changing = self.external_changes.lock().await;
        let known = self.read().external.names.get(&(*ca, name.clone())).cloned();
        if known.is_none_or(|known| known != cluster.uid) {
            let cluster = cluster.name.to_string();
            return Err(ExternalError::NotMapped { ca: *ca, name: name.clone(), cluster });
        }
        self.commit_external(vec![Op::delete(name_key(ca, name), Expect::Any)]).await?;
        self.write().external.unmap(&(*ca, name.clone()));
        Ok(())
    }

    async fn commit_external(&self, ops: Vec<Op>) -> Result<(), DirectoryError> {
        self.store.commit(ops).await.map(drop).map_err(|error| match error {
            CommitError::Conflict { .. } => DirectoryError::Busy,
            error => DirectoryError::Commit(error),
        })
    }
}

fn ca_key(pin: &SpkiSha256) -> String {
    format!("{CAS}{pin}")
}

/// Names may be longer than keys: the hash of one stands for it.
fn name_key(ca: &SpkiSha256, name: &SanName) -> String {
    let (kind, text) = match name.as_uri() {
        Some(uri) => ("uri", uri),
        None => ("dns", name.as_dns().unwrap_or_default()),
    };
    let hash: String = digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{NAMES}{ca}/{kind}/{hash}")
}

#[cfg(test)]
mod tests;
