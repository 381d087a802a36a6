//! A certificate that another CA issues into files: read again and again, whoever replaces them and however (written over, renamed, a symbolic
//! link turned elsewhere, as Kubernetes does with Secrets). Knows neither links nor hubs.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use time::OffsetDateTime;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::settings::CertificateFiles;
use crate::{
    defaults,
    identity::{
        Secret,
        verify::{GivenIdentity, GivenIdentityError},
    },
};

/// Why the files are not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileFault {
    /// One of them.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// What they hold.
    #[error(transparent)]
    Given(#[from] GivenIdentityError),
}

/// Looks after the files.
pub(super) struct Watched {
    files: CertificateFiles,
    /// What was found at the last look, and whether it was told.
    fault: Option<(String, bool)>,
}

impl Watched {
    pub(super) fn new(files: CertificateFiles) -> Self {
        Self { files, fault: None }
    }

    /// What the files hold now, if a hub can take it. Whatever is wrong is told once, if it is the same at two looks running: between the
    /// writing of one file and of the other they never fit.
    pub(super) async fn look(&mut self) -> Result<GivenIdentity, String> {
        let read = read(&self.files, OffsetDateTime::now_utc()).await;
        let fault = match read {
            Ok(given) => {
                if self.fault.take().is_some_and(|(_, told)| told) {
                    tracing::info!(path = %self.files.cert.display(), "the files of the certificate are in order again");
                }
                return Ok(given);
            }
            Err(fault) => fault.to_string(),
        };
        let told = match &self.fault {
            Some((before, told)) if *before == fault => {
                if !told {
                    let path = self.files.cert.display();
                    tracing::error!(%path, why = fault, "the files of the certificate are not used: waiting for others");
                }
                true
            }
            _ => false,
        };
        self.fault = Some((fault.clone(), told));
        Err(fault)
    }
}

/// What the files hold at `now`.
pub(super) async fn read(files: &CertificateFiles, now: OffsetDateTime) -> Result<GivenIdentity, FileFault> {
    let paths = files.clone();
    match spawn_blocking(move || read_now(&paths, now)).await {
        Ok(read) => read,
        Err(panic) => Err(fault(&files.cert, io::Error::other(panic))),
    }
}

fn read_now(files: &CertificateFiles, now: OffsetDateTime) -> Result<GivenIdentity, FileFault> {
    let [mut chain, mut key] = [Zeroizing::new(String::new()), Zeroizing::new(String::new())];
    for (path, text) in [(&files.cert, &mut chain), (&files.key, &mut key)] {
        let read = File::open(path).and_then(|file| file.take(defaults::CERTIFICATE_FILE).read_to_string(text));
        read.map_err(|source| fault(path, source))?;
    }
    let key = Secret::new(std::mem::take(&mut *key));
    Ok(GivenIdentity::new(&chain, &key, now)?)
}

fn fault(path: &Path, source: io::Error) -> FileFault {
    FileFault::File { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::identity::testing::external::ExternalWorld;

    #[tokio::test]
    async fn a_pair_is_taken_whole_whichever_way_it_is_replaced() {
        let (dir, world) = (tempfile::tempdir().unwrap(), ExternalWorld::new());
        let at = |name: &str| dir.path().join(name);
        let [old, new] = ["old", "new"].map(|state| {
            let pem = world.pem(|_| {});
            fs::create_dir(at(state)).unwrap();
            fs::write(at(state).join("c"), &pem.0).unwrap();
            fs::write(at(state).join("k"), &pem.1).unwrap();
            pem
        });
        symlink("old", at("data")).unwrap();
        let mut files = Watched::new(CertificateFiles { cert: at("data/c"), key: at("data/k") });
        let first = files.look().await.unwrap();
        assert_eq!(files.look().await.unwrap().serial(), first.serial());
        // As Kubernetes does.
        symlink("new", at("next")).unwrap();
        fs::rename(at("next"), at("data")).unwrap();
        let second = files.look().await.unwrap();
        assert_ne!(second.serial(), first.serial());
        // As a program does that writes over one after the other.
        fs::write(at("data/c"), &old.0[..old.0.len() / 2]).unwrap();
        assert!(files.look().await.unwrap_err().contains("no chain"));
        fs::write(at("data/c"), &old.0).unwrap();
        assert!(files.look().await.unwrap_err().contains("does not belong"));
        assert_eq!(files.fault.as_ref().map(|(_, told)| *told), Some(false), "it is said when it stays so");
        assert!(files.look().await.is_err());
        assert_eq!(files.fault.as_ref().map(|(_, told)| *told), Some(true));
        fs::write(at("data/k"), &old.1).unwrap();
        assert_eq!(files.look().await.unwrap().serial(), first.serial());
        assert!(files.fault.is_none());
        fs::write(at("data/c"), &new.0).unwrap();
        fs::remove_file(at("data/k")).unwrap();
        assert!(files.look().await.unwrap_err().contains("cannot read"));
    }
}
