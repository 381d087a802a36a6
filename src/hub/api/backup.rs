//! The API of backups: make one, and acknowledge that one was restored.

use http::{HeaderValue, Response, StatusCode, header};
use time::OffsetDateTime;

use super::{Answer, failed, json};
use crate::{
    access::Principal,
    hub::{Hub, backup::BackupError, proxy::ProxyBody},
    k8s::{Reason, Status},
};

/// A backup, sealed: the caller cannot read the keys in it.
pub(super) async fn make(hub: &Hub, caller: &Principal) -> Answer {
    let backup = hub.keeper.backup(OffsetDateTime::now_utc()).await.map_err(refused)?;
    tracing::info!(bytes = backup.len(), by = %caller.subject, "backup made");
    let mut response = Response::new(ProxyBody::full(backup));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(super) async fn acknowledge(hub: &Hub, caller: &Principal) -> Answer {
    let restore = hub.restored.acknowledge(OffsetDateTime::now_utc()).await.map_err(failed)?;
    let restore = restore.ok_or_else(|| Status::new(Reason::NotFound, "this hub was not restored from a backup"))?;
    tracing::info!(made = %restore.made, restored = %restore.restored, by = %caller.subject, "restore acknowledged");
    json(StatusCode::OK, &restore.view())
}

fn refused(error: BackupError) -> Status {
    let reason = match error {
        BackupError::NoKey | BackupError::TooLarge(_) => Reason::Invalid,
        BackupError::Busy => Reason::TooManyRequests,
        BackupError::Store(_) | BackupError::Grants(_) | BackupError::Seal(_) => {
            tracing::error!(error = &error as &dyn std::error::Error, "no backup was made");
            Reason::InternalError
        }
    };
    Status::new(reason, error.to_string())
}
