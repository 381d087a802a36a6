//! The check of the hub's HTTPS certificate by agents that enrol and by the commands: chain to a known CA and the right name, always both.

use rustls::{
    DistinguishedName,
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
    /// The names of the CAs that are trusted, told to the hub so that it can choose a certificate (RFC 8446 § 4.2.4).
    named: Vec<DistinguishedName>,
}

/// So many CAs are named to the hub: who knows a few has chosen them for it, who knows a whole store of them trusts anybody's.
const MOST_NAMED: usize = 4;

impl HttpsVerifier {
    /// Trusts `trust` and nothing else.
    pub fn new(trust: HubTrust) -> Self {
        let named = match &trust {
            HubTrust::Roots(roots) if roots.len() <= MOST_NAMED => roots.subjects(),
            HubTrust::Roots(_) | HubTrust::Pins(_) => Vec::new(),
        };
        Self { trust, named }
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

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        (!self.named.is_empty()).then_some(&self.named)
    }

    signatures!();
}
