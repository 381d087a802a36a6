//! The JSON of a restore from a backup.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// That the hub's state came from a backup: part of `GET /api/v1/status`, and the answer to `POST /api/v1/restore/acknowledge`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoredView {
    /// When the backup was made: what was done later is lost.
    #[serde(with = "time::serde::rfc3339")]
    pub backup_made: OffsetDateTime,
    /// When it was restored.
    #[serde(with = "time::serde::rfc3339")]
    pub restored_at: OffsetDateTime,
    /// When somebody acknowledged it; absent = nobody did.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<OffsetDateTime>,
}
