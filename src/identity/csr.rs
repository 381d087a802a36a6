//! Certificate signing requests from agents: hostile bytes of which only the public key is taken (RFC 2986).
//!
//! Subject, attributes and requested extensions are never even looked at; issuing builds every other field itself.

use aws_lc_rs::{
    rsa::PublicKey as RsaPublicKey,
    signature::{
        self, ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_3072_8192_SHA384, UnparsedPublicKey, VerificationAlgorithm,
    },
};
use rcgen::SubjectPublicKeyInfo;
use x509_parser::{
    certification_request::X509CertificationRequest,
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_PKCS1_SHA256WITHRSA,
        OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384,
        OID_SIG_ED25519, Oid,
    },
    prelude::FromDer,
    x509::SubjectPublicKeyInfo as ParsedSpki,
};

use super::SpkiSha256;

/// Largest CSR that is parsed, in bytes. An RSA-8192 request has about 2.4 KiB.
pub const MAX_CSR: usize = 8 * 1024;
/// Smallest RSA modulus that gets a certificate, in bits (NIST SP 800-57: 128 bits of strength).
pub const MIN_RSA_BITS: usize = 3072;
/// Largest RSA modulus that gets a certificate, in bits: verifying costs grow with the square.
pub const MAX_RSA_BITS: usize = 8192;

/// Why a CSR gets no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Longer than [`MAX_CSR`].
    #[error("the request has {0} bytes, more than {MAX_CSR}")]
    TooLong(usize),
    /// Not one DER PKCS#10 request, or something follows it.
    #[error("not a DER certificate signing request")]
    Encoding,
    /// A key that is none of P-256, P-384, Ed25519 and RSA.
    #[error("a public key of a kind that gets no certificate: use P-256, P-384, Ed25519 or RSA")]
    KeyKind,
    /// An RSA key outside [`MIN_RSA_BITS`]..=[`MAX_RSA_BITS`].
    #[error("an RSA key of {0} bits: {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")]
    RsaSize(usize),
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
        let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Encoding)?;
        if !rest.is_empty() {
            return Err(CsrError::Encoding);
        }
        let info = &csr.certification_request_info;
        let algorithm = verification(&info.subject_pki, &csr.signature_algorithm.algorithm)?;
        let key = UnparsedPublicKey::new(algorithm, &info.subject_pki.subject_public_key.data);
        key.verify(info.raw, &csr.signature_value.data).map_err(|_| CsrError::Signature)?;
        // Re-encoding from the parts (instead of copying the bytes) leaves no room for a second reading of an odd encoding.
        let spki = SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(|_| CsrError::KeyKind)?;
        let spki_sha256 = SpkiSha256::of(&rcgen::PublicKeyData::subject_public_key_info(&spki));
        Ok(Self { spki, spki_sha256 })
    }

    /// The fingerprint of the key, as the issued certificate will have it.
    pub fn spki_sha256(&self) -> SpkiSha256 {
        self.spki_sha256
    }

    /// The key to put into a certificate.
    pub(super) fn public_key(&self) -> &SubjectPublicKeyInfo {
        &self.spki
    }
}

/// The one algorithm that verifies a signature of kind `signature` by `key`. The table is closed: SHA-1 and PSS are not in it.
fn verification(key: &ParsedSpki<'_>, signature: &Oid<'_>) -> Result<&'static dyn VerificationAlgorithm, CsrError> {
    let kind = &key.algorithm.algorithm;
    let table: &[(Oid<'_>, &'static dyn VerificationAlgorithm)] = if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok()).ok_or(CsrError::KeyKind)?;
        if curve == OID_EC_P256 {
            &[(OID_SIG_ECDSA_WITH_SHA256, &ECDSA_P256_SHA256_ASN1)]
        } else if curve == OID_NIST_EC_P384 {
            &[
                (OID_SIG_ECDSA_WITH_SHA384, &ECDSA_P384_SHA384_ASN1),
                (OID_SIG_ECDSA_WITH_SHA256, &signature::ECDSA_P384_SHA256_ASN1),
            ]
        } else {
            return Err(CsrError::KeyKind);
        }
    } else if *kind == OID_SIG_ED25519 {
        &[(OID_SIG_ED25519, &ED25519)]
    } else if *kind == OID_PKCS1_RSAENCRYPTION {
        let rsa = RsaPublicKey::from_der(key.raw).or_else(|_| RsaPublicKey::from_der(&key.subject_public_key.data));
        let bits = rsa.map_err(|_| CsrError::Signature)?.modulus_len() * 8;
        if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
            return Err(CsrError::RsaSize(bits));
        }
        &[
            (OID_PKCS1_SHA256WITHRSA, &RSA_PKCS1_2048_8192_SHA256),
            (OID_PKCS1_SHA384WITHRSA, &RSA_PKCS1_3072_8192_SHA384),
            (OID_PKCS1_SHA512WITHRSA, &RSA_PKCS1_2048_8192_SHA512),
        ]
    } else {
        return Err(CsrError::KeyKind);
    };
    table.iter().find(|(oid, _)| oid == signature).map(|(_, algorithm)| *algorithm).ok_or(CsrError::Algorithm)
}

#[cfg(test)]
mod tests;
