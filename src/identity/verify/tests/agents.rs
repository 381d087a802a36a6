//! What a hub accepts from agents.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose as Eku, IsCa, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use super::*;
use crate::identity::{
    KeyPair, Serial, SpiffeId,
    ca::profile,
    testing::{HOUR, der, sign_any},
};

/// The fields of a good agent's leaf, to be broken.
fn agent_params(world: &World) -> CertificateParams {
    let id: SpiffeId = good_uri().parse().unwrap();
    profile::agent_leaf(&id, &cluster(), profile::Life::from(world.now, HOUR), Serial::random())
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.to_owned().try_into().unwrap())
}

/// A subject alternative name with exactly these content bytes.
fn raw_san(content: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, 17], content)
}

/// A client that sends any chain: nothing on its own side checks it.
fn hostile_dialer(world: &World, agent: Holder) -> rustls::ClientConfig {
    let certified = rustls::sign::CertifiedKey::new(agent.chain, agent.key.rustls_key());
    let mut config = tls::client(Arc::new(world.hub_verifier()))
        .unwrap()
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

/// Why the hub refuses an agent with this certificate: the debug form of the reason, without what depends on time.
fn refused_agent(world: &World, agent: Holder) -> String {
    let dialer = hostile_dialer(world, agent);
    match handshake(&dialer, &world.listener()) {
        Ok(_) => "accepted".into(),
        Err(Refusal::ByServer(error)) => reason(&error),
        Err(other) => panic!("{other:?}"),
    }
}

type Break = fn(&mut CertificateParams);

/// T078, T079, T080: leaves whose chain holds but whose fields are not those of an agent.
#[test]
fn leaves_that_break_a_rule_are_refused_with_its_name() {
    let world = World::new();
    let cases: Vec<(&str, Break, &str)> = vec![
        ("nothing broken", |_| (), "accepted"),
        ("no EKU", |p| p.extended_key_usages.clear(), "ExtendedKeyUsage"),
        ("client and any EKU", |p| p.extended_key_usages = vec![Eku::ClientAuth, Eku::Any], "ExtendedKeyUsage"),
        ("server EKU", |p| p.extended_key_usages = vec![Eku::ServerAuth], "InvalidCertificate(InvalidPurposeContext"),
        ("any EKU", |p| p.extended_key_usages = vec![Eku::Any], "InvalidCertificate(InvalidPurposeContext"),
        ("no key usage", |p| p.key_usages.clear(), "KeyUsage"),
        ("signs certificates", |p| p.key_usages.push(KeyUsagePurpose::KeyCertSign), "KeyUsage"),
        ("signs CRLs", |p| p.key_usages.push(KeyUsagePurpose::CrlSign), "KeyUsage"),
        ("no digital signature", |p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement], "KeyUsage"),
        (
            "a CA",
            |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            "InvalidCertificate(Other(OtherError(CaUsedAsEndEntity)))",
        ),
        ("60 days", |p| p.not_after += 1440 * HOUR, "Life(5187900s)"),
        ("no name", |p| p.subject_alt_names.clear(), "NotOneUri"),
        ("two URIs", |p| p.subject_alt_names.push(uri(&good_uri())), "NotOneUri"),
        ("URI and DNS", |p| p.subject_alt_names.push(SanType::DnsName("a.example".try_into().unwrap())), "NotOneUri"),
        ("URI and IP", |p| p.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into())), "NotOneUri"),
        (
            "URI and mail",
            |p| p.subject_alt_names.push(SanType::Rfc822Name("a@b.example".try_into().unwrap())),
            "NotOneUri",
        ),
        ("200 URIs", |p| p.subject_alt_names = (0..200).map(|_| uri(&good_uri())).collect(), "NotOneUri"),
        ("DNS only", |p| p.subject_alt_names = vec![SanType::DnsName(UID.try_into().unwrap())], "NotOneUri"),
        ("a hub's id", |p| p.subject_alt_names = vec![uri("spiffe://fleet.example/hub/hub-0")], "Role"),
    ];
    for (name, break_it, expected) in cases {
        let mut params = agent_params(&world);
        break_it(&mut params);
        assert_eq!(refused_agent(&world, sign_any(&world.agents, &params)), expected, "{name}");
    }
}

