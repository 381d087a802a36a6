//! The JSON of locks, revocations and certificates.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::ClusterView;

/// The cause in the `Status` that refuses an enrolment, or a request, of a locked cluster.
pub const CLUSTER_LOCKED: &str = "ClusterLocked";

/// `POST /api/v1/clusters/<name>/lock` and `…/revoke`, and `POST /api/v1/certificates/<serial>/revoke`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Because {
    /// Told to whoever asks for the cluster from then on: one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer to `POST /api/v1/clusters/<name>/lock`, `…/unlock` and `…/revoke`: the cluster as it is now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterActed {
    /// The cluster.
    #[serde(flatten)]
    pub cluster: ClusterView,
    /// Live links that were closed by it.
    pub links_closed: u64,
}

/// Where a certificate of an agent stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateState {
    /// In use.
    Current,
    /// Issued, and not used yet.
    Next,
    /// Its successor is in use.
    Superseded,
    /// By itself, with all of its cluster's, or with its cluster.
    Revoked,
    /// Its time is over.
    Expired,
    /// A state of a newer hub.
    #[serde(other)]
    Unknown,
}

impl CertificateState {
    /// The word for tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Next => "next",
            Self::Superseded => "superseded",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
}

/// One certificate of an agent: `GET /api/v1/certificates/<serial>`, and the items of [`CertificateList`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateView {
    /// Its serial, lower-case hexadecimal. Of an external CA's: unique among that CA's only.
    pub serial: String,
    /// The external CA that issued it, `sha256:<hex>` of its root's key; absent = the hub. Such a certificate is named by its `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ca: Option<String>,
    /// The names in an external CA's certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The cluster's name; absent when it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The cluster's immutable id.
    pub cluster_uid: String,
    /// Of its key, `sha256:<hex of its SPKI>`.
    pub key: String,
    /// Where it stands.
    pub state: CertificateState,
    /// Which enrolment of the cluster it comes from; 0 = from before hubs counted.
    #[serde(default)]
    pub enrolment: u64,
    /// Which certificate of that enrolment it is; 0 = from before hubs counted.
    #[serde(default)]
    pub generation: u64,
    /// The agent process that asked for it over its link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// When it was issued, if that is recorded.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub issued: Option<OffsetDateTime>,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// When it was revoked by itself.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub revoked: Option<OffsetDateTime>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
    /// Why, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_reason: Option<String>,
}

/// `GET /api/v1/certificates`: all that are recorded, the oldest first.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CertificateList {
    /// The certificates.
    pub items: Vec<CertificateView>,
}

/// The answer to `POST /api/v1/certificates/<serial>/revoke`: the certificate as it is now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateActed {
    /// The certificate.
    #[serde(flatten)]
    pub certificate: CertificateView,
    /// Live links that were closed by it.
    pub links_closed: u64,
}
