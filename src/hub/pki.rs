//! The hub's two authorities, during a rotation in two generations, and its own certificates: kept in the store, in force in memory.
//! What is trusted, signed with and presented changes while the hub listens, in one place ([`Pki::put_in_force`]).

mod root;
mod step;
mod stored;

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, RwLock},
    time::Duration,
};

use time::OffsetDateTime;
use tokio::sync::{Mutex, watch};

pub use self::root::RootError;
use self::stored::Record;
pub(super) use self::{
    root::{RootFate, import},
    step::StepError,
};
use super::settings::PublicName;
use crate::{
    defaults,
    identity::{
        AgentSlot, AgentVerifier, Authority, AuthorityKind, HttpsRequest, HubName, KeyPair, LinkRequest, PinSet,
        PinSetError, Rotation, SpkiSha256, TrustDomain,
        ca::{IssueError, LoadError, MAX_LEAF_LIFE},
        keys::KeyError,
        rotation::Generation,
        tls::{CertSlot, TlsError, certified_key},
        verify::Trusted,
    },
    store::{CommitError, Store, StoreError},
};

/// The hub has no authorities to work with.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The store, while writing.
    #[error("the new authorities were not stored")]
    Commit(#[from] CommitError),
    /// The record cannot be read.
    #[error("the authorities in the store cannot be read")]
    Record(#[from] serde_json::Error),
    /// An authority in the store is damaged.
    #[error("an authority in the store cannot be loaded")]
    Load(#[from] LoadError),
    /// A certificate could not be issued.
    #[error("a certificate cannot be issued")]
    Issue(#[from] IssueError),
    /// A key could not be loaded.
    #[error("a key cannot be loaded")]
    Key(#[from] KeyError),
    /// TLS.
    #[error("the certificates do not make a TLS configuration")]
    Tls(#[from] TlsError),
    /// The trust domain in the store is not a name.
    #[error("the trust domain in the store is not valid")]
    TrustDomain,
    /// The agents' verifier.
    #[error("the agents' CA cannot be used")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The store says that a rotation is under way, and has no second generation, or the other way round.
    #[error("the store has the authorities of another phase than it says")]
    Generations,
    /// The hub's roots.
    #[error("the hub's roots cannot be pinned")]
    Pins(#[from] PinSetError),
    /// A new issuing certificate is needed, and the key that signs it is kept offline.
    #[error(
        "the issuing certificate of the {0:?} authority ends at {1} and its root's key is offline: bring it with `roadstead ca root import \
         FILE`, and to a hub that does not run with --data DIR"
    )]
    RootNeeded(AuthorityKind, OffsetDateTime),
    /// The store has no authorities.
    #[error("the store has no authorities: no hub has run on it")]
    Nothing,
}

/// Both authorities of one generation.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// Signs agents.
    pub agents: Arc<Authority>,
    /// Signs hubs. Agents pin it.
    pub hub: Arc<Authority>,
}

/// What is in force: which authorities there are, and where a rotation between them stands.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// Which of them does what.
    pub rotation: Rotation,
    current: Pair,
    /// There whenever a rotation is under way, and never else.
    next: Option<Pair>,
    pins: PinSet,
}

/// Authorities, and what follows from them.
pub(super) struct Pki {
    store: Arc<dyn Store>,
    public: PublicName,
    keys: RwLock<Arc<Keys>>,
    /// Held from reading the record to having put it in force: what is in force never goes back.
    changing: Mutex<()>,
    /// Agents' roots whose links are cut, for a key of theirs is suspected or they were revoked. In memory: no link outlives the process.
    severed: RwLock<HashSet<SpkiSha256>>,
    /// Tells that something else is in force.
    changed: watch::Sender<()>,
    /// Checks agents.
    pub verifier: Arc<AgentSlot>,
    /// The hub's certificate on links.
    pub link: Arc<CertSlot>,
    /// The hub's certificate on HTTPS.
    pub https: Arc<CertSlot>,
    /// From which restart keys follow.
    pub restart_secret: [u8; 32],
}

impl Keys {
    fn new(rotation: Rotation, current: Pair, next: Option<Pair>) -> Result<Self, PkiError> {
        let both = rotation.trusted_hubs().len() > 1;
        if both != next.is_some() {
            return Err(PkiError::Generations);
        }
        let of = |g: &Generation| if *g == Generation::Next { next.as_ref() } else { Some(&current) };
        let pins: Vec<_> = rotation.trusted_hubs().iter().filter_map(of).map(|pair| pair.hub.pin()).collect();
        Ok(Self { pins: PinSet::try_from(pins)?, rotation, current, next })
    }

    /// One generation; `None` for the next one when there is none.
    pub(super) fn pair(&self, generation: Generation) -> Option<&Pair> {
        match generation {
            Generation::Current => Some(&self.current),
            Generation::Next => self.next.as_ref(),
        }
    }

    fn must(&self, generation: Generation) -> &Pair {
        self.pair(generation).unwrap_or(&self.current)
    }

    /// Signs agents now.
    pub(super) fn agents(&self) -> &Arc<Authority> {
        &self.must(self.rotation.signs()).agents
    }

    /// Signs what the hub presents now.
    pub(super) fn hub(&self) -> &Arc<Authority> {
        &self.must(self.rotation.presents()).hub
    }

    /// The hub's roots that agents are to trust.
    pub(super) fn pins(&self) -> &PinSet {
        &self.pins
    }

    /// The generation whose agents' CA, or hub's CA, has this root.
    pub(super) fn generation(&self, kind: AuthorityKind, root: &SpkiSha256) -> Option<Generation> {
        let of = |pair: &Pair| match kind {
            AuthorityKind::Agents => pair.agents.pin(),
            AuthorityKind::Hub => pair.hub.pin(),
        };
        [Generation::Current, Generation::Next].into_iter().find(|g| self.pair(*g).is_some_and(|p| of(p) == *root))
    }

    /// The roots of a kind that are trusted now, in PEM: those that are presented or signed with first.
    pub(super) fn roots_pem(&self, kind: AuthorityKind) -> String {
        let (trusted, first) = match kind {
            AuthorityKind::Agents => (self.rotation.trusted_agents(), self.rotation.signs()),
            AuthorityKind::Hub => (self.rotation.trusted_hubs(), self.rotation.presents()),
        };
        let mut trusted = trusted.to_vec();
        trusted.sort_by_key(|generation| *generation != first);
        let pem = |pair: &Pair| match kind {
            AuthorityKind::Agents => pair.agents.root_pem(),
            AuthorityKind::Hub => pair.hub.root_pem(),
        };
        trusted.into_iter().filter_map(|g| self.pair(g)).map(pem).collect()
    }

    fn trust_domain(&self) -> &TrustDomain {
        self.current.agents.trust_domain()
    }

    fn verifiers(&self) -> Result<Vec<Trusted>, PkiError> {
        let trusted = self.rotation.trusted_agents().iter().filter_map(|g| self.pair(*g));
        trusted
            .map(|Pair { agents, .. }| {
                let verifier = AgentVerifier::new(Arc::new(agents.roots()), agents.trust_domain().clone())?;
                // As long as this hub may ever have issued: one whose setting was lowered must not lock its agents out.
                Ok((agents.pin(), Arc::new(verifier.with_max_life(MAX_LEAF_LIFE))))
            })
            .collect()
    }
}

impl Pki {
    /// Loads the authorities, or makes them at the first start.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub(super) async fn load_or_create(
        store: Arc<dyn Store>,
        public: &PublicName,
        now: OffsetDateTime,
    ) -> Result<Self, PkiError> {
        let Record { keys, restart_secret, .. } = Record::current(&*store, now).await?;
        keys.warn_of_roots(now);
        let verifier = AgentSlot::new(keys.verifiers()?);
        let (link, https) = leaves(keys.hub(), public, now)?;
        let (keys, changing, changed) = (RwLock::new(Arc::new(keys)), Mutex::new(()), watch::Sender::new(()));
        let (public, severed) = (public.clone(), RwLock::default());
        Ok(Self { store, public, keys, changing, severed, changed, verifier, link, https, restart_secret })
    }

    /// What is in force.
    pub(super) fn keys(&self) -> Arc<Keys> {
        self.keys.read().expect("no panic while it is held").clone()
    }

    /// Signs agents.
    pub(super) fn agents(&self) -> Arc<Authority> {
        self.keys().agents().clone()
    }

    /// Signs what the hub presents.
    pub(super) fn hub(&self) -> Arc<Authority> {
        self.keys().hub().clone()
    }

    /// Whether every link that this root vouches for is to be cut, even one whose agent has moved on.
    pub(super) fn is_severed(&self, root: &SpkiSha256) -> bool {
        self.severed.read().expect("no panic while it is held").contains(root)
    }

    /// Tells of every change of what is in force from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Makes the hub's own certificates anew, and the issuing ones when they are due; they serve from the next handshake and
    /// the next certificate on.
    ///
    /// # Errors
    /// See [`PkiError`]; nothing has changed then.
    pub(super) async fn renew(&self, now: OffsetDateTime) -> Result<(), PkiError> {
        let _changing = self.changing.lock().await;
        let record = Record::current(&*self.store, now).await?;
        record.keys.warn_of_roots(now);
        let ready = self.ready(record.keys, now)?;
        self.put_in_force(ready);
        Ok(())
    }

    /// Everything that can fail of putting keys in force.
    fn ready(&self, keys: Keys, now: OffsetDateTime) -> Result<Ready, PkiError> {
        let verifiers = keys.verifiers()?;
        let (link, https) = leaves(keys.hub(), &self.public, now)?;
        Ok(Ready { keys, verifiers, link, https })
    }

    /// Trust first: what is signed or presented with these keys is good from then on. A peer that meets one half is refused at worst, and
    /// dials again.
    fn put_in_force(&self, Ready { keys, verifiers, link, https }: Ready) {
        let keys = Arc::new(keys);
        self.verifier.replace(verifiers);
        *self.keys.write().expect("no panic while it is held") = keys;
        self.link.replace(link.current());
        self.https.replace(https.current());
        self.changed.send_replace(());
    }
}

/// Keys that can be put in force.
struct Ready {
    keys: Keys,
    verifiers: Vec<Trusted>,
    link: Arc<CertSlot>,
    https: Arc<CertSlot>,
}

fn leaves(
    hub: &Authority,
    public: &PublicName,
    now: OffsetDateTime,
) -> Result<(Arc<CertSlot>, Arc<CertSlot>), PkiError> {
    // Without the root's key they last as long as they can.
    let left = Duration::try_from(hub.issuing_ends() - now).unwrap_or(Duration::ZERO);
    let ttl = if hub.is_root_offline() { defaults::HUB_LEAF.min(left) } else { defaults::HUB_LEAF };
    let explained = |error| root::explained(AuthorityKind::Hub, hub, error);
    let name: HubName = "hub-0".parse().expect("a literal hub name");
    let link_key = KeyPair::generate();
    let link = hub.issue_hub_link(&LinkRequest { key: &link_key, name: &name, now, ttl }).map_err(explained)?;
    let https_key = KeyPair::generate();
    let (dns, ips): (&[String], &[IpAddr]) = (&public.dns, &public.ips);
    let https = hub.issue_hub_https(&HttpsRequest { key: &https_key, dns, ips, now, ttl }).map_err(explained)?;
    let link = CertSlot::new(certified_key(link.chain, &link_key)?);
    Ok((link, CertSlot::new(certified_key(https.chain, &https_key)?)))
}

#[cfg(test)]
mod tests;
