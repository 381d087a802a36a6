//! The check of the hub's HTTPS certificate by agents that enrol and by the commands: chain to a known CA and the right name, always both.

use rustls::{
    client::{
        danger::{ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{HubTrust, PeerError};

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

    signatures!();
}
