//! The hub's check of an agent: chain to the agents' CA, then exactly one cluster id. Refuses to know locks and revocation.

use std::{fmt, sync::Arc, time::Duration};

use rustls::{
    DistinguishedName, RootCertStore,
    pki_types::{CertificateDer, UnixTime},
    server::{
        VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use time::OffsetDateTime;

use super::{
    External, LeafError, MAX_AGENT_LIFE, PeerError, check_size, issuers,
    leaf::{Leaf, Purpose},
    unix_time,
};
use crate::identity::{ClusterUid, Role, Serial, SpkiSha256, TrustDomain, tls};

/// A cluster's identity as its certificate proves it. [`VerifiedPeer::from_chain`] is the only way to one, and for certificates of external
/// roots [`ExternalPeer::mapped`](super::ExternalPeer::mapped).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedPeer {
    pub(super) cluster: ClusterUid,
    pub(super) serial: Serial,
    pub(super) spki_sha256: SpkiSha256,
    pub(super) not_after: OffsetDateTime,
    pub(super) external: Option<External>,
}

impl VerifiedPeer {
    /// Checks the chain that a connection's peer presented (leaf first), all of it again: it costs two P-256 verifications, and in
    /// return this type proves what it says, whatever listener the connection came through.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn from_chain(
        verifier: &AgentVerifier,
        chain: &[CertificateDer<'_>],
        now: OffsetDateTime,
    ) -> Result<Self, PeerError> {
        let (leaf, others) = chain.split_first().ok_or(PeerError::ChainLength(0))?;
        verifier.check(leaf, others, unix_time(now)?)
    }

    /// Which cluster it is.
    pub fn cluster(&self) -> &ClusterUid {
        &self.cluster
    }

    /// Where its certificate came from, if not from the hub's own CA.
    pub fn external(&self) -> Option<&External> {
        self.external.as_ref()
    }

    /// The serial number of its certificate: unique among those of its issuer only.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// The fingerprint of its key.
    pub fn spki_sha256(&self) -> SpkiSha256 {
        self.spki_sha256
    }

    /// When its certificate ends, and with it the right to hold the connection.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }
}

/// Lets agents of one trust domain through a TLS handshake, and nobody else. Certificates are mandatory.
pub struct AgentVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    trust_domain: TrustDomain,
    max_life: Duration,
}

impl AgentVerifier {
    /// Trusts `roots`, which must be the agents' CA and nothing else, for ids of `trust_domain`.
    ///
    /// # Errors
    /// When `roots` is empty.
    pub fn new(roots: Arc<RootCertStore>, trust_domain: TrustDomain) -> Result<Self, VerifierBuilderError> {
        let builder = WebPkiClientVerifier::builder_with_provider(roots, tls::provider().clone());
        // An agent has one certificate: telling anonymous peers the names of our CAs serves nobody.
        let webpki = builder.clear_root_hint_subjects().build()?;
        Ok(Self { webpki, trust_domain, max_life: MAX_AGENT_LIFE })
    }

    /// Accepts leaves of a life up to `max_life` instead of [`MAX_AGENT_LIFE`]; for a hub that issues longer ones.
    #[must_use]
    pub fn with_max_life(self, max_life: Duration) -> Self {
        Self { max_life, ..self }
    }

    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<VerifiedPeer, PeerError> {
        check_size(leaf, others)?;
        self.webpki.verify_client_cert(leaf, others, now).map_err(PeerError::Chain)?;
        issuers::check(others)?;
        let leaf = Leaf::read(leaf, Purpose::Client, &self.trust_domain, self.max_life)?;
        let Role::Cluster(cluster) = leaf.id.role else {
            return Err(LeafError::Role.into());
        };
        let Leaf { serial, spki_sha256, not_after, .. } = leaf;
        Ok(VerifiedPeer { cluster, serial, spki_sha256, not_after, external: None })
    }
}

impl fmt::Debug for AgentVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentVerifier({}, {:?})", self.trust_domain, self.max_life)
    }
}

impl ClientCertVerifier for AgentVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(leaf, others, now)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}
