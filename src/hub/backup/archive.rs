//! What a backup contains, as bytes before they are sealed. Refuses to know where they come from and go to.
//!
//! The length of the manifest (4 bytes, big-endian), the manifest (JSON), then each entry of the store: length of its key, key, length of its
//! value, value.

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// The layout that this version writes and reads.
const FORMAT: u32 = 1;

/// What a backup says about itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::hub) struct Manifest {
    format: u32,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub made: OffsetDateTime,
    /// By which version.
    pub version: String,
    /// Of the store.
    pub revision: u64,
    entries: u64,
    /// The file in the data directory, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<String>,
}

/// A backup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::hub) struct Archive {
    pub manifest: Manifest,
    /// Keys and values as they were on the disk.
    pub entries: Vec<(Bytes, Bytes)>,
}

/// Bytes that are no backup. They were sealed by a hub: another version's.
#[derive(Debug, thiserror::Error)]
pub(in crate::hub) enum ArchiveError {
    #[error("its manifest cannot be read")]
    Manifest(#[source] serde_json::Error),
    #[error("it has layout {0}, and this version knows layout {FORMAT}")]
    Format(u32),
    #[error("it ends too early or too late")]
    Length,
}

impl Manifest {
    pub(in crate::hub) fn new(made: OffsetDateTime, revision: u64, grants: Option<String>) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, made, version, revision, entries: 0, grants }
    }
}

impl Archive {
    /// As bytes, which hold keys if the store is not sealed.
    pub(in crate::hub) fn encode(mut self) -> Zeroizing<Vec<u8>> {
        self.manifest.entries = self.entries.len() as u64;
        let manifest = Bytes::from(serde_json::to_vec(&self.manifest).expect("a manifest has string keys only"));
        let parts = self.entries.iter().flat_map(|(key, value)| [key, value]);
        let size: usize = parts.clone().map(|part| 4 + part.len()).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(4 + manifest.len() + size));
        for part in std::iter::once(&manifest).chain(parts) {
            let length = u32::try_from(part.len()).expect("a value of the store is at most 1 MiB");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// From the bytes of [`Archive::encode`].
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub(in crate::hub) fn decode(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let mut rest = bytes;
        let manifest: Manifest = serde_json::from_slice(part(&mut rest)?).map_err(ArchiveError::Manifest)?;
        if manifest.format != FORMAT {
            return Err(ArchiveError::Format(manifest.format));
        }
        let mut entries = Vec::new();
        while rest.has_remaining() {
            let key = Bytes::copy_from_slice(part(&mut rest)?);
            entries.push((key, Bytes::copy_from_slice(part(&mut rest)?)));
        }
        if entries.len() as u64 != manifest.entries {
            return Err(ArchiveError::Length);
        }
        Ok(Self { manifest, entries })
    }
}

/// The next length and what it is the length of.
fn part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], ArchiveError> {
    let length = rest.try_get_u32().map_err(|_| ArchiveError::Length)?;
    let length = usize::try_from(length).map_err(|_| ArchiveError::Length)?;
    let (part, after) = rest.split_at_checked(length).ok_or(ArchiveError::Length)?;
    *rest = after;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn archive() -> Archive {
        let mut manifest = Manifest::new(datetime!(2026-11-25 12:00 UTC), 7, Some("# none\n".to_owned()));
        manifest.entries = 2;
        let entry = |key: &'static str, value: &'static str| (Bytes::from(key), Bytes::from(value));
        Archive { manifest, entries: vec![entry("clusters/a", "{}"), entry("pki/b", "")] }
    }

    #[test]
    fn a_backup_is_read_as_it_was_written_and_only_whole() {
        let bytes = archive().encode();
        assert_eq!(Archive::decode(&bytes).unwrap(), archive());
        for length in 0..bytes.len() {
            assert!(Archive::decode(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
        }
    }

    #[test]
    fn a_later_layout_is_named() {
        let mut later = archive();
        later.manifest.format = 2;
        assert!(matches!(Archive::decode(&later.encode()), Err(ArchiveError::Format(2))));
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_read_panics(bytes: Vec<u8>) {
            let _ = Archive::decode(&bytes);
        }
    }
}
