//! Whole handshakes between agents and hubs in memory: who is let in, and with which protocol.

use rustls::{AlertDescription, Error, HandshakeKind, NamedGroup, ProtocolVersion, pki_types::CertificateDer};

use super::*;
use crate::identity::{
    HubTrust,
    testing::{ALPN, HOUR, Holder, Refusal, World, handshake, handshake_for},
};

fn cluster() -> crate::identity::ClusterUid {
    "01jdq3v5c0e8m2k4n6p8r0s2t4".parse().unwrap()
}

fn https(world: &World) -> ServerConfig {
    let Holder { key, chain } = world.https();
    https_server(CertSlot::new(certified_key(chain, &key).unwrap())).unwrap()
}

fn people(world: &World, alpn: &[&[u8]]) -> ClientConfig {
    https_client(Arc::new(HttpsVerifier::new(HubTrust::Pins(vec![world.hub.pin()]))), alpn).unwrap()
}

/// T089: the key exchange is hybrid, so recorded traffic stays closed to a later quantum computer.
#[test]
fn key_exchange_is_hybrid_on_links_and_https() {
    let world = World::new();
    let link = handshake(&world.dialer(world.agent(&cluster())), &world.listener()).unwrap();
    let https = handshake_for(&people(&world, &[b"h2"]), &https(&world), "hub.example").unwrap();
    for pair in [link, https] {
        let group = pair.server.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, NamedGroup::X25519MLKEM768);
        assert_eq!(pair.server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    }
}

/// T084.
#[test]
fn tls12_is_refused_on_links() {
    let world = World::new();
    let old = ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(world.hub_verifier()))
        .with_no_client_auth();
    let refusal = handshake(&old, &world.listener()).unwrap_err();
    assert!(matches!(refusal, Refusal::ByServer(Error::PeerIncompatible(_))), "{refusal:?}");
}

