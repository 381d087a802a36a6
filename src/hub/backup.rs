//! A backup of a hub that runs: everything in its store at one point in time, and its grants, sealed. Refuses to know what the values mean,
//! and to give a backup that is not sealed: it holds the keys of the hub's CAs.

pub(super) mod archive;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use self::archive::{Archive, Manifest};
use crate::{
    defaults,
    identity::{
        Secret,
        seal::{self, KeyWrapper, SealError},
    },
    store::{Store, StoreError},
};

/// What a backup is sealed for.
pub(super) const PURPOSE: &str = "backup";
/// The grants in the data directory, by their name.
pub(super) const GRANTS: &str = "grants.yaml";

/// There is no backup.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackupError {
    #[error("this hub has nothing to seal a backup with: start it with --seal-key FILE, the file of a passphrase")]
    NoKey,
    #[error("another backup is being made: try again when it is done")]
    Busy,
    #[error("the store has {0} bytes, and a backup at most {max}: copy the data directory of the stopped hub", max = defaults::BACKUP)]
    TooLarge(usize),
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
    #[error("the grants cannot be read")]
    Grants(#[source] io::Error),
    #[error("the backup was not sealed")]
    Seal(#[source] SealError),
}

/// Makes backups, one at a time: each is in memory once as it is and once sealed.
#[derive(Debug)]
pub(super) struct Keeper {
    /// As on the disk, so that sealed keys stay sealed on their way.
    store: Arc<dyn Store>,
    keys: Option<Arc<dyn KeyWrapper>>,
    grants: PathBuf,
    turn: Semaphore,
}

impl Keeper {
    /// Of a store as it is on the disk, and of the grants in `data`.
    pub(super) fn new(store: Arc<dyn Store>, keys: Option<Arc<dyn KeyWrapper>>, data: &Path) -> Self {
        Self { store, keys, grants: data.join(GRANTS), turn: Semaphore::new(1) }
    }

    /// The whole backup, sealed.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub(super) async fn backup(&self, now: OffsetDateTime) -> Result<Bytes, BackupError> {
        let keys = self.keys.clone().ok_or(BackupError::NoKey)?;
        let _turn = self.turn.try_acquire().map_err(|_| BackupError::Busy)?;
        // One listing is one read transaction: nothing is in it by half.
        let listing = self.store.list(b"").await?;
        let size = listing.entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
        if size > defaults::BACKUP {
            return Err(BackupError::TooLarge(size));
        }
        let grants = self.grants.clone();
        let made = tokio::task::spawn_blocking(move || {
            let grants = read_if_there(&grants).map_err(BackupError::Grants)?;
            let manifest = Manifest::new(now, listing.revision.get(), grants);
            let entries = listing.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
            let plain = Archive { manifest, entries }.encode();
            seal::seal(&*keys, PURPOSE, &plain).map(Bytes::from).map_err(BackupError::Seal)
        });
        made.await.unwrap_or(Err(BackupError::Seal(SealError::Damaged)))
    }
}

/// Something was not sealed.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("this hub has nothing to seal it with: start it with --seal-key FILE, the file of a passphrase")]
    NoKey,
    #[error("it was not sealed")]
    Seal(#[source] SealError),
}

impl Keeper {
    /// Seals `plain` with what backups are sealed with.
    ///
    /// # Errors
    /// See [`KeepError`].
    pub(super) async fn seal(&self, purpose: &'static str, plain: Secret) -> Result<Vec<u8>, KeepError> {
        let keys = self.keys.clone().ok_or(KeepError::NoKey)?;
        let sealed = tokio::task::spawn_blocking(move || seal::seal(&*keys, purpose, plain.expose().as_bytes())).await;
        sealed.unwrap_or(Err(SealError::Damaged)).map_err(KeepError::Seal)
    }
}

fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