/// T079 and T074: names that are nearly right.
#[test]
fn ids_that_are_nearly_ours_are_refused() {
    let world = World::new();
    let long = format!("spiffe://{}/cluster/{UID}", "a".repeat(5000));
    let cases = [
        ("spiffe://fleet.example/cluster/", "Name(ClusterUid)"),
        ("spiffe://fleet.example/cluster/prod", "Name(ClusterUid)"),
        ("spiffe://fleet.example/cluster/01jdq3v5c0e8m2k4n6p8r0s2t4/", "Name(Uri)"),
        ("spiffe://fleet.example/cluster/01jdq3v5c0e8m2k4n6p8r0s2t45", "Name(ClusterUid)"),
        ("spiffe://fleet.example/cluster/a/../01jdq3v5c0e8m2k4n6p8r0s2t4", "Name(Uri)"),
        ("spiffe://fleet.example/cluster/%3031jdq3v5c0e8m2k4n6p8r0s2t4", "Name(ClusterUid)"),
        ("SPIFFE://fleet.example/cluster/01jdq3v5c0e8m2k4n6p8r0s2t4", "Name(Uri)"),
        ("spiffe://FLEET.example/cluster/01jdq3v5c0e8m2k4n6p8r0s2t4", "Name(TrustDomain)"),
        ("spiffe://fleet.example/clusters/01jdq3v5c0e8m2k4n6p8r0s2t4", "Name(Role)"),
        ("spiffe://fleet.example/pending/01jdq3v5c0e8m2k4n6p8r0s2t4", "Name(Role)"),
        ("https://fleet.example/cluster/01jdq3v5c0e8m2k4n6p8r0s2t4", "Name(Uri)"),
        ("spiffe://evil/cluster/01jdq3v5c0e8m2k4n6p8r0s2t4", "TrustDomain(TrustDomain(\"evil\"))"),
        (
            "spiffe://fleet.example.evil/cluster/01jdq3v5c0e8m2k4n6p8r0s2t4",
            "TrustDomain(TrustDomain(\"fleet.example.evil\"))",
        ),
        (long.as_str(), "Name(Uri)"),
        ("", "Name(Uri)"),
    ];
    for (name, expected) in cases {
        let mut params = agent_params(&world);
        params.subject_alt_names = vec![uri(name)];
        assert_eq!(refused_agent(&world, sign_any(&world.agents, &params)), expected, "{name}");
    }
}

/// T079: names in encodings that parsers read differently. Whoever refuses first, it is refused.
#[test]
fn odd_encodings_of_the_name_are_refused() {
    let world = World::new();
    let good = der(0x86, good_uri().as_bytes());
    let length = u8::try_from(good.len()).unwrap();
    let cases = [
        ("empty", der(0x30, &[])),
        ("a second URI that is not UTF-8", der(0x30, &[good.clone(), der(0x86, &[0xff, 0xfe])].concat())),
        ("an empty second URI", der(0x30, &[good.clone(), der(0x86, &[])].concat())),
        ("trailing bytes inside", der(0x30, &[good.clone(), vec![0]].concat())),
        ("trailing bytes outside", [der(0x30, &good), vec![5, 0]].concat()),
        ("a length that is not minimal", [vec![0x30, 0x81, length], good.clone()].concat()),
        (
            "a length that is not minimal inside",
            der(0x30, &[vec![0x86, 0x81, length - 2], good_uri().into_bytes()].concat()),
        ),
        ("constructed", der(0x30, &der(0xa6, &der(0x16, good_uri().as_bytes())))),
        ("no sequence", good.clone()),
        ("not ASCII", der(0x30, &der(0x86, format!("{}é", good_uri()).as_bytes()))),
        ("a zero byte", der(0x30, &der(0x86, format!("{}\0", good_uri()).as_bytes()))),
    ];
    for (name, content) in cases {
        let mut params = agent_params(&world);
        params.subject_alt_names.clear();
        params.custom_extensions = vec![raw_san(content)];
        let got = refused_agent(&world, sign_any(&world.agents, &params));
        assert_ne!(got, "accepted", "{name}");
    }
    let mut control = agent_params(&world);
    control.subject_alt_names.clear();
    control.custom_extensions = vec![raw_san(der(0x30, &good))];
    assert_eq!(refused_agent(&world, sign_any(&world.agents, &control)), "accepted");
}

