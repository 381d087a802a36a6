//! The hub's own API: clusters, tokens, status. Errors are Kubernetes `Status` documents, as everywhere.

mod attest;
mod backup;
mod ca;
mod certificates;
mod clusters;
mod external;
mod join_tokens;
mod revocation;
mod state;
mod tokens;

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use time::{Duration, OffsetDateTime};
use tokio::time::{Instant, timeout};

use super::{
    Hub,
    api_types::{CLUSTER_LOCKED, ClusterCounts, ClusterList, EnrolRequest, HubStatus, NonceGiven, WhoAmI},
    directory::{Denied, DirectoryError, JoinError, RenewError},
    enrol::{self, AccountError, EnrolError, NonceError},
    metrics::Enrolment,
    proxy::{ProxyBody, respond},
    source::Source,
};
use crate::{
    access::Principal,
    defaults,
    k8s::{Reason, Status},
};

type Answer = Result<Response<ProxyBody>, Status>;

/// Answers a request below `/api/v1/`.
pub(super) async fn serve(hub: &Hub, caller: &Principal, request: Request<Incoming>) -> Response<ProxyBody> {
    dispatch(hub, caller, request).await.unwrap_or_else(|status| respond(&status))
}

async fn dispatch(hub: &Hub, caller: &Principal, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().trim_start_matches("/api/v1/").to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    match (request.method(), parts.as_slice()) {
        (&Method::GET, ["whoami"]) => json(StatusCode::OK, &whoami(caller)),
        (&Method::GET, ["status"]) => json(StatusCode::OK, &status(hub, caller)),
        (&Method::GET, ["clusters"]) => json(StatusCode::OK, &ClusterList { items: clusters::visible(hub, caller) }),
        (&Method::GET, ["clusters", name]) => clusters::show(hub, caller, name),
        (&Method::POST, ["clusters"]) => clusters::add(hub, admin(caller)?, read(request).await?).await,
        (&Method::DELETE, ["clusters", name]) => clusters::remove(hub, admin(caller)?, name).await,
        (&Method::GET, ["clusters", name, "tokens"]) => join_tokens::list(hub, admin(caller)?, name).await,
        (&Method::POST, ["clusters", name, "tokens"]) => {
            join_tokens::create(hub, admin(caller)?, name, read(request).await?).await
        }
        (&Method::DELETE, ["clusters", name, "tokens", id]) => join_tokens::revoke(hub, admin(caller)?, name, id).await,
        (&Method::POST, ["clusters", name, "lock"]) => {
            revocation::lock(hub, admin(caller)?, name, read(request).await?).await
        }
        (&Method::POST, ["clusters", name, "unlock"]) => revocation::unlock(hub, admin(caller)?, name).await,
        (&Method::POST, ["clusters", name, "revoke"]) => {
            revocation::revoke(hub, admin(caller)?, name, read(request).await?).await
        }
        (&Method::GET, ["certificates"]) => certificates::list(hub, admin(caller)?, request.uri().query()).await,
        (&Method::GET, ["certificates", serial]) => certificates::show(hub, admin(caller)?, serial).await,
        (&Method::POST, ["certificates", serial, "revoke"]) => {
            certificates::revoke(hub, admin(caller)?, serial, read(request).await?).await
        }
        (&Method::GET, ["clusters", name, "jwks"]) => attest::show(hub, admin(caller)?, name),
        (&Method::POST, ["clusters", name, "jwks"]) => {
            attest::set(hub, admin(caller)?, name, read(request).await?).await
        }
        (&Method::POST, ["clusters", name, "jwks", "accept"]) => attest::accept(hub, admin(caller)?, name).await,
        (&Method::GET, ["tokens"]) => tokens::list(hub, admin(caller)?),
        (&Method::POST, ["tokens"]) => tokens::create(hub, admin(caller)?, read(request).await?).await,
        (&Method::DELETE, ["tokens", id]) => tokens::revoke(hub, admin(caller)?, id).await,
        (&Method::POST, ["backup"]) => backup::make(hub, admin(caller)?).await,
        (&Method::POST, ["restore", "acknowledge"]) => backup::acknowledge(hub, admin(caller)?).await,
        (&Method::GET, ["ca"]) => {
            admin(caller)?;
            ca::status(hub).await
        }
        (&Method::POST, ["ca", "root", action]) => ca::root(hub, admin(caller)?, action, request).await,
        (&Method::GET, ["ca", "external"]) => external::list(hub, admin(caller)?),
        (&Method::POST, ["ca", "external"]) => external::add(hub, admin(caller)?, read(request).await?).await,
        (&Method::DELETE, ["ca", "external", pin]) => external::remove(hub, admin(caller)?, pin).await,
        (&Method::GET, ["names"]) => external::names(hub, admin(caller)?),
        (&Method::POST, ["clusters", name, "map"]) => {
            external::map(hub, admin(caller)?, name, read(request).await?).await
        }
        (&Method::POST, ["clusters", name, "unmap"]) => {
            external::unmap(hub, admin(caller)?, name, read(request).await?).await
        }
        (&Method::POST, ["ca", step]) => ca::step(hub, admin(caller)?, step, read(request).await?).await,
        (
            _,
            ["whoami" | "status" | "clusters" | "certificates" | "tokens" | "backup" | "ca" | "names", ..]
            | ["restore", "acknowledge"],
        ) => {
            Err(Status::new(Reason::MethodNotAllowed, format!("{} is not allowed on /api/v1/{path}", request.method())))
        }
        _ => Err(Status::new(Reason::NotFound, format!("/api/v1/{path} does not exist"))),
    }
}

