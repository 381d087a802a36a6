//! What is held back of a backup, for an operator knows, or fears, that it was denied after the backup was made.

use bytes::Bytes;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::RestoreError;
use crate::hub::{
    directory::{CLUSTERS, Cluster, LOCKS, Lock, LockedBy, TOKENS},
    restored::Restore,
};

/// Which clusters are locked in the restored state, before a hub serves it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Locking {
    /// Those that were locked in the backup.
    #[default]
    Known,
    /// These besides, by name.
    Named(Vec<String>),
    /// All.
    All,
}

type Entries = Vec<(Bytes, Bytes)>;

/// Adds locks to the entries of a backup: the names of the clusters that were not locked in it.
///
/// # Errors
/// [`RestoreError::UnknownClusters`], with every name that no cluster of the backup has, and a cluster that cannot be read.
pub(super) fn lock(entries: &mut Entries, wish: &Locking, restore: &Restore) -> Result<Vec<String>, RestoreError> {
    if *wish == Locking::Known {
        return Ok(Vec::new());
    }
    let of = |(_, value): &(Bytes, Bytes)| serde_json::from_slice::<Cluster>(value);
    let clusters = entries.iter().filter(|(key, _)| key.starts_with(CLUSTERS.as_bytes())).map(of);
    let mut clusters = clusters.collect::<Result<Vec<_>, _>>().map_err(RestoreError::Cluster)?;
    if let Locking::Named(names) = wish {
        let unknown = names.iter().filter(|name| !clusters.iter().any(|c| *c.name == ***name));
        let unknown: Vec<_> = unknown.cloned().collect();
        if !unknown.is_empty() {
            return Err(RestoreError::UnknownClusters(unknown.join(", ")));
        }
        clusters.retain(|cluster| names.iter().any(|name| *name == *cluster.name));
    }
    let mut locked = Vec::new();
    for cluster in clusters {
        let key = format!("{LOCKS}{}", cluster.uid);
        if entries.iter().any(|(known, _)| *known == key.as_bytes()) {
            continue;
        }
        let lock = Lock {
            cluster: cluster.uid,
            reason: format!("held: the hub was restored from a backup of {}", shown(restore.made)),
            by: LockedBy::Restore,
            at: restore.restored,
        };
        let value = serde_json::to_vec(&lock).expect("a lock has string keys only");
        entries.push((key.into(), value.into()));
        locked.push(cluster.name.to_string());
    }
    Ok(locked)
}

/// Takes hub tokens out of the entries of a backup: how many.
pub(super) fn drop_tokens(entries: &mut Entries) -> usize {
    let before = entries.len();
    entries.retain(|(key, _)| !key.starts_with(TOKENS.as_bytes()));
    before - entries.len()
}

fn shown(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}
