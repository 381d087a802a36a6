//! Making a data directory from a backup, while no hub runs on it. What must not come back as it was is left out: join tokens, of which some
//! may have been used since. Refuses to know the rest.

mod held;

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use time::OffsetDateTime;

pub use self::held::Locking;
use super::{
    backup::{
        GRANTS, PURPOSE,
        archive::{Archive, ArchiveError},
    },
    restored::Restore,
    sealed::{self, SealedError},
    serve::prepare,
};
use crate::{
    defaults,
    identity::seal::{self, KeyWrapper, SealError, WrapError},
    store::{CommitError, Embedded, Expect, MAX_COMMIT, MAX_OPS, Op, OpenError, Store, StoreError},
};

/// The store, in the data directory.
const STORE: &str = "store.redb";
/// Below it no entry of a backup is restored.
const JOIN_TOKENS: &[u8] = b"join/";

/// What `roadstead hub restore` is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RestoreSettings {
    /// The data directory to make.
    pub data: PathBuf,
    /// The backup.
    pub from: PathBuf,
    /// File of the passphrase that sealed it.
    pub seal_key: PathBuf,
    /// Replace what the data directory holds; it is moved aside.
    pub force: bool,
    /// Clusters that are not served until somebody has looked at them.
    pub lock: Locking,
    /// Restore no hub token: some may have been revoked since.
    pub drop_tokens: bool,
}

/// What was restored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RestoreReport {
    /// When the backup was made.
    pub made: OffsetDateTime,
    /// By which version of Roadstead.
    pub version: String,
    /// Records in the store.
    pub records: usize,
    /// Whether the grants were in it.
    pub grants: bool,
    /// Clusters that were locked by it, by name.
    pub locked: Vec<String>,
    /// Hub tokens that were left out.
    pub dropped_tokens: usize,
    /// Files of before, under their new names.
    pub moved_aside: Vec<PathBuf>,
}

/// Nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A file.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The passphrase.
    #[error(transparent)]
    Key(#[from] SealedError),
    /// Another passphrase sealed it.
    #[error("the passphrase in {0} does not open the backup: it needs the one that the hub had when it was made")]
    WrongKey(String),
    /// It is no backup, or not whole any more.
    #[error("{path} is not a backup that can be restored")]
    Backup {
        /// Which file.
        path: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Clusters that are to be locked.
    #[error("the backup has no cluster named {0}: nothing would hold it")]
    UnknownClusters(String),
    /// A cluster that is to be locked.
    #[error("a cluster in the backup cannot be read, so it cannot be locked")]
    Cluster(#[source] serde_json::Error),
    /// There is something already.
    #[error("{0} is not empty: choose another directory, or move what it holds aside with --force")]
    NotEmpty(String),
    /// A hub runs there.
    #[error("a hub runs on {0}: stop it first")]
    Running(String),
    /// The new store.
    #[error("the new store cannot be written")]
    Open(#[source] OpenError),
    /// The new store.
    #[error("the new store cannot be written")]
    Commit(#[from] CommitError),
    /// The new store.
    #[error("the new store cannot be written")]
    Store(#[from] StoreError),
}

/// Makes a data directory from a backup. Nothing is changed unless the whole backup is good. After a crash there is the store of before or
/// the restored one, never none, for a hub would begin anew with other CAs; the other files may not fit it: restore again.
///
/// # Errors
/// See [`RestoreError`].
pub async fn restore(settings: &RestoreSettings, now: OffsetDateTime) -> Result<RestoreReport, RestoreError> {
    let keys = sealed::read_key(&settings.seal_key)?;
    let mut archive = read(settings, &keys)?;
    let restore = Restore { made: archive.manifest.made, restored: now, acknowledged: None };
    let locked = held::lock(&mut archive.entries, &settings.lock, &restore)?;
    let dropped_tokens = if settings.drop_tokens { held::drop_tokens(&mut archive.entries) } else { 0 };
    vacant(settings).await?;
    prepare(&settings.data).map_err(|source| file(&settings.data, source))?;
    let part = settings.data.join("store.redb.part");
    remove_if_there(&part)?;
    let records = write(&part, archive.entries, &restore).await?;
    let mut moved_aside = Vec::new();
    let store = settings.data.join(STORE);
    moved_aside.extend(keep_aside(&store)?);
    fs::rename(&part, &store).map_err(|source| file(&store, source))?;
    // A new administrator's token is made at the next start: the one of before may be revoked, or unknown to the backup.
    moved_aside.extend(move_aside(&settings.data.join("admin.yaml"))?);
    if let Some(grants) = &archive.manifest.grants {
        let path = settings.data.join(GRANTS);
        moved_aside.extend(move_aside(&path)?);
        fs::write(&path, grants).map_err(|source| file(&path, source))?;
    }
    File::open(&settings.data).and_then(|dir| dir.sync_all()).map_err(|source| file(&settings.data, source))?;
    let (made, version) = (archive.manifest.made, archive.manifest.version);
    let grants = archive.manifest.grants.is_some();
    Ok(RestoreReport { made, version, records, grants, locked, dropped_tokens, moved_aside })
}

/// The backup, all of it checked: also that its keys open, for a hub could not start otherwise.
fn read(settings: &RestoreSettings, keys: &Arc<dyn KeyWrapper>) -> Result<Archive, RestoreError> {
    let path = &settings.from;
    let mut sealed = Vec::new();
    // Sealed it is larger: by a header, a tag for each chunk, and the grants.
    let limit = 2 * defaults::BACKUP as u64;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut sealed));
    read.map_err(|source| file(path, source))?;
    let refused = |error: SealError| match error {
        SealError::Wrap(WrapError::WrongKey) | SealError::OtherKey { .. } => {
            RestoreError::WrongKey(settings.seal_key.display().to_string())
        }
        other => RestoreError::Backup { path: path.display().to_string(), source: other.into() },
    };
    let plain = seal::open(&**keys, PURPOSE, &sealed).map_err(refused)?;
    let archive = Archive::decode(&plain).map_err(|error: ArchiveError| RestoreError::Backup {
        path: path.display().to_string(),
        source: error.into(),
    })?;
    for (key, value) in archive.entries.iter().filter(|(_, value)| seal::is_sealed(value)) {
        seal::open(&**keys, &sealed::purpose(key), value).map_err(refused)?;
    }
    Ok(archive)
}

/// Whether a store may be made there.
async fn vacant(settings: &RestoreSettings) -> Result<(), RestoreError> {
    let shown = || settings.data.display().to_string();
    match fs::read_dir(&settings.data).map(|mut entries| entries.next().is_none()) {
        Ok(true) => return Ok(()),
        Ok(false) if !settings.force => return Err(RestoreError::NotEmpty(shown())),
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(file(&settings.data, source)),
    }
    let store = settings.data.join(STORE);
    if store.exists() {
        match Embedded::open(&store).await {
            Err(OpenError::InUse) => return Err(RestoreError::Running(shown())),
            Ok(store) => store.close().await,
            // A store that is damaged is a reason to restore.
            Err(_) => {}
        }
    }
    Ok(())
}

/// Writes the store in `path`; how many records it has.
async fn write(path: &Path, entries: Vec<(Bytes, Bytes)>, restore: &Restore) -> Result<usize, RestoreError> {
    let store = Embedded::open(path).await.map_err(RestoreError::Open)?;
    let (mut ops, mut size, mut records) = (vec![restore.op()], 0, 0);
    let kept = |key: &[u8]| !key.starts_with(JOIN_TOKENS) && key != super::restored::KEY.as_bytes();
    for (key, value) in entries.into_iter().filter(|(key, _)| kept(key)) {
        records += 1;
        let more = key.len() + value.len();
        if ops.len() == MAX_OPS || size + more > MAX_COMMIT - MAX_OPS {
            store.commit(std::mem::take(&mut ops)).await?;
            size = 0;
        }
        size += more;
        ops.push(Op::put(key, value, Expect::Absent));
    }
    store.commit(ops).await?;
    store.close().await;
    Ok(records)
}

/// Where a file of before is kept.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".before-restore");
    PathBuf::from(name)
}

/// Gives a file a second name, beside it, so that another can take its place at once.
fn keep_aside(path: &Path) -> Result<Option<PathBuf>, RestoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let aside = aside(path);
    remove_if_there(&aside)?;
    // Some file systems have one name for a file only.
    let kept = fs::hard_link(path, &aside).or_else(|_| fs::copy(path, &aside).map(drop));
    kept.map_err(|source| file(&aside, source))?;
    Ok(Some(aside))
}

/// Gives a file another name, beside where it was.
fn move_aside(path: &Path) -> Result<Option<PathBuf>, RestoreError> {
    let aside = aside(path);
    match fs::rename(path, &aside) {
        Ok(()) => Ok(Some(aside)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file(path, source)),
    }
}

fn remove_if_there(path: &Path) -> Result<(), RestoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(path, error)),
        _ => Ok(()),
    }
}

fn file(path: &Path, source: io::Error) -> RestoreError {
    RestoreError::File { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests;
