//! Which public keys may hold a certificate: one rule for those that ask for one and for those that show one.

use aws_lc_rs::rsa::PublicKey as RsaPublicKey;
use x509_parser::{
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
    },
    x509::SubjectPublicKeyInfo,
};

/// Smallest RSA modulus that gets a certificate, in bits (NIST SP 800-57: 128 bits of strength).
pub const MIN_RSA_BITS: usize = 3072;
/// Smallest RSA modulus in a certificate of an external CA, in bits: what such CAs issue (NIST SP 800-57: 112 bits of strength, the least
/// that is allowed through 2030).
pub const MIN_EXTERNAL_RSA_BITS: usize = 2048;
/// Largest RSA modulus that gets a certificate, in bits: verifying costs grow with the square.
pub const MAX_RSA_BITS: usize = 8192;

/// Why a public key may not hold a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PublicKeyError {
    /// A key that is none of P-256, P-384, Ed25519 and RSA.
    #[error("a public key of a kind that gets no certificate: use P-256, P-384, Ed25519 or RSA")]
    Kind,
    /// An RSA key outside [`MIN_RSA_BITS`]..=[`MAX_RSA_BITS`].
    #[error("an RSA key of {0} bits: {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")]
    RsaSize(usize),
    /// As [`PublicKeyError::RsaSize`], of an external CA.
    #[error("an RSA key of {0} bits: {MIN_EXTERNAL_RSA_BITS} to {MAX_RSA_BITS} are accepted of an external CA")]
    ExternalRsaSize(usize),
    /// A point that is compressed, hybrid, at infinity or of another length, an RSA key that is no PKCS#1, or bits left over. A second
    /// spelling of a key would have a second fingerprint, and what is refused by fingerprint would pass.
    #[error("a public key that is not encoded as its kind wants it: an uncompressed point, or a PKCS#1 RSA key")]
    Encoding,
}

/// A kind of key that may hold a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PublicKeyKind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

impl PublicKeyKind {
    /// The kind of `key`, if it may hold a certificate. That a point lies on its curve shows when a signature is verified with it.
    pub(super) fn of(key: &SubjectPublicKeyInfo<'_>) -> Result<Self, PublicKeyError> {
        Self::with(key, MIN_RSA_BITS, PublicKeyError::RsaSize)
    }

    /// The same for a certificate of an external CA.
    pub(super) fn of_external(key: &SubjectPublicKeyInfo<'_>) -> Result<Self, PublicKeyError> {
        Self::with(key, MIN_EXTERNAL_RSA_BITS, PublicKeyError::ExternalRsaSize)
    }

    fn with(
        key: &SubjectPublicKeyInfo<'_>,
        least: usize,
        refused: fn(usize) -> PublicKeyError,
    ) -> Result<Self, PublicKeyError> {
        const UNCOMPRESSED: u8 = 4;
        let (kind, bits) = (&key.algorithm.algorithm, &key.subject_public_key);
        let bytes: &[u8] = &bits.data;
        if bits.unused_bits != 0 {
            return Err(PublicKeyError::Encoding);
        }
        let (found, length) = if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = key.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok()).ok_or(PublicKeyError::Kind)?;
            let (found, field) = match curve {
                curve if curve == OID_EC_P256 => (Self::P256, 32),
                curve if curve == OID_NIST_EC_P384 => (Self::P384, 48),
                _ => return Err(PublicKeyError::Kind),
            };
            if bytes.first() != Some(&UNCOMPRESSED) {
                return Err(PublicKeyError::Encoding);
            }
            (found, 1 + 2 * field)
        } else if *kind == OID_SIG_ED25519 {
            (Self::Ed25519, 32)
        } else if *kind == OID_PKCS1_RSAENCRYPTION {
            let bits = rsa_bits(key)?;
            let fits = (least..=MAX_RSA_BITS).contains(&bits);
            return if fits { Ok(Self::Rsa) } else { Err(refused(bits)) };
        } else {
            return Err(PublicKeyError::Kind);
        };
        if bytes.len() == length { Ok(found) } else { Err(PublicKeyError::Encoding) }
    }
}

fn rsa_bits(key: &SubjectPublicKeyInfo<'_>) -> Result<usize, PublicKeyError> {
    let rsa = RsaPublicKey::from_der(key.raw).or_else(|_| RsaPublicKey::from_der(&key.subject_public_key.data));
    Ok(rsa.map_err(|_| PublicKeyError::Encoding)?.modulus_len() * 8)
}
