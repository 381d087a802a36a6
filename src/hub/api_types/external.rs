//! The JSON of external CAs of agents, and of the names of their certificates that stand for clusters.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// `POST /api/v1/ca/external`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalCaAdd {
    /// One CA certificate, PEM.
    pub certificate: String,
}

/// An external CA: `POST /api/v1/ca/external`, and the items of [`ExternalCaList`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalCaView {
    /// Of its key, `sha256:<hex of its SPKI>`: how it is named everywhere.
    pub ca: String,
    /// Its subject, for people.
    pub subject: String,
    /// When it ends, and every certificate below it.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// When it was added.
    #[serde(with = "time::serde::rfc3339")]
    pub added: OffsetDateTime,
    /// By whom.
    pub by: String,
    /// How many names of its certificates stand for clusters.
    pub names: u64,
    /// Live links that were closed by what was done.
    #[serde(default)]
    pub links_closed: u64,
}

/// `GET /api/v1/ca/external`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ExternalCaList {
    /// The external CAs.
    pub items: Vec<ExternalCaView>,
}

/// `POST /api/v1/clusters/<name>/map` and `…/unmap`: one CA and one name, whole.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NameMap {
    /// Whose certificates, `sha256:<hex>`.
    pub ca: String,
    /// The URI that they carry; or …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// … the DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
}

/// A name that stands for a cluster.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MappedNameView {
    /// Whose certificates, `sha256:<hex>`.
    pub ca: String,
    /// The URI; or …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// … the DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// The cluster's name, where it is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// By whom it was mapped.
    #[serde(default)]
    pub by: String,
}

/// `GET /api/v1/names`: every name that stands for a cluster.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct MappedNameList {
    /// The names.
    pub items: Vec<MappedNameView>,
}
