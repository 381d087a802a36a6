//! What comes after the leaf in a presented chain: certificates that may sign others. Refuses to know whether they signed these.
//!
//! webpki builds its path from whichever of them fit and looks at `CA`, the path length and the extended key usage, but not at the key
//! usage; and what does not fit it ignores. Nothing of ours sends such certificates.

use rustls::pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::PeerError;

/// Checks every certificate after the leaf; the number in the error counts from the leaf, which is 1.
pub(super) fn check(others: &[CertificateDer<'_>]) -> Result<(), PeerError> {
    match others.iter().position(|der| !may_sign_certificates(der)) {
        Some(at) => Err(PeerError::Issuer(at + 2)),
        None => Ok(()),
    }
}

fn may_sign_certificates(der: &CertificateDer<'_>) -> bool {
    let Ok((_, cert)) = X509Certificate::from_der(der) else { return false };
    // Absent, it forbids nothing: CAs of other makers leave it out.
    let Ok(usage) = cert.key_usage() else { return false };
    cert.is_ca() && usage.is_none_or(|usage| usage.value.key_cert_sign())
}
