//! The document as a file that only its owner reads.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{Held, StateError, Written};

pub(super) async fn read(path: PathBuf) -> Result<Held, StateError> {
    let shown = path.display().to_string();
    let document = blocking(move || present(&path)).await;
    let document = document.map_err(|source| StateError::File { path: shown, source })?;
    Ok(Held { version: None, document })
}

/// Writes `text`, if the file still holds what was `seen`.
pub(super) async fn write(path: PathBuf, seen: Held, text: Zeroizing<Vec<u8>>) -> Result<Written, StateError> {
    let shown = path.display().to_string();
    let written = blocking(move || {
        let directory = path.parent().ok_or_else(|| io::Error::other("no directory"))?;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        // Held until the end of this closure: between the comparison and the rename nobody else writes.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(path.with_extension("lock"))?;
        lock.lock()?;
        if present(&path)? != seen.document {
            return Ok(Written::Changed);
        }
        write_whole(directory, &path, &text)?;
        Ok(Written::Yes(Held { version: None, document: Some(text) }))
    });
    written.await.map_err(|source| StateError::File { path: shown, source })
}

/// Writes `text`, whatever the file holds.
pub(super) async fn replace(path: PathBuf, text: Zeroizing<Vec<u8>>) -> Result<(), StateError> {
    let shown = path.display().to_string();
    let written = blocking(move || {
        let directory = path.parent().ok_or_else(|| io::Error::other("no directory"))?;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        write_whole(directory, &path, &text)
    });
    written.await.map_err(|source| StateError::File { path: shown, source })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn present(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_whole(directory: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    // An old part may have another mode.
    let _ = std::fs::remove_file(&part);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    File::open(directory)?.sync_all()
}
