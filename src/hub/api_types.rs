//! The JSON of the hub's API: what `/api/v1` and `/enrol/v1` take and give. Field names are a contract: scripts read them.
//! Knows neither HTTP nor the store. Requests refuse unknown fields; answers allow them, so that an older client can read a newer hub.

mod ca;
mod external;
mod join;
mod jwks;
mod restored;
mod revocation;
mod tokens;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::access::Cidr;
pub use ca::{
    CA_NOT_READY, CaAuthority, CaCounts, CaDistrusted, CaLaggard, CaStatus, CaStep, ROOT_KEY, RootExport, RootExported,
    RootGiven,
};
pub use external::{ExternalCaAdd, ExternalCaList, ExternalCaView, MappedNameList, MappedNameView, NameMap};
pub use join::{JoinTokenCreate, JoinTokenList, JoinTokenView, JoinUse};
pub use jwks::{JwksKey, JwksSet, JwksShown, JwksView, NonceGiven};
pub use restored::RestoredView;
pub use revocation::{
    Because, CLUSTER_LOCKED, CertificateActed, CertificateList, CertificateState, CertificateView, ClusterActed,
};
pub use tokens::{SecretText, TokenCreate, TokenCreated, TokenList, TokenView};

/// `POST /api/v1/clusters`: announces a cluster and asks for its join token.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterCreate {
    /// Unique name, a DNS label.
    pub name: String,
    /// Labels that grants select by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How long the join token is valid, in seconds; absent = the hub's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// How many keys may use the join token; absent = one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
    /// Whence the join token may be used; empty = from anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Cidr>,
    /// The keys by which the cluster proves itself, as `kubectl get --raw /openid/v1/jwks` prints them; absent = those that its agent shows
    /// when it joins with the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// The account of its agent, `NAMESPACE/NAME`; absent = `roadstead/roadstead-agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
}

/// The answer to [`ClusterCreate`] and to [`JoinTokenCreate`]; the only time the token is shown.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCreated {
    /// Unique name.
    pub name: String,
    /// Immutable id.
    pub uid: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Join token, `rsj_…`.
    pub token: SecretText,
    /// The token's public id: what `cluster token revoke` takes. Empty from an older hub.
    #[serde(default)]
    pub token_id: String,
    /// How many keys may use the token.
    #[serde(default = "one")]
    pub token_max_uses: u32,
    /// When the token ends.
    #[serde(with = "time::serde::rfc3339")]
    pub token_expires: OffsetDateTime,
    /// The URL that the agent dials.
    pub hub: String,
    /// Pin of the hub's CA, `sha256:<hex of its SPKI>`.
    pub hub_ca_pin: String,
    /// All pins that its agent should start with: during a rotation of the authorities the next one, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hub_ca_pins: Vec<String>,
}

fn one() -> u32 {
    1
}

/// Where a cluster stands in its life.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// Announced; its agent has not enrolled.
    Pending,
    /// Its agent holds a certificate.
    Enrolled,
    /// Its agent was away until its certificate had ended.
    Expired,
    /// Its certificates were revoked, and no agent has joined since.
    Revoked,
    /// Nothing of it is served, and nothing of it is let in.
    Locked,
    /// A state of a newer hub.
    #[serde(other)]
    Unknown,
}

impl ClusterState {
    /// The word for tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Enrolled => "enrolled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Locked => "locked",
            Self::Unknown => "unknown",
        }
    }
}

/// One cluster: `GET /api/v1/clusters/<name>`, and the items of [`ClusterList`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterView {
    /// Unique name.
    pub name: String,
    /// Immutable id.
    pub uid: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where it stands.
    pub state: ClusterState,
    /// Why, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<String>,
    /// Since when, where that is known.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub state_since: Option<OffsetDateTime>,
    /// What an operator does next, where something is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
    /// Whether a live link exists now.
    pub connected: bool,
    /// When it was announced.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// When its link was last alive; absent = never.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<OffsetDateTime>,
    /// When the certificate of its agent ends.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<OffsetDateTime>,
    /// How many keys are pinned by which it may prove itself without a join token.
    #[serde(default)]
    pub pinned_keys: usize,
    /// How many keys its agent shows that are not trusted yet: see `cluster jwks show`.
    #[serde(default)]
    pub pending_keys: usize,
    /// How far its agent's clock was ahead of the hub's when its link came up, in seconds; absent when there is no link, or an agent that
    /// does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_seconds: Option<i64>,
    /// Names of certificates of external CAs that stand for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mapped: Vec<MappedNameView>,
    /// Version of its agent, as the agent says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// Version of its API server, as the agent says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
}

/// `GET /api/v1/clusters`: the clusters that the caller may see, by name.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClusterList {
    /// The clusters.
    pub items: Vec<ClusterView>,
}

/// `GET /api/v1/status`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HubStatus {
    /// Version of the hub.
    pub version: String,
    /// The URL that it gives to agents and people.
    pub hub: String,
    /// When it started.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// Counts of the clusters that the caller may see.
    pub clusters: ClusterCounts,
    /// That this state came from a backup, until it is acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<RestoredView>,
}

/// How many clusters there are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClusterCounts {
    /// Announced, whether or not enrolled.
    pub total: u64,
    /// With a live link now.
    pub connected: u64,
}

