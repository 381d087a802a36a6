//! An agent's own certificate of another CA, read from what its issuer wrote, as strictly as a hub will read it: a wrong one is found before
//! it is used. Refuses to know files; whether the chain holds is for the hub, which alone knows the external roots, to judge.

use std::{fmt, sync::Arc};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use time::OffsetDateTime;

use super::{
    LeafError, MAX_CHAIN_BYTES, MAX_EXTERNAL_CHAIN, MAX_EXTERNAL_LIFE, check_size_of, issuers, leaf::ExternalLeaf,
};
use crate::identity::{SanName, Secret, Serial, tls};

/// Why a certificate and a key are none that an agent can show.
#[derive(Debug, thiserror::Error)]
pub enum GivenIdentityError {
    /// No certificate, or one that cannot be read.
    #[error("the certificate file holds no chain of certificates in PEM")]
    Chain,
    /// Too many or too large.
    #[error(
        "the certificate file holds more than {MAX_EXTERNAL_CHAIN} certificates or {MAX_CHAIN_BYTES} bytes of them: leaf first, then those that issued it"
    )]
    Size,
    /// Something besides CA certificates after the leaf.
    #[error("certificate {0} of the certificate file is not one that may sign certificates")]
    Issuer(usize),
    /// No key.
    #[error("the key file holds no private key in PEM (without a passphrase)")]
    Key,
    /// A key that TLS cannot use.
    #[error("the private key is of a kind that cannot be used")]
    KeyKind,
    /// They do not belong together; perhaps only one of them is written yet.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// A hub would refuse the leaf.
    #[error("no hub takes the certificate for an agent's: {0}")]
    Leaf(#[source] LeafError),
    /// Out of time.
    #[error("the certificate ended on {0}")]
    Expired(OffsetDateTime),
    /// Not in time.
    #[error("the certificate begins on {0}")]
    NotYet(OffsetDateTime),
}

/// A certificate of another CA and its key, checked.
#[derive(Clone)]
pub struct GivenIdentity {
    key: Arc<CertifiedKey>,
    names: Vec<SanName>,
    serial: Serial,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl GivenIdentity {
    /// A chain, leaf first, and its key, both PEM, as they are at `now`.
    ///
    /// # Errors
    /// [`GivenIdentityError`], without any of the key.
    pub fn new(chain: &str, key: &Secret, now: OffsetDateTime) -> Result<Self, GivenIdentityError> {
        let given = Self::at_any_time(chain, key)?;
        match now {
            now if now >= given.not_after => Err(GivenIdentityError::Expired(given.not_after)),
            now if now < given.not_before => Err(GivenIdentityError::NotYet(given.not_before)),
            _ => Ok(given),
        }
    }

    fn at_any_time(chain: &str, key: &Secret) -> Result<Self, GivenIdentityError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| GivenIdentityError::Chain)?;
        let (leaf, others) = chain.split_first().ok_or(GivenIdentityError::Chain)?;
        check_size_of(leaf, others, MAX_EXTERNAL_CHAIN).map_err(|_| GivenIdentityError::Size)?;
        if let Err(super::PeerError::Issuer(at)) = issuers::check(others) {
            return Err(GivenIdentityError::Issuer(at));
        }
        let ExternalLeaf { serial, not_before, not_after, names, .. } =
            ExternalLeaf::read(leaf, MAX_EXTERNAL_LIFE).map_err(GivenIdentityError::Leaf)?;
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| GivenIdentityError::Key)?;
        let key = tls::provider().key_provider.load_private_key(key).map_err(|_| GivenIdentityError::KeyKind)?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(|_| GivenIdentityError::Mismatch)?;
        Ok(Self { key: Arc::new(key), names, serial, not_before, not_after })
    }

    /// What is shown in a handshake.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        self.key.clone()
    }

    /// Its URIs and DNS names: what an administrator may map.
    pub fn names(&self) -> &[SanName] {
        &self.names
    }

    /// Its serial.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// Since when it is valid.
    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// When it ends.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }
}

impl fmt::Debug for GivenIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GivenIdentity({}, until {}, ***)", self.serial, self.not_after)
    }
}
