//! What agents and people accept from hubs.

use time::OffsetDateTime;

use super::*;
use crate::identity::{
    Authority, KeyPair, Serial, SpiffeId,
    ca::profile,
    testing::{HOUR, handshake_for, sign_any},
};

/// What an agent says to a hub with this certificate.
pub(super) fn refused_hub(world: &World, hub: Holder, trust: HubTrust) -> String {
    let verifier = Arc::new(HubVerifier::new(trust, world.domain()));
    let agent = world.agent(&cluster());
    let dialer = tls::agent_client(verifier, agent.chain, &agent.key, ALPN).unwrap();
    match handshake(&dialer, &world.listener_with(hub)) {
        Ok(_) => "accepted".into(),
        Err(Refusal::ByClient(error)) => reason(&error),
        Err(other) => panic!("{other:?}"),
    }
}

pub(super) fn pins(authorities: &[&Authority]) -> HubTrust {
    HubTrust::Pins(authorities.iter().map(|authority| authority.pin()).collect())
}

/// T081, T082: whoever is not a hub of this installation is refused before anything is sent to it.
#[test]
fn an_agent_refuses_everything_but_its_hub() {
    let world = World::new();
    let other = World::new();
    let evil = World::of("evil", world.now);
    let pinned = || pins(&[&world.hub]);
    let mut rootless = world.link();
    rootless.chain.truncate(2);
    let link_params = |name: &str| {
        let id: SpiffeId = name.parse().unwrap();
        profile::hub_link_leaf(&id, &"x".parse().unwrap(), profile::Life::from(world.now, HOUR), Serial::random())
    };
    let by_agents_ca = || sign_any(&world.agents, &link_params("spiffe://fleet.example/hub/hub-0"));
    let with_root = |mut holder: Holder, root: &Authority| {
        holder.chain.push(root.root().clone());
        holder
    };
    let old: OffsetDateTime = world.now - 3 * HOUR;
    let cluster_role = sign_any(&world.hub, &link_params(&good_uri()));
    let other_domain = sign_any(&world.hub, &link_params("spiffe://evil/hub/hub-0"));
    let cases: Vec<(&str, Holder, HubTrust, &str)> = vec![
        ("by pin", world.link(), pinned(), "accepted"),
        ("by one pin of two", world.link(), pins(&[&other.hub, &world.hub]), "accepted"),
        ("by root", rootless, HubTrust::from_pem(&world.hub.root_pem()).unwrap(), "accepted"),
        ("another hub's CA", other.link(), pinned(), "NotPinned"),
        (
            "another hub's CA with our root attached",
            with_swapped_root(other.link(), &world.hub),
            pinned(),
            "InvalidCertificate(UnknownIssuer)",
        ),
        ("signed by the agents' CA", with_root(by_agents_ca(), &world.agents), pinned(), "NotPinned"),
        (
            "an agent",
            with_root(world.agent(&cluster()), &world.hub),
            pinned(),
            "InvalidCertificate(InvalidPurposeContext",
        ),
        (
            "signed by the agents' CA, our hub's root attached",
            with_root(by_agents_ca(), &world.hub),
            pinned(),
            "InvalidCertificate(UnknownIssuer)",
        ),
        ("no pin", world.link(), HubTrust::Pins(vec![]), "NotPinned"),
        ("the certificate for HTTPS", world.https(), pinned(), "NotOneUri"),
        ("a cluster's id signed by the hub's CA", cluster_role, pinned(), "Role"),
        ("another trust domain", other_domain, pinned(), "TrustDomain(TrustDomain(\"evil\"))"),
        ("another installation", evil.link(), pins(&[&evil.hub]), "TrustDomain(TrustDomain(\"evil\"))"),
        ("expired", world.link_at(old), pinned(), "InvalidCertificate(ExpiredContext"),
    ];
    for (name, hub, trust, expected) in cases {
        assert_eq!(refused_hub(&world, hub, trust), expected, "{name}");
    }
}

fn with_swapped_root(mut holder: Holder, authority: &Authority) -> Holder {
    *holder.chain.last_mut().unwrap() = authority.root().clone();
    holder
}

