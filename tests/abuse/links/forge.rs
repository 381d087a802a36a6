//! Certificates with one thing wrong. The only place that holds a hub's private keys.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration as Wait,
};

use quinn::{Endpoint, crypto::rustls::QuicServerConfig};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, string::Ia5String,
};
use roadstead::{
    identity::{SpkiSha256, tls},
    store::{Embedded, Store},
    wire::ALPN_LINK,
};
use rustls::{
    ConfigBuilder,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue, WantsClientCert},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A chain and the key of its leaf.
pub(super) type Holder = (Vec<CertificateDer<'static>>, KeyPair);

/// The authorities of a hub that was stopped.
pub(super) struct Keys {
    trust_domain: String,
    agents: Value,
    hub: Value,
}

impl Keys {
    pub(super) async fn read(store: &Path) -> Self {
        let store = Embedded::open(store).await.unwrap();
        let entry = store.get(b"pki/authorities").await.unwrap().unwrap();
        let mut stored: Value = serde_json::from_slice(&entry.value).unwrap();
        drop(store);
        // The file is locked until the store's threads have ended.
        tokio::time::sleep(Wait::from_millis(100)).await;
        let trust_domain = stored["trust_domain"].as_str().unwrap().to_owned();
        Self { trust_domain, agents: stored["agents"].take(), hub: stored["hub"].take() }
    }

    pub(super) fn hub_pin(&self) -> String {
        let root = CertificateDer::from_pem_slice(self.hub["root_cert"].as_str().unwrap().as_bytes()).unwrap();
        let (_, root) = X509Certificate::from_der(&root).unwrap();
        SpkiSha256::of(root.public_key().raw).to_string()
    }
}

/// A leaf in the making.
#[derive(Clone)]
pub(super) struct Leaf {
    params: CertificateParams,
    issuing: Value,
    root_too: bool,
}

impl Leaf {
    /// What the hub itself would issue.
    pub(super) fn good(keys: &Keys, uid: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, uid);
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - Duration::minutes(5), now + Duration::hours(24));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![uri(&format!("spiffe://{}/cluster/{uid}", keys.trust_domain))];
        Self { params, issuing: keys.agents.clone(), root_too: false }
    }

    fn with(&self, change: impl FnOnce(&mut CertificateParams)) -> Holder {
        let mut other = self.clone();
        change(&mut other.params);
        other.sign()
    }

    fn named(&self, names: &[&str]) -> Holder {
        self.with(|params| params.subject_alt_names = names.iter().map(|name| uri(name)).collect())
    }

    pub(super) fn sign(&self) -> Holder {
        let key = KeyPair::generate().unwrap();
        let text = |name: &str| self.issuing[name].as_str().unwrap();
        let issuer = Issuer::from_ca_cert_pem(text("issuing_cert"), KeyPair::from_pem(text("issuing_key")).unwrap());
        let leaf = self.params.signed_by(&key, &issuer.unwrap()).unwrap();
        let mut chain = vec![leaf.der().clone(), pem(text("issuing_cert"))];
        if self.root_too {
            chain.push(pem(text("root_cert")));
        }
        (chain, key)
    }
}

/// What presents a good leaf that ends in `left`, to the second, and when that is.
pub(super) fn ending(keys: &Keys, uid: &str, left: Wait) -> (rustls::ClientConfig, OffsetDateTime) {
    let ends = (OffsetDateTime::now_utc() + left).replace_nanosecond(0).unwrap();
    (present(Leaf::good(keys, uid).with(|params| params.not_after = ends)), ends)
}

fn pem(text: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(text.as_bytes()).unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

/// T074–T080, each with the one thing that is wrong.
pub(super) fn bad_leaves(keys: &Keys, uid: &str) -> Vec<(&'static str, &'static str, Holder)> {
    let good = Leaf::good(keys, uid);
    let mut bad = authorities(keys, uid, &good);
    bad.extend(fields(&good));
    let td = &keys.trust_domain;
    let id = format!("spiffe://{td}/cluster/{uid}");
    let long = format!("{id}{}", "x".repeat(5 << 10));
    let many: Vec<String> = (0..200).map(|i| format!("{id}{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let names: Vec<(&'static str, Vec<String>)> = vec![
        ("no name", vec![]),
        ("two URIs", vec![id.clone(), id.clone()]),
        ("another trust domain", vec![format!("spiffe://evil/cluster/{uid}")]),
        ("a longer trust domain", vec![format!("spiffe://{td}.evil/cluster/{uid}")]),
        ("an id of a hub", vec![format!("spiffe://{td}/hub/hub-0")]),
        ("path /cluster/", vec![format!("spiffe://{td}/cluster/")]),
        ("path with dots", vec![format!("spiffe://{td}/cluster/x/../{uid}")]),
        ("path with %61", vec![format!("spiffe://{td}/cluster/%61")]),
        ("trailing slash", vec![format!("{id}/")]),
        ("scheme in upper case", vec![format!("SPIFFE://{td}/cluster/{uid}")]),
        ("trust domain in upper case", vec![format!("spiffe://{}/cluster/{uid}", td.to_uppercase())]),
        ("with a query", vec![format!("{id}?x")]),
        ("https", vec![format!("https://{td}/cluster/{uid}")]),
        ("a name of 5 KB", vec![long]),
    ];
    for (what, names) in &names {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        bad.push(("T079", what, good.named(&names)));
    }
    bad.push(("T080", "200 names", good.named(&many)));
    bad.push((
        "T079",
        "URI and DNS name",
        good.with(|params| {
            params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from("hub.example").unwrap()));
        }),
    ));
    bad
}

