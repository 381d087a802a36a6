//! The API of certificates of agents: list, show, revoke.

use std::sync::Arc;

use http::StatusCode;
use time::OffsetDateTime;

use super::{Answer, failed, json, revocation::reason};
use crate::{
    access::{Principal, is_dns_label},
    hub::{
        Hub,
        api_types::{Because, CertificateActed, CertificateList, CertificateState, CertificateView},
        directory::{CertificateRecord, DirectoryError, ExternalCertificate},
        revocation,
    },
    identity::{Serial, SpkiSha256, Verdict},
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
    let mut items: Vec<_> = items.iter().map(|record| view(hub, record, now)).collect();
    let external = hub.directory.external_certificates();
    let external = external.iter().filter(|shown| wanted.as_ref().is_none_or(|uid| shown.cluster == *uid));
    items.extend(external.map(|shown| external_view(hub, shown, now)));
    json(StatusCode::OK, &CertificateList { items })
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
    let now = OffsetDateTime::now_utc();
    let view = match named(hub, serial).await? {
        Named::Own(record) => view(hub, &record, now),
        Named::External(shown) => external_view(hub, &shown, now),
    };
    json(StatusCode::OK, &view)
}

pub(super) async fn revoke(hub: &Hub, caller: &Principal, serial: &str, because: Because) -> Answer {
    let (by, reason) = (caller.subject.to_string(), reason(because)?);
    let (links, certificate) = match named(hub, serial).await? {
        Named::Own(record) => {
            let links =
                revocation::revoke_certificate(hub, &record, by.clone(), reason.clone()).await.map_err(failed)?;
            tracing::warn!(serial = %record.serial, uid = %record.cluster, reason, by, links, "certificate revoked");
            (links, view(hub, &record, OffsetDateTime::now_utc()))
        }
        Named::External(shown) => {
            let links = revocation::revoke_key(hub, &shown, by.clone(), reason.clone()).await.map_err(failed)?;
            let (serial, key, ca) = (shown.serial, shown.spki, shown.ca);
            tracing::warn!(%serial, %key, %ca, uid = %shown.cluster, reason, by, links, "key of an external certificate revoked");
            (links, external_view(hub, &shown, OffsetDateTime::now_utc()))
        }
    };
    json(StatusCode::OK, &CertificateActed { certificate, links_closed: links as u64 })
}

/// A certificate that was asked for.
enum Named {
    /// By its serial.
    Own(CertificateRecord),
    /// By its key, or by its serial while no other has it.
    External(Arc<ExternalCertificate>),
}

async fn named(hub: &Hub, name: &str) -> Result<Named, Status> {
    let missing = || failed(DirectoryError::Missing(format!("certificate {name:?}")));
    if let Ok(key) = name.parse::<SpkiSha256>() {
        return hub.directory.external_by_key(&key).map(Named::External).ok_or_else(missing);
    }
    let serial: Serial = name.parse().map_err(|_| missing())?;
    let external: Vec<_> =
        hub.directory.external_certificates().into_iter().filter(|shown| shown.serial == serial).collect();
    match (hub.directory.certificate(serial).await, external.as_slice()) {
        (Ok(own), []) => Ok(Named::Own(own)),
        (Err(DirectoryError::Missing(_)), [shown]) => Ok(Named::External(shown.clone())),
        (Err(error), []) => Err(failed(error)),
        _ => Err(Status::new(
            Reason::Conflict,
            format!(
                "several issuers gave the serial {serial}: name the certificate by its key (sha256:…, see `roadstead cert list`)"
            ),
        )),
    }
}

fn external_view(hub: &Hub, shown: &ExternalCertificate, now: OffsetDateTime) -> CertificateView {
    let revoked = hub.directory.revoked_key(&shown.spki);
    let cluster = hub.directory.cluster_by_uid(&shown.cluster);
    let in_use = hub.directory.in_use_external(&shown.cluster).is_some_and(|newest| newest.spki == shown.spki);
    let dead = revoked.is_some() || cluster.is_none() || hub.directory.was_revoked_since(shown);
    let state = match (dead, in_use) {
        (true, _) => CertificateState::Revoked,
        _ if shown.not_after <= now => CertificateState::Expired,
        (false, true) => CertificateState::Current,
        (false, false) => CertificateState::Superseded,
    };
    CertificateView {
        serial: shown.serial.to_string(),
        external_ca: Some(shown.ca.to_string()),
        names: shown.names.clone(),
        cluster: cluster.map(|cluster| cluster.name.to_string()),
        cluster_uid: shown.cluster.to_string(),
        key: shown.spki.to_string(),
        state,
        enrolment: 0,
        generation: 0,
        instance: None,
        issued: Some(shown.not_before),
        not_after: shown.not_after,
        revoked: revoked.as_ref().map(|revoked| revoked.at),
        revoked_by: revoked.as_ref().map(|revoked| revoked.by.clone()),
        revoked_reason: revoked.and_then(|revoked| revoked.reason.clone()),
    }
}

fn view(hub: &Hub, record: &CertificateRecord, now: OffsetDateTime) -> CertificateView {
    let revoked = hub.directory.revoked_certificate(record.serial);
    CertificateView {
        serial: record.serial.to_string(),
        external_ca: None,
        names: Vec::new(),
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
