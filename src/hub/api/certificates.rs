//! The API of certificates of agents: list, show, revoke.

use http::StatusCode;
use time::OffsetDateTime;

use super::{Answer, failed, json, revocation::reason};
use crate::{
    access::{Principal, is_dns_label},
    hub::{
        Hub,
        api_types::{Because, CertificateActed, CertificateList, CertificateState, CertificateView},
        directory::{CertificateRecord, DirectoryError},
        revocation,
    },
    identity::{Serial, Verdict},
    k8s::{Reason, Status},
};

pub(super) async fn list(hub: &Hub, _: &Principal, query: Option<&str>) -> Answer {
    let wanted = match query.filter(|query| !query.is_empty()) {
        None => None,
        Some(query) => Some(of_cluster(hub, query)?),
    };
    let now = OffsetDateTime::now_utc();
    let mut items = hub.directory.certificates().await.map_err(failed)?;
    items.retain(|record| wanted.as_ref().is_none_or(|uid| record.cluster == *uid));
    json(StatusCode::OK, &CertificateList { items: items.iter().map(|record| view(hub, record, now)).collect() })
}

/// The cluster of `cluster=NAME`, which is all that can be asked for.
fn of_cluster(hub: &Hub, query: &str) -> Result<crate::identity::ClusterUid, Status> {
    let name = query.strip_prefix("cluster=").filter(|name| is_dns_label(name));
    let name =
        name.ok_or_else(|| Status::new(Reason::BadRequest, "certificates can be asked for with cluster=NAME"))?;
    let cluster = hub.directory.cluster(name);
    cluster.map(|c| c.uid.clone()).ok_or_else(|| failed(DirectoryError::Missing(format!("cluster {name:?}"))))
}

pub(super) async fn show(hub: &Hub, _: &Principal, serial: &str) -> Answer {
    let record = recorded(hub, serial).await?;
    json(StatusCode::OK, &view(hub, &record, OffsetDateTime::now_utc()))
}

pub(super) async fn revoke(hub: &Hub, caller: &Principal, serial: &str, because: Because) -> Answer {
    let record = recorded(hub, serial).await?;
    let (by, reason) = (caller.subject.to_string(), reason(because)?);
    let links = revocation::revoke_certificate(hub, &record, by.clone(), reason.clone()).await.map_err(failed)?;
    tracing::warn!(serial = %record.serial, uid = %record.cluster, reason, by, links, "certificate revoked");
    let certificate = view(hub, &record, OffsetDateTime::now_utc());
    json(StatusCode::OK, &CertificateActed { certificate, links_closed: links as u64 })
}

async fn recorded(hub: &Hub, serial: &str) -> Result<CertificateRecord, Status> {
    let missing = || failed(DirectoryError::Missing(format!("certificate {serial:?}")));
    let parsed: Serial = serial.parse().map_err(|_| missing())?;
    hub.directory.certificate(parsed).await.map_err(failed)
}

fn view(hub: &Hub, record: &CertificateRecord, now: OffsetDateTime) -> CertificateView {
    let revoked = hub.directory.revoked_certificate(record.serial);
    CertificateView {
        serial: record.serial.to_string(),
        cluster: hub.directory.cluster_by_uid(&record.cluster).map(|cluster| cluster.name.to_string()),
        cluster_uid: record.cluster.to_string(),
        key: record.spki.to_string(),
        state: if revoked.is_some() { CertificateState::Revoked } else { state(hub, record, now) },
        enrolment: record.position.enrolment,
        generation: record.position.generation,
        instance: record.instance.clone(),
        issued: record.issued,
        not_after: record.not_after,
        revoked: revoked.as_ref().map(|revoked| revoked.at),
        revoked_by: revoked.as_ref().map(|revoked| revoked.by.clone()),
        revoked_reason: revoked.and_then(|revoked| revoked.reason.clone()),
    }
}

fn state(hub: &Hub, record: &CertificateRecord, now: OffsetDateTime) -> CertificateState {
    if record.not_after <= now {
        return CertificateState::Expired;
    }
    if hub.directory.cluster_by_uid(&record.cluster).is_none() {
        return CertificateState::Revoked;
    }
    let standing = hub.directory.standing(&record.cluster).unwrap_or_default();
    match standing.standing.judge(&record.held(), now) {
        Verdict::Current => CertificateState::Current,
        Verdict::Next => CertificateState::Next,
        Verdict::Late | Verdict::Copied | Verdict::Replaced => CertificateState::Superseded,
        Verdict::Revoked => CertificateState::Revoked,
    }
}
