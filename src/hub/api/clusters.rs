//! The API of clusters: list, show, add, remove.

use http::StatusCode;
use time::OffsetDateTime;

use super::{
    Answer, attest, external, failed, join_tokens, json,
    state::{Stands, stands},
};
use crate::{
    access::{Principal, check_label, is_dns_label},
    hub::{
        Hub,
        api_types::{ClusterCreate, ClusterView, JoinTokenCreate, JwksSet},
        directory::{Cluster, Pinned},
        revocation,
    },
    k8s::{Reason, Status},
};

/// The clusters that a caller may know of.
pub(super) fn visible(hub: &Hub, caller: &Principal) -> Vec<ClusterView> {
    let grants = hub.grants();
    let held = grants.held_by(&caller.subject);
    let clusters = hub.directory.clusters();
    clusters.iter().filter(|c| caller.admin || held.can_see(&c.reference())).map(|c| view(hub, c)).collect()
}

pub(super) fn view(hub: &Hub, cluster: &Cluster) -> ClusterView {
    let (link, last_seen) = match hub.links.of(&cluster.uid) {
        Ok(link) => (Some(link), Some(OffsetDateTime::now_utc())),
        Err(offline) => (None, offline.last_seen),
    };
    let attest = hub.directory.attest(&cluster.uid);
    let keys = |set: &Option<Pinned>| set.as_ref().map_or(0, |pinned| pinned.keys.thumbprints().len());
    let certificate_expires = hub.directory.certificate_ends(&cluster.uid);
    let now = OffsetDateTime::now_utc();
    let Stands { state, reason, since, next_step } = stands(hub, cluster, now);
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ClusterView {
        name: cluster.name.to_string(),
        uid: cluster.uid.to_string(),
        labels: cluster.labels.clone(),
        state,
        state_reason: reason,
        state_since: since,
        next_step,
        connected: link.is_some(),
        created: cluster.created,
        last_seen,
        certificate_expires,
        pinned_keys: keys(&attest.pinned),
        pending_keys: keys(&attest.pending),
        clock_ahead_seconds: link.as_ref().and_then(|l| l.agent.clock_ahead).map(time::Duration::whole_seconds),
        mapped: hub.directory.mapped_names(Some(&cluster.uid)).iter().map(external::name_view).collect(),
        agent_version: link.as_ref().and_then(|l| said(&l.agent.version)),
        kubernetes_version: link.as_ref().and_then(|l| said(&l.agent.kubernetes_version)),
    }
}

pub(super) fn show(hub: &Hub, caller: &Principal, name: &str) -> Answer {
    let cluster = hub.directory.cluster(name);
    let seen = cluster.filter(|c| caller.admin || hub.grants().can_see(&caller.subject, &c.reference()));
    let cluster = seen.ok_or_else(|| {
        Status::new(
            Reason::NotFound,
            format!("cluster {name:?} does not exist or no grant lets {} see it", caller.subject),
        )
    })?;
    json(StatusCode::OK, &view(hub, &cluster))
}

pub(super) async fn add(hub: &Hub, caller: &Principal, wish: ClusterCreate) -> Answer {
    let invalid = |message: String| Status::new(Reason::Invalid, message);
    if !is_dns_label(&wish.name) {
        return Err(invalid(format!("{:?} is not a cluster name: 1 to 63 of a-z, 0-9 and '-'", wish.name)));
    }
    for (key, value) in &wish.labels {
        check_label(key, value).map_err(|error| invalid(error.to_string()))?;
    }
    let ClusterCreate { name, labels, ttl_seconds, max_uses, sources, jwks, service_account } = wish;
    let (keys, account) = attest::meant(caller, JwksSet { jwks, service_account })?;
    let token = join_tokens::meant(caller, JoinTokenCreate { ttl_seconds, max_uses, sources })?;
    let added = hub.directory.add_cluster(name, labels, token, OffsetDateTime::now_utc()).await;
    let (cluster, token, record) = added.map_err(failed)?;
    if let Err(status) = attest::pin(hub, caller, &cluster, keys, account).await {
        // Nothing of a cluster that cannot be as it was asked for.
        hub.directory.remove_cluster(&cluster.name).await.map_err(failed)?;
        return Err(status);
    }
    tracing::info!(cluster = &*cluster.name, uid = %cluster.uid, token = %token.id(), by = %caller.subject, "cluster added");
    json(StatusCode::CREATED, &join_tokens::created(hub, &cluster, &token, &record))
}

pub(super) async fn remove(hub: &Hub, caller: &Principal, name: &str) -> Answer {
    let cluster = hub.directory.remove_cluster(name).await.map_err(failed)?;
    revocation::removed(hub, &cluster);
    tracing::info!(cluster = &*cluster.name, uid = %cluster.uid, by = %caller.subject, "cluster removed");
    json(StatusCode::OK, &view(hub, &cluster))
}
