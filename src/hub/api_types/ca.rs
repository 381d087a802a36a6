//! The JSON of `/api/v1/ca`: where a rotation of the authorities stands, and the steps of one.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::SecretText;

/// The cause, in the details of a 409, of a step whose gate is closed: there are laggards.
pub const CA_NOT_READY: &str = "RotationNotReady";

/// `GET /api/v1/ca`, and the answer to every step.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaStatus {
    /// `standby`, `init`, `update_agents`, `update_hub` or `rollback`.
    pub phase: String,
    /// Counts steps; given back with a step, it is taken only if nobody else took one meanwhile.
    pub revision: u64,
    /// Since when it is in this phase; absent before the first rotation.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<OffsetDateTime>,
    /// A key of the current generation is suspected: there is no way back to it.
    #[serde(default)]
    pub tainted: bool,
    /// The current agents' CA is out of trust already.
    #[serde(default)]
    pub revoked: bool,
    /// The authorities that there are.
    pub authorities: Vec<CaAuthority>,
    /// How far the fleet is.
    pub counts: CaCounts,
    /// Who holds up the next step. In standby: who may still trust roots of the generation before.
    #[serde(default)]
    pub laggards: Vec<CaLaggard>,
    /// Names of the clusters that were given up in this rotation.
    #[serde(default)]
    pub accepted_lost: Vec<String>,
    /// Names of the clusters that were announced and did not join: their manifests may name a pin that the hub is about to leave.
    #[serde(default)]
    pub pending: Vec<String>,
    /// Pins of the hub's roots that agents are to trust, the presented one first.
    pub hub_ca_pins: Vec<String>,
    /// The hub's roots that people are to trust, PEM, the presented one first: what `hub-ca.pem` holds.
    pub hub_ca: String,
    /// Roots that were trusted once, the newest last.
    #[serde(default)]
    pub distrusted: Vec<CaDistrusted>,
}

/// One authority of one generation.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaAuthority {
    /// `agents` or `hub`.
    pub authority: String,
    /// `current` or `next`.
    pub generation: String,
    /// Of its root.
    pub pin: String,
    /// Certificates of it are accepted.
    pub trusted: bool,
    /// Certificates are issued by it (`agents`), or the hub presents one of it (`hub`).
    pub in_use: bool,
    /// When its root ends.
    #[serde(with = "time::serde::rfc3339")]
    pub root_not_after: OffsetDateTime,
    /// When its issuing certificate ends, which the hub replaces in time.
    #[serde(with = "time::serde::rfc3339")]
    pub issuing_not_after: OffsetDateTime,
    /// The root's key is not at the hub, which cannot replace the issuing certificate without it.
    #[serde(default)]
    pub root_key_offline: bool,
    /// From when on the issuing certificate is to be replaced: an offline key should be brought by then. Absent from an older hub.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub issuing_due: Option<OffsetDateTime>,
}

/// What an exported root's key is sealed for, in the answer of the hub and in the operator's file.
pub const ROOT_KEY: &str = "root-key";

/// `POST /api/v1/ca/root/export`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RootExport {
    /// `agents` or `hub`; of the current generation.
    pub authority: String,
}

/// The answer to [`RootExport`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RootExported {
    /// Of the root.
    pub pin: String,
    /// Its private key (PEM), sealed with the hub's own passphrase for [`ROOT_KEY`], in base64.
    pub sealed: String,
}

/// `POST /api/v1/ca/root/{remove,import,use}`. The answer is [`CaStatus`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RootGiven {
    /// The root's private key (PEM).
    pub key: SecretText,
}

/// Clusters, counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaCounts {
    /// With a certificate.
    pub enrolled: u64,
    /// Of these, with a live link now.
    pub connected: u64,
    /// Of these, whose agents keep the roots as they are to be trusted now.
    pub acknowledged: u64,
    /// Of these, that hold certificates of the current generation only.
    pub on_current: u64,
    /// Of these, that hold certificates of the next generation only.
    pub on_next: u64,
}

/// A cluster that holds up a rotation.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaLaggard {
    /// Its name.
    pub name: String,
    /// Whether it has a live link now.
    pub connected: bool,
    /// What is missing, for people.
    pub reason: String,
}

/// A root that is trusted no more.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaDistrusted {
    /// Its pin.
    pub pin: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// `POST /api/v1/ca/{prepare,activate,rollback,taint,revoke}`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaStep {
    /// The revision that the caller saw; absent = whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Clusters to be given up, by name (`activate` and `revoke`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept_lost: Vec<String>,
    /// Up to so many clusters that are not connected to be given up, whichever they are (`activate` and `revoke`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_lost_count: Option<u32>,
}