/// Answers `POST /enrol/v1` and `GET /enrol/v1/nonce`.
pub(super) async fn enrol(hub: &Hub, request: Request<Incoming>, from: IpAddr) -> Response<ProxyBody> {
    let source = Source::from(from);
    if let Err(wait) = hub.attempts.take(source, Instant::now()) {
        hub.metrics.enrolment(Enrolment::Limited);
        let status = Status::new(Reason::TooManyRequests, "too many enrolments from this address have failed lately");
        return respond(&status.with_retry_after(u32::try_from(wait.as_secs() + 1).ok()));
    }
    if request.uri().path().ends_with("/nonce") {
        hub.attempts.give_back(source, Instant::now());
        return nonce(hub, request.method(), from).unwrap_or_else(|status| respond(&status));
    }
    let answer = enrolled(hub, request, from).await;
    let refused = answer.as_ref().is_err_and(|status| status.code().is_client_error());
    hub.metrics.enrolment(match &answer {
        Ok(_) => Enrolment::Done,
        Err(_) if refused => Enrolment::Refused,
        Err(_) => Enrolment::Failed,
    });
    if !refused {
        hub.attempts.give_back(source, Instant::now());
    }
    answer.unwrap_or_else(|status| respond(&status))
}

/// What a proof is to be bound to. Costs a hash, and nothing is kept.
fn nonce(hub: &Hub, method: &Method, from: IpAddr) -> Answer {
    if method != Method::GET {
        return Err(Status::new(Reason::MethodNotAllowed, "a nonce is asked for with GET"));
    }
    let nonce = hub.nonces.give(from, OffsetDateTime::now_utc());
    json(StatusCode::OK, &NonceGiven { nonce, trust_domain: hub.pki.agents().trust_domain().to_string() })
}

async fn enrolled(hub: &Hub, request: Request<Incoming>, from: IpAddr) -> Answer {
    if request.method() != Method::POST {
        return Err(Status::new(Reason::MethodNotAllowed, "enrolment is a POST"));
    }
    let request: EnrolRequest = read(request).await?;
    match enrol::enrol(hub, &request, from).await {
        Ok(enrolled) => json(StatusCode::OK, &enrolled),
        Err(error) => Err(enrol_status(error, from)),
    }
}

