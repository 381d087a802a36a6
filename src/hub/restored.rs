//! That this hub's state came from a backup, and from when: what was done after the backup is lost, and an operator must know it until they say
//! that they do. Refuses to know what was lost.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, serde::rfc3339};

use super::{api_types::RestoredView, directory::DirectoryError};
use crate::store::{Expect, Op, Store};

/// Where it stands in the store.
pub(super) const KEY: &str = "hub/restored";

/// A restore, as the store keeps it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Restore {
    /// When the backup was made: what came later is lost, …
    #[serde(with = "rfc3339")]
    pub made: OffsetDateTime,
    /// … up to here.
    #[serde(with = "rfc3339")]
    pub restored: OffsetDateTime,
    /// When somebody said that they know.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<OffsetDateTime>,
}

impl Restore {
    /// For `GET /api/v1/status`.
    pub(super) fn view(&self) -> RestoredView {
        RestoredView { backup_made: self.made, restored_at: self.restored, acknowledged: self.acknowledged }
    }
}

impl fmt::Display for Restore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "restored from a backup: what was done from {} to {} is lost; clusters removed, tokens and certificates revoked, and grants \
             taken away in that time are valid again until that is done again",
            self.made, self.restored
        )
    }
}

/// The last restore, if there was one.
pub(super) struct Restored {
    store: Arc<dyn Store>,
    last: RwLock<Option<Restore>>,
}

impl Restored {
    /// Reads it, and warns of one that nobody acknowledged.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn load(store: Arc<dyn Store>) -> Result<Self, DirectoryError> {
        let last = match store.get(KEY.as_bytes()).await? {
            Some(entry) => Some(serde_json::from_slice::<Restore>(&entry.value).map_err(unreadable)?),
            None => None,
        };
        if let Some(restore) = last.as_ref().filter(|restore| restore.acknowledged.is_none()) {
            tracing::warn!("{restore}; when that is done: roadstead hub restore-acknowledge");
        }
        Ok(Self { store, last: RwLock::new(last) })
    }

    /// The last restore.
    pub(super) fn last(&self) -> Option<Restore> {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Somebody knows of it; `None` when there is nothing to know.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn acknowledge(&self, now: OffsetDateTime) -> Result<Option<Restore>, DirectoryError> {
        let Some(mut restore) = self.last() else { return Ok(None) };
        restore.acknowledged.get_or_insert(now);
        self.store.commit(vec![restore.op()]).await.map_err(DirectoryError::Commit)?;
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(restore.clone());
        Ok(Some(restore))
    }
}

impl Restore {
    /// Writes it.
    pub(super) fn op(&self) -> Op {
        Op::put(KEY, serde_json::to_vec(self).expect("it has string keys only"), Expect::Any)
    }
}

fn unreadable(source: serde_json::Error) -> DirectoryError {
    DirectoryError::Record { key: KEY.to_owned(), source }
}
