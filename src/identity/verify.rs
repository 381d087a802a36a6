//! Deciding who the peer of a TLS connection is: webpki checks the chain, then this module checks the leaf more strictly.
//!
//! The standard rules let through what must not be a link: no extended key usage, a second name, a life of years (security design § 5.1).
//! [`VerifiedPeer`] is the only proof that a peer is a certain cluster. Refuses to know sockets, revocation and what a peer may do.

#[macro_use]
mod signatures;

mod agent;
mod https;
mod hub;
mod leaf;
mod own;
mod trust;

use std::{sync::Arc, time::Duration};

use rustls::{CertificateError, OtherError, pki_types::UnixTime};
use time::OffsetDateTime;

pub use agent::{AgentVerifier, VerifiedPeer};
pub use https::HttpsVerifier;
pub use hub::{HubVerifier, LINK_SERVER_NAME};
pub use leaf::LeafError;
pub use own::{OwnCertificate, OwnError};
pub use trust::{HubTrust, TrustError};

/// Most certificates in a presented chain: leaf, issuing certificate, root (security design § 5.2).
pub const MAX_CHAIN: usize = 3;
/// Longest life of an agent's leaf that is accepted by default: twice the usual 24 h (security design § 5.2).
pub const MAX_AGENT_LIFE: Duration = Duration::from_secs(48 * 3600);

/// Why a peer is not who a link needs.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PeerError {
    /// No certificate, or more than [`MAX_CHAIN`].
    #[error("a chain of {0} certificates: 1 to {MAX_CHAIN} are accepted")]
    ChainLength(usize),
    /// The chain does not end in a trusted root, is expired, or is forged.
    #[error("the certificate chain does not hold")]
    Chain(#[source] rustls::Error),
    /// No certificate of the chain has a pinned key.
    #[error("no certificate of the chain has the pinned key")]
    NotPinned,
    /// The chain holds, but the leaf is not one of ours.
    #[error("the certificate is not one for this purpose")]
    Leaf(#[from] LeafError),
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

/// The time in the form that webpki takes.
fn unix_time(now: OffsetDateTime) -> Result<UnixTime, PeerError> {
    let seconds = u64::try_from(now.unix_timestamp()).map_err(|_| PeerError::Clock)?;
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests;
