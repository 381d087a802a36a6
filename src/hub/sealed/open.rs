//! Opening the hub's store with its sealing key: seals what is not, moves to a new key, and refuses in words what it cannot open.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use zeroize::Zeroizing;

use super::{SECRET, open_value, over, seal_value};
use crate::{
    defaults,
    identity::{
        Secret,
        seal::{KeyWrapper, PassphraseError, PassphraseKey, SealError, WrapError, is_sealed},
    },
    store::{CommitError, Embedded, Entry, Expect, Op, OpenError, Store, StoreError},
};

/// That the file is to be written anew, because keys were in it that are sealed now, or sealed with a key that was replaced.
const STALE: &[u8] = b"hub/stale-keys";

/// The store cannot be opened as it was told to be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// The file of the store.
    #[error("cannot open the store")]
    Open(#[from] OpenError),
    /// What it holds.
    #[error("cannot read the store")]
    Store(#[from] StoreError),
    /// Sealing what is not yet.
    #[error("the keys in the store were not sealed")]
    Commit(#[from] CommitError),
    /// Sealing it failed.
    #[error("the keys in the store were not sealed")]
    Seal(#[source] SealError),
    /// A passphrase file.
    #[error("cannot read the passphrase in {path}")]
    File {
        /// Which.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// What it says.
    #[error("{path} holds no passphrase")]
    Passphrase {
        /// Which.
        path: String,
        /// Why not.
        source: PassphraseError,
    },
    /// There is no key.
    #[error(
        "the keys in the store are sealed: start with --seal-key FILE (or ROADSTEAD_SEAL_KEY), the file of the passphrase that sealed them"
    )]
    NoKey,
    /// It is not the right one.
    #[error(
        "the passphrase in {path} does not open the store; if it is new, name the file of the one before with --seal-key-old"
    )]
    WrongKey {
        /// Whose passphrase was tried.
        path: String,
    },
    /// Something else is wrong with it.
    #[error("the sealed record `{key}` cannot be opened; a restored backup would have it")]
    Record {
        /// Its key.
        key: String,
        /// Why not.
        source: SealError,
    },
}

/// The store of a hub.
pub(in crate::hub) struct Opened {
    /// As it is on the disk: with sealed values.
    pub(in crate::hub) raw: Arc<dyn Store>,
    /// As the hub uses it.
    pub(in crate::hub) store: Arc<dyn Store>,
    /// What seals.
    pub(in crate::hub) keys: Option<Arc<dyn KeyWrapper>>,
}

/// Opens the store in `path`. Keys that are in the clear are sealed now, and so are those that the passphrase before sealed; the file is
/// written anew then, so that nothing is left in it that could be read without the new passphrase.
///
/// # Errors
/// See [`SealedError`].
pub(in crate::hub) async fn open(
    path: &Path,
    key: Option<&PathBuf>,
    old: Option<&PathBuf>,
) -> Result<Opened, SealedError> {
    let keys = key.map(|path| read_key(path)).transpose()?;
    let before = old.map(|path| read_key(path)).transpose()?;
    let mut embedded = Embedded::open(path).await?;
    let shown = key.map(|path| path.display().to_string()).unwrap_or_default();
    let ops = due(&embedded, keys.as_ref(), before.as_ref(), &shown).await?;
    let sealed = ops.len();
    if !ops.is_empty() {
        let mark = Op::put(STALE, "", Expect::Any);
        embedded.commit(ops.into_iter().chain([mark]).collect()).await?;
    }
    if embedded.get(STALE).await?.is_some() {
        embedded.close().await;
        Embedded::rewrite(path).await?;
        embedded = Embedded::open(path).await?;
        embedded.commit(vec![Op::delete(STALE, Expect::Any)]).await?;
        tracing::info!(records = sealed, "the keys in the store are sealed with the passphrase of --seal-key");
    }
    if keys.is_none() {
        tracing::warn!("the keys of the hub's CAs are in the store in the clear: seal them with --seal-key FILE");
    }
    let raw: Arc<dyn Store> = Arc::new(embedded);
    Ok(Opened { store: over(raw.clone(), keys.clone()), raw, keys })
}

/// What must be written so that all keys are sealed with `keys`.
async fn due(
    store: &Embedded,
    keys: Option<&Arc<dyn KeyWrapper>>,
    before: Option<&Arc<dyn KeyWrapper>>,
    shown: &str,
) -> Result<Vec<Op>, SealedError> {
    let mut ops = Vec::new();
    for Entry { key, value, revision } in store.list(SECRET).await?.entries {
        let plain = match (keys, is_sealed(&value)) {
            (None, false) => continue,
            (None, true) => return Err(SealedError::NoKey),
            (Some(_), false) => value,
            (Some(keys), true) => match (open_value(keys, &key, &value).await, before) {
                (Ok(_), _) => continue,
                (Err(SealError::Wrap(WrapError::WrongKey) | SealError::OtherKey { .. }), Some(before)) => {
                    open_value(before, &key, &value).await.map_err(|error| refused(error, &key, shown))?
                }
                (Err(error), _) => return Err(refused(error, &key, shown)),
            },
        };
        if let Some(keys) = keys {
            let sealed = seal_value(keys, &key, &plain).await.map_err(SealedError::Seal)?;
            ops.push(Op::put(key, sealed, Expect::Revision(revision)));
        }
    }
    Ok(ops)
}

fn refused(error: SealError, key: &Bytes, shown: &str) -> SealedError {
    match error {
        SealError::Wrap(WrapError::WrongKey) | SealError::OtherKey { .. } => {
            SealedError::WrongKey { path: shown.to_owned() }
        }
        source => SealedError::Record { key: key.escape_ascii().to_string(), source },
    }
}

/// Reads a passphrase from its file.
///
/// # Errors
/// [`SealedError::File`] and [`SealedError::Passphrase`].
pub(in crate::hub) fn read_key(path: &Path) -> Result<Arc<dyn KeyWrapper>, SealedError> {
    let shown = || path.display().to_string();
    let text = read(path).map_err(|source| SealedError::File { path: shown(), source })?;
    if fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o007 != 0) {
        tracing::warn!(path = shown(), "everybody on this machine can read the passphrase: chmod 600");
    }
    let key = PassphraseKey::new(&text).map_err(|source| SealedError::Passphrase { path: shown(), source })?;
    Ok(Arc::new(key))
}

fn read(path: &Path) -> io::Result<Secret> {
    // As large as it may get: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(defaults::PASSPHRASE));
    File::open(path)?.take(defaults::PASSPHRASE as u64).read_to_string(&mut text)?;
    if text.len() == defaults::PASSPHRASE {
        let why = format!("it has {} bytes or more", defaults::PASSPHRASE);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(Secret::new(std::mem::take(&mut *text)))
}
