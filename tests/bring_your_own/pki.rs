//! A PKI that is not the hub's: a root, an issuing CA, and the files that it writes for one agent as Kubernetes mounts a Secret (a directory
//! for each state, a symbolic link that is turned). Knows no hub.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use crate::world::write_private;

/// What its agent is called.
pub(crate) const NAME: &str = "spiffe://corp.example/fleet/edge-1";

/// See the module.
pub(crate) struct Pki {
    dir: TempDir,
    root: CertifiedIssuer<'static, KeyPair>,
    issuing: CertifiedIssuer<'static, KeyPair>,
    turns: AtomicUsize,
}

impl Pki {
    /// With the first pair of files.
    pub(crate) fn new() -> Self {
        Self::until(OffsetDateTime::now_utc() + Duration::DAY)
    }

    /// One whose root has ended.
    pub(crate) fn ended() -> Self {
        Self::until(OffsetDateTime::now_utc() - Duration::HOUR)
    }

    fn until(end: OffsetDateTime) -> Self {
        let root = CertifiedIssuer::self_signed(ca("corp root", end), KeyPair::generate().unwrap()).unwrap();
        let issuing = CertifiedIssuer::signed_by(ca("corp issuing", end), KeyPair::generate().unwrap(), &root).unwrap();
        let pki = Self { dir: TempDir::new().unwrap(), root, issuing, turns: AtomicUsize::new(0) };
        symlink("..data/tls.crt", pki.path("tls.crt")).unwrap();
        symlink("..data/tls.key", pki.path("tls.key")).unwrap();
        pki.turn(NAME, Duration::HOUR);
        pki
    }

    pub(crate) fn root_pem(&self) -> String {
        self.root.pem()
    }

    pub(crate) fn leaf_pem(&self) -> String {
        let chain = fs::read_to_string(self.path("tls.crt")).unwrap();
        chain[..=chain.find("-----END CERTIFICATE-----").unwrap() + 25].to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes another pair, and turns the link to it.
    pub(crate) fn turn(&self, name: &str, life: Duration) {
        self.turn_from(name, life, OffsetDateTime::now_utc() - Duration::MINUTE);
    }

    /// The same with a beginning.
    pub(crate) fn turn_from(&self, name: &str, life: Duration, from: OffsetDateTime) {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (from, from + life);
        params.subject_alt_names = vec![SanType::URI(name.to_owned().try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.issuing).unwrap().pem() + &self.issuing.pem();
        let state = self.path(&format!("..{}", self.turns.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&state).unwrap();
        write_private(&state.join("tls.crt"), &chain);
        write_private(&state.join("tls.key"), &key.serialize_pem());
        let next = self.path("..data_tmp");
        symlink(Path::new(state.file_name().unwrap()), &next).unwrap();
        fs::rename(&next, self.path("..data")).unwrap();
    }
}

fn ca(name: &str, end: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (end - 2 * Duration::DAY, end);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
