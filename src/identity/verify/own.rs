//! An agent's own certificate, read as strictly as the hub will read it, so that a wrong one is found before it is used.
//! Refuses to know where it is kept; whether the chain holds is for the hub, which alone knows the agents' CA, to judge.

use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use super::{
    LeafError, MAX_CHAIN, MAX_CHAIN_BYTES, check_size,
    leaf::{Leaf, Purpose},
};
use crate::identity::{ClusterUid, KeyPair, Role, TrustDomain, ca::MAX_LEAF_LIFE};

/// Why a certificate is none that this agent can use.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// No certificate, more than [`MAX_CHAIN`], or more than [`MAX_CHAIN_BYTES`].
    #[error("the chain is not 1 to {MAX_CHAIN} certificates of at most {MAX_CHAIN_BYTES} bytes")]
    Chain,
    /// The leaf is not that of an agent.
    #[error("the certificate is not one of an agent")]
    Leaf(#[from] LeafError),
    /// The certificate is for another key.
    #[error("the certificate does not belong to the key")]
    Mismatch,
}

/// What an agent reads from its own certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnCertificate {
    /// In which it was issued: what the agent requires of its hub.
    pub trust_domain: TrustDomain,
    /// Which cluster it says the agent is.
    pub cluster: ClusterUid,
    /// Its end.
    pub not_after: OffsetDateTime,
}

impl OwnCertificate {
    /// Reads the chain that the hub answered (leaf first) for this key.
    ///
    /// # Errors
    /// [`OwnError`]. An expired certificate is not one: whoever uses it compares `not_after`.
    pub fn read(chain: &[CertificateDer<'_>], key: &KeyPair) -> Result<Self, OwnError> {
        let [leaf, others @ ..] = chain else { return Err(OwnError::Chain) };
        check_size(leaf, others).map_err(|_| OwnError::Chain)?;
        let leaf = Leaf::read_any(leaf, Purpose::Client, MAX_LEAF_LIFE)?;
        let Role::Cluster(cluster) = leaf.id.role else {
            return Err(LeafError::Role.into());
        };
        if leaf.spki_sha256 != key.spki_sha256() {
            return Err(OwnError::Mismatch);
        }
        Ok(Self { trust_domain: leaf.id.trust_domain, cluster, not_after: leaf.not_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::World;

    #[test]
    fn an_agent_reads_from_its_certificate_who_it_is() {
        let world = World::new();
        let cluster = ClusterUid::generate(world.now);
        let holder = world.agent(&cluster);
        let own = OwnCertificate::read(&holder.chain, &holder.key).unwrap();
        assert_eq!((own.cluster, own.trust_domain), (cluster, world.domain()));
        assert!(own.not_after > world.now);
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        let world = World::new();
        let cluster = ClusterUid::generate(world.now);
        let (one, other, hub) = (world.agent(&cluster), world.agent(&cluster), world.link());
        let read = |chain: &[CertificateDer<'_>], key: &KeyPair| OwnCertificate::read(chain, key).map(drop);
        assert!(matches!(read(&other.chain, &one.key), Err(OwnError::Mismatch)));
        assert!(matches!(read(&hub.chain, &hub.key), Err(OwnError::Leaf(LeafError::ExtendedKeyUsage))));
        assert!(matches!(read(&[CertificateDer::from(vec![0; 9])], &one.key), Err(OwnError::Leaf(_))));
        for chain in [&[][..], &[one.chain.as_slice(), &one.chain].concat()] {
            assert!(matches!(read(chain, &one.key), Err(OwnError::Chain)), "{}", chain.len());
        }
    }
}
