//! An agent's check of the hub on a link: chain to the pinned CA, then exactly one hub id. DNS plays no part in it, so addresses and
//! load balancers may change freely.

use std::sync::{Mutex, PoisonError};

use rustls::{
    client::danger::{ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{
    HubTrust, LeafError, PeerError, issuers,
    leaf::{Leaf, Purpose},
};
use crate::identity::{Role, TrustDomain, ca::MAX_LEAF_LIFE};

/// The server name that agents send on links. Fixed, because the hub's certificate for links carries no DNS name.
pub const LINK_SERVER_NAME: &str = "hub.roadstead.internal";

/// Accepts a hub of one trust domain at the other end of a link, whatever its address.
#[derive(Debug)]
pub struct HubVerifier {
    trust: HubTrust,
    /// `None` = whichever the hub's CA certifies.
    trust_domain: Option<TrustDomain>,
    refused: Mutex<Option<PeerError>>,
}

impl HubVerifier {
    /// Trusts `trust` for ids of `trust_domain` (an agent reads it from its own certificate).
    pub fn new(trust: HubTrust, trust_domain: TrustDomain) -> Self {
        Self { trust, trust_domain: Some(trust_domain), refused: Mutex::new(None) }
    }

    /// Trusts `trust` for hubs of the trust domain that it certifies: an agent whose certificate another CA issued does not know its name. A
    /// hub's CA certifies one trust domain only.
    pub fn of_any_domain(trust: HubTrust) -> Self {
        Self { trust, trust_domain: None, refused: Mutex::new(None) }
    }

    /// Why the hub of the last handshake was refused, if it was. QUIC only says that TLS failed, as text.
    pub fn refusal(&self) -> Option<PeerError> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> Result<(), PeerError> {
        self.trust.check_chain(leaf, others, now)?;
        issuers::check(others)?;
        let leaf = match &self.trust_domain {
            Some(domain) => Leaf::read(leaf, Purpose::Server, domain, MAX_LEAF_LIFE)?,
            None => Leaf::read_any(leaf, Purpose::Server, MAX_LEAF_LIFE)?,
        };
        match leaf.id.role {
            Role::Hub(_) => Ok(()),
            Role::Cluster(_) => Err(LeafError::Role.into()),
        }
    }
}

impl ServerCertVerifier for HubVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let checked = self.check(leaf, others, now);
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = checked.as_ref().err().cloned();
        checked?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}
