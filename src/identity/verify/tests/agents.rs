//! What a hub accepts from agents.

use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use super::{corpus::agent_params, *};
use crate::identity::{
    Serial,
    testing::{HOUR, sign_any},
};

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
pub(super) fn refused_agent(world: &World, agent: Holder) -> String {
    let dialer = hostile_dialer(world, agent);
    match handshake(&dialer, &world.listener()) {
        Ok(_) => "accepted".into(),
        Err(Refusal::ByServer(error)) => reason(&error),
        Err(other) => panic!("{other:?}"),
    }
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
