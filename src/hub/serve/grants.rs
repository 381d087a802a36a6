//! The grants file: read at start, and again when it changes. A file with a fault changes nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use tokio::{sync::mpsc::Receiver, time::sleep};

use super::{Hub, RunError};
use crate::{access::Grants, defaults};

/// Reads the grants; no file is no grant.
pub(super) fn load(path: &Path) -> Result<Grants, RunError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), "no grants file: nobody may use a cluster yet");
            String::new()
        }
        Err(source) => return Err(RunError::File { path: path.display().to_string(), source }),
    };
    text.parse().map_err(|source| RunError::Grants { path: path.display().to_string(), source })
}

/// Looks at the file from time to time, and when told to.
pub(super) async fn watch(hub: &Hub, path: PathBuf, mut reload: Receiver<()>) {
    let mut seen = stamp(&path);
    loop {
        let told = tokio::select! {
            told = reload.recv() => told.is_some(),
            () = sleep(defaults::GRANTS_POLL) => false,
        };
        let now = stamp(&path);
        if !told && now == seen {
            continue;
        }
        seen = now;
        match load(&path) {
            Ok(grants) => {
                tracing::info!(path = %path.display(), grants = grants.iter().count(), "grants read");
                hub.set_grants(grants);
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "grants not changed: the file is not valid");
            }
        }
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}
