//! The records that the store keeps, as JSON. A field that is added needs a default; none is ever renamed.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, serde::rfc3339};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{ClusterRef, TokenRecord},
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
    /// By whom it was used.
    pub used: Option<Use>,
}

/// One use of a join token.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Use {
    /// The key that was certified.
    pub spki: SpkiSha256,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
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
