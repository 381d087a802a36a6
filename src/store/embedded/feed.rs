//! The recent history that watchers read: one bounded log for all of them, each with a place in it. Refuses to know the file.
//!
//! A watcher has no queue of its own, so a slow one costs no memory; it is told that it lagged once its place was dropped.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::store::{Change, Changes, Reply, Revision, StoreError, WatchError};

/// Most changes that are kept.
const MAX_CHANGES: usize = 8192;
/// Most bytes of keys and values that are kept.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The writing end.
pub(super) struct Feed {
    log: Arc<Mutex<Log>>,
    /// How many changes there ever were; its closing ends the watches.
    count: Mutex<Option<watch::Sender<u64>>>,
}

struct Log {
    changes: VecDeque<Change>,
    bytes: usize,
    /// The number of the first change that is kept.
    first: u64,
    /// The newest commit.
    revision: Revision,
    /// The newest commit of which a change was dropped, or the one at the start.
    dropped: Revision,
}

impl Feed {
    /// An empty history that begins after `revision`.
    pub(super) fn new(revision: Revision) -> Self {
        let log = Log { changes: VecDeque::new(), bytes: 0, first: 0, revision, dropped: revision };
        Self { log: Arc::new(Mutex::new(log)), count: Mutex::new(Some(watch::Sender::new(0))) }
    }

    /// The newest commit that was announced.
    pub(super) fn revision(&self) -> Revision {
        lock(&self.log).revision
    }

    /// Announces the changes of commits, in order.
    pub(super) fn publish(&self, changes: impl IntoIterator<Item = Change>) {
        let end = {
            let mut log = lock(&self.log);
            for change in changes {
                log.bytes += size(&change);
                log.revision = change.revision;
                log.changes.push_back(change);
            }
            while log.changes.len() > MAX_CHANGES || log.bytes > MAX_BYTES {
                let Some(old) = log.changes.pop_front() else { break };
                log.bytes -= size(&old);
                log.first += 1;
                log.dropped = old.revision;
            }
            log.first + log.changes.len() as u64
        };
        if let Some(count) = &*self.count.lock().unwrap_or_else(PoisonError::into_inner) {
            count.send_replace(end);
        }
    }

    /// A watch of the changes below `prefix` after `after`.
    pub(super) fn watch(&self, prefix: Bytes, after: Revision) -> Result<Cursor, WatchError> {
        let count =
            self.count.lock().unwrap_or_else(PoisonError::into_inner).as_ref().ok_or(StoreError::Closed)?.subscribe();
        let log = lock(&self.log);
        if after < log.dropped {
            return Err(WatchError::Compacted { after });
        }
        let known = log.changes.partition_point(|change| change.revision <= after);
        let next = log.first + known as u64;
        Ok(Cursor { log: self.log.clone(), count, prefix, after, next })
    }

    /// Ends all watches.
    pub(super) fn close(&self) {
        self.count.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// A watcher's place in the log.
pub(super) struct Cursor {
    log: Arc<Mutex<Log>>,
    count: watch::Receiver<u64>,
    prefix: Bytes,
    after: Revision,
    next: u64,
}

impl Cursor {
    /// The next change that is already there.
    fn take(&mut self) -> Result<Option<Change>, WatchError> {
        let log = lock(&self.log);
        let Some(mut at) = self.next.checked_sub(log.first) else {
            return Err(WatchError::Lagged { after: self.after });
        };
        while let Some(change) = usize::try_from(at).ok().and_then(|at| log.changes.get(at)) {
            at += 1;
            self.next += 1;
            if change.revision > self.after && change.key.starts_with(&self.prefix) {
                return Ok(Some(change.clone()));
            }
        }
        Ok(None)
    }
}

impl Changes for Cursor {
    fn next(&mut self) -> Reply<'_, Change, WatchError> {
        Box::pin(async move {
            loop {
                if let Some(change) = self.take()? {
                    return Ok(change);
                }
                // Returns at once if anything was announced since it last returned, so nothing slips in between.
                self.count.changed().await.map_err(|_| StoreError::Closed)?;
            }
        })
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size(change: &Change) -> usize {
    change.key.len() + change.value.as_ref().map_or(0, Bytes::len)
}
