//! The fields of every certificate, as `certs/` documents them. Refuses to sign anything.

use std::{net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType, SerialNumber, string::Ia5String,
};
use rustls::pki_types::DnsName;
use time::OffsetDateTime;
use x509_parser::x509::X509Name;

use super::{AuthorityKind, BACKDATE, ISSUING_LIFE, IssueError, ROOT_LIFE, Serial};
use crate::identity::{ClusterUid, HubName, KeyPair, SpiffeId, TrustDomain};

/// From when to when a certificate is valid, in whole seconds as DER has them.
#[derive(Clone, Copy, Debug)]
pub(in crate::identity) struct Life {
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
}

impl Life {
    /// Backdated by [`BACKDATE`], ending `ttl` after `now`.
    pub(in crate::identity) fn from(now: OffsetDateTime, ttl: Duration) -> Self {
        let now = now.truncate_to_second();
        Self { not_before: now - BACKDATE, not_after: now + ttl }
    }
}

/// A root: self-signed, may have one issuing certificate below it.
pub(super) fn root(kind: AuthorityKind, domain: &TrustDomain, key: &KeyPair, now: OffsetDateTime) -> CertificateParams {
    let mut params = authority(ca_name(kind, domain, "root", key), Life::from(now, ROOT_LIFE));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params
}

/// An issuing certificate: may have leaves only below it.
pub(super) fn issuing(
    kind: AuthorityKind,
    domain: &TrustDomain,
    key: &KeyPair,
    now: OffsetDateTime,
) -> CertificateParams {
    let mut params = authority(ca_name(kind, domain, "issuing", key), Life::from(now, ISSUING_LIFE));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params
}

/// An agent's leaf: one URI, client authentication, nothing else.
pub(in crate::identity) fn agent_leaf(
    id: &SpiffeId,
    uid: &ClusterUid,
    life: Life,
    serial: Serial,
) -> CertificateParams {
    let mut params = leaf(uid.as_str(), life, serial);
    params.subject_alt_names = vec![uri(id)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A hub's leaf for links: one URI, server authentication, no DNS name, so that it is of no use for HTTPS.
pub(in crate::identity) fn hub_link_leaf(
    id: &SpiffeId,
    name: &HubName,
    life: Life,
    serial: Serial,
) -> CertificateParams {
    let mut params = leaf(name.as_str(), life, serial);
    params.subject_alt_names = vec![uri(id)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// A hub's leaf for HTTPS: DNS names and addresses, no URI, so that it is of no use for links.
pub(super) fn hub_https_leaf(
    dns: &[String],
    ips: &[IpAddr],
    life: Life,
    serial: Serial,
) -> Result<CertificateParams, IssueError> {
    let mut params = leaf("roadstead hub", life, serial);
    for name in dns {
        let valid = DnsName::try_from(name.as_str()).map_err(|_| IssueError::DnsName(name.clone()))?;
        let ia5 = Ia5String::try_from(valid.to_lowercase_owned().as_ref()).map_err(IssueError::Build)?;
        params.subject_alt_names.push(SanType::DnsName(ia5));
    }
    params.subject_alt_names.extend(ips.iter().map(|ip| SanType::IpAddress(*ip)));
    if params.subject_alt_names.is_empty() {
        return Err(IssueError::NoNames);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// Is `subject` the name of a `part` (root or issuing) of this kind of authority and trust domain, of whatever generation?
pub(super) fn is_subject_of(kind: AuthorityKind, domain: &TrustDomain, part: &str, subject: &X509Name<'_>) -> bool {
    let organisations: Vec<_> = subject.iter_organization().map(|name| name.as_str().ok()).collect();
    let common_names: Vec<_> = subject.iter_common_name().map(|name| name.as_str().ok()).collect();
    let [Some(common_name)] = common_names.as_slice() else { return false };
    organisations == [Some(domain.as_str())] && common_name.starts_with(&format!("{} {part} ", label(kind)))
}

fn label(kind: AuthorityKind) -> &'static str {
    match kind {
        AuthorityKind::Agents => "roadstead agents",
        AuthorityKind::Hub => "roadstead hub",
    }
}

/// `O=<trust domain>, CN=roadstead <agents|hub> <root|issuing> <first 8 bytes of the key's fingerprint>`: a name of its own for each
/// generation, because chain building looks authorities up by name (security design § 4.5).
fn ca_name(kind: AuthorityKind, domain: &TrustDomain, part: &str, key: &KeyPair) -> DistinguishedName {
    let generation: String = key.spki_sha256().as_bytes()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, domain.as_str());
    name.push(DnType::CommonName, format!("{} {part} {generation}", label(kind)));
    name
}

fn authority(name: DistinguishedName, life: Life) -> CertificateParams {
    let mut params = base(name, life, Serial::random());
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(common_name: &str, life: Life, serial: Serial) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    let mut params = base(name, life, serial);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

/// What all certificates share. rcgen's own defaults are unusable here: life 1975–4096, serial made from the key.
fn base(name: DistinguishedName, life: Life, serial: Serial) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = life.not_before;
    params.not_after = life.not_after;
    params.serial_number = Some(SerialNumber::from_slice(serial.magnitude()));
    params.use_authority_key_identifier_extension = true;
    params
}

fn uri(id: &SpiffeId) -> SanType {
    SanType::URI(Ia5String::try_from(id.to_string()).expect("the grammar of SPIFFE ids is ASCII"))
}
