//! The strict reading of one leaf certificate. Refuses to know whether its chain holds.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry::{
        OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_SUBJECT_ALT_NAME, Oid,
    },
    prelude::{FromDer, X509Version},
    time::ASN1Time,
};

use super::MAX_NAMES;
use crate::identity::{
    SanName, Serial, SpiffeId, SpkiSha256, TrustDomain,
    ca::BACKDATE,
    der,
    public_key::{PublicKeyError, PublicKeyKind},
    spiffe::NameError,
};

/// Why a leaf whose chain holds is refused all the same.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LeafError {
    /// Not one DER certificate of version 3 with distinct extensions and times as RFC 5280 § 4.1.2.5 has them.
    #[error("not a strictly encoded X.509 v3 certificate")]
    Encoding,
    /// The subject alternative name is absent, holds anything but one URI, or spells it in an odd encoding.
    #[error("the subject alternative name is not exactly one URI")]
    NotOneUri,
    /// The subject alternative name of an external CA's leaf holds other things than URIs, DNS names, addresses and mail addresses, more
    /// than [`MAX_NAMES`], or spells them in an odd encoding.
    #[error("the subject alternative name is not 1 to {MAX_NAMES} URIs, DNS names, addresses and mail addresses")]
    Names,
    /// The subject alternative name of an external CA's leaf holds no URI and no DNS name, and these alone can be mapped.
    #[error("the certificate has neither a URI nor a DNS name")]
    NoName,
    /// The URI is no SPIFFE id of ours.
    #[error("the URI is not an id of this installation's kind")]
    Name(#[from] NameError),
    /// An id of another installation.
    #[error("an id of the trust domain `{0}`")]
    TrustDomain(TrustDomain),
    /// An id of the wrong role, such as a cluster's where a hub's is needed.
    #[error("an id of the wrong role")]
    Role,
    /// The extended key usage is absent, or allows anything but the one use that is needed.
    #[error("the extended key usage does not allow this use")]
    ExtendedKeyUsage,
    /// The key usage is absent, lacks digitalSignature or allows signing certificates.
    #[error("the key usage is not that of a leaf")]
    KeyUsage,
    /// A critical extension besides the four that a leaf of ours has, such as one that only a CA may have.
    #[error("a critical extension that no leaf has")]
    Critical,
    /// A CA certificate.
    #[error("a CA certificate is no leaf")]
    Ca,
    /// A public key that is too weak, of an unknown kind or oddly encoded.
    #[error("the public key may not hold a certificate")]
    Key(#[from] PublicKeyError),
    /// Valid for longer than allowed.
    #[error("a life of {0:?}, longer than allowed")]
    Life(Duration),
    /// A serial number that is zero, negative or longer than 20 bytes (RFC 5280 § 4.1.2.2).
    #[error("a serial number that RFC 5280 forbids")]
    Serial,
}

/// The extensions that are read here, and so may be critical.
const KNOWN: [Oid<'static>; 4] = [
    OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_SUBJECT_ALT_NAME,
];

/// What the extended key usage must contain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    Client,
    Server,
    /// An agent's of an external CA: SPIFFE's documents may be for both sides (X509-SVID § 4.4), and so are those of many CAs.
    ExternalClient,
}

/// The fields of a leaf that passed.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) id: SpiffeId,
    pub(super) serial: Serial,
    pub(super) spki_sha256: SpkiSha256,
    pub(super) not_after: OffsetDateTime,
}

impl Leaf {
    /// Reads `der` as a leaf for `purpose` with one id of `trust_domain` and a life of at most `max_life` (plus the backdating).
    pub(super) fn read(
        der: &CertificateDer<'_>,
        purpose: Purpose,
        trust_domain: &TrustDomain,
        max_life: Duration,
    ) -> Result<Self, LeafError> {
        let leaf = Self::read_any(der, purpose, max_life)?;
        if leaf.id.trust_domain != *trust_domain {
            return Err(LeafError::TrustDomain(leaf.id.trust_domain));
        }
        Ok(leaf)
    }

