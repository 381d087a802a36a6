//! Keys and values with revisions, compare-and-swap, watch and leases. Does not know what the values mean.
//!
//! [`Store`] is the contract; `contract.rs` holds the tests that every implementation must pass. It asks for no more than etcd offers,
//! so that etcd can take the place of [`Embedded`] when there is more than one replica.

mod embedded;

use std::{fmt, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

pub use embedded::{Embedded, OpenError};

/// Longest key, in bytes.
pub const MAX_KEY: usize = 1024;
/// Longest value, in bytes.
pub const MAX_VALUE: usize = 1024 * 1024;
/// Most bytes of keys and values in one commit; below etcd's default request limit of 1.5 MiB.
pub const MAX_COMMIT: usize = 1280 * 1024;
/// Most operations in one commit; etcd's default.
pub const MAX_OPS: usize = 128;
/// Shortest lease.
pub const MIN_LEASE: Duration = Duration::from_secs(1);
/// Longest lease.
pub const MAX_LEASE: Duration = Duration::from_secs(3600);

/// What an operation answers: a boxed future, so that the trait is object-safe.
pub type Reply<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// A point in the store's history. It grows by one with every commit that changes something and never goes back, restarts included.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Revision(u64);

impl Revision {
    /// Before the first commit.
    pub const ZERO: Self = Self(0);

    /// As a number, for logs and for keeping elsewhere.
    pub fn get(self) -> u64 {
        self.0
    }

    /// From a number that [`Revision::get`] gave.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease that was granted. Never granted twice, restarts included.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LeaseId(u64);

/// A key with its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// The commit that last wrote it: what [`Expect::Revision`] compares.
    pub revision: Revision,
}

/// All keys with a prefix at one point in history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing {
    /// In the order of their keys.
    pub entries: Vec<Entry>,
    /// The point in history; [`Store::watch`] continues from it without a gap.
    pub revision: Revision,
}

/// What a key must be for a commit to happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expect {
    /// Not there.
    Absent,
    /// There, last written by this commit.
    Revision(Revision),
    /// No condition.
    Any,
}

/// What a commit does to a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Writes it; bound to `lease`, it vanishes when the lease ends. Writing without a lease unbinds it.
    Put {
        /// The new value.
        value: Bytes,
        /// What it is bound to.
        lease: Option<LeaseId>,
    },
    /// Removes it; nothing happens if it is absent.
    Delete,
    /// Nothing: only the condition counts.
    Check,
}

/// One key's part of a commit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Op {
    /// Which key.
    pub key: Bytes,
    /// Its condition.
    pub expect: Expect,
    /// What happens to it.
    pub action: Action,
}

impl Op {
    /// Writes a key under a condition.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>, expect: Expect) -> Self {
        Self { key: key.into(), expect, action: Action::Put { value: value.into(), lease: None } }
    }

    /// Writes a key that vanishes when `lease` ends.
    pub fn put_leased(key: impl Into<Bytes>, value: impl Into<Bytes>, expect: Expect, lease: LeaseId) -> Self {
        Self { key: key.into(), expect, action: Action::Put { value: value.into(), lease: Some(lease) } }
    }

    /// Removes a key under a condition.
    pub fn delete(key: impl Into<Bytes>, expect: Expect) -> Self {
        Self { key: key.into(), expect, action: Action::Delete }
    }

    /// Only a condition.
    pub fn check(key: impl Into<Bytes>, expect: Expect) -> Self {
        Self { key: key.into(), expect, action: Action::Check }
    }
}

/// One key's change, as a watcher sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Which key.
    pub key: Bytes,
    /// The new value; `None` when it was removed.
    pub value: Option<Bytes>,
    /// The commit that did it. Changes of one commit share it and follow each other.
    pub revision: Revision,
}

/// The changes below a prefix, in order and without a gap.
pub trait Changes: Send {
    /// The next change.
    ///
    /// # Errors
    /// [`WatchError`]; the watch is over then, list and watch again.
    ///
    /// # Cancel safety
    /// Dropping the future loses no change.
    fn next(&mut self) -> Reply<'_, Change, WatchError>;
}

