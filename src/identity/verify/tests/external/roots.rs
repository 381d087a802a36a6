//! What an external root must be, how long it is good, and for whom.

use super::*;

/// webpki takes an anchor's time for nothing; a leaf is good no longer than its root.
#[test]
fn a_root_ends_and_so_does_everything_below_it() {
    let hub = World::new();
    let corp = ExternalWorld::at(hub.now, |p| p.not_after = hub.now + HOUR / 2);
    let setting = Setting { hub, corp, other: ExternalWorld::new() };
    let slot = setting.slot(&[&setting.corp]);
    let issuer = setting.corp.root_issuer();
    let mut params = setting.corp.leaf_params();
    params.not_after = setting.hub.now + 2 * HOUR;
    let leaf = params.signed_by(&KeyPair::generate(), &issuer).unwrap().der().clone();
    let Ok(Vouched::External(peer)) = slot.verify(std::slice::from_ref(&leaf), setting.hub.now) else {
        panic!("refused")
    };
    let peer = peer.mapped(|ca, name| setting.map(ca, name)).unwrap();
    assert_eq!(peer.not_after(), setting.corp.root().not_after());
    let late = slot.verify(&[leaf], setting.hub.now + HOUR);
    assert!(matches!(late, Err(PeerError::RootTime)), "{late:?}");
}

/// A root is for agents: neither a hub nor HTTPS is believed by it; and what is trusted changes while the hub listens.
#[test]
fn an_external_root_vouches_for_agents_only_and_from_the_next_handshake_on() {
    let setting = Setting::new();
    let slot = setting.slot(&[]);
    let hub = setting.hub.link();
    let certificate = tls::CertSlot::new(tls::certified_key(hub.chain, &hub.key).unwrap());
    let listener = tls::agent_listener(slot.clone(), certificate, ALPN).unwrap();
    let (chain, key) = setting.corp.pem(|_| {});
    let given = GivenIdentity::new(&chain, &crate::identity::Secret::new(key), setting.hub.now).unwrap();
    let trust = || HubTrust::Pins(vec![setting.hub.hub.pin()]);
    let dial = || {
        let verifier = Arc::new(HubVerifier::of_any_domain(trust()));
        handshake(&tls::given_client(verifier, &given, ALPN).unwrap(), &listener)
    };
    assert!(matches!(dial(), Err(Refusal::ByServer(_))));
    slot.replace_external(vec![ExternalVerifier::new(&setting.corp.root()).unwrap()]);
    assert!(dial().is_ok() && slot.trusts(&setting.corp.root().pin()));
    // The same PKI as a hub: its certificate may be for servers, and its root is pinned by nobody.
    let (chain, key) = setting.corp.leaf(|p| p.subject_alt_names = vec![uri("spiffe://fleet.example/hub/hub-0")]);
    let key = KeyPair::from_pem(&crate::identity::Secret::new(key.serialize_pem())).unwrap();
    let evil = setting.hub.listener_with(Holder { key, chain: [chain, vec![setting.corp.root.clone()]].concat() });
    let verifier = Arc::new(HubVerifier::of_any_domain(trust()));
    let refusal = handshake(&tls::given_client(verifier, &given, ALPN).unwrap(), &evil);
    assert!(matches!(&refusal, Err(Refusal::ByClient(error)) if reason(error) == "NotPinned"), "{refusal:?}");
    slot.replace_external(vec![]);
    assert!(dial().is_err() && !slot.trusts(&setting.corp.root().pin()));
}

#[test]
fn only_a_strong_ca_in_its_time_can_be_a_root() {
    let now = World::new().now;
    let pem = |change: Change<'_>| crate::identity::ca::to_pem(&ExternalWorld::at(now, |p| change(p)).root);
    let by = |algorithm| {
        let params = ca_params("root", now);
        params.self_signed(&rcgen::KeyPair::generate_for(algorithm).unwrap()).unwrap().pem()
    };
    let good = pem(&|_| {});
    let (chain, key) = ExternalWorld::new().pem(|_| {});
    let cases: Vec<(&str, String, &str)> = vec![
        ("a root", good.clone(), "ok"),
        ("RSA-2048", by(&rcgen::PKCS_RSA_SHA256), "ok"),
        ("an issuing CA", crate::identity::ca::to_pem(&ExternalWorld::new().issuing(|_| {}).der), "ok"),
        ("nothing", String::new(), "Empty"),
        ("a private key", key, "Empty"),
        ("two roots", good.repeat(2), "Several(2)"),
        ("a chain", chain.clone(), "Several(2)"),
        ("cut short", good[..good.len() / 2].to_owned(), "Encoding"),
        ("no certificate", good.replace("MII", "AAA"), "Encoding"),
        ("a leaf", pem(&|p| p.is_ca = IsCa::ExplicitNoCa), "NotCa"),
        ("without basic constraints", pem(&|p| p.is_ca = IsCa::NoCa), "NotCa"),
        ("may not sign certificates", pem(&|p| p.key_usages = vec![Ku::CrlSign]), "KeyUsage"),
        ("for servers only", pem(&|p| p.extended_key_usages = vec![Eku::ServerAuth]), "ExtendedKeyUsage"),
        ("P-521", by(&rcgen::PKCS_ECDSA_P521_SHA512), "Key(Kind)"),
        ("expired", pem(&|p| p.not_after = now - HOUR / 60), "Expired"),
        ("not valid yet", pem(&|p| p.not_before = now + HOUR), "NotYet"),
    ];
    for (name, pem, expected) in cases {
        let found = ExternalRoot::from_pem(&pem, now).map_or_else(|error| format!("{error:?}"), |_| "ok".to_owned());
        assert!(found.starts_with(expected), "{name}: {found}, expected {expected}");
    }
}
