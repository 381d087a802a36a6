//! Which certificate the hub shows on HTTPS: its own, or one of another CA that its operator gave. Refuses to know where that comes from.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    DistinguishedName,
    client::verify_server_name,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CertSlot, provider};
use crate::identity::Secret;

/// The protocol that an agent offers first when it enrols. Nobody speaks it: it tells the hub to show its own certificate, which the agent has
/// pinned, and not one that its operator gave for people. HTTP/1.1 is agreed on as ever, and a hub that does not know the name ignores it.
pub const ALPN_ENROL: &[u8] = b"roadstead-enrol/1";

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// No certificate, or one that cannot be read.
    #[error("the certificate file holds no chain of certificates in PEM")]
    Chain,
    /// No key.
    #[error("the key file holds no private key in PEM")]
    Key,
    /// A key that TLS cannot use.
    #[error("the private key is of a kind that cannot be used")]
    KeyKind,
    /// They do not belong together; perhaps only one of them is written yet.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// Out of time.
    #[error("the certificate ended on {0}")]
    Expired(OffsetDateTime),
    /// Not in time.
    #[error("the certificate begins on {0}")]
    NotYet(OffsetDateTime),
    /// For another name.
    #[error("the certificate is not for {0}, which is the host of the public URL")]
    Name(String),
}

/// A certificate that an operator gave, checked.
#[derive(Clone)]
pub struct Given {
    key: Arc<CertifiedKey>,
    /// When its leaf ends.
    pub not_after: OffsetDateTime,
}

impl Given {
    /// A chain, leaf first, and its key, both PEM, for `host` (DNS name or address).
    ///
    /// # Errors
    /// [`GivenError`], without any of the key.
    pub fn new(chain: &str, key: &Secret, host: &str, now: OffsetDateTime) -> Result<Self, GivenError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| GivenError::Chain)?;
        let leaf = chain.first().ok_or(GivenError::Chain)?;
        if chain.iter().any(|certificate| X509Certificate::from_der(certificate).is_err()) {
            return Err(GivenError::Chain);
        }
        let not_after = in_time(leaf, now)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| GivenError::Name(host.to_owned()))?;
        let parsed = ParsedCertificate::try_from(leaf).map_err(|_| GivenError::Chain)?;
        verify_server_name(&parsed, &name).map_err(|_| GivenError::Name(host.to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| GivenError::Key)?;
        let key = provider().key_provider.load_private_key(key).map_err(|_| GivenError::KeyKind)?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(|_| GivenError::Mismatch)?;
        Ok(Self { key: Arc::new(key), not_after })
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Given(until {})", self.not_after)
    }
}

/// When a certificate ends; `None` if it cannot be read.
pub fn ends(certificate: &CertificateDer<'_>) -> Option<OffsetDateTime> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.to_datetime())
}

fn in_time(leaf: &CertificateDer<'_>, now: OffsetDateTime) -> Result<OffsetDateTime, GivenError> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| GivenError::Chain)?;
    let (from, to) = (leaf.validity().not_before.to_datetime(), leaf.validity().not_after.to_datetime());
    match now {
        now if now >= to => Err(GivenError::Expired(to)),
        now if now < from => Err(GivenError::NotYet(from)),
        _ => Ok(to),
    }
}

/// The hub's own certificate and, if there is one, the operator's. Clients get the operator's, but for those that can only want the hub's own:
/// agents that enrol ([`ALPN_ENROL`]), and clients that name the hub's CA among those they trust (RFC 8446 § 4.2.4).
pub struct HttpsSlots {
    own: Arc<CertSlot>,
    given: RwLock<Option<Given>>,
}

impl HttpsSlots {
    /// Without an operator's certificate, yet.
    pub fn new(own: Arc<CertSlot>) -> Arc<Self> {
        Arc::new(Self { own, given: RwLock::new(None) })
    }

    /// Presents `given` from the next handshake on.
    pub fn give(&self, given: Given) {
        *self.given.write().unwrap_or_else(PoisonError::into_inner) = Some(given);
    }

    /// What the operator gave.
    pub fn given(&self) -> Option<Given> {
        self.given.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for HttpsSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpsSlots({:?})", self.given())
    }
}

impl ResolvesServerCert for HttpsSlots {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let own = self.own.current();
        let Some(given) = self.given() else { return Some(own) };
        let enrols = hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ALPN_ENROL));
        let named = hello.certificate_authorities().unwrap_or_default();
        Some(if enrols || has_issuer_among(&own, named) { own } else { given.key })
    }
}

/// Whether a CA of this chain is among those that were named.
fn has_issuer_among(own: &CertifiedKey, named: &[DistinguishedName]) -> bool {
    let is_named = |subject: &[u8]| named.iter().any(|name| name.as_ref() == subject);
    let issuers = own.cert.iter().skip(1).filter(|_| !named.is_empty());
    issuers.map(|der| X509Certificate::from_der(der)).any(|ca| ca.is_ok_and(|(_, ca)| is_named(ca.subject().as_raw())))
}

#[cfg(test)]
mod tests;
