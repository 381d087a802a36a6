//! The agent's identity at rest: one document, written whole, in a file or in a Secret. Never written over what somebody else wrote:
//! two agents that share a place share an identity.

mod file;
mod secret;
mod trust;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, serde::rfc3339};
use zeroize::Zeroizing;

use super::settings::StateAt;
use crate::identity::{KeyPair, OwnCertificate, Secret, TokenId, keys::KeyError, verify::OwnError};
use secret::InSecret;

/// The name of the document, as a file and as a key of the Secret.
const DOCUMENT: &str = "identity.json";

/// How often a document is written again because something else about its Secret changed meanwhile.
const TRIES: usize = 5;

/// The identity cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The Secret.
    #[error("cannot use secret {name}: does it exist, and may the agent get, patch and update it?")]
    Secret {
        /// Namespace and name.
        name: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// Somebody changes it all the time.
    #[error("the stored identity changes whenever it is written; is something else writing it?")]
    Busy,
    /// The document is not what the agent writes.
    #[error("the stored identity cannot be read; remove it and join again with a new token")]
    Document(#[from] serde_json::Error),
    /// Its key.
    #[error("the stored key cannot be read; remove it and join again with a new token")]
    Key(#[from] KeyError),
    /// Its certificate.
    #[error("the stored certificate cannot be used; remove the stored identity and join again with a new token")]
    Certificate(#[from] OwnError),
    /// The hub's roots that were kept beside it.
    #[error(
        "the kept roots of the hub (trust.json) cannot be read; remove them if the pins of the settings are still the hub's"
    )]
    Trust(#[source] serde_json::Error),
    /// Another part of it.
    #[error("the stored identity is damaged; remove it and join again with a new token")]
    Damaged,
}

/// A key, what the hub gave for it, and the key that comes after it.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) key: Arc<KeyPair>,
    pub(super) enrolled: Option<Enrolled>,
    /// The key that the next certificate is asked for with. It is kept before the hub hears of it, so that a certificate for it is
    /// never one for a key that was lost; with its certificate it takes the place of `key`.
    pub(super) next: Option<Arc<KeyPair>>,
    /// The join token that it was joined with, if that is known: another one is a wish for another key.
    pub(super) joined_with: Option<TokenId>,
}

impl Identity {
    /// A new key, for which there is no certificate.
    pub(super) fn fresh() -> Self {
        Self { key: Arc::new(KeyPair::generate()), enrolled: None, next: None, joined_with: None }
    }

    /// Whether its certificate is one that a hub can accept at `now`.
    pub(super) fn is_valid(&self, now: OffsetDateTime) -> bool {
        self.enrolled.as_ref().is_some_and(|enrolled| enrolled.not_after() > now)
    }
}

/// What the hub gave.
#[derive(Clone, Debug)]
pub(super) struct Enrolled {
    /// The cluster's name at the hub, for logs.
    pub(super) cluster: String,
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// What the chain's leaf says.
    pub(super) own: OwnCertificate,
    /// When it came, by the hub's clock where that is known. The certificate's own beginning is earlier, for clocks that are behind, and says nothing about its life.
    pub(super) since: OffsetDateTime,
}

impl Enrolled {
    /// What came at `since` for `key`, if it is a certificate of an agent with this key.
    pub(super) fn new(
        cluster: String,
        chain: Vec<CertificateDer<'static>>,
        key: &KeyPair,
        since: OffsetDateTime,
    ) -> Result<Self, OwnError> {
        let own = OwnCertificate::read(&chain, key)?;
        Ok(Self { cluster, chain, own, since })
    }

    /// When the certificate ends.
    pub(super) fn not_after(&self) -> OffsetDateTime {
        self.own.not_after
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolled: Option<EnrolledDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<NextDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    joined_with: Option<TokenId>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct EnrolledDocument {
    cluster: String,
    chain: Vec<String>,
    #[serde(with = "rfc3339")]
    not_before: OffsetDateTime,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct NextDocument {
    key: String,
}

/// Where the document is kept, and what was last seen there.
pub(super) struct State {
    place: Place,
    seen: Mutex<Option<Held>>,
}

#[allow(clippy::large_enum_variant, reason = "there is one of it in a process")]
enum Place {
    File(PathBuf),
    Secret(InSecret),
}

/// What a place holds.
#[derive(Clone, Default)]
struct Held {
    /// The Secret's resourceVersion; files have none.
    version: Option<String>,
    document: Option<Zeroizing<Vec<u8>>>,
}

/// What became of a write.
enum Written {
    /// Done; what the place holds now.
    Yes(Held),
    /// Not done: the place no longer holds what was last seen.
    Changed,
}

/// What a place holds after [`State::save`].
#[must_use]
pub(super) enum Kept {
    /// What was to be kept.
    Mine,
    /// What another agent stored since: that counts, and what was to be kept is void.
    Theirs(Box<Identity>),
}

impl State {
    pub(super) fn at(at: &StateAt, client: &kube::Client) -> Self {
        Self::in_place(match at {
            StateAt::Directory(directory) => Place::File(directory.join(DOCUMENT)),
            StateAt::Secret { namespace, name } => Place::Secret(InSecret::new(client, namespace, name)),
        })
    }

    #[cfg(test)]
    pub(super) fn in_directory(directory: &std::path::Path) -> Self {
        Self::in_place(Place::File(directory.join(DOCUMENT)))
    }

    fn in_place(place: Place) -> Self {
        Self { place, seen: Mutex::new(None) }
    }

    pub(super) async fn load(&self) -> Result<Option<Identity>, StateError> {
        let held = self.place.read().await?;
        let identity = held.document.as_ref().map(|bytes| decode(bytes)).transpose();
        self.see(held);
        identity
    }

    /// Keeps the identity, if nobody stored another one since this was last seen. When this returns it survives a crash; before, the old
    /// one does.
    pub(super) async fn save(&self, identity: &Identity) -> Result<Kept, StateError> {
        let text = Zeroizing::new(encode(identity)?);
        for _ in 0..TRIES {
            let seen = match self.seen() {
                Some(seen) => seen,
                None => self.place.read().await?,
            };
            if let Written::Yes(held) = self.place.write(&seen, &text).await? {
                self.see(held);
                return Ok(Kept::Mine);
            }
            let held = self.place.read().await?;
            let theirs = held.document.clone().filter(|document| Some(document) != seen.document.as_ref());
            self.see(held);
            match theirs {
                // A write of ours whose answer was lost.
                Some(theirs) if theirs == text => return Ok(Kept::Mine),
                Some(theirs) => return Ok(Kept::Theirs(Box::new(decode(&theirs)?))),
                // Something else about the Secret changed, or its document is gone: what is to be kept still counts.
                None => {}
            }
        }
        Err(StateError::Busy)
    }

    fn seen(&self) -> Option<Held> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn see(&self, held: Held) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }
}

impl Place {
    async fn read(&self) -> Result<Held, StateError> {
        match self {
            Self::File(path) => file::read(path.clone()).await,
            Self::Secret(secret) => secret.read().await,
        }
    }

    async fn write(&self, seen: &Held, text: &Zeroizing<Vec<u8>>) -> Result<Written, StateError> {
        match self {
            Self::File(path) => file::write(path.clone(), seen.clone(), text.clone()).await,
            Self::Secret(secret) => secret.write(seen, text).await,
        }
    }
}

fn encode(identity: &Identity) -> Result<Vec<u8>, StateError> {
    let enrolled = identity.enrolled.as_ref().map(|e| EnrolledDocument {
        cluster: e.cluster.clone(),
        chain: e.chain.iter().map(|der| BASE64_STANDARD.encode(der)).collect(),
        not_before: e.since,
    });
    let pem = |key: &KeyPair| key.to_pem().expose().to_owned();
    let next = identity.next.as_deref().map(|key| NextDocument { key: pem(key) });
    let joined_with = identity.joined_with.clone();
    Ok(serde_json::to_vec_pretty(&Document { key: pem(&identity.key), enrolled, next, joined_with })?)
}

fn decode(bytes: &[u8]) -> Result<Identity, StateError> {
    let document: Document = serde_json::from_slice(bytes)?;
    let key = KeyPair::from_pem(&Secret::new(document.key))?;
    let enrolled = document.enrolled.map(|e| {
        let der = |text: &String| BASE64_STANDARD.decode(text).map(CertificateDer::from);
        let chain = e.chain.iter().map(der).collect::<Result<_, _>>().map_err(|_| StateError::Damaged)?;
        Ok::<_, StateError>(Enrolled::new(e.cluster, chain, &key, e.not_before)?)
    });
    let enrolled = enrolled.transpose()?;
    let next = document.next.map(|next| KeyPair::from_pem(&Secret::new(next.key)).map(Arc::new)).transpose()?;
    Ok(Identity { key: Arc::new(key), enrolled, next, joined_with: document.joined_with })
}

#[cfg(test)]
mod tests;
