//! The authorities as the store keeps them: one record with all private keys, read and written here and nowhere else.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Keys, Pair, PkiError};
use crate::{
    identity::{
        Authority, AuthorityKind, Rotation, Secret, SpkiSha256, TrustDomain,
        ca::{AuthorityPem, IssueError, LoadError},
    },
    store::{Expect, Op, Revision, Store},
};

const KEY: &[u8] = b"pki/authorities";

/// Of how many roots it is remembered that they were distrusted.
const REMEMBERED: usize = 32;

/// The record, loaded.
pub(super) struct Record {
    pub(super) keys: Keys,
    pub(super) restart_secret: [u8; 32],
    pub(super) distrusted: Vec<Distrusted>,
    pub(super) revision: Revision,
}

/// A root that was trusted once.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Distrusted {
    /// Its pin.
    pub(super) pin: SpkiSha256,
    /// Since when it is not.
    #[serde(with = "time::serde::rfc3339")]
    pub(super) since: OffsetDateTime,
}

/// What the store keeps under [`KEY`]. Contains private keys. A field that is added needs a default.
#[derive(Deserialize, Serialize)]
struct Stored {
    trust_domain: String,
    agents: StoredAuthority,
    hub: StoredAuthority,
    restart_secret: [u8; 32],
    #[serde(default)]
    rotation: Rotation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<StoredPair>,
    #[serde(default)]
    distrusted: Vec<Distrusted>,
}

#[derive(Deserialize, Serialize)]
struct StoredPair {
    agents: StoredAuthority,
    hub: StoredAuthority,
}

#[derive(Deserialize, Serialize)]
struct StoredAuthority {
    root_cert: String,
    root_key: Option<String>,
    issuing_cert: String,
    issuing_key: String,
}

impl Record {
    /// The record as it is to be now: made at the first start, and with new issuing certificates where they are due.
    pub(super) async fn current(store: &dyn Store, now: OffsetDateTime) -> Result<Self, PkiError> {
        let (mut record, expect) = match Self::stored(store).await? {
            Some(record) => {
                let read = Expect::Revision(record.revision);
                (record, read)
            }
            None => (Self::create(now)?, Expect::Absent),
        };
        let mut due = record.keys.current.ensure_issuing(now)?;
        if let Some(next) = &mut record.keys.next {
            due |= next.ensure_issuing(now)?;
        }
        if due || expect == Expect::Absent {
            record.save(store, expect).await?;
        }
        Ok(record)
    }

    /// The record as it is, if there is one.
    pub(super) async fn stored(store: &dyn Store) -> Result<Option<Self>, PkiError> {
        store.get(KEY).await?.map(|entry| Self::load(&entry.value, entry.revision)).transpose()
    }

    /// Writes it in place of the one that was read; [`crate::store::CommitError::Conflict`] when another was written since.
    pub(super) async fn replace(&mut self, store: &dyn Store) -> Result<(), PkiError> {
        self.save(store, Expect::Revision(self.revision)).await
    }

    async fn save(&mut self, store: &dyn Store, expect: Expect) -> Result<(), PkiError> {
        let stored = Stored {
            trust_domain: self.keys.trust_domain().to_string(),
            agents: StoredAuthority::of(&self.keys.current.agents),
            hub: StoredAuthority::of(&self.keys.current.hub),
            restart_secret: self.restart_secret,
            rotation: self.keys.rotation.clone(),
            next: self.keys.next.as_ref().map(|next| StoredPair {
                agents: StoredAuthority::of(&next.agents),
                hub: StoredAuthority::of(&next.hub),
            }),
            distrusted: self.distrusted.clone(),
        };
        self.revision = store.commit(vec![Op::put(KEY, serde_json::to_vec(&stored)?, expect)]).await?;
        Ok(())
    }

    fn load(value: &Bytes, revision: Revision) -> Result<Self, PkiError> {
        let stored: Stored = serde_json::from_slice(value)?;
        let domain: TrustDomain = stored.trust_domain.parse().map_err(|_| PkiError::TrustDomain)?;
        let pair = |pair: StoredPair| {
            let agents = Arc::new(pair.agents.load(AuthorityKind::Agents, domain.clone())?);
            Ok::<_, LoadError>(Pair { agents, hub: Arc::new(pair.hub.load(AuthorityKind::Hub, domain.clone())?) })
        };
        let current = pair(StoredPair { agents: stored.agents, hub: stored.hub })?;
        let keys = Keys::new(stored.rotation, current, stored.next.map(pair).transpose()?)?;
        Ok(Self { keys, restart_secret: stored.restart_secret, distrusted: stored.distrusted, revision })
    }

    fn create(now: OffsetDateTime) -> Result<Self, PkiError> {
        let mut restart_secret = [0; 32];
        let mut domain = [0; 5];
        aws_lc_rs::rand::fill(&mut restart_secret).expect("the operating system has randomness");
        aws_lc_rs::rand::fill(&mut domain).expect("the operating system has randomness");
        // Two hubs never share a trust domain by accident.
        let name: String = domain.iter().map(|byte| format!("{byte:02x}")).collect();
        let trust_domain: TrustDomain = format!("{name}.roadstead").parse().map_err(|_| PkiError::TrustDomain)?;
        let keys = Keys::new(Rotation::default(), Pair::create(&trust_domain, now)?, None)?;
        Ok(Self { keys, restart_secret, distrusted: Vec::new(), revision: Revision::ZERO })
    }

    /// Remembers that these roots are not trusted any more.
    pub(super) fn distrust(&mut self, pair: &Pair, since: OffsetDateTime) {
        self.distrusted.extend([pair.agents.pin(), pair.hub.pin()].map(|pin| Distrusted { pin, since }));
        let excess = self.distrusted.len().saturating_sub(REMEMBERED);
        self.distrusted.drain(..excess);
    }
}

impl Pair {
    /// A new generation.
    pub(super) fn create(trust_domain: &TrustDomain, now: OffsetDateTime) -> Result<Self, IssueError> {
        let create = |kind| Authority::create(kind, trust_domain.clone(), now).map(Arc::new);
        Ok(Self { agents: create(AuthorityKind::Agents)?, hub: create(AuthorityKind::Hub)? })
    }

    /// Whether an issuing certificate was due, and replaced. One whose root's key is offline serves on to its end.
    fn ensure_issuing(&mut self, now: OffsetDateTime) -> Result<bool, IssueError> {
        let mut replaced = false;
        for authority in [&mut self.agents, &mut self.hub] {
            let authority = Arc::get_mut(authority).expect("it was just loaded, nobody else has it");
            replaced |= match authority.ensure_issuing(now) {
                Err(IssueError::RootOffline) => false,
                other => other?,
            };
        }
        Ok(replaced)
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
