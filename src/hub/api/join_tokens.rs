//! The API of a cluster's join tokens: create, list, revoke.

use http::StatusCode;
use time::OffsetDateTime;

use super::{Answer, failed, json, ttl};
use crate::{
    access::Principal,
    defaults,
    hub::{
        Hub,
        api_types::{ClusterCreated, JoinTokenCreate, JoinTokenList, JoinTokenView, JoinUse},
        directory::{Cluster, JoinRecord, JoinWish},
    },
    identity::{Token, TokenId},
    k8s::{Reason, Status},
};

pub(super) async fn create(hub: &Hub, caller: &Principal, name: &str, wish: JoinTokenCreate) -> Answer {
    let wish = meant(caller, wish)?;
    let made = hub.directory.create_join_token(name, wish, OffsetDateTime::now_utc()).await;
    let (cluster, token, record) = made.map_err(failed)?;
    tracing::info!(
        cluster = &*cluster.name, token = %token.id(), uses = record.max_uses, expires = %record.expires,
        by = %caller.subject, "join token created"
    );
    json(StatusCode::CREATED, &created(hub, &cluster, &token, &record))
}

pub(super) async fn list(hub: &Hub, _: &Principal, name: &str) -> Answer {
    let now = OffsetDateTime::now_utc();
    let tokens = hub.directory.join_tokens(name).await.map_err(failed)?;
    json(StatusCode::OK, &JoinTokenList { items: tokens.iter().map(|(id, record)| view(id, record, now)).collect() })
}

pub(super) async fn revoke(hub: &Hub, caller: &Principal, name: &str, id: &str) -> Answer {
    let record = hub.directory.revoke_join_token(name, id).await.map_err(failed)?;
    tracing::info!(cluster = name, token = id, by = %caller.subject, "join token revoked");
    json(StatusCode::OK, &serde_json::json!({"id": id, "cluster": name, "uses": record.uses().count()}))
}

/// What an administrator wishes, as it is meant.
pub(super) fn meant(caller: &Principal, wish: JoinTokenCreate) -> Result<JoinWish, Status> {
    let invalid = |message: String| Status::new(Reason::Invalid, message);
    let max_uses = wish.max_uses.unwrap_or(1);
    if !(1..=defaults::MAX_JOIN_USES).contains(&max_uses) {
        return Err(invalid(format!("maxUses must be 1 to {}, not {max_uses}", defaults::MAX_JOIN_USES)));
    }
    if wish.sources.len() > defaults::MAX_JOIN_SOURCES {
        return Err(invalid(format!("sources names more than {} ranges", defaults::MAX_JOIN_SOURCES)));
    }
    let ttl = ttl(wish.ttl_seconds, defaults::JOIN_TOKEN, defaults::MAX_JOIN_TOKEN)?;
    Ok(JoinWish { ttl, max_uses, sources: wish.sources, by: caller.subject.to_string() })
}

/// The one answer that shows the token.
pub(super) fn created(hub: &Hub, cluster: &Cluster, token: &Token, record: &JoinRecord) -> ClusterCreated {
    ClusterCreated {
        name: cluster.name.to_string(),
        uid: cluster.uid.to_string(),
        labels: cluster.labels.clone(),
        token: token.reveal().expose().to_owned().into(),
        token_id: token.id().to_string(),
        token_expires: record.expires,
        token_max_uses: record.max_uses,
        hub: hub.public_url.to_string(),
        hub_ca_pin: hub.pki.hub().pin().to_string(),
        hub_ca_pins: hub.pki.keys().pins().iter().map(|pin| pin.to_string()).collect(),
    }
}

fn view(id: &TokenId, record: &JoinRecord, now: OffsetDateTime) -> JoinTokenView {
    JoinTokenView {
        id: id.to_string(),
        open: record.is_open(now),
        max_uses: record.max_uses,
        uses: record.uses().map(|used| JoinUse { key: used.spki.to_string(), at: used.at, from: used.from }).collect(),
        sources: record.sources.clone(),
        by: record.by.clone(),
        created: record.created,
        expires: record.expires,
    }
}
