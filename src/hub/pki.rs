//! The hub's two authorities and its own certificates, kept in the store; the public parts also as files.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::settings::PublicName;
use crate::{
    defaults,
    identity::{
        AgentVerifier, Authority, AuthorityKind, HttpsRequest, HubName, KeyPair, LinkRequest, Secret, TrustDomain,
        ca::{AuthorityPem, IssueError, LoadError},
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
    /// Signs agents. The hub trusts it, and nothing else, on links.
    pub agents: Authority,
    /// Signs hubs. Agents pin it.
    pub hub: Authority,
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
        let verifier = Arc::new(AgentVerifier::new(Arc::new(agents.roots()), agents.trust_domain().clone())?);
        let (link, https) = leaves(&hub, public, now)?;
        Ok(Self { agents, hub, verifier, link, https, restart_secret })
    }

    /// Makes the hub's own certificates anew and serves them from the next handshake on.
    ///
    /// # Errors
    /// When they cannot be issued.
    pub(super) fn renew_leaves(&self, public: &PublicName, now: OffsetDateTime) -> Result<(), PkiError> {
        let (link, https) = leaves(&self.hub, public, now)?;
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