fn authorities(keys: &Keys, uid: &str, good: &Leaf) -> Vec<(&'static str, &'static str, Holder)> {
    let own = KeyPair::generate().unwrap();
    let self_signed = (vec![good.params.self_signed(&own).unwrap().der().clone()], own);
    let of_hub = Leaf { issuing: keys.hub.clone(), root_too: true, ..good.clone() }.sign();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name = X509Name::of(&keys.agents);
    let ca_key = KeyPair::generate().unwrap();
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let impostor = json!({"issuing_cert": ca_cert.pem(), "issuing_key": ca_key.serialize_pem()});
    let impostor = Leaf { issuing: impostor, ..Leaf::good(keys, uid) };
    let (chain, key) = good.sign();
    let long = (chain.iter().cloned().chain(std::iter::repeat_n(chain[1].clone(), 7)).collect(), key);
    let (chain, key) = good.sign();
    let alone = (vec![chain[0].clone()], key);
    vec![
        ("T074", "self-signed", self_signed),
        ("T074", "signed by the hub's CA", of_hub),
        ("T074", "signed by a CA of the same name", impostor.sign()),
        ("T080", "a chain of 9", long),
        ("T080", "without the issuing certificate", alone),
    ]
}

/// The subject of the agents' issuing certificate, for a CA that looks like it.
struct X509Name;

impl X509Name {
    fn of(authority: &Value) -> rcgen::DistinguishedName {
        let der = pem(authority["issuing_cert"].as_str().unwrap());
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let mut name = rcgen::DistinguishedName::new();
        for organization in certificate.subject().iter_organization() {
            name.push(DnType::OrganizationName, organization.as_str().unwrap());
        }
        for common in certificate.subject().iter_common_name() {
            name.push(DnType::CommonName, common.as_str().unwrap());
        }
        name
    }
}

fn fields(good: &Leaf) -> Vec<(&'static str, &'static str, Holder)> {
    let now = OffsetDateTime::now_utc();
    let usages = |usages: Vec<ExtendedKeyUsagePurpose>| good.with(|params| params.extended_key_usages = usages);
    vec![
        ("T075", "expired by 1 s", good.with(|p| p.not_after = now - Duration::seconds(1))),
        ("T075", "not valid yet", good.with(|p| p.not_before = now + Duration::minutes(10))),
        ("T075", "valid for a year", good.with(|p| p.not_after = now + Duration::days(365))),
        ("T078", "no extended key usage", usages(vec![])),
        ("T078", "only serverAuth", usages(vec![ExtendedKeyUsagePurpose::ServerAuth])),
        ("T078", "any use", usages(vec![ExtendedKeyUsagePurpose::Any])),
        (
            "T078",
            "any use beside clientAuth",
            usages(vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::Any]),
        ),
        ("T080", "CA:true", good.with(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("T080", "keyCertSign", good.with(|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign))),
        ("T080", "no key usage", good.with(|p| p.key_usages.clear())),
        (
            "T080",
            "70 KB of extension",
            good.with(|p| {
                p.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99], vec![4; 70 << 10]));
            }),
        ),
    ]
}

/// What an attacker with an agents' key could call a hub.
pub(super) fn false_hubs(keys: &Keys, uid: &str) -> Vec<(&'static str, Holder)> {
    let server = Leaf { root_too: true, ..Leaf::good(keys, uid) };
    let as_hub = server.with(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![uri(&format!("spiffe://{}/hub/hub-0", keys.trust_domain))];
    });
    let (mut with_root, key) = as_hub;
    // The pinned root in the chain proves nothing by being there.
    with_root[2] = pem(keys.hub["root_cert"].as_str().unwrap());
    let agents_id = Leaf { issuing: keys.hub.clone(), root_too: true, ..Leaf::good(keys, uid) }
        .with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let other_domain = Leaf { issuing: keys.hub.clone(), root_too: true, ..Leaf::good(keys, uid) }.with(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![uri("spiffe://evil/hub/hub-0")];
    });
    vec![("agents-ca", (with_root, key)), ("cluster-id", agents_id), ("other-domain", other_domain)]
}

/// A client that takes any hub: what is judged here is the client.
pub(super) fn any_hub() -> ConfigBuilder<rustls::ClientConfig, WantsClientCert> {
    rustls::ClientConfig::builder_with_provider(tls::provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
}

/// A client that presents exactly this, whether or not the key fits.
pub(super) fn present((chain, key): Holder) -> rustls::ClientConfig {
    let key = tls::provider().key_provider.load_private_key(key.serialize_der().try_into().unwrap()).unwrap();
    let certified = rustls::sign::CertifiedKey::new(chain, key);
    let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    let mut config = any_hub().with_client_cert_resolver(resolver);
    config.alpn_protocols = vec![ALPN_LINK.to_vec()];
    config
}

/// A QUIC listener that asks for no certificate.
pub(super) fn listener((chain, key): Holder) -> Endpoint {
    let key = key.serialize_der().try_into().unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(tls::provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![ALPN_LINK.to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config).unwrap()));
    Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
}

/// The state of an agent that enrolled.
pub(super) fn write_state(dir: &Path, keys: &Keys, uid: &str) {
    let (chain, key) = Leaf::good(keys, uid).sign();
    crate::evil_hub::write_state(dir, &key.serialize_pem(), &chain, OffsetDateTime::now_utc());
}

/// Counts the tickets that a server gives: without one, nothing can be resumed.
#[derive(Debug, Default)]
pub(super) struct Tickets(AtomicUsize);

impl Tickets {
    pub(super) fn given(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: rustls::NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}
