//! The contract on one redb file, for a hub of one process. Refuses to share the file with another process.
//!
//! Reading and writing happen on blocking threads. Commits that arrive while one is being written are written together with the next
//! one, so that a thousand callers do not cost a thousand `fsync`s. History for watchers is kept in memory only, and leases end when
//! the file is opened again: the one process that could hold them is gone.

mod feed;
mod file;
mod lease;
mod rewrite;
mod writer;

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::{feed::Feed, file::File, lease::Leases, writer::Queue};
use super::{
    Changes, CommitError, Entry, LeaseError, LeaseId, Listing, Op, Reply, Revision, Store, StoreError, Watch,
    WatchError, check_limits,
};

/// Commits that wait to be written, of up to [`super::MAX_COMMIT`] bytes each. When it is full, further callers wait for room: a commit
/// is never dropped.
const MAX_PENDING: usize = 64;

/// Why the file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has it open.
    #[error("the store is in use by another process")]
    InUse,
    /// Written by a version of Roadstead that this one does not know.
    #[error("the store has schema {found}, this version knows {known}: it was written by another version of roadstead")]
    UnknownSchema {
        /// What the file says.
        found: u64,
        /// What this version reads and writes.
        known: u64,
    },
    /// Not a store, or damaged.
    #[error("the file is not a store of roadstead, or is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file system refused.
    #[error("the file cannot be opened")]
    Io(#[source] std::io::Error),
}

/// A store in one file.
pub struct Embedded {
    inner: Arc<Inner>,
    /// Stops the task that ends leases when the store is dropped without [`Embedded::close`].
    _stop: DropGuard,
}

/// What the store's tasks share.
struct Inner {
    /// `None` once closed.
    file: Mutex<Option<Arc<File>>>,
    feed: Feed,
    leases: Leases,
    queue: Queue,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Embedded {
    /// Opens the store in `path`, which is made (for this user only) if it is not there. Keys bound to leases of an earlier run are
    /// removed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || File::open(&path)).await;
        // A damaged file can make the engine panic; that is an answer about the file, not about this program.
        let (file, start) = opened.map_err(|panic| OpenError::Damaged(panic.into()))??;
        let inner = Arc::new(Inner {
            file: Mutex::new(Some(Arc::new(file))),
            feed: Feed::new(start.revision),
            leases: Leases::new(start.run),
            queue: Queue::default(),
            room: Arc::new(Semaphore::new(MAX_PENDING)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        inner.tasks.spawn(lease::end_expired(inner.clone()));
        let stop = inner.stop.clone().drop_guard();
        Ok(Self { inner, _stop: stop })
    }

    /// Writes the file in `path` anew, with all that it holds and nothing that was overwritten or removed: the engine leaves that where it
    /// was until its place is needed. Nobody may have the file open. A crash leaves the old file or the new one.
    ///
    /// # Errors
    /// [`OpenError`]; the old file is there then.
    pub async fn rewrite(path: &Path) -> Result<(), OpenError> {
        let path = path.to_owned();
        let done = tokio::task::spawn_blocking(move || rewrite::rewrite(&path)).await;
        done.map_err(|panic| OpenError::Damaged(panic.into()))?
    }

    /// Closes the file once everything that was accepted is written. Operations and watches fail with [`StoreError::Closed`] from now on.
    pub async fn close(&self) {
        let inner = &self.inner;
        inner.room.close();
        inner.feed.close();
        inner.stop.cancel();
        inner.tasks.close();
        inner.tasks.wait().await;
        inner.file.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Inner {
    fn file(&self) -> Result<Arc<File>, StoreError> {
        if self.room.is_closed() {
            return Err(StoreError::Closed);
        }
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)
    }

    /// Runs `read` on a blocking thread.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&File) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = self.file()?;
        self.tasks.spawn_blocking(move || read(&file)).await.map_err(|panic| StoreError::Engine(panic.into()))?
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedded(revision {})", self.inner.feed.revision())
    }
}

impl Store for Embedded {
    fn get(&self, key: &[u8]) -> Reply<'_, Option<Entry>, StoreError> {
        let key = Bytes::copy_from_slice(key);
        Box::pin(self.inner.read(move |file| file.get(&key)))
    }

    fn list(&self, prefix: &[u8]) -> Reply<'_, Listing, StoreError> {
        let prefix = Bytes::copy_from_slice(prefix);
        Box::pin(self.inner.read(move |file| file.list(&prefix)))
    }

    fn commit(&self, ops: Vec<Op>) -> Reply<'_, Revision, CommitError> {
        Box::pin(async move {
            check_limits(&ops)?;
            writer::commit(&self.inner, ops).await
        })
    }

    fn watch(&self, prefix: &[u8], after: Revision) -> Reply<'_, Watch, WatchError> {
        let prefix = Bytes::copy_from_slice(prefix);
        Box::pin(async move {
            // A listing may be ahead of the feed by a commit that is written but not announced yet; only the file knows.
            if after > self.inner.feed.revision() && after > self.inner.read(File::revision).await? {
                return Err(WatchError::Compacted { after });
            }
            let cursor = self.inner.feed.watch(prefix, after)?;
            Ok(Box::new(cursor) as Box<dyn Changes>)
        })
    }

    fn grant(&self, life: Duration) -> Reply<'_, LeaseId, LeaseError> {
        Box::pin(async move {
            self.inner.file()?;
            self.inner.leases.grant(life)
        })
    }

    fn keep_alive(&self, lease: LeaseId) -> Reply<'_, (), LeaseError> {
        Box::pin(async move {
            self.inner.file()?;
            self.inner.leases.keep_alive(lease)
        })
    }

    fn end(&self, lease: LeaseId) -> Reply<'_, (), LeaseError> {
        Box::pin(async move {
            if !self.inner.leases.expire(lease) {
                return Err(LeaseError::Ended);
            }
            writer::end_lease(&self.inner, lease).await?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
