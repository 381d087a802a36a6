//! What the tests of this layer and of those above it share: authorities, certificates that break a rule, and TLS handshakes in memory.
//! Refuses to be part of a build that is not a test.

use std::{sync::Arc, time::Duration};

use rcgen::CertificateParams;
use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, ServerName},
};
use time::OffsetDateTime;

use super::{
    AgentRequest, AgentVerifier, Authority, AuthorityKind, ClusterUid, HttpsRequest, HubTrust, HubVerifier, Issued,
    KeyPair, LinkRequest, Serial, TrustDomain, VerifiedCsr, tls, verify::LINK_SERVER_NAME,
};

pub(crate) mod external;
pub(crate) mod forge;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const ALPN: &[u8] = b"roadstead/1";

/// One installation: both authorities and the time they were made.
pub(crate) struct World {
    pub(crate) agents: Authority,
    pub(crate) hub: Authority,
    pub(crate) now: OffsetDateTime,
}

/// A certificate and its key.
pub(crate) struct Holder {
    pub(crate) key: KeyPair,
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

impl World {
    /// At the time of the system's clock, which handshakes use.
    pub(crate) fn new() -> Self {
        Self::of("fleet.example", OffsetDateTime::now_utc())
    }

    pub(crate) fn of(trust_domain: &str, now: OffsetDateTime) -> Self {
        let domain: TrustDomain = trust_domain.parse().unwrap();
        let create = |kind| Authority::create(kind, domain.clone(), now).unwrap();
        Self { agents: create(AuthorityKind::Agents), hub: create(AuthorityKind::Hub), now }
    }

    pub(crate) fn domain(&self) -> TrustDomain {
        self.agents.trust_domain().clone()
    }

    /// An agent's certificate for one hour from `now` on.
    pub(crate) fn agent_at(&self, cluster: &ClusterUid, now: OffsetDateTime) -> Holder {
        let key = KeyPair::generate();
        let csr = VerifiedCsr::parse(&key.csr()).unwrap();
        let request = AgentRequest { csr: &csr, cluster, now, ttl: HOUR, serial: Serial::random() };
        Holder { chain: self.agents.issue_agent(&request).unwrap().chain, key }
    }

    pub(crate) fn agent(&self, cluster: &ClusterUid) -> Holder {
        self.agent_at(cluster, self.now)
    }

    /// A hub's certificate for links, for one hour from `now` on.
    pub(crate) fn link_at(&self, now: OffsetDateTime) -> Holder {
        let key = KeyPair::generate();
        let request = LinkRequest { key: &key, name: &"hub-0".parse().unwrap(), now, ttl: HOUR };
        Holder { chain: self.hub.issue_hub_link(&request).unwrap().chain, key }
    }

    pub(crate) fn link(&self) -> Holder {
        self.link_at(self.now)
    }

    /// A hub's certificate for HTTPS at `hub.example` and 127.0.0.1.
    pub(crate) fn https(&self) -> Holder {
        let key = KeyPair::generate();
        let (dns, ips) = (["hub.example".to_owned()], ["127.0.0.1".parse().unwrap()]);
        let request = HttpsRequest { key: &key, dns: &dns, ips: &ips, now: self.now, ttl: HOUR };
        Holder { chain: self.hub.issue_hub_https(&request).unwrap().chain, key }
    }

    pub(crate) fn agent_verifier(&self) -> AgentVerifier {
        AgentVerifier::new(Arc::new(self.agents.roots()), self.domain()).unwrap()
    }

    pub(crate) fn hub_verifier(&self) -> HubVerifier {
        HubVerifier::new(HubTrust::Pins(vec![self.hub.pin()]), self.domain())
    }

    /// The hub's side of links, with a good certificate.
    pub(crate) fn listener(&self) -> ServerConfig {
        self.listener_with(self.link())
    }

    pub(crate) fn listener_with(&self, hub: Holder) -> ServerConfig {
        let slot = tls::CertSlot::new(tls::certified_key(hub.chain, &hub.key).unwrap());
        tls::agent_listener(Arc::new(self.agent_verifier()), slot, ALPN).unwrap()
    }

    /// An agent's side of links.
    pub(crate) fn dialer(&self, agent: Holder) -> ClientConfig {
        tls::agent_client(Arc::new(self.hub_verifier()), agent.chain, &agent.key, ALPN).unwrap()
    }
}

/// Both ends of a finished handshake.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
}

/// The end that refused, with its reason.
#[derive(Debug)]
pub(crate) enum Refusal {
    ByClient(rustls::Error),
    ByServer(rustls::Error),
}

/// A whole handshake through memory, for the name of links.
pub(crate) fn handshake(client: &ClientConfig, server: &ServerConfig) -> Result<Pair, Refusal> {
    handshake_for(client, server, LINK_SERVER_NAME)
}

pub(crate) fn handshake_for(client: &ClientConfig, server: &ServerConfig, name: &str) -> Result<Pair, Refusal> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut pair = Pair {
        client: ClientConnection::new(Arc::new(client.clone()), name).map_err(Refusal::ByClient)?,
        server: ServerConnection::new(Arc::new(server.clone())).map_err(Refusal::ByServer)?,
    };
    // Goes on after both are finished: a client is done before the server has judged its certificate, and tickets come last.
    for _ in 0..8 {
        let mut bytes = Vec::new();
        pair.client.write_tls(&mut bytes).unwrap();
        while pair.client.wants_write() {
            pair.client.write_tls(&mut bytes).unwrap();
        }
        feed(&mut pair.server, &bytes).map_err(Refusal::ByServer)?;
        let mut bytes = Vec::new();
        while pair.server.wants_write() {
            pair.server.write_tls(&mut bytes).unwrap();
        }
        feed(&mut pair.client, &bytes).map_err(Refusal::ByClient)?;
    }
    assert!(!pair.client.is_handshaking() && !pair.server.is_handshaking());
    Ok(pair)
}

fn feed<S: rustls::SideData>(
    connection: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<S>>,
    mut bytes: &[u8],
) -> Result<(), rustls::Error> {
    while !bytes.is_empty() {
        connection.read_tls(&mut bytes).unwrap();
        connection.process_new_packets()?;
    }
    Ok(())
}

/// A certificate with whatever fields, signed by an authority's issuing key.
pub(crate) fn sign_any(authority: &Authority, params: &CertificateParams) -> Holder {
    let key = KeyPair::generate();
    let Issued { chain, .. } = authority.sign(params, &key, Serial::random()).unwrap();
    Holder { key, chain }
}

/// One DER element.
pub(crate) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        short @ 0..=0x7f => vec![short as u8],
        medium @ 0x80..=0xff => vec![0x81, medium as u8],
        long => vec![0x82, (long >> 8) as u8, long as u8],
    };
    [&[tag], length.as_slice(), content].concat()
}
