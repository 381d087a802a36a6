//! Names of peers: the trust domain, the uid of a cluster, the name of a hub, and the SPIFFE URI that a certificate carries.
//!
//! The grammar is the strict half of the SPIFFE-ID standard § 2: what it forbids is refused, never normalised, and names are compared
//! whole, never by prefix. Refuses to know certificates.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use ulid::Ulid;

use super::random;

/// Longest SPIFFE URI that is read, in bytes (SPIFFE-ID § 2.3).
const MAX_URI: usize = 2048;
/// Longest trust domain, in bytes (SPIFFE-ID § 2.3).
const MAX_TRUST_DOMAIN: usize = 255;
/// Longest hub name, in bytes: a DNS label, so that it can be a host name.
const MAX_HUB_NAME: usize = 63;

/// Why a text is not the name it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// Not `[a-z0-9._-]{1,255}`.
    #[error("a trust domain is 1 to 255 of a-z, 0-9, `.`, `_`, `-`")]
    TrustDomain,
    /// Not a lower-case ULID.
    #[error("a cluster uid is a ULID in lower case")]
    ClusterUid,
    /// Not `[a-z0-9-]{1,63}` or with a hyphen at an end.
    #[error("a hub name is 1 to 63 of a-z, 0-9, `-`, with no hyphen at either end")]
    HubName,
    /// Not `spiffe://<trust domain>/<role>/<name>`, or longer than 2048 bytes.
    #[error("not a SPIFFE id of the form spiffe://<trust domain>/<role>/<name>")]
    Uri,
    /// A role other than `cluster` and `hub`.
    #[error("a SPIFFE id of an unknown role")]
    Role,
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

/// The trust domain: the authority part of every SPIFFE id of one installation, `[a-z0-9._-]{1,255}`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Arc<str>);
text_newtype!(TrustDomain);

impl FromStr for TrustDomain {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let legal = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > MAX_TRUST_DOMAIN || !text.bytes().all(legal) {
            return Err(NameError::TrustDomain);
        }
        Ok(Self(text.into()))
    }
}

/// The opaque, immutable uid of a cluster: a ULID in lower case. It says nothing about the cluster's name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterUid(Arc<str>);
text_newtype!(ClusterUid);

impl ClusterUid {
    /// A new uid: 48 bits of `now` in milliseconds (0 before 1970) and 80 random bits.
    pub fn generate(now: OffsetDateTime) -> Self {
        let millis = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        let random = u128::from_be_bytes(random::bytes());
        Self(Ulid::from_parts(millis, random).to_string().to_ascii_lowercase().into())
    }
}

impl FromStr for ClusterUid {
    type Err = NameError;

    /// Accepts the one spelling that [`ClusterUid::generate`] writes: 26 digits of Crockford's base 32, none of `ilou`, below 2^128.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let legal =
            |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'h' | b'j' | b'k' | b'm' | b'n' | b'p'..=b't' | b'v'..=b'z');
        if text.len() != 26 || !text.bytes().all(legal) || text.as_bytes()[0] > b'7' {
            return Err(NameError::ClusterUid);
        }
        Ok(Self(text.into()))
    }
}

/// The name of a hub replica in its certificate: a DNS label in lower case.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HubName(Arc<str>);
text_newtype!(HubName);

impl FromStr for HubName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let legal = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let edges = text.starts_with('-') || text.ends_with('-');
        if text.is_empty() || text.len() > MAX_HUB_NAME || edges || !text.bytes().all(legal) {
            return Err(NameError::HubName);
        }
        Ok(Self(text.into()))
    }
}

/// What a peer is: the last two segments of its SPIFFE id.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// An agent, by the uid of its cluster: `/cluster/<uid>`.
    Cluster(ClusterUid),
    /// A hub replica: `/hub/<name>`.
    Hub(HubName),
}

/// `spiffe://<trust domain>/cluster/<uid>` or `spiffe://<trust domain>/hub/<name>`.
///
/// Parsing and printing are inverse: a text that parses is the only spelling of its id.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SpiffeId {
    /// Whose installation it belongs to.
    pub trust_domain: TrustDomain,
    /// What the peer is.
    pub role: Role,
}

impl SpiffeId {
    /// The id of a cluster's agent.
    pub fn cluster(trust_domain: TrustDomain, uid: ClusterUid) -> Self {
        Self { trust_domain, role: Role::Cluster(uid) }
    }

    /// The id of a hub replica.
    pub fn hub(trust_domain: TrustDomain, name: HubName) -> Self {
        Self { trust_domain, role: Role::Hub(name) }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.role {
            Role::Cluster(uid) => write!(f, "spiffe://{}/cluster/{uid}", self.trust_domain),
            Role::Hub(name) => write!(f, "spiffe://{}/hub/{name}", self.trust_domain),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = NameError;

    /// Upper-case schemes, user info, ports, `%`, `?`, `#`, dot segments, empty segments and a trailing slash are all refused, because
    /// no part of the grammar has room for them.
    fn from_str(uri: &str) -> Result<Self, NameError> {
        if uri.len() > MAX_URI {
            return Err(NameError::Uri);
        }
        let rest = uri.strip_prefix("spiffe://").ok_or(NameError::Uri)?;
        let mut parts = rest.split('/');
        let (Some(domain), Some(role), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NameError::Uri);
        };
        let role = match role {
            "cluster" => Role::Cluster(name.parse()?),
            "hub" => Role::Hub(name.parse()?),
            _ => return Err(NameError::Role),
        };
        Ok(Self { trust_domain: domain.parse()?, role })
    }
}

#[cfg(test)]
mod tests;
