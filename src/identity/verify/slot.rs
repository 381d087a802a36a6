//! The hub's check of agents while it listens: one verifier for each agents' CA and each external root that is trusted, all of them
//! replaceable at once.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    DistinguishedName,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use time::OffsetDateTime;

use super::{AgentVerifier, ExternalPeer, ExternalVerifier, PeerError, VerifiedPeer, external::is_foreign, unix_time};
use crate::identity::SpkiSha256;

/// One agents' CA: its root's pin, and the verifier that trusts it and nothing else.
pub type Trusted = (SpkiSha256, Arc<AgentVerifier>);

/// Who vouches for a peer.
#[derive(Clone, Debug)]
pub enum Vouched {
    /// The agents' CA with this root.
    Own(VerifiedPeer, SpkiSha256),
    /// An external root: whose agent it is, a map must say.
    External(ExternalPeer),
}

/// The agents' CAs and the external roots that are trusted now. Roots inside a verifier cannot change, so the verifiers do: a handshake is judged by those of its
/// moment, and links that are up are for the hub to end.
pub struct AgentSlot {
    own: RwLock<Arc<[Trusted]>>,
    external: RwLock<Arc<[ExternalVerifier]>>,
}

impl AgentSlot {
    /// Trusts these. Their order counts for nothing but time: the first is tried first.
    pub fn new(trusted: Vec<Trusted>) -> Arc<Self> {
        Arc::new(Self { own: RwLock::new(trusted.into()), external: RwLock::new(Arc::new([])) })
    }

    /// Trusts these agents' CAs and no others from the next handshake on.
    pub fn replace(&self, trusted: Vec<Trusted>) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = trusted.into();
    }

    /// Trusts these external roots and no others from the next handshake on.
    pub fn replace_external(&self, trusted: Vec<ExternalVerifier>) {
        *self.external.write().unwrap_or_else(PoisonError::into_inner) = trusted.into();
    }

    /// Whether a CA with this root is trusted, own or external.
    pub fn trusts(&self, root: &SpkiSha256) -> bool {
        self.current().iter().any(|(pin, _)| pin == root)
            || self.current_external().iter().any(|external| external.pin() == *root)
    }

    /// Checks the chain of a link's peer (leaf first) as [`VerifiedPeer::from_chain`] does, and says who vouches for it.
    ///
    /// # Errors
    /// [`PeerError`], of the CA that came closest.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: OffsetDateTime) -> Result<Vouched, PeerError> {
        let (leaf, others) = chain.split_first().ok_or(PeerError::ChainLength(0))?;
        self.check(leaf, others, unix_time(now)?)
    }

    fn current(&self) -> Arc<[Trusted]> {
        self.own.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn current_external(&self) -> Arc<[ExternalVerifier]> {
        self.external.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Vouched, PeerError> {
        let mut refused = PeerError::NotPinned;
        for (root, verifier) in self.current().iter() {
            match verifier.check(leaf, others, now) {
                Ok(peer) => return Ok(Vouched::Own(peer, *root)),
                // That it is another CA's says the least.
                Err(error) if matches!(refused, PeerError::NotPinned) || !is_foreign(&error) => refused = error,
                Err(_) => {}
            }
        }
        // What an own CA signed and what is refused for itself is not tried elsewhere: a root must not be a way round the rules.
        let elsewhere = is_foreign(&refused) || matches!(refused, PeerError::NotPinned | PeerError::ChainLength(_));
        let external = self.current_external();
        for verifier in external.iter().filter(|_| elsewhere) {
            match verifier.check(leaf, others, now) {
                Ok(peer) => return Ok(Vouched::External(peer)),
                Err(error) if is_foreign(&error) => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

impl fmt::Debug for AgentSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.current();
        let pins = own.iter().map(|(pin, _)| pin.to_string());
        f.debug_list().entries(pins).entries(self.current_external().iter()).finish()
    }
}

impl ClientCertVerifier for AgentSlot {
    /// None, as of each verifier in it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(leaf, others, now)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{
        ClusterUid,
        testing::{ALPN, Refusal, World, handshake},
        tls,
    };

    fn trusted(world: &World) -> Trusted {
        (world.agents.pin(), Arc::new(world.agent_verifier()))
    }

    #[test]
    fn what_is_trusted_changes_while_it_listens_and_a_peer_is_known_by_its_root() {
        let old = World::new();
        // Another generation of the same trust domain.
        let new = World::of(old.domain().as_str(), old.now);
        let uid = ClusterUid::generate(old.now);
        let [first, second] = [&old, &new].map(|world| world.agent(&uid));
        let slot = AgentSlot::new(vec![trusted(&old)]);
        let hub = old.link();
        let certificate = tls::CertSlot::new(tls::certified_key(hub.chain, &hub.key).unwrap());
        let listener = tls::agent_listener(slot.clone(), certificate, ALPN).unwrap();
        let client = |holder: &crate::identity::testing::Holder| {
            tls::agent_client(Arc::new(old.hub_verifier()), holder.chain.clone(), &holder.key, ALPN).unwrap()
        };
        let let_in = |holder| handshake(&client(holder), &listener).is_ok();
        assert_eq!([let_in(&first), let_in(&second)], [true, false]);
        slot.replace(vec![trusted(&old), trusted(&new)]);
        assert_eq!([let_in(&first), let_in(&second)], [true, true]);
        let root = |chain: &[CertificateDer<'_>]| match slot.verify(chain, old.now).unwrap() {
            Vouched::Own(_, root) => root,
            Vouched::External(peer) => panic!("{peer:?}"),
        };
        assert_eq!([root(&first.chain), root(&second.chain)], [old.agents.pin(), new.agents.pin()]);
        slot.replace(vec![trusted(&new)]);
        assert_eq!([let_in(&first), let_in(&second)], [false, true]);
        assert!(slot.trusts(&new.agents.pin()) && !slot.trusts(&old.agents.pin()));
    }

    #[test]
    fn the_reason_is_that_of_the_authority_which_issued_the_certificate() {
        let (old, new) = (World::new(), World::new());
        let uid = ClusterUid::generate(old.now);
        let slot = AgentSlot::new(vec![trusted(&new), trusted(&old)]);
        let expired = old.agent_at(&uid, old.now - std::time::Duration::from_secs(7_200));
        let refused = slot.verify(&expired.chain, old.now).unwrap_err();
        assert!(!is_foreign(&refused) && matches!(refused, PeerError::Chain(_)), "{refused:?}");
        let stranger = World::new().agent(&uid);
        assert!(is_foreign(&slot.verify(&stranger.chain, old.now).unwrap_err()));
        let nobody = AgentSlot::new(vec![]);
        let hub = old.link();
        let certificate = tls::CertSlot::new(tls::certified_key(hub.chain, &hub.key).unwrap());
        let listener = tls::agent_listener(nobody, certificate, ALPN).unwrap();
        let agent = old.agent(&uid);
        assert!(matches!(handshake(&old.dialer(agent), &listener), Err(Refusal::ByServer(_))));
    }
}
