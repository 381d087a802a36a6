//! When a certificate is valid, for its owner: proves nothing.

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

/// `notBefore` and `notAfter`; `None` when it cannot be read.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<(OffsetDateTime, OffsetDateTime)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some((parsed.validity().not_before.to_datetime(), parsed.validity().not_after.to_datetime()))
}