/// T076: a client that would like to resume gets a whole handshake, with its certificate judged again.
#[test]
fn links_are_never_resumed() {
    let world = World::new();
    let mut dialer = world.dialer(world.agent(&cluster()));
    dialer.resumption = Resumption::in_memory_sessions(16);
    let listener = world.listener();
    assert_eq!((listener.send_tls13_tickets, listener.session_storage.can_cache()), (0, false));
    for _ in 0..3 {
        let pair = handshake(&dialer, &listener).unwrap();
        assert_eq!(pair.server.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(pair.client.tls13_tickets_received(), 0);
    }
    let tickets = handshake_for(&resuming(people(&world, &[b"h2"])), &https(&world), "hub.example").unwrap();
    assert!(tickets.client.tls13_tickets_received() > 0, "the count above can be other than zero");
}

fn resuming(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::in_memory_sessions(16);
    config
}

/// T077: even a client that resumes and has early data ready cannot send it, on links or on HTTPS.
#[test]
fn early_data_is_never_accepted() {
    let world = World::new();
    let eager = |config: ClientConfig| {
        let mut config = resuming(config);
        config.enable_early_data = true;
        config
    };
    let link = (eager(world.dialer(world.agent(&cluster()))), world.listener(), "hub.roadstead.internal");
    let https = (eager(people(&world, &[b"h2"])), https(&world), "hub.example");
    for (client, server, name) in [link, https] {
        for _ in 0..2 {
            let mut pair = handshake_for(&client, &server, name).unwrap();
            assert!(!pair.client.is_early_data_accepted());
            assert!(pair.server.early_data().is_none());
        }
        assert_eq!(server.max_early_data_size, 0);
        assert!(!server.send_half_rtt_data);
    }
}

/// T083, for clients that offer a protocol; TLS lets one without any pass, so a listener on TCP has to look at what was negotiated.
#[test]
fn another_protocol_is_refused() {
    let world = World::new();
    let mut dialer = world.dialer(world.agent(&cluster()));
    assert_eq!(handshake(&dialer, &world.listener()).unwrap().server.alpn_protocol(), Some(ALPN));
    dialer.alpn_protocols = vec![b"h2".to_vec(), b"roadstead/0".to_vec()];
    let refusal = handshake(&dialer, &world.listener()).unwrap_err();
    assert!(matches!(refusal, Refusal::ByServer(Error::NoApplicationProtocol)), "{refusal:?}");
}

/// T081: an agent's certificate is not even asked for on HTTPS, and an HTTPS client does not get into the links.
#[test]
fn links_and_https_do_not_mix() {
    let world = World::new();
    let mut dialer = world.dialer(world.agent(&cluster()));
    dialer.alpn_protocols = vec![b"h2".to_vec()];
    let refusal = handshake(&dialer, &https(&world)).unwrap_err();
    assert!(matches!(refusal, Refusal::ByClient(_)), "{refusal:?}");
    let people = people(&world, &[ALPN]);
    let refusal = handshake_for(&people, &world.listener(), "hub.example").unwrap_err();
    assert!(matches!(refusal, Refusal::ByClient(_)), "{refusal:?}");
}

#[test]
fn https_speaks_h2_and_http1_and_tls12() {
    let world = World::new();
    let server = https(&world);
    type Case<'a> = (&'a [&'a [u8]], Option<&'a [u8]>);
    let cases: [Case<'_>; 4] = [
        (&[b"h2", b"http/1.1"], Some(b"h2")),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ];
    for (offered, expected) in cases {
        let pair = handshake_for(&people(&world, offered), &server, "hub.example").unwrap();
        assert_eq!(pair.server.alpn_protocol(), expected);
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.hub.root().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider().clone()).with_protocol_versions(&[&TLS12]).unwrap();
    let old = builder.with_root_certificates(roots).with_no_client_auth();
    let pair = handshake_for(&old, &server, "hub.example").unwrap();
    assert_eq!(pair.server.protocol_version(), Some(ProtocolVersion::TLSv1_2));
}

#[test]
fn a_replaced_certificate_is_presented_to_new_handshakes_only() {
    let world = World::new();
    let (first, second) = (world.link(), world.link());
    let slot = CertSlot::new(certified_key(first.chain.clone(), &first.key).unwrap());
    let listener = agent_listener(Arc::new(world.agent_verifier()), slot.clone(), ALPN).unwrap();
    let dialer = world.dialer(world.agent(&cluster()));
    let leaf = |pair: &rustls::ClientConnection| pair.peer_certificates().unwrap()[0].clone();
    let before = handshake(&dialer, &listener).unwrap();
    slot.replace(certified_key(second.chain.clone(), &second.key).unwrap());
    let after = handshake(&dialer, &listener).unwrap();
    assert_eq!((leaf(&before.client), leaf(&after.client)), (first.chain[0].clone(), second.chain[0].clone()));
    assert_eq!(slot.current().cert, second.chain);
}

#[test]
fn a_certificate_of_another_key_is_refused_before_it_is_used() {
    let world = World::new();
    let (one, other) = (world.agent(&cluster()), world.agent(&cluster()));
    let verifier = || Arc::new(world.hub_verifier());
    let broken: Vec<CertificateDer<'static>> = vec![vec![0x30, 0].into()];
    for chain in [other.chain, vec![], broken] {
        assert!(matches!(agent_client(verifier(), chain, &one.key, ALPN), Err(TlsError::Mismatch(_))));
    }
    assert!(agent_client(verifier(), one.chain, &one.key, ALPN).is_ok());
}

/// A refused agent is told so by a TLS alert, not left to guess.
#[test]
fn a_refused_agent_gets_an_alert() {
    let world = World::new();
    let expired = world.agent_at(&cluster(), world.now - 3 * HOUR);
    let name = rustls::pki_types::ServerName::try_from("hub.roadstead.internal").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(world.dialer(expired)), name).unwrap();
    let mut server = rustls::ServerConnection::new(Arc::new(world.listener())).unwrap();
    let mut told = None;
    for _ in 0..6 {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        let _ = server.process_new_packets();
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        told = told.or(client.process_new_packets().err());
    }
    assert_eq!(told, Some(Error::AlertReceived(AlertDescription::CertificateExpired)));
}