/// T074, T075, T080: certificates that the agents' CA did not sign, or not for now.
#[test]
fn chains_that_do_not_hold_are_refused() {
    let world = World::new();
    let other = World::new();
    let hub_signed = sign_any(&world.hub, &agent_params(&world));
    let evil = World::of("evil", world.now).agent(&cluster());
    let self_signed = {
        let Holder { key, .. } = world.agent(&cluster());
        let chain = vec![agent_params(&world).self_signed(&key).unwrap().der().clone()];
        Holder { key, chain }
    };
    let mut no_issuer = world.agent(&cluster());
    no_issuer.chain.truncate(1);
    let mut long = world.agent(&cluster());
    long.chain.extend(vec![long.chain[1].clone(); 6]);
    let mut not_yet = agent_params(&world);
    not_yet.not_before = world.now + 30 * std::time::Duration::from_secs(1);
    let mut old = agent_params(&world);
    old.not_after = world.now - std::time::Duration::from_secs(1);
    let cases = [
        ("another installation's CA", other.agent(&cluster()), "InvalidCertificate(UnknownIssuer)"),
        ("another trust domain's CA", evil, "InvalidCertificate(UnknownIssuer)"),
        ("the hub's CA", hub_signed, "InvalidCertificate(UnknownIssuer)"),
        ("self-signed", self_signed, "InvalidCertificate(UnknownIssuer)"),
        ("without the issuing certificate", no_issuer, "InvalidCertificate(UnknownIssuer)"),
        ("expired a second ago", sign_any(&world.agents, &old), "InvalidCertificate(ExpiredContext"),
        ("valid in 30 s", sign_any(&world.agents, &not_yet), "InvalidCertificate(NotValidYetContext"),
        ("a chain of 8", long, "ChainLength(8)"),
    ];
    for (name, agent, expected) in cases {
        assert_eq!(refused_agent(&world, agent), expected, "{name}");
    }
}

/// Two installations whose CAs have the same names but different keys: the signature decides.
#[test]
fn a_ca_of_the_same_name_is_not_the_same_ca() {
    let world = World::new();
    let forged = {
        let key = KeyPair::generate();
        let (_, real) = x509_parser::parse_x509_certificate(&world.agent(&cluster()).chain[1])
            .map(|(r, c)| (r, c.subject().to_string()))
            .unwrap();
        let mut name = rcgen::DistinguishedName::new();
        for part in real.split(", ") {
            let (kind, value) = part.split_once('=').unwrap();
            let kind = if kind == "O" { rcgen::DnType::OrganizationName } else { rcgen::DnType::CommonName };
            name.push(kind, value);
        }
        let mut ca = CertificateParams::default();
        ca.distinguished_name = name;
        let issuer = rcgen::Issuer::new(ca, KeyPair::generate());
        let mut chain = world.agent(&cluster()).chain;
        chain[0] = agent_params(&world).signed_by(&key, &issuer).unwrap().der().clone();
        Holder { key, chain }
    };
    assert_eq!(refused_agent(&world, forged), "InvalidCertificate(BadSignature)");
}

#[test]
fn an_agent_without_a_certificate_is_refused() {
    let world = World::new();
    let builder = rustls::ClientConfig::builder_with_provider(tls::provider().clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut anonymous =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(world.hub_verifier())).with_no_client_auth();
    anonymous.alpn_protocols = vec![ALPN.to_vec()];
    let refusal = handshake(&anonymous, &world.listener()).unwrap_err();
    assert!(matches!(refusal, Refusal::ByServer(rustls::Error::NoCertificatesPresented)), "{refusal:?}");
}