fn enrol_status(error: EnrolError, from: IpAddr) -> Status {
    match error {
        EnrolError::Csr(_) | EnrolError::Form => Status::new(Reason::BadRequest, error.to_string()),
        EnrolError::Join(JoinError::Refused(why)) => {
            tracing::warn!(why, %from, "join token refused");
            Status::new(Reason::Unauthorized, error.to_string())
        }
        EnrolError::Join(JoinError::Denied(ref denied)) => {
            tracing::warn!(%denied, "enrolment refused");
            let status = Status::new(Reason::Forbidden, error.to_string());
            if let RenewError::Denied(Denied::Locked(_)) = denied {
                status.with_cause(CLUSTER_LOCKED, "")
            } else {
                status
            }
        }
        EnrolError::Account(AccountError::Nonce(NonceError::Full)) => {
            Status::new(Reason::TooManyRequests, error.to_string()).with_retry_after(Some(1))
        }
        EnrolError::Account(ref refused) => {
            let why = if let AccountError::Unverified(why) = refused { why.clone() } else { refused.to_string() };
            tracing::warn!(why, %from, "service account token refused");
            Status::new(Reason::Unauthorized, error.to_string())
        }
        EnrolError::Join(JoinError::Directory(error)) | EnrolError::Issue(error) => failed(error),
    }
}

fn admin(caller: &Principal) -> Result<&Principal, Status> {
    if caller.admin {
        Ok(caller)
    } else {
        let message = format!("{} may not manage the hub: it needs a token made with --admin", caller.subject);
        Err(Status::new(Reason::Forbidden, message))
    }
}

fn whoami(caller: &Principal) -> WhoAmI {
    WhoAmI {
        subject: caller.subject.to_string(),
        groups: caller.subject.groups().map(str::to_owned).collect(),
        admin: caller.admin,
        expires: caller.expires,
    }
}

fn status(hub: &Hub, caller: &Principal) -> HubStatus {
    let clusters = clusters::visible(hub, caller);
    let connected = clusters.iter().filter(|c| c.connected).count();
    HubStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hub: hub.public_url.to_string(),
        started: hub.started,
        clusters: ClusterCounts { total: clusters.len() as u64, connected: connected as u64 },
        restored: hub.restored.last().filter(|restore| restore.acknowledged.is_none()).map(|restore| restore.view()),
    }
}

fn ttl(wish: Option<u64>, default: std::time::Duration, most: std::time::Duration) -> Result<Duration, Status> {
    let wish = wish.map_or(default, std::time::Duration::from_secs);
    if wish.is_zero() || wish > most {
        let message = format!("ttlSeconds must be 1 to {}, not {}", most.as_secs(), wish.as_secs());
        return Err(Status::new(Reason::Invalid, message));
    }
    Duration::try_from(wish).map_err(|_| Status::new(Reason::Invalid, "ttlSeconds is too large"))
}

fn failed(error: DirectoryError) -> Status {
    match error {
        DirectoryError::NameTaken(_) | DirectoryError::TooManyTokens { .. } => {
            Status::new(Reason::AlreadyExists, error.to_string())
        }
        DirectoryError::Missing(_) => Status::new(Reason::NotFound, error.to_string()),
        DirectoryError::Busy => Status::new(Reason::ServiceUnavailable, error.to_string()).with_retry_after(Some(1)),
        DirectoryError::Store(_) | DirectoryError::Commit(_) | DirectoryError::Record { .. } => {
            tracing::error!(error = &error as &dyn std::error::Error, "store failed");
            let message = if error.is_disk_full() {
                "there is no space left on the hub's disk: nothing was changed"
            } else {
                "the hub cannot read or write its store now: see its log"
            };
            Status::new(Reason::InternalError, message)
        }
    }
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Status> {
    let body = Limited::new(request.into_body(), defaults::API_BODY).collect();
    let bytes = match timeout(defaults::API_REQUEST, body).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(_)) => {
            let message = format!("the request body is cut or larger than {} bytes", defaults::API_BODY);
            return Err(Status::new(Reason::RequestEntityTooLarge, message));
        }
        Err(_) => return Err(Status::new(Reason::BadRequest, "the request body did not arrive in time")),
    };
    serde_json::from_slice(&bytes).map_err(|error| Status::new(Reason::BadRequest, format!("request body: {error}")))
}

fn json(code: StatusCode, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).map_err(|error| Status::new(Reason::InternalError, error.to_string()))?;
    let mut response = Response::new(ProxyBody::full(Bytes::from(body)));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
