//! The API of external CAs of agents: add, list, remove; and of the names that stand for clusters: map, unmap, list.

use std::sync::Arc;

use http::StatusCode;

use super::{Answer, clusters::view, failed, json};
use crate::{
    access::Principal,
    hub::{
        Hub,
        api_types::{
            ClusterActed, ExternalCaAdd, ExternalCaList, ExternalCaView, MappedNameList, MappedNameView, NameMap,
        },
        directory::{Cluster, DirectoryError, ExternalCa, ExternalError, MappedName},
        external::{self, RefusedExternal},
    },
    identity::{SanName, SpkiSha256, verify::ExternalRoot},
    k8s::{Reason, Status},
};

pub(super) fn list(hub: &Hub, _: &Principal) -> Answer {
    let items = hub.directory.external_cas().iter().filter_map(|ca| shown(hub, ca)).collect();
    json(StatusCode::OK, &ExternalCaList { items })
}

pub(super) async fn add(hub: &Hub, caller: &Principal, wish: ExternalCaAdd) -> Answer {
    let by = caller.subject.to_string();
    let root = external::add(hub, &wish.certificate, by.clone()).await.map_err(refused)?;
    let (ca, subject) = (root.pin(), root.subject());
    tracing::warn!(%ca, subject, not_after = %root.not_after(), by, "external CA is trusted for agents");
    let known = hub.directory.external_cas().into_iter().find(|known| known.pin == ca);
    json(StatusCode::CREATED, &known.and_then(|known| shown(hub, &known)))
}

pub(super) async fn remove(hub: &Hub, caller: &Principal, pin: &str) -> Answer {
    let pin = named(pin)?;
    let known = hub.directory.external_cas().into_iter().find(|known| known.pin == pin);
    let view = known.and_then(|known| shown(hub, &known));
    let links = external::remove(hub, &pin).await.map_err(refused)?;
    tracing::warn!(ca = %pin, by = %caller.subject, links, "external CA is trusted no more");
    json(StatusCode::OK, &view.map(|view| ExternalCaView { links_closed: links as u64, ..view }))
}

fn shown(hub: &Hub, ca: &ExternalCa) -> Option<ExternalCaView> {
    let root = ExternalRoot::stored(&ca.pem).ok()?;
    let names = hub.directory.mapped_names(None).iter().filter(|mapped| mapped.ca == ca.pin).count();
    Some(ExternalCaView {
        ca: ca.pin.to_string(),
        subject: root.subject().to_owned(),
        not_after: root.not_after(),
        added: ca.at,
        by: ca.by.clone(),
        names: names as u64,
        links_closed: 0,
    })
}

pub(super) async fn map(hub: &Hub, caller: &Principal, cluster: &str, wish: NameMap) -> Answer {
    let (cluster, (ca, name)) = (known(hub, cluster)?, meant(&wish)?);
    let by = caller.subject.to_string();
    let links = external::map(hub, &cluster, ca, name.clone(), by.clone()).await.map_err(refused)?;
    tracing::warn!(cluster = &*cluster.name, uid = %cluster.uid, %ca, %name, by, links, "name mapped to cluster");
    acted(hub, &cluster, links)
}

pub(super) async fn unmap(hub: &Hub, caller: &Principal, cluster: &str, wish: NameMap) -> Answer {
    let (cluster, (ca, name)) = (known(hub, cluster)?, meant(&wish)?);
    let links = external::unmap(hub, &cluster, &ca, &name).await.map_err(refused)?;
    let by = &caller.subject;
    tracing::warn!(cluster = &*cluster.name, uid = %cluster.uid, %ca, %name, %by, links, "name is of the cluster no more");
    acted(hub, &cluster, links)
}

pub(super) fn names(hub: &Hub, _: &Principal) -> Answer {
    let name = |mapped: &Arc<MappedName>| MappedNameView {
        cluster: hub.directory.cluster_by_uid(&mapped.cluster).map(|cluster| cluster.name.to_string()),
        ..name_view(mapped)
    };
    json(StatusCode::OK, &MappedNameList { items: hub.directory.mapped_names(None).iter().map(name).collect() })
}

/// One name as it is shown with its cluster.
pub(super) fn name_view(mapped: &Arc<MappedName>) -> MappedNameView {
    MappedNameView {
        ca: mapped.ca.to_string(),
        uri: mapped.name.as_uri().map(str::to_owned),
        dns: mapped.name.as_dns().map(str::to_owned),
        cluster: None,
        by: mapped.by.clone(),
    }
}

fn known(hub: &Hub, name: &str) -> Result<Arc<Cluster>, Status> {
    hub.directory.cluster(name).ok_or_else(|| failed(DirectoryError::Missing(format!("cluster {name:?}"))))
}

fn named(pin: &str) -> Result<SpkiSha256, Status> {
    pin.parse().map_err(|error| Status::new(Reason::Invalid, format!("ca: {error}")))
}

/// The CA and the one name.
fn meant(wish: &NameMap) -> Result<(SpkiSha256, SanName), Status> {
    let invalid = |message: String| Status::new(Reason::Invalid, message);
    let name = match (&wish.uri, &wish.dns) {
        (Some(uri), None) => SanName::uri(uri).map_err(|error| invalid(format!("uri: {error}")))?,
        (None, Some(dns)) => SanName::dns(dns).map_err(|error| invalid(format!("dns: {error}")))?,
        _ => return Err(invalid("exactly one of uri and dns must be given".to_owned())),
    };
    Ok((named(&wish.ca)?, name))
}

fn acted(hub: &Hub, cluster: &Cluster, links_closed: usize) -> Answer {
    json(StatusCode::OK, &ClusterActed { cluster: view(hub, cluster), links_closed: links_closed as u64 })
}

fn refused(error: RefusedExternal) -> Status {
    let message = error.to_string();
    let reason = match error {
        RefusedExternal::Root(_)
        | RefusedExternal::OwnKey(_)
        | RefusedExternal::OwnName(_)
        | RefusedExternal::Verifier
        | RefusedExternal::Known(ExternalError::TooManyCas | ExternalError::TooManyNames { .. }) => Reason::Invalid,
        RefusedExternal::Known(ExternalError::Directory(error)) => return failed(error),
        RefusedExternal::Known(ExternalError::Exists(_) | ExternalError::Taken { .. }) => Reason::AlreadyExists,
        RefusedExternal::Known(ExternalError::NoCa(_) | ExternalError::NotMapped { .. }) => Reason::NotFound,
        RefusedExternal::Pki(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the authorities cannot be read");
            Reason::InternalError
        }
    };
    Status::new(reason, message)
}