/// A running watch; dropping it ends it.
pub type Watch = Box<dyn Changes>;

/// The store failed. What was acknowledged is kept; whether an operation that failed with this was done is unknown.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was closed.
    #[error("the store is closed")]
    Closed,
    /// The disk has no room for it. It has again without a restart.
    #[error("no space left for the store")]
    Full,
    /// The engine failed.
    #[error("the store failed")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why a commit was not done. Nothing of it was, except possibly after [`CommitError::Store`].
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A key is not what was expected of it.
    #[error("the key `{}` is not as expected", .key.escape_ascii())]
    Conflict {
        /// The first such key.
        key: Bytes,
    },
    /// A lease that ended, or never was.
    #[error("the lease has ended")]
    Lease(LeaseId),
    /// Two operations on one key.
    #[error("two operations on the key `{}`", .key.escape_ascii())]
    Twice {
        /// That key.
        key: Bytes,
    },
    /// A key, a value or the number of operations over its limit.
    #[error("{what} of {size}, more than {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a watch cannot start or go on. The reaction to the first two is to list again.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The history from there on is no longer known (or not yet: the store was restored from an older copy).
    #[error("the history after revision {after} is not kept: list again")]
    Compacted {
        /// Where the watch was to begin.
        after: Revision,
    },
    /// The watcher was so slow that changes it had not taken were dropped.
    #[error("the watcher fell behind revision {after}: list again")]
    Lagged {
        /// The last change it may have seen.
        after: Revision,
    },
    /// The store failed or was closed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a lease was not granted or kept.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Outside [`MIN_LEASE`]..=[`MAX_LEASE`].
    #[error("a lease of {0:?}: 1 s to 1 h are granted")]
    Life(Duration),
    /// It ended, or never was.
    #[error("the lease has ended")]
    Ended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Ordered keys and values with atomic conditional commits. Keys and values are bytes.
pub trait Store: Send + Sync + fmt::Debug {
    /// The value of a key, as of the last acknowledged commit or later.
    fn get(&self, key: &[u8]) -> Reply<'_, Option<Entry>, StoreError>;

    /// All keys that begin with `prefix` (all keys, if it is empty), at one point in history.
    fn list(&self, prefix: &[u8]) -> Reply<'_, Listing, StoreError>;

    /// Does all of `ops` or none, if every condition holds. When it answers, the change is durable, except keys bound to a lease.
    /// The answer is the revision of the commit; a commit that changes nothing answers the revision it saw.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo: the commit may or may not happen.
    fn commit(&self, ops: Vec<Op>) -> Reply<'_, Revision, CommitError>;

    /// The changes below `prefix` after `after` (usually a [`Listing::revision`]).
    fn watch(&self, prefix: &[u8], after: Revision) -> Reply<'_, Watch, WatchError>;

    /// A new lease that ends after `life` unless it is kept alive. It may end early when the store restarts.
    fn grant(&self, life: Duration) -> Reply<'_, LeaseId, LeaseError>;

    /// Lets a lease run its whole life again from now.
    fn keep_alive(&self, lease: LeaseId) -> Reply<'_, (), LeaseError>;

    /// Ends a lease and removes the keys bound to it.
    fn end(&self, lease: LeaseId) -> Reply<'_, (), LeaseError>;
}

/// The limits of [`Store::commit`], the same for every implementation.
fn check_limits(ops: &[Op]) -> Result<(), CommitError> {
    let within =
        |what, size, limit| if size > limit { Err(CommitError::TooLarge { what, size, limit }) } else { Ok(()) };
    within("operations in one commit", ops.len(), MAX_OPS)?;
    let mut total = 0;
    let mut seen = std::collections::HashSet::with_capacity(ops.len());
    for op in ops {
        within("a key", op.key.len(), MAX_KEY)?;
        if let Action::Put { value, .. } = &op.action {
            within("a value", value.len(), MAX_VALUE)?;
            total += value.len();
        }
        total += op.key.len();
        if !seen.insert(&op.key) {
            return Err(CommitError::Twice { key: op.key.clone() });
        }
    }
    within("a commit", total, MAX_COMMIT)
}

#[cfg(test)]
mod contract;
