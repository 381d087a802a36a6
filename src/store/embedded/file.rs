//! The redb file: its two tables, opening it, reading it, and applying commits inside a transaction. Refuses to know tasks and watchers.

use std::{
    fs::{File as StdFile, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
    WriteTransaction,
};

use super::OpenError;
use crate::store::{Action, Change, CommitError, Entry, Expect, LeaseId, Listing, Op, Revision, StoreError};

/// The layout below; a file with another number is refused.
const SCHEMA: u64 = 1;
/// Memory for cached pages. The default of the engine is 1 GiB; the whole store of a thousand clusters is a few MiB.
const CACHE: usize = 4 * 1024 * 1024;

/// Numbers about the file: `schema`, `revision` (of the newest commit), `run` (how often it was opened).
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Key to (revision, lease or 0, value).
pub(super) const DATA: TableDefinition<'_, &[u8], (u64, u64, &[u8])> = TableDefinition::new("data");

pub(super) type Data<'txn> = Table<'txn, &'static [u8], (u64, u64, &'static [u8])>;

/// An open file. The engine refuses everything once the file system has refused it something (a full disk, above all); so it is opened
/// again then, which finds what was last committed.
pub(super) struct File {
    path: PathBuf,
    /// `None` from an error of the file system until the next operation opens the file again.
    database: RwLock<Option<Database>>,
    /// The revision of the newest commit that succeeded here.
    newest: AtomicU64,
}

/// What an open file begins with.
pub(super) struct Start {
    pub(super) revision: Revision,
    /// Different at every opening.
    pub(super) run: u64,
}

impl File {
    /// Opens or makes the file, checks the schema and removes what leases of earlier runs had bound.
    pub(super) fn open(path: &Path) -> Result<(Self, Start), OpenError> {
        let fresh = !path.exists();
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(OpenError::Io)?;
        let database = database(path)?;
        if fresh && let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            StdFile::open(directory).and_then(|directory| directory.sync_all()).map_err(OpenError::Io)?;
        }
        let start = begin_run(&database)?;
        let newest = AtomicU64::new(start.revision.0);
        Ok((Self { path: path.to_owned(), database: RwLock::new(Some(database)), newest }, start))
    }

    /// The newest commit.
    pub(super) fn revision(&self) -> Result<Revision, StoreError> {
        self.with(newest)
    }

    pub(super) fn get(&self, key: &Bytes) -> Result<Option<Entry>, StoreError> {
        self.with(|database| {
            let transaction = database.begin_read().map_err(engine)?;
            let data = transaction.open_table(DATA).map_err(engine)?;
            let found = data.get(key.as_ref()).map_err(engine)?;
            Ok(found.map(|found| entry(key.clone(), found.value())))
        })
    }

    pub(super) fn list(&self, prefix: &Bytes) -> Result<Listing, StoreError> {
        self.with(|database| listing(database, prefix))
    }

    /// Runs `work` in one transaction from the newest revision on. It answers the revision to go on from; if that grew, everything is
    /// written durably before this returns, otherwise nothing is.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&mut Data<'_>, Revision) -> Result<(T, Revision), StoreError>,
    ) -> Result<T, StoreError> {
        let (out, after) = self.with(|database| transact(database, work))?;
        self.newest.store(after.0, Ordering::Relaxed);
        Ok(out)
    }

    /// Runs `work`, on the file opened again if it was given up; gives it up if the file system refuses something.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let read = || self.database.read().unwrap_or_else(PoisonError::into_inner);
        if read().is_none() {
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if database.is_none() {
                *database = Some(self.open_again()?);
            }
        }
        let done = match &*read() {
            Some(database) => work(database),
            None => Err(StoreError::Engine("the file was given up again".into())),
        };
        if done.as_ref().is_err_and(refused_by_file_system) {
            self.give_up();
        }
        done
    }

    /// Lets go of the engine: the next operation opens the file again.
    pub(super) fn give_up(&self) {
        self.database.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn open_again(&self) -> Result<Database, StoreError> {
        let database = database(&self.path).map_err(|error| match error {
            OpenError::Io(error) if is_full(&error) => StoreError::Full,
            other => StoreError::Engine(other.into()),
        })?;
        let (found, known) = (newest(&database)?, Revision(self.newest.load(Ordering::Relaxed)));
        if found != known {
            // A commit that was reported as failed is in the file. Whoever holds the state in memory does not know of it.
            let text =
                format!("the file is at revision {found}, not {known}: a failed commit was written; start again");
            return Err(StoreError::Engine(text.into()));
        }
        tracing::warn!(revision = %found, "store opened again after an error of the file system");
        Ok(database)
    }
}