    /// The same for whatever trust domain it names.
    pub(super) fn read_any(der: &CertificateDer<'_>, purpose: Purpose, max_life: Duration) -> Result<Self, LeafError> {
        let cert = strict(der, purpose)?;
        let id: SpiffeId = only_uri(&cert)?.parse()?;
        PublicKeyKind::of(cert.public_key())?;
        let (_, not_after) = life(&cert, max_life)?;
        let serial = Serial::from_der_bytes(cert.raw_serial()).ok_or(LeafError::Serial)?;
        Ok(Self { id, serial, spki_sha256: SpkiSha256::of(cert.public_key().raw), not_after })
    }
}

/// The fields of an external CA's leaf that passed.
#[derive(Clone, Debug)]
pub(super) struct ExternalLeaf {
    pub(super) serial: Serial,
    pub(super) spki_sha256: SpkiSha256,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    /// Its URIs and DNS names, in its order; at least one.
    pub(super) names: Vec<SanName>,
}

impl ExternalLeaf {
    /// Reads `der` as an agent's leaf of an external CA with a life of at most `max_life`.
    pub(super) fn read(der: &CertificateDer<'_>, max_life: Duration) -> Result<Self, LeafError> {
        let cert = strict(der, Purpose::ExternalClient)?;
        let names = names(&cert)?;
        PublicKeyKind::of_external(cert.public_key())?;
        let (not_before, not_after) = life(&cert, max_life)?;
        let serial = Serial::from_der_bytes(cert.raw_serial()).ok_or(LeafError::Serial)?;
        Ok(Self { serial, spki_sha256: SpkiSha256::of(cert.public_key().raw), not_before, not_after, names })
    }
}

/// What holds for every leaf: its encoding, its extensions, what it is for.
fn strict<'a>(der: &'a CertificateDer<'_>, purpose: Purpose) -> Result<X509Certificate<'a>, LeafError> {
    if !der::is_one_element(der) {
        return Err(LeafError::Encoding);
    }
    let (_, cert) = X509Certificate::from_der(der).map_err(|_| LeafError::Encoding)?;
    let times = [cert.validity().not_before, cert.validity().not_after];
    if cert.version() != X509Version::V3 || cert.extensions_map().is_err() || !times.iter().all(has_right_form) {
        return Err(LeafError::Encoding);
    }
    if cert.extensions().iter().any(|extension| extension.critical && !KNOWN.contains(&extension.oid)) {
        return Err(LeafError::Critical);
    }
    check_usage(&cert, purpose)?;
    Ok(cert)
}

/// From when to when, if that is not longer than `max_life` (plus the backdating).
fn life(cert: &X509Certificate<'_>, max_life: Duration) -> Result<(OffsetDateTime, OffsetDateTime), LeafError> {
    let (not_before, not_after) = (cert.validity().not_before.to_datetime(), cert.validity().not_after.to_datetime());
    let life = Duration::try_from(not_after - not_before).unwrap_or(Duration::ZERO);
    if life > max_life.saturating_add(BACKDATE) { Err(LeafError::Life(life)) } else { Ok((not_before, not_after)) }
}

fn check_usage(cert: &X509Certificate<'_>, purpose: Purpose) -> Result<(), LeafError> {
    if cert.basic_constraints().map_err(|_| LeafError::Encoding)?.is_some_and(|constraints| constraints.value.ca) {
        return Err(LeafError::Ca);
    }
    let usage = cert.key_usage().map_err(|_| LeafError::Encoding)?.ok_or(LeafError::KeyUsage)?.value;
    if !usage.digital_signature() || usage.key_cert_sign() || usage.crl_sign() {
        return Err(LeafError::KeyUsage);
    }
    let extended =
        cert.extended_key_usage().map_err(|_| LeafError::Encoding)?.ok_or(LeafError::ExtendedKeyUsage)?.value;
    let (wanted, other) = match purpose {
        Purpose::Client => (extended.client_auth, extended.server_auth),
        Purpose::Server => (extended.server_auth, extended.client_auth),
        Purpose::ExternalClient => (extended.client_auth, false),
    };
    let more = extended.any
        || extended.code_signing
        || extended.email_protection
        || extended.time_stamping
        || extended.ocsp_signing
        || !extended.other.is_empty();
    if wanted && !other && !more { Ok(()) } else { Err(LeafError::ExtendedKeyUsage) }
}

