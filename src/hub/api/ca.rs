//! The API of the authorities: where a rotation stands, and its steps.

mod root;

use http::StatusCode;
use time::OffsetDateTime;

pub(super) use self::root::root;
use super::{Answer, json};
use crate::{
    access::Principal,
    hub::{
        Hub,
        api_types::{CA_NOT_READY, CaAuthority, CaCounts, CaDistrusted, CaLaggard, CaStatus, CaStep},
        pki::{Keys, PkiError, StepError},
        rotation,
    },
    identity::{
        Authority, AuthorityKind,
        rotation::{Acceptance, Generation, Member, Refused, Step},
    },
    k8s::{Reason, Status},
};

pub(super) async fn status(hub: &Hub) -> Answer {
    let keys = hub.pki.keys();
    let distrusted = hub.pki.distrusted(OffsetDateTime::now_utc()).await.map_err(|error| failed(&error))?;
    let distrusted = distrusted.into_iter().map(|(pin, since)| CaDistrusted { pin: pin.to_string(), since }).collect();
    let (members, rotation) = (rotation::members(hub, &keys), &keys.rotation);
    let clusters = hub.directory.clusters();
    let named = |wanted: &dyn Fn(&str) -> bool| {
        let names = clusters.iter().filter(|c| wanted(c.uid.as_str())).map(|c| c.name.to_string());
        names.collect::<Vec<_>>()
    };
    let laggards = rotation.laggards(&members).into_iter().map(|l| CaLaggard {
        name: l.name,
        connected: l.live,
        reason: l.lack.as_str().to_owned(),
    });
    let presented = keys.hub().pin();
    let mut pins: Vec<_> = keys.pins().iter().collect();
    pins.sort_by_key(|pin| *pin != presented);
    let status = CaStatus {
        phase: rotation.phase().to_string(),
        revision: rotation.revision(),
        since: rotation.since(),
        tainted: rotation.tainted(),
        revoked: rotation.revoked(),
        authorities: rotation::authorities(&keys)
            .map(|(kind, g, authority)| shown(&keys, kind, g, authority))
            .collect(),
        counts: counts(&members),
        laggards: laggards.collect(),
        accepted_lost: named(&|uid| rotation.has_accepted(uid)),
        pending: named(&|uid| !members.iter().any(|m| m.uid == uid)),
        hub_ca_pins: pins.iter().map(ToString::to_string).collect(),
        hub_ca: keys.roots_pem(AuthorityKind::Hub),
        distrusted,
    };
    json(StatusCode::OK, &status)
}

pub(super) async fn step(hub: &Hub, caller: &Principal, name: &str, wish: CaStep) -> Answer {
    let CaStep { revision, accept_lost, accept_lost_count } = wish;
    let offline = usize::try_from(accept_lost_count.unwrap_or(0)).unwrap_or(usize::MAX);
    let gives_up = !accept_lost.is_empty() || accept_lost_count.is_some();
    let accept = Acceptance { names: accept_lost, offline };
    let step = match name {
        "activate" => Step::Activate(accept),
        "revoke" => Step::Revoke(accept),
        _ if gives_up => {
            return Err(Status::new(
                Reason::Invalid,
                format!("{name} gives nobody up: acceptLost is for activate and revoke"),
            ));
        }
        "prepare" => Step::Prepare,
        "rollback" => Step::Rollback,
        "taint" => Step::Taint,
        _ => return Err(Status::new(Reason::NotFound, format!("/api/v1/ca/{name} does not exist"))),
    };
    let taken = rotation::step(hub, &step, revision, &caller.subject.to_string()).await;
    taken.map_err(|error| match error {
        StepError::Refused(Refused::Laggards { ref laggards, .. }) => {
            tracing::info!(step = name, laggards = laggards.len(), by = %caller.subject, "a step of the rotation was refused");
            let status = Status::new(Reason::Conflict, error.to_string());
            laggards.iter().fold(status, |status, laggard| status.with_cause(CA_NOT_READY, laggard.to_string()))
        }
        StepError::Refused(Refused::Unknown(_)) => Status::new(Reason::NotFound, error.to_string()),
        StepError::Refused(Refused::Phase { .. } | Refused::NoWayBack(_) | Refused::Stale { .. })
        | StepError::Conflict => Status::new(Reason::Conflict, error.to_string()),
        StepError::Pki(error @ PkiError::RootNeeded(..)) => Status::new(Reason::Conflict, error.to_string()),
        StepError::Pki(error) => failed(&error),
    })?;
    status(hub).await
}

fn shown(keys: &Keys, kind: AuthorityKind, generation: Generation, authority: &Authority) -> CaAuthority {
    let rotation = &keys.rotation;
    let (trusted, in_use) = match kind {
        AuthorityKind::Agents => (rotation.trusted_agents(), rotation.signs()),
        AuthorityKind::Hub => (rotation.trusted_hubs(), rotation.presents()),
    };
    CaAuthority {
        authority: rotation::kind_word(kind).to_owned(),
        generation: rotation::generation_word(generation).to_owned(),
        pin: authority.pin().to_string(),
        trusted: trusted.contains(&generation),
        in_use: in_use == generation,
        root_not_after: authority.root_ends(),
        issuing_not_after: authority.issuing_ends(),
        root_key_offline: authority.is_root_offline(),
        issuing_due: Some(authority.issuing_due()),
    }
}

fn counts(members: &[Member]) -> CaCounts {
    let count = |holds: &dyn Fn(&Member) -> bool| members.iter().filter(|m| holds(m)).count() as u64;
    CaCounts {
        enrolled: members.len() as u64,
        connected: count(&|m| m.live),
        acknowledged: count(&|m| m.told),
        on_current: count(&|m| m.is_on(Generation::Current)),
        on_next: count(&|m| m.is_on(Generation::Next)),
    }
}

fn failed(error: &PkiError) -> Status {
    tracing::error!(error = error as &dyn std::error::Error, "the authorities cannot be read or changed");
    Status::new(Reason::InternalError, "the hub cannot read or change its authorities now: see its log")
}
