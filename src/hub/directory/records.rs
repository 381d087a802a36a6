//! The records that the store keeps, as JSON. A field that is added needs a default; none is ever renamed.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, serde::rfc3339};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Cidr, ClusterRef, TokenRecord},
    identity::{ClusterUid, Held, Issued, Position, SecretHash, Serial, SpkiSha256, Standing, TokenId, VerifiedPeer},
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
    /// When it was issued, if that was recorded.
    #[serde(default, with = "rfc3339::option")]
    pub issued: Option<OffsetDateTime>,
    /// The agent process that asked for it over its link.
    #[serde(default)]
    pub instance: Option<String>,
    /// Its place among the cluster's certificates.
    #[serde(default, flatten)]
    pub position: Position,
}

impl CertificateRecord {
    /// Of what was just issued to an agent. Its place is given when it is recorded.
    pub(crate) fn of(issued: &Issued, cluster: &ClusterUid, now: OffsetDateTime) -> Self {
        Self {
            serial: issued.serial,
            cluster: cluster.clone(),
            spki: issued.spki_sha256,
            not_after: issued.not_after,
            issued: Some(now),
            instance: None,
            position: Position::default(),
        }
    }

    /// Of a certificate that is genuine and not recorded: when it was issued nobody knows.
    pub(crate) fn adopted(peer: &VerifiedPeer, position: Position) -> Self {
        Self {
            serial: peer.serial(),
            cluster: peer.cluster().clone(),
            spki: peer.spki_sha256(),
            not_after: peer.not_after(),
            issued: None,
            instance: None,
            position,
        }
    }

    /// What decides about it.
    pub(crate) fn held(&self) -> Held {
        Held { serial: self.serial, spki: self.spki, position: self.position, not_after: self.not_after }
    }
}

/// Nothing of a cluster is served, and nothing of it is let in.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Lock {
    /// Which cluster.
    pub cluster: ClusterUid,
    /// What those are told who ask for it.
    pub reason: String,
    /// Who locked it.
    pub by: LockedBy,
    /// Since when.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
}

/// Who locks a cluster.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum LockedBy {
    /// An administrator, by name.
    Admin(String),
    /// The hub, for a spent certificate was shown.
    CopiedKey,
    /// The operator who restored a backup.
    Restore,
}

/// A certificate that is dead before its time, and with it its key.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RevokedCertificate {
    /// Its serial.
    pub serial: Serial,
    /// Of its key.
    pub spki: SpkiSha256,
    /// Whose it was.
    pub cluster: ClusterUid,
    /// By whom it was revoked.
    pub by: String,
    /// Why, if that was said.
    #[serde(default)]
    pub reason: Option<String>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// When it would have ended.
    #[serde(with = "rfc3339")]
    pub not_after: OffsetDateTime,
}

/// A key in certificates of an external CA that is dead, whatever that CA still signs for it. Kept for good.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RevokedKey {
    /// The key.
    pub spki: SpkiSha256,
    /// Whose it was.
    pub cluster: ClusterUid,
    /// By whom it was revoked.
    pub by: String,
    /// And why.
    #[serde(default)]
    pub reason: Option<String>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
}

/// What the hub knows of a cluster's certificates, and who revoked them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct StandingRecord {
    /// The rules' own part.
    #[serde(flatten)]
    pub standing: Standing,
    /// Who revoked them last, if anybody.
    #[serde(default)]
    pub revoked_by: Option<String>,
    /// And why.
    #[serde(default)]
    pub revoked_reason: Option<String>,
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
