//! The hub's check of an agent whose certificate another CA issued: chain to one external root, a leaf as SPIRE, cert-manager, Vault and
//! step-ca make them, and the names that it carries. Refuses to know which cluster a name stands for: an administrator maps it, and
//! [`ExternalPeer::mapped`] asks that map. No name means anything by itself, not even one that looks like the hub's own.

use std::{fmt, sync::Arc, time::Duration};

use rustls::{
    CertificateError, RootCertStore,
    pki_types::{CertificateDer, UnixTime},
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use time::OffsetDateTime;

use super::{ExternalRoot, PeerError, VerifiedPeer, check_size_of, issuers, leaf::ExternalLeaf};
use crate::identity::{ClusterUid, SanName, Serial, SpkiSha256, tls};

/// Most certificates in a presented chain: leaf, three issuing ones, root. Corporate PKIs have two or three levels.
pub const MAX_EXTERNAL_CHAIN: usize = 5;
/// Longest life of a leaf that is accepted: what public CAs issued at most (CA/Browser Forum SC-31), a habit of corporate PKIs. Longer, and
/// a key that was lost is good for years.
pub const MAX_EXTERNAL_LIFE: Duration = Duration::from_secs(398 * 86_400);
/// A longer life is accepted with a warning: the hub itself issues none.
pub const LONG_EXTERNAL_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// Most names of a leaf.
pub const MAX_NAMES: usize = 32;
/// So many of them are printed.
const SHOWN_NAMES: usize = 8;

/// Lets agents with certificates of one external root through.
pub struct ExternalVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    pin: SpkiSha256,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl ExternalVerifier {
    /// Trusts `root` and nothing else.
    ///
    /// # Errors
    /// When rustls cannot read the root.
    pub fn new(root: &ExternalRoot) -> Result<Self, VerifierBuilderError> {
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).map_err(|_| VerifierBuilderError::NoRootAnchors)?;
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider().clone());
        let webpki = builder.clear_root_hint_subjects().build()?;
        Ok(Self { webpki, pin: root.pin(), not_before: root.not_before(), not_after: root.not_after() })
    }

    /// Of the root's key.
    pub fn pin(&self) -> SpkiSha256 {
        self.pin
    }

    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ExternalPeer, PeerError> {
        check_size_of(leaf, others, MAX_EXTERNAL_CHAIN)?;
        self.webpki.verify_client_cert(leaf, others, now).map_err(PeerError::Chain)?;
        // webpki takes an anchor for good whatever its time.
        let seconds = i64::try_from(now.as_secs()).map_err(|_| PeerError::Clock)?;
        if !(self.not_before.unix_timestamp()..=self.not_after.unix_timestamp()).contains(&seconds) {
            return Err(PeerError::RootTime);
        }
        issuers::check(others)?;
        let ExternalLeaf { serial, spki_sha256, not_before, not_after, names } =
            ExternalLeaf::read(leaf, MAX_EXTERNAL_LIFE)?;
        // Who signed it must be good as long as it is.
        let not_after = not_after.min(self.not_after);
        Ok(ExternalPeer {
            serial,
            spki_sha256,
            not_after,
            of: External { root: self.pin, not_before, names: names.into() },
        })
    }
}

impl fmt::Debug for ExternalVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternalVerifier({})", self.pin)
    }
}

/// Whose word an external certificate is, and what it says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct External {
    root: SpkiSha256,
    not_before: OffsetDateTime,
    names: Arc<[SanName]>,
}

impl External {
    /// The root that vouches for it.
    pub fn root(&self) -> SpkiSha256 {
        self.root
    }

    /// Since when it is valid, by its issuer's clock.
    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// Its URIs and DNS names.
    pub fn names(&self) -> &[SanName] {
        &self.names
    }

    /// The one cluster that its names stand for, by `map`, and the first name that does.
    ///
    /// # Errors
    /// [`PeerError::Unmapped`]; [`PeerError::Ambiguous`] when two of them stand for two clusters.
    pub fn cluster(
        &self,
        map: impl Fn(&SpkiSha256, &SanName) -> Option<ClusterUid>,
    ) -> Result<(ClusterUid, &SanName), PeerError> {
        let mut found: Option<(ClusterUid, &SanName)> = None;
        for name in self.names.iter() {
            let Some(cluster) = map(&self.root, name) else { continue };
            match &found {
                Some((known, _)) if *known != cluster => return Err(PeerError::Ambiguous(self.shown())),
                Some(_) => {}
                None => found = Some((cluster, name)),
            }
        }
        found.ok_or_else(|| PeerError::Unmapped { root: self.root, names: self.shown() })
    }

    /// The names for a log: printable ASCII by construction, and not many.
    fn shown(&self) -> String {
        let mut shown: Vec<_> = self.names.iter().take(SHOWN_NAMES).map(ToString::to_string).collect();
        if self.names.len() > SHOWN_NAMES {
            shown.push(format!("and {} more", self.names.len() - SHOWN_NAMES));
        }
        shown.join(", ")
    }
}

/// The holder of a good certificate of an external root: nobody yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalPeer {
    serial: Serial,
    spki_sha256: SpkiSha256,
    not_after: OffsetDateTime,
    of: External,
}

impl ExternalPeer {
    /// Who it is by `map`.
    ///
    /// # Errors
    /// As [`External::cluster`].
    pub fn mapped(self, map: impl Fn(&SpkiSha256, &SanName) -> Option<ClusterUid>) -> Result<VerifiedPeer, PeerError> {
        let Self { serial, spki_sha256, not_after, of } = self;
        let (cluster, _) = of.cluster(map)?;
        Ok(VerifiedPeer { cluster, serial, spki_sha256, not_after, external: Some(of) })
    }
}

/// Whether a failed chain says no more than that it is another CA's.
pub(super) fn is_foreign(error: &PeerError) -> bool {
    matches!(error, PeerError::Chain(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)))
}
