//! From a cluster to its link, or to the Status that says why there is none.

use std::sync::Arc;

use time::Duration;

use super::{ClusterLink, Hub, Judged, now};
use crate::{
    hub::links::Offline,
    k8s::{Reason, Status},
    transport::LinkEnd,
    wire::CloseCode,
};

/// A link that broke this recently is expected back: the client may try again by itself.
const EXPECTED_BACK: Duration = Duration::seconds(10);

/// The link that serves the request's cluster.
///
/// # Errors
/// A 403 for a locked cluster, a 503 for one that is offline: at once, never a wait.
pub(super) fn find(hub: &Hub, judged: &Judged) -> Result<Arc<ClusterLink>, Status> {
    if let Some(lock) = hub.directory.lock_of(&judged.cluster.uid) {
        return Err(locked(&lock.reason, judged));
    }
    hub.links.of(&judged.cluster.uid).map_err(|offline| {
        let standing = hub.directory.standing(&judged.cluster.uid);
        status(&offline, standing.is_some_and(|record| record.standing.revoked().is_some()), judged)
    })
}

fn status(offline: &Offline, revoked: bool, judged: &Judged) -> Status {
    let age = offline.last_seen.map(|seen| now() - seen);
    let seen = match age {
        Some(age) => format!("last seen {} ago", human(age)),
        None => "never seen".to_owned(),
    };
    let why = match &offline.end {
        _ if revoked => " (its certificates were revoked)".to_owned(),
        Some(end) => format!(" ({end})"),
        None => String::new(),
    };
    let message = format!(
        "cluster {:?}: agent not connected, {seen}{why}; see `roadstead cluster show {}` (request {})",
        judged.cluster.name, judged.cluster.name, judged.request_id
    );
    // Discovery is tried five times over by kubectl itself, and an agent that was stopped is not expected.
    let gone = match offline.end {
        Some(
            LinkEnd::Peer(CloseCode::Normal | CloseCode::Revoked | CloseCode::Locked) | LinkEnd::Here | LinkEnd::Silent,
        ) => true,
        Some(LinkEnd::Peer(_) | LinkEnd::Restarted | LinkEnd::Transport(_)) | None => false,
    };
    let expected = age.is_some_and(|age| age < EXPECTED_BACK) && !gone && !judged.discovery;
    Status::new(Reason::ServiceUnavailable, message)
        .with_retry_after(expected.then_some(1))
        .with_cause("AgentNotConnected", "no live link to the cluster's agent")
}

fn locked(reason: &str, judged: &Judged) -> Status {
    let Judged { cluster, request_id, .. } = judged;
    let message = format!(
        "cluster {:?} is locked: {reason}; nothing of it is served until an administrator unlocks it (request {request_id})",
        cluster.name
    );
    Status::new(Reason::Forbidden, message).with_cause("ClusterLocked", reason)
}

/// A duration as people say it.
fn human(age: Duration) -> String {
    let seconds = age.whole_seconds().max(0);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [(-3, "0s"), (42, "42s"), (119, "119s"), (121, "2m"), (7_300, "2h"), (200_000, "2d")] {
            assert_eq!(human(Duration::seconds(seconds)), text);
        }
    }
}
