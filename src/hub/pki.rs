//! The hub's two authorities and its own certificates, kept in the store; the public parts also as files.

use std::{
    net::IpAddr,
    sync::{Arc, RwLock},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::settings::PublicName;
use crate::{
    defaults,
    identity::{
        AgentVerifier, Authority, AuthorityKind, HttpsRequest, HubName, KeyPair, LinkRequest, Secret, TrustDomain,
        ca::{AuthorityPem, IssueError, LoadError, MAX_LEAF_LIFE},
        keys::KeyError,
        tls::{CertSlot, TlsError, certified_key},
    },
    store::{CommitError, Expect, Op, Store, StoreError},
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
}

/// Authorities, and what follows from them.
pub(super) struct Pki {
    agents: RwLock<Arc<Authority>>,
    hub: RwLock<Arc<Authority>>,
    /// Checks agents.
    pub verifier: Arc<AgentVerifier>,
    /// The hub's certificate on links.
    pub link: Arc<CertSlot>,
    /// The hub's certificate on HTTPS.
    pub https: Arc<CertSlot>,
    /// From which restart keys follow.
    pub restart_secret: [u8; 32],
}

/// What the store keeps under [`KEY`]. Contains private keys.
#[derive(Deserialize, Serialize)]
struct Stored {
    trust_domain: String,
    agents: StoredAuthority,
    hub: StoredAuthority,
    restart_secret: [u8; 32],
}

#[derive(Deserialize, Serialize)]
struct StoredAuthority {
    root_cert: String,
    root_key: Option<String>,
    issuing_cert: String,
    issuing_key: String,
}

const KEY: &[u8] = b"pki/authorities";

impl Pki {
    /// Loads the authorities, or makes them at the first start.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub(super) async fn load_or_create(
        store: &dyn Store,
        public: &PublicName,
        now: OffsetDateTime,
    ) -> Result<Self, PkiError> {
        let entry = store.get(KEY).await?;
        let expect = entry.as_ref().map_or(Expect::Absent, |e| Expect::Revision(e.revision));
        let (mut agents, mut hub, restart_secret) = match &entry {
            Some(entry) => load(&entry.value)?,
            None => create(now)?,
        };
        let renewed = agents.ensure_issuing(now)? | hub.ensure_issuing(now)?;
        if entry.is_none() || renewed {
            let stored = Stored {
                trust_domain: agents.trust_domain().to_string(),
                agents: StoredAuthority::of(&agents),
                hub: StoredAuthority::of(&hub),
                restart_secret,
            };
            store.commit(vec![Op::put(KEY, serde_json::to_vec(&stored)?, expect)]).await?;
        }
        let verifier = AgentVerifier::new(Arc::new(agents.roots()), agents.trust_domain().clone())?;
        // As long as this hub may ever have issued: one whose setting was lowered must not lock its agents out.
        let verifier = Arc::new(verifier.with_max_life(MAX_LEAF_LIFE));
        let (link, https) = leaves(&hub, public, now)?;
        let (agents, hub) = (RwLock::new(Arc::new(agents)), RwLock::new(Arc::new(hub)));
        Ok(Self { agents, hub, verifier, link, https, restart_secret })
    }

    /// Signs agents. The hub trusts it, and nothing else, on links.
    pub(super) fn agents(&self) -> Arc<Authority> {
        self.agents.read().expect("no panic while it is held").clone()
    }

    /// Signs hubs. Agents pin it.
    pub(super) fn hub(&self) -> Arc<Authority> {
        self.hub.read().expect("no panic while it is held").clone()
    }

    /// Makes the hub's own certificates anew, and the issuing ones when they are due; they serve from the next handshake and
    /// the next certificate on.
    ///
    /// # Errors
    /// See [`PkiError`]; nothing has changed then.
    pub(super) async fn renew(
        &self,
        store: &dyn Store,
        public: &PublicName,
        now: OffsetDateTime,
    ) -> Result<(), PkiError> {
        let Self { agents, hub, link, https, .. } = Self::load_or_create(store, public, now).await?;
        *self.agents.write().expect("no panic while it is held") = agents.into_inner().expect("nobody else has it");
        *self.hub.write().expect("no panic while it is held") = hub.into_inner().expect("nobody else has it");
        self.link.replace(link.current());
        self.https.replace(https.current());
        Ok(())
    }
}

