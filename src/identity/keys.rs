//! P-256 key pairs: made, kept as PKCS#8, and asked for in a CSR. Refuses to know where a key is stored.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, DistinguishedName, DnType, PublicKeyData, SigningKey};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use zeroize::Zeroizing;

use super::{Secret, SpkiSha256, tls};

/// Why a private key cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not one PEM block `PRIVATE KEY`.
    #[error("not a PKCS#8 private key in PEM")]
    Pem,
    /// PKCS#8, but no usable P-256 key.
    #[error("not a P-256 private key")]
    Kind,
}

/// An ECDSA P-256 key pair. Its private half is zeroed on drop and printed by nothing.
pub struct KeyPair {
    pkcs8: Zeroizing<Vec<u8>>,
    inner: EcdsaKeyPair,
}

impl KeyPair {
    /// A new random key.
    pub fn generate() -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .expect("aws-lc generates P-256 keys on every platform");
        Self::from_pkcs8_der(document.as_ref()).expect("a key that was just generated parses")
    }

    /// Reads a PKCS#8 (RFC 5958) document.
    ///
    /// # Errors
    /// [`KeyError::Kind`] for anything but a consistent P-256 key.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let inner = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).map_err(|_| KeyError::Kind)?;
        Ok(Self { pkcs8: Zeroizing::new(der.to_vec()), inner })
    }

    /// Reads one PEM block `PRIVATE KEY`.
    ///
    /// # Errors
    /// [`KeyError`], without any of the text.
    pub fn from_pem(pem: &Secret) -> Result<Self, KeyError> {
        let key =
            Zeroizing::new(PrivatePkcs8KeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| KeyError::Pem)?);
        Self::from_pkcs8_der(key.secret_pkcs8_der())
    }

    /// The key as one PEM block `PRIVATE KEY`.
    pub fn to_pem(&self) -> Secret {
        let text = Zeroizing::new(STANDARD.encode(self.pkcs8.as_slice()));
        Secret::new(pem_block("PRIVATE KEY", &text))
    }

    /// The public half as a DER `SubjectPublicKeyInfo`.
    pub fn spki_der(&self) -> Vec<u8> {
        self.subject_public_key_info()
    }

    /// The fingerprint of the public half.
    pub fn spki_sha256(&self) -> SpkiSha256 {
        SpkiSha256::of(&self.spki_der())
    }

    /// A CSR (RFC 2986, DER) that proves possession of the key. The issuer reads nothing else from it.
    pub fn csr(&self) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "roadstead agent");
        params.serialize_request(self).expect("a P-256 key signs a fixed request").der().to_vec()
    }

    /// The key as rustls wants it.
    pub(super) fn rustls_key(&self) -> Arc<dyn rustls::sign::SigningKey> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.to_vec()));
        tls::provider().key_provider.load_private_key(der).expect("a P-256 key that parsed once parses again")
    }
}

impl Clone for KeyPair {
    fn clone(&self) -> Self {
        Self::from_pkcs8_der(&self.pkcs8).expect("a key that parsed once parses again")
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({}, ***)", self.spki_sha256())
    }
}

impl PublicKeyData for KeyPair {
    fn der_bytes(&self) -> &[u8] {
        self.inner.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for KeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.inner.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// A PEM block (RFC 7468) of `label` around base64 text.
pub(super) fn pem_block(label: &str, base64: &str) -> String {
    let mut out = String::with_capacity(base64.len() + base64.len() / 64 + 2 * label.len() + 40);
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    for (at, character) in base64.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            out.push('\n');
        }
        out.push(character);
    }
    out.push_str(&format!("\n-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_pem_and_signs_as_itself() {
        let key = KeyPair::generate();
        let again = KeyPair::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.spki_sha256(), key.spki_sha256());
        assert!(key.to_pem().expose().lines().all(|line| line.len() <= 64));
        let csr = super::super::VerifiedCsr::parse(&again.csr()).unwrap();
        assert_eq!(csr.spki_sha256(), key.spki_sha256());
    }

    #[test]
    fn no_key_is_printed() {
        let key = KeyPair::generate();
        assert!(format!("{key:?}").ends_with("***)"));
        assert_eq!(format!("{:?}", key.to_pem()), "***");
    }

    #[test]
    fn other_keys_are_refused() {
        let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_pem();
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        let half = KeyPair::generate().to_pem().expose()[..80].to_owned();
        for pem in [
            rsa,
            p384,
            half,
            String::new(),
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned(),
        ] {
            assert!(KeyPair::from_pem(&Secret::new(pem)).is_err());
        }
    }
}
