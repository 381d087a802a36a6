//! Certificate signing requests from agents: hostile bytes of which only the public key is taken (RFC 2986).
//!
//! Subject, attributes and requested extensions are never even looked at; issuing builds every other field itself.

use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_3072_8192_SHA384, UnparsedPublicKey, VerificationAlgorithm,
};
use rcgen::SubjectPublicKeyInfo;
use x509_parser::{
    certification_request::X509CertificationRequest,
    oid_registry::{
        OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256,
        OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519, Oid,
    },
    prelude::{FromDer, X509Version},
};

pub use super::public_key::{MAX_RSA_BITS, MIN_RSA_BITS, PublicKeyError};
use super::{SpkiSha256, der, public_key::PublicKeyKind};

/// Largest CSR that is parsed, in bytes. An RSA-8192 request has about 2.4 KiB.
pub const MAX_CSR: usize = 8 * 1024;

/// Why a CSR gets no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Longer than [`MAX_CSR`].
    #[error("the request has {0} bytes, more than {MAX_CSR}")]
    TooLong(usize),
    /// Not one DER PKCS#10 request of version 1, or something follows it.
    #[error("not a DER certificate signing request")]
    Encoding,
    /// A key of a kind or size that gets no certificate.
    #[error(transparent)]
    Key(#[from] PublicKeyError),
    /// The signature algorithm does not fit the key, or is too weak.
    #[error("a signature algorithm that does not fit the key")]
    Algorithm,
    /// The request is not signed by the key it names, or the key is no point of its curve.
    #[error("the request is not signed by its own key")]
    Signature,
}

/// The public key of a CSR whose self-signature was checked: the only thing a certificate is issued from.
#[derive(Clone, Debug)]
pub struct VerifiedCsr {
    spki: SubjectPublicKeyInfo,
    spki_sha256: SpkiSha256,
}

impl VerifiedCsr {
    /// Parses `der` and verifies possession of the key.
    ///
    /// # Errors
    /// [`CsrError`]; hostile bytes are never a panic.
    pub fn parse(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR {
            return Err(CsrError::TooLong(der.len()));
        }
        if !der::is_one_element(der) {
            return Err(CsrError::Encoding);
        }
        let (_, csr) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Encoding)?;
        let info = &csr.certification_request_info;
        if info.version != X509Version::V1 || csr.signature_value.unused_bits != 0 {
            return Err(CsrError::Encoding);
        }
        let algorithm = verification(PublicKeyKind::of(&info.subject_pki)?, &csr.signature_algorithm.algorithm)?;
        let key = UnparsedPublicKey::new(algorithm, &info.subject_pki.subject_public_key.data);
        key.verify(info.raw, &csr.signature_value.data).map_err(|_| CsrError::Signature)?;
        // Re-encoding from the parts (instead of copying the bytes) leaves no room for a second reading of an odd encoding.
        let spki = SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(|_| PublicKeyError::Kind)?;
        let spki_sha256 = SpkiSha256::of(&rcgen::PublicKeyData::subject_public_key_info(&spki));
        Ok(Self { spki, spki_sha256 })
    }

    /// The fingerprint of the key, as the issued certificate will have it.
    pub fn spki_sha256(&self) -> SpkiSha256 {
        self.spki_sha256
    }

    /// The key as a DER `SubjectPublicKeyInfo`, as the issued certificate will have it.
    pub fn spki_der(&self) -> Vec<u8> {
        rcgen::PublicKeyData::subject_public_key_info(&self.spki)
    }

    /// The key to put into a certificate.
    pub(super) fn public_key(&self) -> &SubjectPublicKeyInfo {
        &self.spki
    }
}

/// The one algorithm that verifies a signature of kind `signature` by `key`. The table is closed: SHA-1 and PSS are not in it.
fn verification(key: PublicKeyKind, signature: &Oid<'_>) -> Result<&'static dyn VerificationAlgorithm, CsrError> {
    let table: &[(Oid<'_>, &'static dyn VerificationAlgorithm)] = match key {
        PublicKeyKind::P256 => &[(OID_SIG_ECDSA_WITH_SHA256, &ECDSA_P256_SHA256_ASN1)],
        PublicKeyKind::P384 => &[
            (OID_SIG_ECDSA_WITH_SHA384, &ECDSA_P384_SHA384_ASN1),
            (OID_SIG_ECDSA_WITH_SHA256, &signature::ECDSA_P384_SHA256_ASN1),
        ],
        PublicKeyKind::Ed25519 => &[(OID_SIG_ED25519, &ED25519)],
        PublicKeyKind::Rsa => &[
            (OID_PKCS1_SHA256WITHRSA, &RSA_PKCS1_2048_8192_SHA256),
            (OID_PKCS1_SHA384WITHRSA, &RSA_PKCS1_3072_8192_SHA384),
            (OID_PKCS1_SHA512WITHRSA, &RSA_PKCS1_2048_8192_SHA512),
        ],
    };
    table.iter().find(|(oid, _)| oid == signature).map(|(_, algorithm)| *algorithm).ok_or(CsrError::Algorithm)
}

#[cfg(test)]
mod tests;
