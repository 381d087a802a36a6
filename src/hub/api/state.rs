//! Where a cluster stands in its life, since when and why, and what an operator does next.

use time::OffsetDateTime;

use crate::hub::{
    Hub,
    api_types::ClusterState,
    directory::{Cluster, LockedBy},
};

/// See the module.
pub(super) struct Stands {
    pub(super) state: ClusterState,
    pub(super) reason: Option<String>,
    pub(super) since: Option<OffsetDateTime>,
    pub(super) next_step: Option<String>,
}

/// The first that is true, the worst first.
pub(super) fn stands(hub: &Hub, cluster: &Cluster, now: OffsetDateTime) -> Stands {
    locked(hub, cluster)
        .or_else(|| revoked(hub, cluster))
        .or_else(|| ended(hub, cluster, now))
        .unwrap_or_else(|| enrolled(hub, cluster))
}

fn locked(hub: &Hub, cluster: &Cluster) -> Option<Stands> {
    let lock = hub.directory.lock_of(&cluster.uid)?;
    let name = &cluster.name;
    let (reason, next_step) = match &lock.by {
        LockedBy::Admin(by) => {
            (format!("{} (locked by {by})", lock.reason), format!("`roadstead cluster unlock {name}` serves it again"))
        }
        LockedBy::Restore => (
            lock.reason.clone(),
            format!(
                "do again what was done to it after the backup; then `roadstead cluster unlock {name}` serves it again"
            ),
        ),
        LockedBy::CopiedKey => (
            format!("{} (locked by the hub)", lock.reason),
            format!(
                "find who else has the agent's Secret, or a backup of it; then `roadstead cluster revoke {name}` kills every copy, \
                 `roadstead cluster unlock {name}` lets it in again, and `roadstead cluster rekey {name}` gives its agent a new key"
            ),
        ),
    };
    Some(Stands { state: ClusterState::Locked, reason: Some(reason), since: Some(lock.at), next_step: Some(next_step) })
}

fn revoked(hub: &Hub, cluster: &Cluster) -> Option<Stands> {
    let external = hub.directory.in_use_external(&cluster.uid);
    let next = match &external {
        Some(_) => "give its agent a certificate with a new key, issued from now on".to_owned(),
        None => format!("`roadstead cluster rekey {}` lets its agent join anew", cluster.name),
    };
    let stands = |reason, since| Stands {
        state: ClusterState::Revoked,
        reason: Some(reason),
        since: Some(since),
        next_step: Some(next),
    };
    if let Some(key) = external.as_ref().and_then(|shown| hub.directory.revoked_key(&shown.spki)) {
        let why = key.reason.as_deref().map_or(String::new(), |why| format!("{why}: "));
        return Some(stands(
            format!("{why}the key {} of its agent's certificate was revoked by {}", key.spki, key.by),
            key.at,
        ));
    }
    let record = hub.directory.standing(&cluster.uid)?;
    let before = |revoked: OffsetDateTime| external.as_ref().is_none_or(|shown| shown.since <= revoked);
    if let Some(revoked) = record.standing.revoked().filter(|revoked| before(revoked.at)) {
        let by = record.revoked_by.as_deref().unwrap_or("an administrator");
        let why = record.revoked_reason.as_deref().map_or(String::new(), |why| format!("{why}: "));
        return Some(stands(format!("{why}every certificate so far was revoked by {by}"), revoked.at));
    }
    if external.is_some() {
        return None;
    }
    let certificate = hub.directory.revoked_certificate(record.standing.current()?.serial)?;
    let why = certificate.reason.as_deref().map_or(String::new(), |why| format!("{why}: "));
    let text = format!("{why}certificate {} was revoked by {}", certificate.serial, certificate.by);
    Some(stands(text, certificate.at))
}

fn ended(hub: &Hub, cluster: &Cluster, now: OffsetDateTime) -> Option<Stands> {
    let at = hub.directory.certificate_ends(&cluster.uid).filter(|at| *at <= now)?;
    Some(Stands {
        state: ClusterState::Expired,
        reason: Some("its agent was away until its certificate had ended".to_owned()),
        since: Some(at),
        next_step: Some(match hub.directory.in_use_external(&cluster.uid) {
            Some(_) => {
                "see why its issuer writes no new certificate: the agent takes the next one by itself".to_owned()
            }
            None => format!("`roadstead cluster rekey {}` lets its agent join anew", cluster.name),
        }),
    })
}

fn enrolled(hub: &Hub, cluster: &Cluster) -> Stands {
    let state = match hub.directory.certificate_ends(&cluster.uid) {
        Some(_) => ClusterState::Enrolled,
        None => ClusterState::Pending,
    };
    // Two for a moment is a rolling update, or an agent that moves to another link.
    let mut instances: Vec<_> = hub.links.all_of(&cluster.uid).iter().map(|link| link.agent.instance.clone()).collect();
    instances.sort();
    instances.dedup();
    let reason = (instances.len() > 1).then(|| format!("{} agents are connected with one identity", instances.len()));
    let next_step = reason.as_ref().map(|_| {
        "if it stays so, two installations have a copy of one Secret: keep one, or the cluster is locked when one of them renews its \
         certificate"
            .to_owned()
    });
    Stands { state, reason, since: None, next_step }
}