/// UTCTime through 2049 and GeneralizedTime from then on (RFC 5280 § 4.1.2.5): the same moment has one spelling.
fn has_right_form(time: &ASN1Time) -> bool {
    time.is_utctime() == (time.to_datetime().year() < 2050)
}

/// The one URI of the subject alternative name.
///
/// The extension must be, byte for byte, the DER of `[uri]`: then webpki, this parser and any other cannot read it differently, which
/// is a stronger statement than asking two parsers for the same answer.
fn only_uri<'a>(cert: &'a X509Certificate<'_>) -> Result<&'a str, LeafError> {
    let names = cert.subject_alternative_name().map_err(|_| LeafError::NotOneUri)?.ok_or(LeafError::NotOneUri)?;
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else {
        return Err(LeafError::NotOneUri);
    };
    let raw =
        cert.get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME).ok().flatten().ok_or(LeafError::NotOneUri)?.value;
    if raw != one_uri_der(uri).as_slice() {
        return Err(LeafError::NotOneUri);
    }
    Ok(uri)
}

/// The URIs and DNS names of the subject alternative name. As for [`only_uri`], the extension must be the DER of what was read, so that
/// webpki, which holds the names against name constraints, cannot read others.
fn names(cert: &X509Certificate<'_>) -> Result<Vec<SanName>, LeafError> {
    let extension = cert.get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME).map_err(|_| LeafError::Names)?;
    let raw = extension.ok_or(LeafError::NoName)?.value;
    let parsed = cert.subject_alternative_name().map_err(|_| LeafError::Names)?.ok_or(LeafError::NoName)?;
    let general = &parsed.value.general_names;
    if general.len() > MAX_NAMES {
        return Err(LeafError::Names);
    }
    let (mut names, mut again) = (Vec::new(), Vec::new());
    for name in general {
        let (tag, bytes) = match name {
            GeneralName::RFC822Name(text) => (MAIL, text.as_bytes()),
            GeneralName::DNSName(text) => (DNS, text.as_bytes()),
            GeneralName::URI(text) => (URI, text.as_bytes()),
            GeneralName::IPAddress(bytes) => (ADDRESS, *bytes),
            _ => return Err(LeafError::Names),
        };
        again.extend(tlv(tag, bytes));
        match name {
            GeneralName::URI(text) => names.push(SanName::shown_uri(text).ok_or(LeafError::Names)?),
            GeneralName::DNSName(text) => names.push(SanName::shown_dns(text).ok_or(LeafError::Names)?),
            GeneralName::IPAddress(bytes) if !matches!(bytes.len(), 4 | 16) => return Err(LeafError::Names),
            _ => {}
        }
    }
    if raw != tlv(SEQUENCE, &again).as_slice() {
        return Err(LeafError::Names);
    }
    if names.is_empty() { Err(LeafError::NoName) } else { Ok(names) }
}

/// `GeneralNames ::= SEQUENCE { uniformResourceIdentifier [6] IA5String }` (RFC 5280 § 4.2.1.6) in DER.
fn one_uri_der(uri: &str) -> Vec<u8> {
    tlv(SEQUENCE, &tlv(URI, uri.as_bytes()))
}

const SEQUENCE: u8 = 0x30;
/// Tags of `GeneralName` (RFC 5280 § 4.2.1.6).
const MAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = value.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    if value.len() >= 0x80 {
        out.push(0x80 | u8::try_from(significant.len()).expect("a length has at most 8 bytes"));
    }
    out.extend_from_slice(significant);
    out.extend_from_slice(value);
    out
}