/// A leaf of 30 days is refused by default and accepted by a hub that says it issues such.
#[test]
fn the_limit_of_an_agents_life_is_the_hubs() {
    let world = World::new();
    let mut params = agent_params(&world);
    params.not_after = world.now + 30 * 24 * HOUR;
    let chain = sign_any(&world.agents, &params).chain;
    let default = world.agent_verifier();
    assert!(matches!(VerifiedPeer::from_chain(&default, &chain, world.now), Err(PeerError::Leaf(LeafError::Life(_)))));
    let longer = world.agent_verifier().with_max_life(30 * 24 * HOUR);
    assert!(VerifiedPeer::from_chain(&longer, &chain, world.now).is_ok());
}

#[test]
fn a_verified_peer_says_what_its_certificate_says() {
    let world = World::new();
    let agent = world.agent(&cluster());
    let key = agent.key.spki_sha256();
    let pair = handshake(&world.dialer(agent), &world.listener()).unwrap();
    let chain = pair.server.peer_certificates().unwrap();
    let peer = VerifiedPeer::from_chain(&world.agent_verifier(), chain, world.now).unwrap();
    let (_, cert) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    assert_eq!(peer.cluster(), &cluster());
    assert_eq!(peer.spki_sha256(), key);
    assert_eq!(peer.serial(), Serial::from_der_bytes(cert.raw_serial()).unwrap());
    assert_eq!(peer.not_after(), cert.validity().not_after.to_datetime());
}

/// The proof is checked when it is made, not taken over from whoever ran the handshake.
#[test]
fn a_verified_peer_needs_a_chain_that_holds_now() {
    let world = World::new();
    let verifier = world.agent_verifier();
    let chain = world.agent(&cluster()).chain;
    let foreign = World::new().agent(&cluster()).chain;
    let check = |chain: &[CertificateDer<'_>], now: OffsetDateTime| VerifiedPeer::from_chain(&verifier, chain, now);
    assert!(check(&chain, world.now).is_ok());
    assert!(matches!(check(&chain, world.now + 2 * HOUR), Err(PeerError::Chain(_))));
    assert!(matches!(check(&chain, OffsetDateTime::UNIX_EPOCH - HOUR), Err(PeerError::Clock)));
    assert!(matches!(check(&foreign, world.now), Err(PeerError::Chain(_))));
    assert!(matches!(check(&world.link().chain, world.now), Err(PeerError::Chain(_))));
    assert!(matches!(check(&[], world.now), Err(PeerError::ChainLength(0))));
}

proptest::proptest! {
    /// T088: changed bytes of a leaf never panic, and never prove another cluster.
    #[test]
    fn changed_leaves_never_panic_and_never_verify(at: proptest::sample::Index, with: u8, cut: bool) {
        static WORLD: std::sync::OnceLock<(World, Vec<CertificateDer<'static>>)> = std::sync::OnceLock::new();
        let (world, chain) = WORLD.get_or_init(|| {
            let world = World::new();
            let chain = world.agent(&cluster()).chain;
            (world, chain)
        });
        let mut leaf = chain[0].to_vec();
        let at = at.index(leaf.len());
        leaf[at] = with;
        if cut {
            leaf.truncate(at);
        }
        let changed = leaf != chain[0].as_ref();
        let chain = [CertificateDer::from(leaf.clone()), chain[1].clone()];
        let result = VerifiedPeer::from_chain(&world.agent_verifier(), &chain, world.now);
        proptest::prop_assert_eq!(result.is_err(), changed);
        // The strict reading alone, which the chain check otherwise hides from these bytes.
        let _ = leaf::Leaf::read(&leaf.into(), leaf::Purpose::Client, &world.domain(), HOUR);
    }
}
