//! Which roots a client trusts for the hub: certificates it was given, or the pin of a key. Refuses to know what the leaf must be.

use std::{borrow::Cow, sync::Arc, time::Duration};

use rustls::{
    CertificateError, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, time::ASN1Time};

use super::{PeerError, check_size};
use crate::identity::{SpkiSha256, tls};

/// Why no trust can be made of a PEM text.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// No certificate in it.
    #[error("no certificate in PEM was found")]
    Empty,
    /// A block that is no certificate.
    #[error("a certificate in the PEM text cannot be read")]
    Certificate,
}

/// What a client knows of the hub's CA. There is no variant for the system's roots, and none for "anything".
#[derive(Clone, Debug)]
pub enum HubTrust {
    /// Fingerprints of root keys. The hub presents its root; the one whose key is pinned becomes the trust anchor. More than one
    /// pin is for the time of a rotation.
    Pins(Vec<SpkiSha256>),
    /// Root certificates.
    Roots(Arc<RootCertStore>),
}

impl HubTrust {
    /// Trusts every certificate in a PEM text.
    ///
    /// # Errors
    /// [`TrustError`] when there is none, or one cannot be read: a partly read bundle would be a surprise later.
    pub fn from_pem(pem: &str) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.map_err(|_| TrustError::Certificate)?).map_err(|_| TrustError::Certificate)?;
        }
        if roots.is_empty() {
            return Err(TrustError::Empty);
        }
        Ok(Self::Roots(Arc::new(roots)))
    }

    /// Checks that `leaf` chains to a trusted root at `now` and may authenticate servers. Names are not looked at.
    pub(super) fn check_chain<'a>(
        &self,
        leaf: &'a CertificateDer<'a>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ParsedCertificate<'a>, PeerError> {
        check_size(leaf, others)?;
        let roots = match self {
            Self::Roots(roots) => Cow::Borrowed(roots.as_ref()),
            Self::Pins(pins) => Cow::Owned(pinned(pins, others, now)?),
        };
        let parsed = ParsedCertificate::try_from(leaf).map_err(PeerError::Chain)?;
        let algorithms = tls::provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, others, now, algorithms)
            .map_err(PeerError::Chain)?;
        Ok(parsed)
    }
}

/// The fingerprint of a certificate's key; `None` when it is no certificate.
pub fn key_of(certificate: &CertificateDer<'_>) -> Option<SpkiSha256> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(SpkiSha256::of(parsed.public_key().raw))
}

/// The presented CA certificates whose key is pinned and that are valid at `now`.
///
/// Anyone can present a copy of the root, or a forgery with its public key in it; neither helps, because what must hold then is a
/// signature by the private half of the pinned key.
fn pinned(pins: &[SpkiSha256], presented: &[CertificateDer<'_>], now: UnixTime) -> Result<RootCertStore, PeerError> {
    let mut roots = RootCertStore::empty();
    let time = now;
    let seconds = i64::try_from(now.as_secs()).map_err(|_| PeerError::Clock)?;
    let now = ASN1Time::from_timestamp(seconds).map_err(|_| PeerError::Clock)?;
    let mut out_of_time = None;
    for der in presented {
        let Ok((_, cert)) = X509Certificate::from_der(der) else { continue };
        let pinned = pins.contains(&SpkiSha256::of(cert.public_key().raw));
        if !pinned || !cert.is_ca() {
            continue;
        }
        if cert.validity().is_valid_at(now) {
            roots.add(der.clone().into_owned()).map_err(PeerError::Chain)?;
        } else {
            let at = |asn1: ASN1Time| {
                UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(asn1.timestamp()).unwrap_or(0)))
            };
            let (not_before, not_after) = (at(cert.validity().not_before), at(cert.validity().not_after));
            out_of_time = Some(if now < cert.validity().not_before {
                CertificateError::NotValidYetContext { time, not_before }
            } else {
                CertificateError::ExpiredContext { time, not_after }
            });
        }
    }
    match out_of_time {
        _ if !roots.is_empty() => Ok(roots),
        // The right hub at the wrong time: often the clock here is what is wrong, and that must be told.
        Some(error) => Err(PeerError::Chain(rustls::Error::InvalidCertificate(error))),
        None => Err(PeerError::NotPinned),
    }
}
