//! The hub's tokens for people and scripts, and what keeps any token of a message out of logs.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroize;

/// `POST /api/v1/tokens`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenCreate {
    /// Whose it is, without issuer.
    pub user: String,
    /// Groups, without issuer.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Whether its holder may manage clusters and tokens.
    #[serde(default)]
    pub admin: bool,
    /// How long it is valid, in seconds; absent = the hub's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// The answer to [`TokenCreate`]; the only time the token is shown.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenCreated {
    /// The secret, `rst_…`.
    pub token: SecretText,
    /// Everything about it that is no secret.
    #[serde(flatten)]
    pub view: TokenView,
}

/// One hub token, without its secret: the items of [`TokenList`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// Public id: what `token revoke` takes.
    pub id: String,
    /// Whose it is, without issuer.
    pub user: String,
    /// Groups, without issuer.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Whether its holder may manage clusters and tokens.
    #[serde(default)]
    pub admin: bool,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
}

/// `GET /api/v1/tokens`: those that have not ended, the oldest first.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TokenList {
    /// The tokens.
    pub items: Vec<TokenView>,
}

/// A token in a message: `Debug` prints `***`, and the memory is wiped when it is dropped.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
