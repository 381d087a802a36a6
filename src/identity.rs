//! Who a peer is: ids, certificate authorities, issuing, strict verifiers, tokens and keys. Knows no HTTP, no QUIC and no store.
//!
//! Time is an argument everywhere ([`time::OffsetDateTime`]), except inside a TLS handshake, where rustls passes its own.
//! Randomness comes from aws-lc-rs. The certificate profiles are written down in `certs/`, and the tests hold them to it.

pub mod ca;
pub mod csr;
mod der;
pub mod generation;
mod hub_url;
pub mod keys;
mod pins;
pub mod public_key;
mod random;
pub mod rotation;
mod san;
pub mod seal;
pub mod secret;
pub mod serial;
pub mod service_account;
pub mod spiffe;
pub mod spki;
#[cfg(test)]
pub(crate) mod testing;
pub mod tls;
pub mod token;
pub mod verify;

pub use ca::{AgentRequest, Authority, AuthorityKind, HttpsRequest, Issued, LinkRequest};
pub use csr::VerifiedCsr;
pub use generation::{Held, Position, RenewalRefused, Standing, Verdict};
pub use hub_url::{HubUrl, UrlError};
pub use keys::KeyPair;
pub use pins::{MAX_PINS, PinSet, PinSetError};
pub use rotation::{Phase, Rotation};
pub use san::{SanError, SanName};
pub use secret::Secret;
pub use serial::Serial;
pub use spiffe::{ClusterUid, HubName, Role, SpiffeId, TrustDomain};
pub use spki::SpkiSha256;
pub use token::{SecretHash, Token, TokenId, TokenKind};
pub use verify::{AgentSlot, AgentVerifier, HttpsVerifier, HubTrust, HubVerifier, OwnCertificate, VerifiedPeer};
