//! The records that the store keeps, as JSON. A field that is added needs a default; none is ever renamed.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, serde::rfc3339};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Cidr, ClusterRef, TokenRecord},
    identity::{ClusterUid, SecretHash, Serial, SpkiSha256, TokenId},
};

/// A cluster that may join.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Cluster {
    /// Its identity: made by the hub, never changed, never used again.
    pub uid: ClusterUid,
    /// What people call it.
    pub name: Arc<str>,
    /// What grants select by.
    pub labels: BTreeMap<String, String>,
    /// When it was added.
    #[serde(with = "rfc3339")]
    pub created: OffsetDateTime,
}

impl Cluster {
    /// What grants see of it.
    pub(crate) fn reference(&self) -> ClusterRef<'_> {
        ClusterRef { uid: self.uid.as_str(), name: &self.name, labels: &self.labels }
    }
}

/// A hub token, without its secret.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct HubToken {
    /// Its public id.
    pub id: TokenId,
    /// Of its secret.
    pub hash: SecretHash,
    /// Whose it is.
    #[serde(with = "token_record")]
    pub record: TokenRecord,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: OffsetDateTime,
    /// Cancelled when it is revoked: requests that run with it end then.
    #[serde(skip)]
    pub revoked: CancellationToken,
}

/// A join token, without its secret.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct JoinRecord {
    /// Of its secret.
    pub hash: SecretHash,
    /// Which cluster joins with it.
    pub cluster: ClusterUid,
    /// From then on it is dead, unless it was used before.
    #[serde(with = "rfc3339")]
    pub expires: OffsetDateTime,
    /// Its first use.
    pub used: Option<Use>,
    /// Those by other keys that followed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Use>,
    /// How many keys may use it.
    #[serde(default = "one")]
    pub max_uses: u32,
    /// Whence; empty = from anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Cidr>,
    /// When it was made; older records do not say.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub created: Option<OffsetDateTime>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

fn one() -> u32 {
    1
}

impl JoinRecord {
    /// Who used it, the first before the others.
    pub(crate) fn uses(&self) -> impl Iterator<Item = &Use> {
        self.used.iter().chain(&self.more)
    }

    /// Whether another key may still use it.
    pub(crate) fn is_open(&self, now: OffsetDateTime) -> bool {
        now < self.expires && self.uses().count() < usize::try_from(self.max_uses).unwrap_or(usize::MAX)
    }
}

/// One use of a join token.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Use {
    /// The key that was certified.
    pub spki: SpkiSha256,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// Whence; older records do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

/// A certificate that an agent got.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct CertificateRecord {
    /// Its serial.
    pub serial: Serial,
    /// Whose it is.
    pub cluster: ClusterUid,
    /// Of its key.
    pub spki: SpkiSha256,
    /// Valid until.
    #[serde(with = "rfc3339")]
    pub not_after: OffsetDateTime,
}

/// When a cluster was last there.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Seen {
    #[serde(with = "rfc3339")]
    pub(super) at: OffsetDateTime,
}

/// `access` knows no serde: its record as JSON.
mod token_record {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use time::{OffsetDateTime, serde::rfc3339};

    use super::TokenRecord;

    #[derive(Deserialize, Serialize)]
    struct Stored {
        id: String,
        user: String,
        groups: Vec<String>,
        admin: bool,
        #[serde(with = "rfc3339")]
        expires: OffsetDateTime,
    }

    pub(super) fn serialize<S: Serializer>(record: &TokenRecord, serializer: S) -> Result<S::Ok, S::Error> {
        let TokenRecord { id, user, groups, admin, expires } = record.clone();
        Stored { id, user, groups, admin, expires }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TokenRecord, D::Error> {
        let Stored { id, user, groups, admin, expires } = Stored::deserialize(deserializer)?;
        Ok(TokenRecord { id, user, groups, admin, expires })
    }
}
