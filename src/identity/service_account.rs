//! Proof of a cluster by a token of its agent's ServiceAccount: a statement of that cluster's API server, bound to the agent's key and to
//! a nonce of the hub's. Verified against the keys that are pinned for the cluster; an issuer's name proves nothing, for every cluster
//! that someone runs themselves is called `https://kubernetes.default.svc.cluster.local`. Refuses to know how keys and tokens travel.

mod jwks;
mod jwt;
mod strict;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

pub use self::{
    jwks::{Algorithm, JwksError, KeySet, MAX_JWKS, MAX_KEYS, Thumbprint},
    jwt::{BoundPod, Expected, MAX_TOKEN, MAX_TOKEN_LIFE, ProofError, TOKEN_LEEWAY, Verified, verify},
};
use super::TrustDomain;

/// What a ServiceAccount's user is called before its namespace and name.
const SUBJECT: &str = "system:serviceaccount:";

/// The audience of a token that proves `spki` (DER of its `SubjectPublicKeyInfo`) to the hub of `trust_domain` that gave `nonce`: such a
/// token is of no use for another key, to another hub, and after the nonce was used.
pub fn audience(trust_domain: &TrustDomain, spki: &[u8], nonce: &[u8]) -> String {
    let mut digest = Context::new(&SHA256);
    digest.update(spki);
    digest.update(nonce);
    format!("roadstead:{trust_domain}:{}", URL_SAFE_NO_PAD.encode(digest.finish()))
}

/// A ServiceAccount, written `NAMESPACE/NAME`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceAccountName {
    namespace: String,
    name: String,
}

/// A text that names no ServiceAccount.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not NAMESPACE/NAME of a ServiceAccount")]
pub struct ServiceAccountNameError(String);

impl ServiceAccountName {
    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name in the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As which user its tokens act: the claim `sub`.
    pub fn subject(&self) -> String {
        format!("{SUBJECT}{}:{}", self.namespace, self.name)
    }

    /// The ServiceAccount that acts as `user`, if it is one.
    pub fn from_subject(user: &str) -> Option<Self> {
        let (namespace, name) = user.strip_prefix(SUBJECT)?.split_once(':')?;
        format!("{namespace}/{name}").parse().ok()
    }
}

impl FromStr for ServiceAccountName {
    type Err = ServiceAccountNameError;

    fn from_str(text: &str) -> Result<Self, ServiceAccountNameError> {
        let error = || ServiceAccountNameError(text.to_owned());
        let (namespace, name) = text.split_once('/').ok_or_else(error)?;
        if !is_label(namespace) || name.len() > 253 || !name.split('.').all(is_label) {
            return Err(error());
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for ServiceAccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl TryFrom<String> for ServiceAccountName {
    type Error = ServiceAccountNameError;

    fn try_from(text: String) -> Result<Self, ServiceAccountNameError> {
        text.parse()
    }
}

impl From<ServiceAccountName> for String {
    fn from(name: ServiceAccountName) -> Self {
        name.to_string()
    }
}

/// A DNS label (RFC 1123 § 2.1).
fn is_label(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(legal) && !text.starts_with('-') && !text.ends_with('-')
}