/// Opens the engine, or makes its file.
pub(super) fn database(path: &Path) -> Result<Database, OpenError> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder.create(path).map_err(open_error)
}

/// The revision of the newest commit.
fn newest(database: &Database) -> Result<Revision, StoreError> {
    let transaction = database.begin_read().map_err(engine)?;
    let meta = transaction.open_table(META).map_err(engine)?;
    Ok(Revision(meta.get("revision").map_err(engine)?.map_or(0, |number| number.value())))
}

/// Whether the engine will refuse everything from now on, because the file system refused it something.
fn refused_by_file_system(error: &StoreError) -> bool {
    match error {
        StoreError::Full => true,
        StoreError::Engine(error) => matches!(error.downcast_ref(), Some(redb::Error::Io(_) | redb::Error::PreviousIo)),
        StoreError::Closed => false,
    }
}

/// Every entry below a prefix, and the revision of that.
fn listing(database: &Database, prefix: &Bytes) -> Result<Listing, StoreError> {
    let transaction = database.begin_read().map_err(engine)?;
    let data = transaction.open_table(DATA).map_err(engine)?;
    let meta = transaction.open_table(META).map_err(engine)?;
    let mut entries = Vec::new();
    for found in data.range(prefix.as_ref()..).map_err(engine)? {
        let (key, value) = found.map_err(engine)?;
        if !key.value().starts_with(prefix) {
            break;
        }
        entries.push(entry(Bytes::copy_from_slice(key.value()), value.value()));
    }
    let revision = Revision(meta.get("revision").map_err(engine)?.map_or(0, |number| number.value()));
    Ok(Listing { entries, revision })
}