impl StoredAuthority {
    fn of(authority: &Authority) -> Self {
        let AuthorityPem { root_cert, root_key, issuing_cert, issuing_key } = authority.to_pem();
        Self {
            root_cert,
            root_key: root_key.map(|key| key.expose().to_owned()),
            issuing_cert,
            issuing_key: issuing_key.expose().to_owned(),
        }
    }

    fn load(self, kind: AuthorityKind, trust_domain: TrustDomain) -> Result<Authority, LoadError> {
        let pem = AuthorityPem {
            root_cert: self.root_cert,
            root_key: self.root_key.map(Secret::new),
            issuing_cert: self.issuing_cert,
            issuing_key: Secret::new(self.issuing_key),
        };
        Authority::from_pem(kind, trust_domain, &pem)
    }
}

fn load(value: &Bytes) -> Result<(Authority, Authority, [u8; 32]), PkiError> {
    let stored: Stored = serde_json::from_slice(value)?;
    let trust_domain: TrustDomain = stored.trust_domain.parse().map_err(|_| PkiError::TrustDomain)?;
    let agents = stored.agents.load(AuthorityKind::Agents, trust_domain.clone())?;
    let hub = stored.hub.load(AuthorityKind::Hub, trust_domain)?;
    Ok((agents, hub, stored.restart_secret))
}

fn create(now: OffsetDateTime) -> Result<(Authority, Authority, [u8; 32]), PkiError> {
    let mut restart_secret = [0; 32];
    let mut domain = [0; 5];
    aws_lc_rs::rand::fill(&mut restart_secret).expect("the operating system has randomness");
    aws_lc_rs::rand::fill(&mut domain).expect("the operating system has randomness");
    // Two hubs never share a trust domain by accident.
    let name: String = domain.iter().map(|byte| format!("{byte:02x}")).collect();
    let trust_domain: TrustDomain = format!("{name}.roadstead").parse().map_err(|_| PkiError::TrustDomain)?;
    let agents = Authority::create(AuthorityKind::Agents, trust_domain.clone(), now)?;
    let hub = Authority::create(AuthorityKind::Hub, trust_domain, now)?;
    Ok((agents, hub, restart_secret))
}

fn leaves(
    hub: &Authority,
    public: &PublicName,
    now: OffsetDateTime,
) -> Result<(Arc<CertSlot>, Arc<CertSlot>), PkiError> {
    let ttl = defaults::HUB_LEAF;
    let name: HubName = "hub-0".parse().expect("a literal hub name");
    let link_key = KeyPair::generate();
    let link = hub.issue_hub_link(&LinkRequest { key: &link_key, name: &name, now, ttl })?;
    let https_key = KeyPair::generate();
    let (dns, ips): (&[String], &[IpAddr]) = (&public.dns, &public.ips);
    let https = hub.issue_hub_https(&HttpsRequest { key: &https_key, dns, ips, now, ttl })?;
    let link = CertSlot::new(certified_key(link.chain, &link_key)?);
    Ok((link, CertSlot::new(certified_key(https.chain, &https_key)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Embedded;

    #[tokio::test]
    async fn issuing_certificates_are_replaced_in_time_and_kept_while_the_roots_stay() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(&dir.path().join("store.redb")).await.unwrap();
        let public = PublicName { dns: vec!["hub.example".into()], ips: vec![] };
        let start = OffsetDateTime::now_utc();
        let pki = Pki::load_or_create(&store, &public, start).await.unwrap();
        let (root, first, link) = (pki.agents().root_pem(), pki.agents().issuing_ends(), pki.link.current());
        pki.renew(&store, &public, start + time::Duration::days(1)).await.unwrap();
        assert_eq!(pki.agents().issuing_ends(), first);
        assert!(!Arc::ptr_eq(&link, &pki.link.current()));
        pki.renew(&store, &public, start + time::Duration::days(70)).await.unwrap();
        let second = pki.agents().issuing_ends();
        assert!(second > first && pki.agents().root_pem() == root);
        let again = Pki::load_or_create(&store, &public, start + time::Duration::days(71)).await.unwrap();
        assert_eq!(again.agents().issuing_ends(), second);
    }
}
