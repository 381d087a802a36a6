//! Private keys at rest: a store whose values below `pki/` are encrypted, so that a copy of the disk is worth nothing. Refuses to know what
//! the values mean; everything else passes unchanged.

mod open;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

#[cfg(test)]
pub(super) use self::open::Opened;
pub use self::open::SealedError;
pub(super) use self::open::{open, read_key};
use crate::{
    identity::seal::{self, KeyWrapper, SealError},
    store::{
        Action, Change, Changes, CommitError, Entry, LeaseError, LeaseId, Listing, Op, Reply, Revision, Store,
        StoreError, Watch, WatchError,
    },
};

/// Where private keys are.
const SECRET: &[u8] = b"pki/";

/// Whose values are sealed on their way into `inner`, and opened on their way out.
struct Sealed {
    inner: Arc<dyn Store>,
    keys: Arc<dyn KeyWrapper>,
}

/// `inner`, with keys sealed if there is something to seal them with.
pub(super) fn over(inner: Arc<dyn Store>, keys: Option<Arc<dyn KeyWrapper>>) -> Arc<dyn Store> {
    match keys {
        Some(keys) => Arc::new(Sealed { inner, keys }),
        None => inner,
    }
}

fn is_secret(key: &[u8]) -> bool {
    key.starts_with(SECRET)
}

/// What a value is sealed for: its own place in the store, so that none can stand for another.
pub(super) fn purpose(key: &[u8]) -> String {
    format!("store/{}", key.escape_ascii())
}

/// Seals the value of `key`; a wrapper may block.
pub(super) async fn seal_value(keys: &Arc<dyn KeyWrapper>, key: &Bytes, value: &Bytes) -> Result<Bytes, SealError> {
    let (keys, key, value) = (keys.clone(), key.clone(), value.clone());
    let sealed = tokio::task::spawn_blocking(move || seal::seal(&*keys, &purpose(&key), &value)).await;
    sealed.unwrap_or(Err(SealError::Damaged)).map(Bytes::from)
}

/// Opens the value of `key`. One that is in the clear is given as it is: before it was told to seal, the hub wrote it.
pub(super) async fn open_value(keys: &Arc<dyn KeyWrapper>, key: &Bytes, value: &Bytes) -> Result<Bytes, SealError> {
    if !seal::is_sealed(value) {
        return Ok(value.clone());
    }
    let (keys, key, value) = (keys.clone(), key.clone(), value.clone());
    let opened = tokio::task::spawn_blocking(move || seal::open(&*keys, &purpose(&key), &value)).await;
    opened.unwrap_or(Err(SealError::Damaged)).map(|plain| Bytes::copy_from_slice(&plain))
}

impl Sealed {
    async fn opened(&self, mut entry: Entry) -> Result<Entry, StoreError> {
        if is_secret(&entry.key) {
            entry.value = open_value(&self.keys, &entry.key, &entry.value).await.map_err(engine)?;
        }
        Ok(entry)
    }

    async fn sealed(&self, mut op: Op) -> Result<Op, CommitError> {
        if let Action::Put { value, .. } = &mut op.action
            && is_secret(&op.key)
        {
            *value = seal_value(&self.keys, &op.key, value).await.map_err(engine)?;
        }
        Ok(op)
    }
}

fn engine(error: SealError) -> StoreError {
    StoreError::Engine(Box::new(error))
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({:?}, {:?})", self.inner, self.keys)
    }
}

impl Store for Sealed {
    fn get(&self, key: &[u8]) -> Reply<'_, Option<Entry>, StoreError> {
        let key = Bytes::copy_from_slice(key);
        Box::pin(async move {
            match self.inner.get(&key).await? {
                Some(entry) => self.opened(entry).await.map(Some),
                None => Ok(None),
            }
        })
    }

    fn list(&self, prefix: &[u8]) -> Reply<'_, Listing, StoreError> {
        let prefix = Bytes::copy_from_slice(prefix);
        Box::pin(async move {
            let Listing { entries, revision } = self.inner.list(&prefix).await?;
            let mut opened = Vec::with_capacity(entries.len());
            for entry in entries {
                opened.push(self.opened(entry).await?);
            }
            Ok(Listing { entries: opened, revision })
        })
    }

    fn commit(&self, ops: Vec<Op>) -> Reply<'_, Revision, CommitError> {
        Box::pin(async move {
            let mut sealed = Vec::with_capacity(ops.len());
            for op in ops {
                sealed.push(self.sealed(op).await?);
            }
            self.inner.commit(sealed).await
        })
    }

    fn watch(&self, prefix: &[u8], after: Revision) -> Reply<'_, Watch, WatchError> {
        let prefix = Bytes::copy_from_slice(prefix);
        Box::pin(async move {
            let inner = self.inner.watch(&prefix, after).await?;
            Ok(Box::new(Opening { inner, keys: self.keys.clone() }) as Watch)
        })
    }

    fn grant(&self, life: Duration) -> Reply<'_, LeaseId, LeaseError> {
        self.inner.grant(life)
    }

    fn keep_alive(&self, lease: LeaseId) -> Reply<'_, (), LeaseError> {
        self.inner.keep_alive(lease)
    }

    fn end(&self, lease: LeaseId) -> Reply<'_, (), LeaseError> {
        self.inner.end(lease)
    }
}

/// A watch whose secret values are opened as they come.
struct Opening {
    inner: Watch,
    keys: Arc<dyn KeyWrapper>,
}

impl Changes for Opening {
    fn next(&mut self) -> Reply<'_, Change, WatchError> {
        Box::pin(async move {
            let mut change = self.inner.next().await?;
            if let Some(value) = &change.value
                && is_secret(&change.key)
            {
                change.value = Some(open_value(&self.keys, &change.key, value).await.map_err(engine)?);
            }
            Ok(change)
        })
    }
}

#[cfg(test)]
mod tests;
