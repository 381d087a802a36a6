//! Deciding who the peer of a TLS connection is: webpki checks the chain, then this module checks the leaf more strictly.
//!
//! The standard rules let through what must not be a link: no extended key usage, a second name, a life of years (security design § 5.1).
//! [`VerifiedPeer`] is the only proof that a peer is a certain cluster. Refuses to know sockets, revocation and what a peer may do.

#[macro_use]
mod signatures;

mod agent;
mod external;
mod given;
mod https;
mod hub;
mod issuers;
mod leaf;
mod own;
mod root;
mod slot;
mod trust;

use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError, OtherError,
    pki_types::{CertificateDer, UnixTime},
};
use time::OffsetDateTime;

pub use agent::{AgentVerifier, VerifiedPeer};
pub use external::{
    External, ExternalPeer, ExternalVerifier, LONG_EXTERNAL_LIFE, MAX_EXTERNAL_CHAIN, MAX_EXTERNAL_LIFE, MAX_NAMES,
};
pub use given::{GivenIdentity, GivenIdentityError};
pub use https::HttpsVerifier;
pub use hub::{HubVerifier, LINK_SERVER_NAME};
pub use leaf::LeafError;
pub use own::{OwnCertificate, OwnError};
pub use root::{ExternalRoot, RootError};
pub use slot::{AgentSlot, Trusted, Vouched};
pub use trust::{HubTrust, TrustError, key_of};

/// Most certificates in a presented chain: leaf, issuing certificate, root (security design § 5.2).
pub const MAX_CHAIN: usize = 3;
/// Most bytes of a presented chain, before any of it is parsed. Three certificates with keys of RSA-4096 have about 6 KiB.
pub const MAX_CHAIN_BYTES: usize = 16 << 10;
/// Longest life of an agent's leaf that is accepted by default: twice the usual 24 h (security design § 5.2).
pub const MAX_AGENT_LIFE: Duration = Duration::from_secs(48 * 3600);

/// Why a peer is not who a link needs.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PeerError {
    /// No certificate, or more than [`MAX_CHAIN`], of an external CA [`MAX_EXTERNAL_CHAIN`].
    #[error("a chain of {0} certificates: 1 to {MAX_CHAIN} are accepted, {MAX_EXTERNAL_CHAIN} of an external CA")]
    ChainLength(usize),
    /// A chain of more than [`MAX_CHAIN_BYTES`].
    #[error("a chain of {0} bytes: at most {MAX_CHAIN_BYTES} are accepted")]
    ChainSize(usize),
    /// The chain does not end in a trusted root, is expired, or is forged.
    #[error("the certificate chain does not hold")]
    Chain(#[source] rustls::Error),
    /// A certificate after the leaf is no CA, or none that may sign certificates (RFC 5280 § 4.2.1.3).
    #[error("certificate {0} of the chain is not one that may sign certificates")]
    Issuer(usize),
    /// No certificate of the chain has a pinned key.
    #[error("no certificate of the chain has the pinned key")]
    NotPinned,
    /// The chain holds, but the leaf is not one of ours.
    #[error("the certificate is not one for this purpose")]
    Leaf(#[from] LeafError),
    /// The external root itself is out of time.
    #[error("the certificate of the external CA has ended or is not valid yet")]
    RootTime,
    /// A good certificate of an external root, whose names stand for no cluster.
    #[error(
        "no cluster is mapped to a name of this certificate ({names}) of the external CA {root}: `roadstead cluster map` maps one"
    )]
    Unmapped {
        /// Who vouches for it.
        root: crate::identity::SpkiSha256,
        /// Its names: printable, and not many.
        names: String,
    },
    /// A good certificate of an external root, whose names stand for more than one cluster.
    #[error("the names of this certificate ({0}) are mapped to more than one cluster")]
    Ambiguous(String),
    /// The clock is before 1970.
    #[error("the clock is before 1970")]
    Clock,
}

impl PeerError {
    /// The typed reason inside a failed handshake, if one of this module's verifiers refused the peer.
    pub fn in_handshake(error: &rustls::Error) -> Option<&Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.downcast_ref(),
            _ => None,
        }
    }
}

impl From<PeerError> for rustls::Error {
    fn from(error: PeerError) -> Self {
        match error {
            // A failed chain keeps rustls' own error, and with it the right TLS alert.
            PeerError::Chain(error) => error,
            other => Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(other)))),
        }
    }
}

/// Whether a presented chain is of a size that is worth reading.
fn check_size(leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), PeerError> {
    check_size_of(leaf, others, MAX_CHAIN)
}

fn check_size_of(leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], most: usize) -> Result<(), PeerError> {
    if others.len() >= most {
        return Err(PeerError::ChainLength(others.len() + 1));
    }
    let bytes = others.iter().fold(leaf.len(), |sum, other| sum.saturating_add(other.len()));
    if bytes > MAX_CHAIN_BYTES { Err(PeerError::ChainSize(bytes)) } else { Ok(()) }
}

/// The time in the form that webpki takes.
fn unix_time(now: OffsetDateTime) -> Result<UnixTime, PeerError> {
    let seconds = u64::try_from(now.unix_timestamp()).map_err(|_| PeerError::Clock)?;
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests;
