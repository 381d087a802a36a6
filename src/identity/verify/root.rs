//! A root that an administrator gives, for agents only: read strictly, before anything is trusted by it. Refuses to know which roots the hub
//! has already.

use rustls::pki_types::{CertificateDer, pem::PemObject};
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, prelude::FromDer, prelude::X509Version};

use crate::identity::{
    SpkiSha256, der,
    public_key::{PublicKeyError, PublicKeyKind},
};

/// Longest text of a subject that is kept.
const MAX_SUBJECT: usize = 200;

/// Why a certificate cannot be the root of agents.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RootError {
    /// Nothing of the kind.
    #[error("no certificate in PEM was found")]
    Empty,
    /// A bundle.
    #[error("{0} certificates: add each root by itself, so that each is named, mapped and removed by itself")]
    Several(usize),
    /// Not one strict X.509 v3 certificate.
    #[error("not a strictly encoded X.509 v3 certificate")]
    Encoding,
    /// A leaf.
    #[error("not the certificate of a CA (basicConstraints CA:TRUE is missing)")]
    NotCa,
    /// A CA whose key usage does not let it sign certificates.
    #[error("a CA that may not sign certificates (keyUsage without keyCertSign)")]
    KeyUsage,
    /// A CA that is for other purposes.
    #[error("a CA whose extended key usage does not allow client certificates")]
    ExtendedKeyUsage,
    /// A weak key.
    #[error("the CA's key may not be trusted")]
    Key(#[from] PublicKeyError),
    /// Out of time.
    #[error("the CA's certificate ended on {0}")]
    Expired(OffsetDateTime),
    /// Not in time.
    #[error("the CA's certificate begins on {0}")]
    NotYet(OffsetDateTime),
}

/// A CA certificate that may be trusted for agents.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalRoot {
    der: CertificateDer<'static>,
    pin: SpkiSha256,
    subject: String,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl ExternalRoot {
    /// Reads the one certificate of a PEM text as it must be at `now` to be trusted. It need not be self-signed: to trust an issuing CA alone
    /// is to trust less.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn from_pem(pem: &str, now: OffsetDateTime) -> Result<Self, RootError> {
        let root = Self::stored(pem)?;
        if now >= root.not_after {
            return Err(RootError::Expired(root.not_after));
        }
        if now < root.not_before {
            return Err(RootError::NotYet(root.not_before));
        }
        Ok(root)
    }

    /// The same at whatever time: one that was trusted once.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn stored(pem: &str) -> Result<Self, RootError> {
        let all: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| RootError::Encoding)?;
        match <[_; 1]>::try_from(all) {
            Ok([der]) => Self::read(der),
            Err(all) if all.is_empty() => Err(RootError::Empty),
            Err(all) => Err(RootError::Several(all.len())),
        }
    }

    fn read(der: CertificateDer<'static>) -> Result<Self, RootError> {
        if !der::is_one_element(&der) {
            return Err(RootError::Encoding);
        }
        let (_, cert) = X509Certificate::from_der(&der).map_err(|_| RootError::Encoding)?;
        if cert.version() != X509Version::V3 || cert.extensions_map().is_err() {
            return Err(RootError::Encoding);
        }
        if !cert.is_ca() {
            return Err(RootError::NotCa);
        }
        let usage = cert.key_usage().map_err(|_| RootError::Encoding)?;
        if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(RootError::KeyUsage);
        }
        let extended = cert.extended_key_usage().map_err(|_| RootError::Encoding)?;
        if extended.is_some_and(|extended| !extended.value.client_auth && !extended.value.any) {
            return Err(RootError::ExtendedKeyUsage);
        }
        PublicKeyKind::of_external(cert.public_key())?;
        let pin = SpkiSha256::of(cert.public_key().raw);
        let subject = cert.subject().to_string().chars().filter(|c| !c.is_control()).take(MAX_SUBJECT).collect();
        let (not_before, not_after) =
            (cert.validity().not_before.to_datetime(), cert.validity().not_after.to_datetime());
        drop(cert);
        Ok(Self { der, pin, subject, not_before, not_after })
    }

    /// The certificate.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Of its key: how it is named.
    pub fn pin(&self) -> SpkiSha256 {
        self.pin
    }

    /// Its subject, for people: nothing is decided by it.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Since when it is valid.
    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// When it ends, and everything below it.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }
}
