//! The API of locks and of a cluster's certificates as a whole: lock, unlock, revoke.

use std::sync::Arc;

use http::StatusCode;

use super::{Answer, clusters::view, failed, json};
use crate::{
    access::Principal,
    hub::{
        Hub,
        api_types::{Because, ClusterActed},
        directory::{Cluster, DirectoryError},
        revocation,
        said::{MESSAGE, shown},
    },
    k8s::{Reason, Status},
};

pub(super) async fn lock(hub: &Hub, caller: &Principal, name: &str, because: Because) -> Answer {
    let cluster = known(hub, name)?;
    let by = caller.subject.to_string();
    let reason = reason(because)?.unwrap_or_else(|| "no reason was given".to_owned());
    let links = revocation::lock(hub, &cluster, by.clone(), reason.clone()).await.map_err(failed)?;
    tracing::warn!(cluster = name, uid = %cluster.uid, reason, by, links, "cluster locked");
    acted(hub, &cluster, links)
}

pub(super) async fn unlock(hub: &Hub, caller: &Principal, name: &str) -> Answer {
    let cluster = known(hub, name)?;
    let was = hub.directory.unlock(&cluster.uid).await.map_err(failed)?;
    let was = was.map(|lock| lock.reason.clone());
    tracing::warn!(cluster = name, uid = %cluster.uid, by = %caller.subject, was, "cluster unlocked");
    acted(hub, &cluster, 0)
}

pub(super) async fn revoke(hub: &Hub, caller: &Principal, name: &str, because: Because) -> Answer {
    let cluster = known(hub, name)?;
    let (by, reason) = (caller.subject.to_string(), reason(because)?);
    let links = revocation::revoke_cluster(hub, &cluster, by.clone(), reason.clone()).await.map_err(failed)?;
    tracing::warn!(cluster = name, uid = %cluster.uid, reason, by, links, "every certificate of the cluster revoked");
    acted(hub, &cluster, links)
}

fn known(hub: &Hub, name: &str) -> Result<Arc<Cluster>, Status> {
    hub.directory.cluster(name).ok_or_else(|| failed(DirectoryError::Missing(format!("cluster {name:?}"))))
}

/// A reason is shown to whoever asks for the cluster, in a header among others: one line, not long.
pub(super) fn reason(because: Because) -> Result<Option<String>, Status> {
    let Some(reason) = because.reason else { return Ok(None) };
    let reason = reason.trim();
    if reason.is_empty() || shown(reason, MESSAGE) != reason {
        let message = format!("reason must be one printable line of at most {MESSAGE} characters");
        return Err(Status::new(Reason::Invalid, message));
    }
    Ok(Some(reason.to_owned()))
}

fn acted(hub: &Hub, cluster: &Cluster, links_closed: usize) -> Answer {
    json(StatusCode::OK, &ClusterActed { cluster: view(hub, cluster), links_closed: links_closed as u64 })
}
