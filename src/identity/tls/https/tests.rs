//! Which certificate whom is shown, and which are not shown to anybody.

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair as AnyKey};
use rustls::{ClientConfig, ServerConfig};
use time::Duration;

use super::*;
use crate::identity::{
    HttpsVerifier, HubTrust,
    testing::{Holder, Refusal, World, handshake_for},
    tls::{certified_key, https_client, https_server},
};

/// A CA of somebody else, and what it gave for a host.
struct Public {
    ca: CertifiedIssuer<'static, AnyKey>,
    chain: String,
    key: Secret,
}

impl Public {
    fn new(host: &str, now: OffsetDateTime) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "public CA");
        let ca = CertifiedIssuer::self_signed(params, AnyKey::generate().unwrap()).unwrap();
        let mut leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
        (leaf.not_before, leaf.not_after) = (now - Duration::HOUR, now + Duration::HOUR);
        let key = AnyKey::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let chain = leaf.signed_by(&key, &ca).unwrap().pem();
        Self { ca, chain, key: Secret::new(key.serialize_pem()) }
    }

    fn given(&self, host: &str, now: OffsetDateTime) -> Result<Given, GivenError> {
        Given::new(&self.chain, &self.key, host, now)
    }
}

fn slots(world: &World) -> Arc<HttpsSlots> {
    let Holder { key, chain } = world.https();
    HttpsSlots::new(CertSlot::new(certified_key(chain, &key).unwrap()))
}

fn who(trust: HubTrust, alpn: &[&[u8]]) -> ClientConfig {
    https_client(Arc::new(HttpsVerifier::new(trust)), alpn).unwrap()
}

fn get(client: &ClientConfig, server: &ServerConfig) -> Result<Option<Vec<u8>>, Refusal> {
    let pair = handshake_for(client, server, "hub.example")?;
    Ok(pair.server.alpn_protocol().map(<[u8]>::to_vec))
}

#[test]
fn people_get_the_operators_certificate_and_agents_that_enrol_the_hubs_own() {
    let world = World::new();
    let public = Public::new("hub.example", world.now);
    let slots = slots(&world);
    let server = https_server(slots.clone()).unwrap();
    let agent = who(HubTrust::Pins(vec![world.hub.pin()]), &[ALPN_ENROL, b"http/1.1"]);
    let old_agent = who(HubTrust::Pins(vec![world.hub.pin()]), &[b"http/1.1"]);
    let admin = who(HubTrust::from_pem(&world.hub.root_pem()).unwrap(), &[b"http/1.1"]);
    let person = who(HubTrust::from_pem(&public.ca.pem()).unwrap(), &[b"h2", b"http/1.1"]);
    for client in [&agent, &old_agent, &admin] {
        assert_eq!(get(client, &server).unwrap().as_deref(), Some(&b"http/1.1"[..]));
    }
    assert!(get(&person, &server).is_err(), "there is no such certificate yet");

    slots.give(public.given("hub.example", world.now).unwrap());
    assert_eq!(get(&person, &server).unwrap().as_deref(), Some(&b"h2"[..]));
    for client in [&agent, &admin] {
        assert_eq!(get(client, &server).unwrap().as_deref(), Some(&b"http/1.1"[..]), "never the marker");
    }
    assert!(matches!(get(&old_agent, &server), Err(Refusal::ByClient(_))), "pins are not for the public's CA");
}

#[test]
fn a_client_that_trusts_many_does_not_list_them() {
    let world = World::new();
    let many: String = (0..6).map(|_| World::new().hub.root_pem()).chain([world.hub.root_pem()]).collect();
    let slots = slots(&world);
    let server = https_server(slots.clone()).unwrap();
    let client = who(HubTrust::from_pem(&many).unwrap(), &[b"http/1.1"]);
    assert!(get(&client, &server).is_ok());
    slots.give(Public::new("hub.example", world.now).given("hub.example", world.now).unwrap());
    assert!(get(&client, &server).is_err());
}

#[test]
fn a_certificate_that_does_not_fit_is_refused_by_name() {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
    let (good, other) = (Public::new("hub.example", now), Public::new("hub.example", now));
    assert_eq!(good.given("hub.example", now).unwrap().not_after, now + Duration::HOUR);
    let with = |chain: &str, key: &Secret| Given::new(chain, key, "hub.example", now).unwrap_err();
    assert!(matches!(with(&good.chain, &other.key), GivenError::Mismatch));
    assert!(matches!(with("garbage", &good.key), GivenError::Chain));
    let half = &good.chain[..good.chain.len() / 2];
    assert!(matches!(with(half, &good.key), GivenError::Chain));
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(with(not_der, &good.key), GivenError::Chain));
    assert!(matches!(with(&format!("{}{not_der}", good.chain), &good.key), GivenError::Chain));
    assert!(matches!(with(&good.chain, &Secret::new("garbage")), GivenError::Key));
    assert!(matches!(good.given("hub.example.org", now), Err(GivenError::Name(_))));
    assert!(matches!(good.given("10.0.0.1", now), Err(GivenError::Name(_))));
    assert!(matches!(good.given("hub.example", now + Duration::HOUR), Err(GivenError::Expired(_))));
    assert!(matches!(good.given("hub.example", now - Duration::HOUR * 2), Err(GivenError::NotYet(_))));
    assert!(Public::new("127.0.0.1", now).given("127.0.0.1", now).is_ok());
}
