//! The API of hub tokens: list, create, revoke.

use http::StatusCode;
use time::OffsetDateTime;

use super::{Answer, failed, json, ttl};
use crate::{
    access::{Principal, check_name},
    defaults,
    hub::{
        Hub,
        api_types::{TokenCreate, TokenCreated, TokenList, TokenView},
        directory::HubToken,
    },
    k8s::{Reason, Status},
};

pub(super) fn list(hub: &Hub, _: &Principal) -> Answer {
    let now = OffsetDateTime::now_utc();
    let tokens = hub.directory.tokens();
    let items = tokens.iter().filter(|t| t.record.expires > now).map(|t| token_view(t)).collect();
    json(StatusCode::OK, &TokenList { items })
}

pub(super) async fn create(hub: &Hub, caller: &Principal, wish: TokenCreate) -> Answer {
    let invalid = |message: String| Status::new(Reason::Invalid, message);
    for name in std::iter::once(&wish.user).chain(&wish.groups) {
        check_name(name).map_err(|error| invalid(format!("{name:?}: {error}")))?;
    }
    let ttl = ttl(wish.ttl_seconds, defaults::HUB_TOKEN, defaults::MAX_HUB_TOKEN)?;
    let now = OffsetDateTime::now_utc();
    let created = hub.directory.create_token(wish.user, wish.groups, wish.admin, ttl, now).await;
    let (record, token) = created.map_err(failed)?;
    tracing::info!(token = %record.id, user = record.record.user, admin = wish.admin, by = %caller.subject, "token created");
    let token = token.reveal().expose().to_owned().into();
    json(StatusCode::CREATED, &TokenCreated { token, view: token_view(&record) })
}

pub(super) async fn revoke(hub: &Hub, caller: &Principal, id: &str) -> Answer {
    let record = hub.directory.revoke_token(id).await.map_err(failed)?;
    tracing::info!(token = %record.id, by = %caller.subject, "token revoked");
    json(StatusCode::OK, &token_view(&record))
}

fn token_view(token: &HubToken) -> TokenView {
    TokenView {
        id: token.id.to_string(),
        user: token.record.user.clone(),
        groups: token.record.groups.clone(),
        admin: token.record.admin,
        created: token.created,
        expires: token.record.expires,
    }
}