/// `GET /api/v1/whoami`: the caller as the hub sees it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WhoAmI {
    /// `issuer:name`.
    pub subject: String,
    /// `issuer:group`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Whether the caller may manage clusters and tokens.
    #[serde(default)]
    pub admin: bool,
    /// When the credential ends.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
}

/// `POST /enrol/v1`: an agent's public key, and a proof: either `token`, or `cluster`, `nonce` and `jwt`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnrolRequest {
    /// Join token, `rsj_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretText>,
    /// Uid of the cluster that the agent proves to be of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// What `GET /enrol/v1/nonce` gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Token of the agent's ServiceAccount, whose audience is bound to key and nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<SecretText>,
    /// The keys of the cluster's ServiceAccount tokens, as its API server shows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// PKCS#10 request, DER in base64. Only its public key counts.
    pub csr: String,
}

/// The answer to [`EnrolRequest`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrolResponse {
    /// The cluster's immutable id.
    pub uid: String,
    /// The cluster's name, for messages.
    pub name: String,
    /// Trust domain of the certificate.
    pub trust_domain: String,
    /// The certificate and its issuers, leaf first, each DER in base64.
    pub chain: Vec<String>,
    /// The hub's CA, PEM.
    pub hub_ca: String,
    /// When the certificate ends.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
}

/// The client configuration file: the hub writes one for its first admin (`admin.yaml`), people write their own, the commands
/// read both. YAML, mode 0600.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientFile {
    /// URL of the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// PEM of the hub's CA; `system` = the CAs of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_data: Option<String>,
    /// Hub token, `rst_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretText>,
    /// File of the token, relative to this one; instead of `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// When the token ends, if that is known: kubectl then asks for a new one in time.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub token_expires: Option<OffsetDateTime>,
}

/// The part of a Kubernetes `Status` that a client needs from an error.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
pub struct ErrorStatus {
    /// The sentence for people.
    #[serde(default)]
    pub message: String,
    /// The word for programs, such as `NotFound`.
    #[serde(default)]
    pub reason: String,
    /// More for programs.
    #[serde(default)]
    pub details: ErrorDetails,
}

/// The details of an [`ErrorStatus`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
pub struct ErrorDetails {
    /// What it came from.
    #[serde(default)]
    pub causes: Vec<ErrorCause>,
}

/// One cause of an [`ErrorStatus`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
pub struct ErrorCause {
    /// The word for programs.
    #[serde(default)]
    pub reason: String,
    /// The sentence for people.
    #[serde(default)]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn field_names_are_those_of_the_contract() {
        let created: ClusterCreated = serde_json::from_value(json!({
            "name": "a", "uid": "u", "token": "rsj_x", "tokenExpires": "2026-11-22T20:00:00Z",
            "hub": "https://h:1", "hubCaPin": "sha256:00", "newerField": 1,
        }))
        .unwrap();
        assert_eq!((created.hub_ca_pin.as_str(), created.token.expose()), ("sha256:00", "rsj_x"));
        assert_eq!((created.token_id.as_str(), created.token_max_uses), ("", 1), "an older hub says neither");
        let view = json!({"id": "i", "user": "u", "groups": [], "admin": true,
            "created": "2026-11-22T20:00:00Z", "expires": "2026-11-22T21:00:00Z", "token": "rst_x"});
        let token: TokenCreated = serde_json::from_value(view.clone()).unwrap();
        assert_eq!(serde_json::to_value(&token).unwrap(), view);
        let enrolled = json!({"uid": "u", "name": "n", "trustDomain": "t", "chain": ["AA=="], "hubCa": "p",
            "notAfter": "2026-11-22T21:00:00Z"});
        let response: EnrolResponse = serde_json::from_value(enrolled.clone()).unwrap();
        assert_eq!(serde_json::to_value(response).unwrap(), enrolled);
    }

    #[test]
    fn requests_refuse_unknown_fields() {
        assert!(serde_json::from_value::<ClusterCreate>(json!({"name": "a", "label": {}})).is_err());
        assert!(serde_json::from_value::<TokenCreate>(json!({"user": "a", "isAdmin": true})).is_err());
        assert!(serde_json::from_value::<EnrolRequest>(json!({"token": "a", "csr": "", "name": "b"})).is_err());
    }

    #[test]
    fn a_written_client_configuration_is_read_again() {
        let file = ClientFile {
            hub: Some("https://h:1".into()),
            ca_data: Some("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".into()),
            token: Some(SecretText::from("rst_x".to_owned())),
            token_file: None,
            token_expires: Some(time::macros::datetime!(2026-11-22 20:00 UTC)),
        };
        let text = serde_saphyr::to_string(&file).unwrap();
        assert!(text.contains("tokenExpires:") && !text.contains("tokenFile"), "{text}");
        assert_eq!(serde_saphyr::from_str::<ClientFile>(&text).unwrap(), file);
    }

    #[test]
    fn debug_output_never_shows_a_token() {
        let request: EnrolRequest =
            serde_json::from_value(json!({"token": "rsj_secret", "jwt": "secret", "csr": ""})).unwrap();
        assert!(!format!("{request:?}").contains("secret"));
    }
}
