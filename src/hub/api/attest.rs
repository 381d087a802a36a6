//! The API of the keys by which a cluster proves itself: show, set, accept.

use http::StatusCode;
use time::OffsetDateTime;

use super::{Answer, failed, json};
use crate::{
    access::Principal,
    hub::{
        Hub,
        api_types::{JwksKey, JwksSet, JwksShown, JwksView},
        directory::{Attest, AttestError, Cluster, Pinned},
    },
    identity::service_account::{KeySet, ServiceAccountName},
    k8s::{Reason, Status},
};

pub(super) fn show(hub: &Hub, _: &Principal, name: &str) -> Answer {
    let cluster = named(hub, name)?;
    json(StatusCode::OK, &view(&cluster, &hub.directory.attest(&cluster.uid)))
}

pub(super) async fn set(hub: &Hub, caller: &Principal, name: &str, wish: JwksSet) -> Answer {
    let cluster = named(hub, name)?;
    let (keys, account) = meant(caller, wish)?;
    pin(hub, caller, &cluster, keys, account).await?;
    json(StatusCode::OK, &view(&cluster, &hub.directory.attest(&cluster.uid)))
}

pub(super) async fn accept(hub: &Hub, caller: &Principal, name: &str) -> Answer {
    let cluster = named(hub, name)?;
    let by = caller.subject.to_string();
    let attest = hub.directory.accept_keys(&cluster, &by).await.map_err(refused)?;
    tracing::info!(cluster = &*cluster.name, by, "service account keys accepted");
    json(StatusCode::OK, &view(&cluster, &attest))
}

/// What an administrator says of a cluster's keys and its agent's account, as it is meant.
pub(super) fn meant(caller: &Principal, wish: JwksSet) -> Result<(Option<Pinned>, Option<ServiceAccountName>), Status> {
    let invalid = |message: String| Status::new(Reason::Invalid, message);
    let account = wish.service_account.map(|text| text.parse::<ServiceAccountName>());
    let account = account.transpose().map_err(|error| invalid(format!("serviceAccount: {error}")))?;
    let keys = wish.jwks.map(|text| KeySet::parse(text.as_bytes()));
    let keys = keys.transpose().map_err(|error| invalid(format!("jwks: {error}")))?;
    let pinned = keys.map(|keys| Pinned { keys, at: OffsetDateTime::now_utc(), by: caller.subject.to_string() });
    Ok((pinned, account))
}

/// Does what is meant, if there is anything.
pub(super) async fn pin(
    hub: &Hub,
    caller: &Principal,
    cluster: &Cluster,
    keys: Option<Pinned>,
    account: Option<ServiceAccountName>,
) -> Result<(), Status> {
    if keys.is_none() && account.is_none() {
        return Ok(());
    }
    let attest = hub.directory.pin_keys(cluster, keys, account).await.map_err(refused)?;
    let keys = attest.pinned.as_ref().map_or(0, |pinned| pinned.keys.describe().len());
    tracing::info!(
        cluster = &*cluster.name, keys, account = %attest.service_account, by = %caller.subject, "service account keys pinned"
    );
    Ok(())
}

fn named(hub: &Hub, name: &str) -> Result<std::sync::Arc<Cluster>, Status> {
    let missing = || Status::new(Reason::NotFound, format!("cluster {name:?} does not exist"));
    hub.directory.cluster(name).ok_or_else(missing)
}

fn refused(error: AttestError) -> Status {
    match error {
        AttestError::Shared(_) => Status::new(Reason::AlreadyExists, error.to_string()),
        AttestError::NothingPending(_) => Status::new(Reason::NotFound, error.to_string()),
        AttestError::Directory(error) => failed(error),
    }
}

fn view(cluster: &Cluster, attest: &Attest) -> JwksView {
    let shown = |pinned: &Pinned| JwksShown {
        keys: pinned
            .keys
            .describe()
            .into_iter()
            .map(|(kid, algorithm, print)| JwksKey {
                kid,
                alg: algorithm.as_str().to_owned(),
                thumbprint: print.to_string(),
            })
            .collect(),
        at: pinned.at,
        by: pinned.by.clone(),
    };
    JwksView {
        cluster: cluster.name.to_string(),
        service_account: attest.service_account.to_string(),
        pinned: attest.pinned.as_ref().map(shown),
        pending: attest.pending.as_ref().map(shown),
    }
}
