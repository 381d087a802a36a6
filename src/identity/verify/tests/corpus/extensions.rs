//! Leaves of the agents' CA whose other extensions, life or size are wrong.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose as Eku, IsCa, KeyUsagePurpose as Ku,
};

use super::{Case, agent_params, names::raw_san};
use crate::{
    identity::testing::{HOUR, Holder, World, der, sign_any},
    identity::verify::MAX_CHAIN_BYTES,
};

type Break = fn(&mut CertificateParams);

pub(super) fn cases(world: &World) -> Vec<Case> {
    [usages(world), lives(world), odd(world), large(world)].into_iter().flatten().collect()
}

/// What webpki says of an extended key usage without ours.
const PURPOSE: &str = "InvalidCertificate(InvalidPurposeContext";

/// T078, T080.
fn usages(world: &World) -> Vec<Case> {
    let cases: Vec<(&str, &str, Break, &str)> = vec![
        ("T078", "no EKU", |p| p.extended_key_usages.clear(), "ExtendedKeyUsage"),
        ("T078", "server EKU", |p| p.extended_key_usages = vec![Eku::ServerAuth], PURPOSE),
        ("T078", "any EKU", |p| p.extended_key_usages = vec![Eku::Any], PURPOSE),
        ("T078", "an EKU of mail", |p| p.extended_key_usages = vec![Eku::EmailProtection], PURPOSE),
        ("T078", "client and any EKU", |p| p.extended_key_usages.push(Eku::Any), "ExtendedKeyUsage"),
        ("T078", "client and server EKU", |p| p.extended_key_usages.push(Eku::ServerAuth), "ExtendedKeyUsage"),
        ("T078", "client and code EKU", |p| p.extended_key_usages.push(Eku::CodeSigning), "ExtendedKeyUsage"),
        ("T078", "client and OCSP EKU", |p| p.extended_key_usages.push(Eku::OcspSigning), "ExtendedKeyUsage"),
        (
            "T078",
            "client and an unknown EKU",
            |p| p.extended_key_usages.push(Eku::Other(vec![1, 3, 9])),
            "ExtendedKeyUsage",
        ),
        ("T080", "no key usage", |p| p.key_usages.clear(), "KeyUsage"),
        ("T080", "signs certificates", |p| p.key_usages.push(Ku::KeyCertSign), "KeyUsage"),
        ("T080", "signs CRLs", |p| p.key_usages.push(Ku::CrlSign), "KeyUsage"),
        ("T080", "no digital signature", |p| p.key_usages = vec![Ku::KeyAgreement], "KeyUsage"),
        (
            "T080",
            "a CA",
            |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            "InvalidCertificate(Other(OtherError(CaUsedAsEndEntity)))",
        ),
        (
            "T080",
            "a CA with no path below it",
            |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
            "InvalidCertificate(Other(OtherError(CaUsedAsEndEntity)))",
        ),
    ];
    cases.into_iter().map(|(row, name, change, expected)| Case::of(world, row, name, change, expected)).collect()
}

/// T075: the wrong time, and lives that no agent has.
fn lives(world: &World) -> Vec<Case> {
    let now = world.now;
    let second = time::Duration::SECOND;
    let year = time::Duration::days(365);
    type Life = (time::OffsetDateTime, time::OffsetDateTime);
    let cases: Vec<(&str, Life, &str)> = vec![
        ("expired a second ago", (now - HOUR, now - second), "InvalidCertificate(ExpiredContext"),
        ("expired a year ago", (now - year - HOUR, now - year), "InvalidCertificate(ExpiredContext"),
        ("valid in 30 s", (now + 30 * second, now + HOUR), "InvalidCertificate(NotValidYetContext"),
        ("valid in a year", (now + year, now + year + HOUR), "InvalidCertificate(NotValidYetContext"),
        ("ends before it begins", (now + HOUR, now - HOUR), "InvalidCertificate(Expired)"),
        ("valid for 49 h", (now - HOUR, now + 48 * HOUR), "Life(176400s)"),
        ("valid for 60 days", (now - HOUR, now + 1439 * HOUR), "Life(5184000s)"),
        (
            "valid from 1975 to 4096",
            (time::macros::datetime!(1975-01-01 0:00 UTC), time::macros::datetime!(4096-01-01 0:00 UTC)),
            "Life(66932352000s)",
        ),
    ];
    let broken = |(name, life, expected): (&'static str, Life, &str)| {
        Case::of(world, "T075", name, |p| (p.not_before, p.not_after) = life, expected)
    };
    cases.into_iter().map(broken).collect()
}

fn extension(oid: &[u64], critical: bool, content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(critical);
    extension
}

/// Some private extension.
const PRIVATE: &[u64] = &[1, 3, 6, 1, 4, 1, 99999, 1];

pub(super) fn unknown(world: &World) -> Holder {
    let mut params = agent_params(world);
    params.custom_extensions = vec![extension(PRIVATE, false, vec![5, 0])];
    sign_any(&world.agents, &params)
}

/// Extensions twice, unknown, or in odd encodings.
fn odd(world: &World) -> Vec<Case> {
    let good_san = || raw_san(der(0x30, &der(0x86, super::super::good_uri().as_bytes())));
    let client = [0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
    let cases: Vec<(&str, Vec<CustomExtension>, &str)> = vec![
        ("an unknown critical extension", vec![extension(PRIVATE, true, vec![5, 0])], UNKNOWN_CRITICAL),
        ("an unknown extension twice", vec![extension(PRIVATE, false, vec![5, 0]); 2], "Encoding"),
        ("its name twice", vec![good_san()], TWICE),
        ("its EKU twice", vec![extension(&[2, 5, 29, 37], false, der(0x30, &client))], TWICE),
        ("its key usage twice", vec![extension(&[2, 5, 29, 15], true, vec![3, 2, 7, 0x80])], TWICE),
        ("its basic constraints twice", vec![extension(&[2, 5, 29, 19], true, vec![0x30, 0])], TWICE),
        ("name constraints in a leaf", vec![extension(&[2, 5, 29, 30], true, vec![0x30, 0])], "Critical"),
        (
            "a critical policy constraint",
            vec![extension(&[2, 5, 29, 36], true, der(0x30, &[0x80, 1, 0]))],
            UNKNOWN_CRITICAL,
        ),
    ];
    let broken = |(name, extensions, expected): (&'static str, Vec<CustomExtension>, &str)| {
        Case::of(world, "T080", name, |p| p.custom_extensions = extensions, expected)
    };
    cases.into_iter().map(broken).collect()
}

const UNKNOWN_CRITICAL: &str = "InvalidCertificate(Other(OtherError(UnsupportedCriticalExtension)))";
const TWICE: &str = "InvalidCertificate(Other(OtherError(ExtensionValueInvalid)))";

/// T080: more bytes than anything of ours has.
fn large(world: &World) -> Vec<Case> {
    let padded = |row, name, bytes: usize| {
        let change = |p: &mut CertificateParams| p.custom_extensions = vec![extension(PRIVATE, false, vec![0; bytes])];
        let mut case = Case::of(world, row, name, change, "");
        let size: usize = case.agent.chain.iter().map(|der| der.len()).sum();
        case.expected = format!("ChainSize({size})");
        case
    };
    let just = padded("T080", "a little more than a chain may have", MAX_CHAIN_BYTES);
    let mut more = padded("T080", "more than 64 KiB", 66 << 10);
    // TLS itself takes no message of that size (rustls' bound is 65,535 bytes).
    more.in_handshake = Some("InvalidMessage(HandshakePayloadTooLarge)");
    vec![just, more]
}
