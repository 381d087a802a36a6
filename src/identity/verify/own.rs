//! An agent's own certificate and key, read as strictly as the hub will read them, so that a wrong one is found before it is used.
//! Refuses to know where they are kept; whether the chain holds is for the hub, which alone knows the agents' CA, to judge.

use rustls::pki_types::{CertificateDer, pem::PemObject};
use time::OffsetDateTime;

use super::{
    LeafError, MAX_CHAIN,
    leaf::{Leaf, Purpose},
};
use crate::identity::{
    ClusterUid, KeyPair, Role, Secret, Serial, TrustDomain,
    ca::{self, MAX_LEAF_LIFE},
    keys::KeyError,
};

/// Why a certificate and a key are no identity of an agent.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No certificate, an unreadable one, or more than [`MAX_CHAIN`].
    #[error("the chain is not 1 to {MAX_CHAIN} certificates in PEM")]
    Chain,
    /// The private key cannot be read.
    #[error("the private key cannot be read")]
    Key(#[from] KeyError),
    /// The leaf is not that of an agent.
    #[error("the certificate is not one of an agent")]
    Leaf(#[from] LeafError),
    /// The certificate is for another key.
    #[error("the certificate does not belong to the key")]
    Mismatch,
}

/// An agent's certificate chain and key, belonging together.
#[derive(Debug)]
pub struct AgentIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    trust_domain: TrustDomain,
    cluster: ClusterUid,
    serial: Serial,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl AgentIdentity {
    /// Joins the chain that the hub answered (PEM, leaf first) with the key it was asked for.
    ///
    /// # Errors
    /// [`IdentityError`]. An expired certificate is not one: whoever uses it compares [`AgentIdentity::not_after`].
    pub fn new(chain_pem: &str, key: KeyPair) -> Result<Self, IdentityError> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(chain_pem.as_bytes()).take(MAX_CHAIN + 1).collect();
        let chain = chain.map_err(|_| IdentityError::Chain)?;
        if chain.is_empty() || chain.len() > MAX_CHAIN {
            return Err(IdentityError::Chain);
        }
        let leaf = Leaf::read_any(&chain[0], Purpose::Client, MAX_LEAF_LIFE)?;
        let Role::Cluster(cluster) = leaf.id.role else {
            return Err(LeafError::Role.into());
        };
        if leaf.spki_sha256 != key.spki_sha256() {
            return Err(IdentityError::Mismatch);
        }
        let (not_before, not_after) = (leaf.not_before, leaf.not_after);
        Ok(Self { chain, key, trust_domain: leaf.id.trust_domain, cluster, serial: leaf.serial, not_before, not_after })
    }

    /// Reads a chain and a key as they are kept.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_pem(chain_pem: &str, key_pem: &Secret) -> Result<Self, IdentityError> {
        Self::new(chain_pem, KeyPair::from_pem(key_pem)?)
    }

    /// The chain to present, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The chain in PEM, to be kept.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|der| ca::to_pem(der)).collect()
    }

    /// The key.
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// The trust domain in which it was issued: what the agent requires of its hub.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Which cluster it says the agent is.
    pub fn cluster(&self) -> &ClusterUid {
        &self.cluster
    }

    /// The serial number of the leaf.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// Valid from.
    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// Valid until.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::{Holder, World};

    fn pem(holder: &Holder) -> String {
        holder.chain.iter().map(|der| ca::to_pem(der)).collect()
    }

    #[test]
    fn an_agent_reads_from_its_certificate_who_it_is() {
        let world = World::new();
        let cluster = ClusterUid::generate(world.now);
        let holder = world.agent(&cluster);
        let identity = AgentIdentity::from_pem(&pem(&holder), &holder.key.to_pem()).unwrap();
        assert_eq!((identity.cluster(), identity.trust_domain()), (&cluster, &world.domain()));
        assert_eq!((identity.chain(), identity.chain_pem()), (holder.chain.as_slice(), pem(&holder)));
        assert!(identity.not_before() < world.now && identity.not_after() > world.now);
        assert!(!format!("{identity:?}").contains("PRIVATE"));
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        let world = World::new();
        let cluster = ClusterUid::generate(world.now);
        let (one, other, hub) = (world.agent(&cluster), world.agent(&cluster), world.link());
        let read = |chain: &str, key: &KeyPair| AgentIdentity::from_pem(chain, &key.to_pem()).map(drop);
        assert!(matches!(read(&pem(&other), &one.key), Err(IdentityError::Mismatch)));
        assert!(matches!(read(&pem(&hub), &hub.key), Err(IdentityError::Leaf(LeafError::ExtendedKeyUsage))));
        let long = pem(&one).repeat(2);
        for chain in ["", "text", &pem(&one)[..200], &long] {
            assert!(matches!(read(chain, &one.key), Err(IdentityError::Chain)), "{chain}");
        }
        assert!(matches!(
            AgentIdentity::from_pem(&pem(&one), &Secret::new("")),
            Err(IdentityError::Key(KeyError::Pem))
        ));
    }
}
