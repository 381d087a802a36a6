//! The check of the hub's HTTPS certificate by agents that enrol and by the commands: chain to a known CA and the right name, always both.

use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::verify_tls13_signature,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{HubTrust, PeerError, no_tls12};
use crate::identity::tls;

/// Accepts a hub by its DNS name or address, if its certificate chains to a CA that is given or pinned. Never the system's roots.
#[derive(Debug)]
pub struct HttpsVerifier {
    trust: HubTrust,
}

impl HttpsVerifier {
    /// Trusts `trust` and nothing else.
    pub fn new(trust: HubTrust) -> Self {
        Self { trust }
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), PeerError> {
        let leaf = self.trust.check_chain(leaf, others, now)?;
        verify_server_name(&leaf, name).map_err(PeerError::Chain)
    }
}

impl ServerCertVerifier for HttpsVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(leaf, others, server_name, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &tls::provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}
