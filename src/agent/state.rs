//! The agent's identity at rest: one document, written whole, in a file or in a Secret.

use std::{io, path::PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::{ByteString, api::core::v1::Secret as KubeSecret};
use kube::{Api, api::PostParams};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, serde::rfc3339};

use super::settings::StateAt;
use crate::identity::{KeyPair, OwnCertificate, Secret, TokenId, keys::KeyError, verify::OwnError};

/// The name of the document, as a file and as a key of the Secret.
const DOCUMENT: &str = "identity.json";

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
    #[error("cannot use secret {name}: does it exist, and may the agent get and update it?")]
    Secret {
        /// Namespace and name.
        name: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// The document is not what the agent writes.
    #[error("the stored identity cannot be read; remove it and join again with a new token")]
    Document(#[from] serde_json::Error),
    /// Its key.
    #[error("the stored key cannot be read; remove it and join again with a new token")]
    Key(#[from] KeyError),
    /// Its certificate.
    #[error("the stored certificate cannot be used; remove the stored identity and join again with a new token")]
    Certificate(#[from] OwnError),
    /// Another part of it.
    #[error("the stored identity is damaged; remove it and join again with a new token")]
    Damaged,
}

/// A key, and what the hub gave for it.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) key: KeyPair,
    pub(super) enrolled: Option<Enrolled>,
    /// The join token that it was joined with, if that is known: another one is a wish for another key.
    pub(super) joined_with: Option<TokenId>,
}

impl Identity {
    /// A new key, for which the hub gave nothing yet.
    pub(super) fn fresh() -> Self {
        Self { key: KeyPair::generate(), enrolled: None, joined_with: None }
    }

    /// Whether there is no certificate that is valid at `now`.
    pub(super) fn has_ended(&self, now: OffsetDateTime) -> bool {
        self.enrolled.as_ref().is_none_or(|enrolled| enrolled.not_after() <= now)
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
    /// When it came. The certificate's own beginning is earlier, for clocks that are behind, and says nothing about its life.
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

/// Where the document is kept.
#[allow(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub(super) enum State {
    File(PathBuf),
    Secret { api: Api<KubeSecret>, name: String, shown: String },
}

impl State {
    pub(super) fn at(at: &StateAt, client: &kube::Client) -> Self {
        match at {
            StateAt::Directory(directory) => Self::File(directory.join(DOCUMENT)),
            StateAt::Secret { namespace, name } => Self::Secret {
                api: Api::namespaced(client.clone(), namespace),
                name: name.clone(),
                shown: format!("{namespace}/{name}"),
            },
        }
    }

    pub(super) async fn load(&self) -> Result<Option<Identity>, StateError> {
        let text = match self {
            Self::File(path) => match tokio::fs::read(path).await {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(source) => return Err(StateError::File { path: path.display().to_string(), source }),
            },
            Self::Secret { .. } => {
                let data = self.secret().await?.data.unwrap_or_default();
                data.get(DOCUMENT).map(|bytes| bytes.0.clone())
            }
        };
        text.map(|bytes| decode(&bytes)).transpose()
    }

    /// Keeps the identity. When this returns it survives a crash; before, the old one does.
    pub(super) async fn save(&self, identity: &Identity) -> Result<(), StateError> {
        let text = encode(identity)?;
        match self {
            Self::File(path) => {
                let (target, path) = (path.clone(), path.display().to_string());
                let written = tokio::task::spawn_blocking(move || write_whole(&target, &text)).await;
                let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
                written.map_err(|source| StateError::File { path, source })
            }
            Self::Secret { api, name, shown } => {
                let mut secret = self.secret().await?;
                secret.data.get_or_insert_default().insert(DOCUMENT.to_owned(), ByteString(text));
                // The resourceVersion that was read goes back: two agents never overwrite each other unseen.
                let replaced = api.replace(name, &PostParams::default(), &secret).await;
                replaced.map(drop).map_err(|source| secret_error(shown, source))
            }
        }
    }

    async fn secret(&self) -> Result<KubeSecret, StateError> {
        let Self::Secret { api, name, shown } = self else { return Err(StateError::Damaged) };
        api.get(name).await.map_err(|source| secret_error(shown, source))
    }
}

fn secret_error(name: &str, source: kube::Error) -> StateError {
    StateError::Secret { name: name.to_owned(), source: Box::new(source) }
}

fn write_whole(path: &std::path::Path, text: &[u8]) -> io::Result<()> {
    use std::{
        io::Write,
        os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    };
    let directory = path.parent().ok_or_else(|| io::Error::other("no directory"))?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let part = path.with_extension("part");
    // An old part may have another mode.
    let _ = std::fs::remove_file(&part);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    std::fs::File::open(directory)?.sync_all()
}

fn encode(identity: &Identity) -> Result<Vec<u8>, StateError> {
    let enrolled = identity.enrolled.as_ref().map(|e| EnrolledDocument {
        cluster: e.cluster.clone(),
        chain: e.chain.iter().map(|der| BASE64_STANDARD.encode(der)).collect(),
        not_before: e.since,
    });
    let joined_with = identity.joined_with.clone();
    let document = Document { key: identity.key.to_pem().expose().to_owned(), enrolled, joined_with };
    Ok(serde_json::to_vec_pretty(&document)?)
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
    Ok(Identity { key, enrolled, joined_with: document.joined_with })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::identity::{Token, TokenKind};

    #[tokio::test]
    async fn an_identity_survives_in_a_file_that_only_its_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::File(dir.path().join("deep/identity.json"));
        assert!(state.load().await.unwrap().is_none());
        let token = Token::generate(TokenKind::Join).id().clone();
        let identity = Identity { joined_with: Some(token.clone()), ..Identity::fresh() };
        state.save(&identity).await.unwrap();
        let again = state.load().await.unwrap().unwrap();
        assert_eq!(again.joined_with, Some(token));
        assert_eq!(again.key.spki_sha256(), identity.key.spki_sha256());
        let mode = std::fs::metadata(dir.path().join("deep/identity.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_damaged_file_is_an_error_not_a_fresh_start() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("identity.json"), b"{\"key\":").unwrap();
        let loaded = State::File(dir.path().join("identity.json")).load().await;
        assert!(matches!(loaded, Err(StateError::Document(_))));
    }
}