/// Somebody who has a leaf, and not a CA, cannot issue with it, even if its key is pinned by mistake.
#[test]
fn a_pinned_leaf_is_no_ca() {
    let world = World::new();
    let leaf = world.https();
    let id: SpiffeId = "spiffe://fleet.example/hub/hub-0".parse().unwrap();
    let mut name = rcgen::CertificateParams::default();
    name.distinguished_name = rcgen::DistinguishedName::new();
    name.distinguished_name.push(rcgen::DnType::CommonName, "roadstead hub");
    let issuer = rcgen::Issuer::new(name, &leaf.key);
    let key = KeyPair::generate();
    let life = profile::Life::from(world.now, HOUR);
    let params = profile::hub_link_leaf(&id, &"hub-0".parse().unwrap(), life, Serial::random());
    let chain = vec![params.signed_by(&key, &issuer).unwrap().der().clone(), leaf.chain[0].clone()];
    let pin = HubTrust::Pins(vec![leaf.key.spki_sha256()]);
    assert_eq!(refused_hub(&world, Holder { key, chain }, pin), "NotPinned");
}

/// A pinned root that itself has expired is no anchor any more.
#[test]
fn an_expired_root_is_not_taken_by_its_pin() {
    let world = World::of("fleet.example", OffsetDateTime::now_utc());
    let [leaf, others @ ..] = &world.link().chain[..] else { unreachable!() };
    let check = |now: OffsetDateTime| pins(&[&world.hub]).check_chain(leaf, others, unix_time(now).unwrap()).map(drop);
    let why = |now| match check(now) {
        Err(PeerError::Chain(error)) => error.to_string(),
        other => format!("{other:?}"),
    };
    assert!(check(world.now).is_ok());
    assert!(matches!(check(world.now + 2 * HOUR), Err(PeerError::Chain(_))));
    let late = why(world.now + 11 * 365 * 24 * HOUR);
    assert!(late.contains("certificate expired"), "{late}");
    // A clock here that is behind: not a stranger, and it must not be called one.
    let early = why(world.now - 40 * 24 * HOUR);
    assert!(early.contains("certificate not valid yet"), "{early}");
}

/// T020's TLS half: HTTPS needs the known CA and the right name.
#[test]
fn https_needs_the_ca_and_the_name() {
    let world = World::new();
    let other = World::new();
    let roots = |world: &World| HubTrust::from_pem(&world.hub.root_pem()).unwrap();
    let cases: Vec<(&str, Holder, HubTrust, &str)> = vec![
        ("hub.example", world.https(), roots(&world), "accepted"),
        ("hub.example", world.https(), pins(&[&world.hub]), "accepted"),
        ("127.0.0.1", world.https(), pins(&[&world.hub]), "accepted"),
        ("other.example", world.https(), roots(&world), "InvalidCertificate(NotValidForNameContext"),
        ("127.0.0.2", world.https(), pins(&[&world.hub]), "InvalidCertificate(NotValidForNameContext"),
        ("hub.example", world.link(), roots(&world), "InvalidCertificate(NotValidForNameContext"),
        ("hub.example", other.https(), roots(&world), "InvalidCertificate(UnknownIssuer)"),
        ("hub.example", other.https(), pins(&[&world.hub]), "NotPinned"),
        ("hub.example", world.agent(&cluster()), roots(&world), "InvalidCertificate(InvalidPurposeContext"),
    ];
    for (name, hub, trust, expected) in cases {
        let slot = tls::CertSlot::new(tls::certified_key(hub.chain, &hub.key).unwrap());
        let server = tls::https_server(slot).unwrap();
        let client = tls::https_client(Arc::new(HttpsVerifier::new(trust)), &[b"h2"]).unwrap();
        let got = match handshake_for(&client, &server, name) {
            Ok(_) => "accepted".into(),
            Err(Refusal::ByClient(error)) => reason(&error),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn trust_is_read_whole_or_not_at_all() {
    let world = World::new();
    let pem = world.hub.root_pem();
    assert!(matches!(HubTrust::from_pem(&format!("{pem}{pem}")), Ok(HubTrust::Roots(roots)) if roots.len() == 2));
    let key = KeyPair::generate().to_pem();
    for nothing in ["", "text", key.expose()] {
        assert!(matches!(HubTrust::from_pem(nothing), Err(TrustError::Empty)));
    }
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(HubTrust::from_pem(&format!("{pem}{broken}")), Err(TrustError::Certificate)));
    assert!(matches!(HubTrust::from_pem(&pem[..pem.len() - 40]), Err(TrustError::Certificate | TrustError::Empty)));
}
