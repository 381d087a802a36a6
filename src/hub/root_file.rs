//! A root's key for a hub that does not run: one whose issuing certificates have ended while the key was offline cannot start without it.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::{
    pki::{self, RootError},
    sealed::{self, SealedError},
};
use crate::identity::Secret;

/// The key was not put there.
#[derive(Debug, thiserror::Error)]
pub enum ImportRootError {
    /// The directory is another.
    #[error("there is no store in {0}: no hub has run on it")]
    NoStore(String),
    /// The store, or the passphrase that seals it. Also when a hub runs on it.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The key, or what the store holds.
    #[error(transparent)]
    Root(#[from] RootError),
}

/// Puts a root's key (PEM) into the store in `data`, and makes an issuing certificate with it.
///
/// # Errors
/// See [`ImportRootError`]; nothing has changed then.
pub async fn import_root(
    data: &Path,
    seal_key: Option<&PathBuf>,
    key: &Secret,
    now: OffsetDateTime,
) -> Result<(), ImportRootError> {
    let path = data.join("store.redb");
    if !path.exists() {
        return Err(ImportRootError::NoStore(data.display().to_string()));
    }
    let opened = sealed::open(&path, seal_key, None).await?;
    pki::import(&*opened.store, key, now).await?;
    Ok(())
}
