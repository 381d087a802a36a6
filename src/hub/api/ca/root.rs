//! The API of the roots' keys: export one, remove it from the hub, bring it back.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use time::OffsetDateTime;

use super::{failed, status};
use crate::{
    access::Principal,
    hub::{
        Hub,
        api::{Answer, json, read},
        api_types::{ROOT_KEY, RootExport, RootExported, RootGiven},
        backup::KeepError,
        pki::{PkiError, RootError, RootFate},
    },
    identity::{Secret, rotation::Generation},
    k8s::{Reason, Status},
};

pub(in crate::hub::api) async fn root(
    hub: &Hub,
    caller: &Principal,
    action: &str,
    request: Request<Incoming>,
) -> Answer {
    let fate = match action {
        "export" => return export(hub, caller, read(request).await?).await,
        "remove" => RootFate::Remove,
        "import" => RootFate::Import,
        "use" => RootFate::Use,
        _ => return Err(Status::new(Reason::NotFound, format!("/api/v1/ca/root/{action} does not exist"))),
    };
    let RootGiven { key } = read(request).await?;
    let done = hub.pki.change_root(&Secret::new(key.expose()), fate, OffsetDateTime::now_utc()).await;
    let pin = done.map_err(refused)?;
    tracing::warn!(%pin, action, by = %caller.subject, "a root's key changed its place, and its issuing certificate was replaced");
    status(hub).await
}

/// Sealed: the caller cannot read the key without the hub's passphrase.
async fn export(hub: &Hub, caller: &Principal, wish: RootExport) -> Answer {
    let keys = hub.pki.keys();
    let pair = keys.pair(Generation::Current).ok_or_else(|| refused(PkiError::Generations.into()))?;
    let authority = match &*wish.authority {
        "agents" => &pair.agents,
        "hub" => &pair.hub,
        other => return Err(Status::new(Reason::Invalid, format!("authority must be agents or hub, not {other:?}"))),
    };
    let key = authority.root_key().ok_or_else(|| refused(RootError::Offline))?;
    let sealed = hub.keeper.seal(ROOT_KEY, key).await.map_err(|error| match error {
        KeepError::NoKey => Status::new(Reason::Invalid, error.to_string()),
        KeepError::Seal(_) => {
            tracing::error!(error = &error as &dyn std::error::Error, "no root's key was exported");
            Status::new(Reason::InternalError, error.to_string())
        }
    })?;
    let pin = authority.pin();
    tracing::warn!(authority = wish.authority, %pin, by = %caller.subject, "a root's key was exported, sealed");
    json(StatusCode::OK, &RootExported { pin: pin.to_string(), sealed: STANDARD.encode(Bytes::from(sealed)) })
}

fn refused(error: RootError) -> Status {
    let reason = match error {
        RootError::Key(_) => Reason::Invalid,
        RootError::Foreign(_) => Reason::NotFound,
        RootError::Offline | RootError::Rotating(_) | RootError::Conflict => Reason::Conflict,
        RootError::Pki(error) => return failed(&error),
    };
    Status::new(reason, error.to_string())
}
