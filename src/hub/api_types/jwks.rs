//! The JSON of the keys by which a cluster proves itself.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// `GET /enrol/v1/nonce`: what a proof is to be bound to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NonceGiven {
    /// base64url; good for a minute, once, from the same network.
    pub nonce: String,
    /// The hub's trust domain, which is part of the token's audience.
    pub trust_domain: String,
}

/// `POST /api/v1/clusters/<name>/jwks`: what is said of a cluster's keys. What is absent stays.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwksSet {
    /// The keys, as `kubectl get --raw /openid/v1/jwks` prints them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// The account of its agent, `NAMESPACE/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
}

/// `GET /api/v1/clusters/<name>/jwks`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JwksView {
    /// The cluster's name.
    pub cluster: String,
    /// The account of its agent, `NAMESPACE/NAME`.
    pub service_account: String,
    /// The keys that are trusted; absent = only a join token proves this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<JwksShown>,
    /// Keys that the agent shows and that share none with those: an administrator accepts them or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<JwksShown>,
}

/// A set of keys, and whence it is known.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JwksShown {
    /// The keys.
    pub keys: Vec<JwksKey>,
    /// When they came.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Who said so: an administrator, or `agent`.
    pub by: String,
}

/// One key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JwksKey {
    /// Its id.
    pub kid: String,
    /// Its algorithm.
    pub alg: String,
    /// What makes it this key, `sha256:<hex>`.
    pub thumbprint: String,
}