/// One transaction; also gives the revision that the file has now.
fn transact<T>(
    database: &Database,
    work: impl FnOnce(&mut Data<'_>, Revision) -> Result<(T, Revision), StoreError>,
) -> Result<(T, Revision), StoreError> {
    let transaction = database.begin_write().map_err(engine)?;
    let (out, before, after) = {
        let mut meta = transaction.open_table(META).map_err(engine)?;
        let before = Revision(meta.get("revision").map_err(engine)?.map_or(0, |number| number.value()));
        let mut data = transaction.open_table(DATA).map_err(engine)?;
        let (out, after) = work(&mut data, before)?;
        meta.insert("revision", after.0).map_err(engine)?;
        (out, before, after)
    };
    if after > before {
        transaction.commit().map_err(engine)?;
        Ok((out, after))
    } else {
        transaction.abort().map_err(engine)?;
        Ok((out, before))
    }
}

/// One commit inside a transaction: all conditions, then all changes at `revision`. An error leaves `data` as it was.
pub(super) fn apply(data: &mut Data<'_>, ops: &[Op], revision: Revision) -> Result<Applied, CommitError> {
    for op in ops {
        let found = data.get(op.key.as_ref()).map_err(engine)?.map(|found| Revision(found.value().0));
        let holds = match op.expect {
            Expect::Any => true,
            Expect::Absent => found.is_none(),
            Expect::Revision(expected) => found == Some(expected),
        };
        if !holds {
            return Err(CommitError::Conflict { key: op.key.clone() });
        }
    }
    let mut applied = Applied::default();
    for op in ops {
        let (value, lease) = match &op.action {
            Action::Check => continue,
            Action::Delete => (None, None),
            Action::Put { value, lease } => (Some(value.clone()), *lease),
        };
        let was = match &value {
            Some(value) => data.insert(op.key.as_ref(), (revision.0, lease.map_or(0, |lease| lease.0), value.as_ref())),
            None => data.remove(op.key.as_ref()),
        };
        let was = was.map_err(engine)?.map(|was| was.value().1);
        if value.is_none() && was.is_none() {
            continue;
        }
        applied.unbound.extend(was.filter(|was| *was != 0).map(|was| (LeaseId(was), op.key.clone())));
        applied.bound.extend(lease.map(|lease| (lease, op.key.clone())));
        applied.changes.push(Change { key: op.key.clone(), value, revision });
    }
    Ok(applied)
}

/// Removes those of `keys` that are still bound to `lease`.
pub(super) fn apply_end(
    data: &mut Data<'_>,
    lease: LeaseId,
    keys: &[Bytes],
    revision: Revision,
) -> Result<Applied, StoreError> {
    let mut applied = Applied::default();
    for key in keys {
        let bound = data.get(key.as_ref()).map_err(engine)?.is_some_and(|found| found.value().1 == lease.0);
        if bound {
            data.remove(key.as_ref()).map_err(engine)?;
            applied.changes.push(Change { key: key.clone(), value: None, revision });
        }
    }
    Ok(applied)
}

/// What a commit did.
#[derive(Default)]
pub(super) struct Applied {
    pub(super) changes: Vec<Change>,
    /// Keys that are bound to a lease now.
    pub(super) bound: Vec<(LeaseId, Bytes)>,
    /// Keys that were bound before; `bound` comes after.
    pub(super) unbound: Vec<(LeaseId, Bytes)>,
}

/// Checks the schema of a file, or writes it into a new one, and begins a new run.
fn begin_run(database: &Database) -> Result<Start, OpenError> {
    let damaged = |error: Box<dyn std::error::Error + Send + Sync>| OpenError::Damaged(error);
    let transaction = database.begin_write().map_err(|e| damaged(e.into()))?;
    let start = {
        let tables = transaction.list_tables().map_err(|e| damaged(e.into()))?.count();
        let mut meta = transaction.open_table(META).map_err(|e| damaged(e.into()))?;
        let read = |meta: &Table<'_, &'static str, u64>, name: &str| {
            meta.get(name).map(|found| found.map(|number| number.value()))
        };
        match read(&meta, "schema").map_err(|e| damaged(e.into()))? {
            Some(SCHEMA) => {}
            None if tables == 0 => drop(meta.insert("schema", SCHEMA).map_err(|e| damaged(e.into()))?),
            found => return Err(OpenError::UnknownSchema { found: found.unwrap_or(0), known: SCHEMA }),
        }
        let run = read(&meta, "run").map_err(|e| damaged(e.into()))?.unwrap_or(0) + 1;
        let revision = Revision(read(&meta, "revision").map_err(|e| damaged(e.into()))?.unwrap_or(0));
        let revision =
            if drop_leased(&transaction).map_err(|e| damaged(e.into()))? { revision.next() } else { revision };
        meta.insert("run", run).map_err(|e| damaged(e.into()))?;
        meta.insert("revision", revision.0).map_err(|e| damaged(e.into()))?;
        Start { revision, run }
    };
    transaction.commit().map_err(|e| damaged(e.into()))?;
    Ok(start)
}

/// Removes all keys that are bound to a lease; says whether there were any.
fn drop_leased(transaction: &WriteTransaction) -> Result<bool, redb::Error> {
    let mut data = transaction.open_table(DATA)?;
    let before = redb::ReadableTableMetadata::len(&data)?;
    data.retain(|_, (_, lease, _)| lease == 0)?;
    Ok(redb::ReadableTableMetadata::len(&data)? != before)
}

fn entry(key: Bytes, (revision, _, value): (u64, u64, &[u8])) -> Entry {
    Entry { key, value: Bytes::copy_from_slice(value), revision: Revision(revision) }
}

/// An error of the engine as this layer's.
pub(super) fn engine(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) if is_full(&error) => StoreError::Full,
        other => StoreError::Engine(Box::new(other)),
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn open_error(error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => OpenError::InUse,
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() != std::io::ErrorKind::InvalidData => {
            OpenError::Io(error)
        }
        other => OpenError::Damaged(Box::new(other)),
    }
}
