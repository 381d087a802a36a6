//! The JSON of join tokens.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::access::Cidr;

/// What may be said of a join token that is to be made: part of `POST /api/v1/clusters`, and the whole of
/// `POST /api/v1/clusters/<name>/tokens`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinTokenCreate {
    /// How long it is valid, in seconds; absent = the hub's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// How many keys may use it; absent = one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
    /// Whence it may be used, such as `192.0.2.0/24`; empty = from anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Cidr>,
}

/// One join token without its secret: the items of [`JoinTokenList`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenView {
    /// Public id: what `cluster token revoke` takes.
    pub id: String,
    /// Whether another key may still use it.
    pub open: bool,
    /// How many keys may use it.
    pub max_uses: u32,
    /// Which keys did.
    #[serde(default)]
    pub uses: Vec<JoinUse>,
    /// Whence it may be used; empty = from anywhere.
    #[serde(default)]
    pub sources: Vec<Cidr>,
    /// Who made it; absent in tokens of older hubs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When it was made; absent in tokens of older hubs.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub created: Option<OffsetDateTime>,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
}

/// One use of a join token.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinUse {
    /// The key that got a certificate, `sha256:<hex of its SPKI>`.
    pub key: String,
    /// When, for the first time.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Whence, as the hub saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

/// `GET /api/v1/clusters/<name>/tokens`: the oldest first; those that have ended are kept as long as there is room.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct JoinTokenList {
    /// The tokens.
    pub items: Vec<JoinTokenView>,
}
