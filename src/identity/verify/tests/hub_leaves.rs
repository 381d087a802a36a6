//! The corpus of hubs: leaves of the hub's own CA, each with one thing wrong, as an agent judges them in a whole handshake.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose as Eku, IsCa, KeyUsagePurpose as Ku,
    SanType,
};

use super::{
    hubs::{pins, refused_hub},
    *,
};
use crate::identity::{
    Serial, SpiffeId,
    ca::profile,
    testing::{HOUR, sign_any},
};

const HUB: &str = "spiffe://fleet.example/hub/hub-0";

fn link_params(world: &World) -> CertificateParams {
    let id: SpiffeId = HUB.parse().unwrap();
    profile::hub_link_leaf(&id, &"hub-0".parse().unwrap(), profile::Life::from(world.now, HOUR), Serial::random())
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.to_owned().try_into().unwrap())
}

type Break = fn(&mut CertificateParams);

/// T079, T081, T082: what the hub's CA must never have signed is no hub, even if it did.
#[test]
fn hubs_that_break_a_rule_are_refused_with_its_name() {
    const PURPOSE: &str = "InvalidCertificate(InvalidPurposeContext";
    let cases: Vec<(&str, Break, &str)> = vec![
        ("nothing broken", |_| (), "accepted"),
        ("no EKU", |p| p.extended_key_usages.clear(), "ExtendedKeyUsage"),
        ("client EKU", |p| p.extended_key_usages = vec![Eku::ClientAuth], PURPOSE),
        ("any EKU", |p| p.extended_key_usages = vec![Eku::Any], PURPOSE),
        ("server and client EKU", |p| p.extended_key_usages.push(Eku::ClientAuth), "ExtendedKeyUsage"),
        ("server and any EKU", |p| p.extended_key_usages.push(Eku::Any), "ExtendedKeyUsage"),
        ("no key usage", |p| p.key_usages.clear(), "KeyUsage"),
        ("signs certificates", |p| p.key_usages.push(Ku::KeyCertSign), "KeyUsage"),
        (
            "a CA",
            |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            "InvalidCertificate(Other(OtherError(CaUsedAsEndEntity)))",
        ),
        ("no name", |p| p.subject_alt_names.clear(), "NotOneUri"),
        ("two URIs", |p| p.subject_alt_names.push(uri(HUB)), "NotOneUri"),
        (
            "URI and DNS name",
            |p| p.subject_alt_names.push(SanType::DnsName("hub.example".try_into().unwrap())),
            "NotOneUri",
        ),
        ("a cluster's id", |p| p.subject_alt_names = vec![uri(&good_uri())], "Role"),
        ("no hub name", |p| p.subject_alt_names = vec![uri("spiffe://fleet.example/hub/")], "Name(HubName)"),
        (
            "a hub name in upper case",
            |p| p.subject_alt_names = vec![uri("spiffe://fleet.example/hub/HUB-0")],
            "Name(HubName)",
        ),
        ("a trailing slash", |p| p.subject_alt_names = vec![uri("spiffe://fleet.example/hub/hub-0/")], "Name(Uri)"),
        (
            "a trust domain that begins as ours",
            |p| p.subject_alt_names = vec![uri("spiffe://fleet.example.evil/hub/hub-0")],
            "TrustDomain(TrustDomain(\"fleet.example.evil\"))",
        ),
        (
            "expired a second ago",
            |p| p.not_after = p.not_after - HOUR - std::time::Duration::from_secs(1),
            "InvalidCertificate(ExpiredContext",
        ),
        ("60 days", |p| p.not_after += 1440 * HOUR, "Life(5187900s)"),
        (
            "30 KB",
            |p| {
                p.custom_extensions =
                    vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![0; 30_000])]
            },
            "ChainSize",
        ),
    ];
    let world = World::new();
    let mut wrong = Vec::new();
    for (name, break_it, expected) in cases {
        let mut params = link_params(&world);
        break_it(&mut params);
        let got = refused_hub(&world, sign_any(&world.hub, &params), pins(&[&world.hub]));
        let got = got.split_once("(3").filter(|(name, _)| *name == "ChainSize").map_or(got.as_str(), |(name, _)| name);
        if got != expected {
            wrong.push(format!("{name}: {got}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
