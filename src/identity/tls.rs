//! rustls configurations of every listener and client, each with the one crypto provider passed explicitly. Refuses to know sockets.
//!
//! On links: TLS 1.3 only, mandatory certificates, no tickets, no stored sessions, no early data: a resumed session would outlive its
//! certificate (security design § 5.1). The hybrid key exchange X25519MLKEM768 comes first everywhere.

mod https;

use std::{
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use rustls::{
    CipherSuite, ClientConfig, ServerConfig,
    client::{Resumption, danger::ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::CertificateDer,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, danger::ClientCertVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

pub use self::https::{ALPN_ENROL, Given, GivenError, HttpsSlots, ends};
use super::{HttpsVerifier, HubTrust, HubVerifier, KeyPair, verify::GivenIdentity};

/// Why a certificate and a key make no TLS identity.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The chain is empty, unreadable, or of another key.
    #[error("the certificate does not belong to the key")]
    Mismatch(#[source] rustls::Error),
    /// rustls refused the configuration.
    #[error("the TLS configuration is inconsistent")]
    Config(#[source] rustls::Error),
}

/// The crypto provider of the whole program: aws-lc-rs, hybrid post-quantum key exchange first. Never the process default, which any
/// library could set.
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
        // Written out, so that the order does not depend on which features other crates turn on.
        let kx_groups = vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1];
        let CryptoProvider { mut cipher_suites, .. } = aws_lc_rs::default_provider();
        // A handshake derives a dozen secrets; SHA-256 is done by the processor, SHA-384 is not.
        cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        Arc::new(CryptoProvider { kx_groups, cipher_suites, ..aws_lc_rs::default_provider() })
    })
}

/// A certificate chain and its key, checked to belong together.
pub fn certified_key(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Result<Arc<CertifiedKey>, TlsError> {
    let certified = CertifiedKey::new(chain, key.rustls_key());
    certified.keys_match().map_err(TlsError::Mismatch)?;
    Ok(Arc::new(certified))
}

/// The hub's certificate for one of its listeners, replaceable while it listens: new handshakes get the new one, live ones stay.
pub struct CertSlot(RwLock<Arc<CertifiedKey>>);

impl CertSlot {
    /// A slot that holds `first`.
    pub fn new(first: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(first)))
    }

    /// Presents `next` from the next handshake on.
    pub fn replace(&self, next: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// What is presented now.
    pub fn current(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for CertSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertSlot")
    }
}

impl ResolvesServerCert for CertSlot {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

/// The hub's configuration for links: agents only, `alpn` only. `agents` is an [`AgentVerifier`](super::AgentVerifier) or, where its roots
/// may change, an [`AgentSlot`](super::AgentSlot).
///
/// # Errors
/// [`TlsError::Config`].
pub fn agent_listener(
    agents: Arc<dyn ClientCertVerifier>,
    hub: Arc<CertSlot>,
    alpn: &[u8],
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Config)?
        .with_client_cert_verifier(agents)
        .with_cert_resolver(hub);
    config.alpn_protocols = vec![alpn.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    config.cert_decompressors.clear();
    Ok(config)
}

/// An agent's configuration for links. Connect with the server name [`super::verify::LINK_SERVER_NAME`].
///
/// # Errors
/// [`TlsError::Mismatch`] when `chain` is not the certificate of `key`.
pub fn agent_client(
    hub: Arc<HubVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
    alpn: &[u8],
) -> Result<ClientConfig, TlsError> {
    client_with(hub, certified_key(chain, key)?, alpn)
}

/// As [`agent_client`], with a certificate of another CA.
///
/// # Errors
/// [`TlsError::Config`].
pub fn given_client(hub: Arc<HubVerifier>, given: &GivenIdentity, alpn: &[u8]) -> Result<ClientConfig, TlsError> {
    client_with(hub, given.certified(), alpn)
}

fn client_with(hub: Arc<HubVerifier>, own: Arc<CertifiedKey>, alpn: &[u8]) -> Result<ClientConfig, TlsError> {
    let own = Arc::new(rustls::sign::SingleCertAndKey::from(Arc::unwrap_or_clone(own)));
    let mut config = client(hub)?.with_client_cert_resolver(own);
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.cert_decompressors.clear();
    Ok(config)
}

/// The configuration of somebody without a certificate, who only asks whether a hub answers for links: no hub lets it in.
///
/// # Errors
/// [`TlsError::Config`].
pub fn probe_client(trust: HubTrust, alpn: &[u8]) -> Result<ClientConfig, TlsError> {
    // Nobody's: the handshake ends when the hub has shown who it is, at the latest.
    let nobody = "probe.invalid".parse().expect("a trust domain of legal characters");
    let mut config = client(Arc::new(HubVerifier::new(trust, nobody)))?.with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The hub's configuration for HTTPS: TLS 1.2 and 1.3 (older kubectl and browsers), no client certificates.
///
/// # Errors
/// [`TlsError::Config`].
pub fn https_server(hub: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Config)?
        .with_no_client_auth()
        .with_cert_resolver(hub);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.max_early_data_size = 0;
    Ok(config)
}

/// The configuration of HTTPS clients of the hub: enrolment and the commands. TLS 1.3 only; `alpn` in order of preference.
///
/// # Errors
/// [`TlsError::Config`].
pub fn https_client(hub: Arc<HttpsVerifier>, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
    let mut config = client(hub)?.with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    Ok(config)
}

pub(super) fn client(
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Config)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

#[cfg(test)]
mod tests;
