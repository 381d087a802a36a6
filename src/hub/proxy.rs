//! `/clusters/<name>/…`: one request on its way to a cluster and back.

mod answer;
mod body;
mod cut;
mod failure;
mod reader;
mod request;
mod route;
mod upgrade;
mod upload;

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use prost::Message;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

pub(super) use self::body::ProxyBody;
use self::{
    answer::{Answered, await_head},
    cut::Cut,
    failure::{Failed, Hop},
    request::{Judged, judge},
    upload::Upload,
};
pub(super) use self::{
    failure::respond,
    reader::{Reader, relieve},
};
use super::{
    Hub,
    links::ClusterLink,
    metrics::{Phase, Toward},
};
use crate::{
    access::Principal,
    defaults,
    k8s::Status,
    transport::{RecvHalf, SendHalf},
    wire::{
        FrameKind, MAX_PAYLOAD,
        generated::{Proxy, open::Kind},
    },
};

/// What the gateway knows about the caller.
pub(super) struct Caller {
    /// Who it is.
    pub(super) principal: Principal,
    /// Ends when its token is revoked.
    pub(super) revoked: tokio_util::sync::CancellationToken,
}

/// Answers a request for a cluster; every refusal is a Kubernetes `Status`.
pub(super) async fn proxy(hub: &Arc<Hub>, caller: Caller, request: Request<Incoming>) -> Response<ProxyBody> {
    let start = Instant::now();
    let judged = match judge(hub, &caller, &request) {
        Ok(judged) => judged,
        Err(refused) => {
            hub.metrics.refused_request();
            return refused.into_response();
        }
    };
    hub.metrics.phase(Phase::Decide, start.elapsed());
    let (cluster, verb) = (Arc::<str>::from(judged.cluster.name.as_str()), judged.verb());
    let response = match exchange(hub, caller, judged, request).await {
        Ok(response) => response,
        Err(status) => failure::respond(&status),
    };
    hub.metrics.request(&cluster, verb, response.status().as_u16());
    response
}

async fn exchange(
    hub: &Arc<Hub>,
    caller: Caller,
    mut judged: Judged,
    mut request: Request<Incoming>,
) -> Result<Response<ProxyBody>, Status> {
    let link = route::find(hub, &judged)?;
    link.relieve();
    // A drain waits for requests whose answer has not begun, too.
    let _under_way = link.count_stream();
    let opening = Instant::now();
    let opened = link.link.open(Kind::Proxy(Proxy {})).await;
    let (mut send, recv) = opened.map_err(|error| Failed::not_sent(error).status(&judged))?;
    hub.metrics.phase(Phase::Open, opening.elapsed());
    let bodyless = http_body::Body::is_end_stream(request.body()) || judged.upgrade.is_some();
    send_head(&mut send, &mut judged, bodyless).await?;
    if judged.upgrade.is_some() {
        let client = hyper::upgrade::on(&mut request);
        return upgrade::exchange(hub, caller, judged, link, (send, recv), client).await;
    }
    let cut = Cut::new(&caller, judged.long_running);
    let upload = if bodyless {
        finish(send, &judged).await?;
        None
    } else {
        Some(Upload::start(hub, request.into_body(), send))
    };
    let asked = Instant::now();
    let answered = head_in_time(recv, &judged, &link).await?;
    hub.metrics.phase(Phase::Answer, asked.elapsed());
    answer::respond(hub, judged, answered, upload, cut, &link)
}

/// Sends the head: with it the request may reach the cluster.
async fn send_head(send: &mut SendHalf, judged: &mut Judged, bodyless: bool) -> Result<(), Status> {
    let head = judged.wire_head(bodyless);
    let bytes = head.encode_to_vec();
    if bytes.len() > MAX_PAYLOAD {
        return Err(Failed::head_too_large(bytes.len()).status(judged));
    }
    send.queue(FrameKind::Head, &bytes);
    if bodyless && judged.upgrade.is_none() {
        // END goes with the head, in `finish`.
        return Ok(());
    }
    send.flush().await.map_err(|error| Failed::lost(Hop::Link, error.to_string()).status(judged))
}

async fn finish(send: SendHalf, judged: &Judged) -> Result<(), Status> {
    send.finish().await.map_err(|error| Failed::lost(Hop::Link, error.to_string()).status(judged))
}

async fn head_in_time(recv: RecvHalf, judged: &Judged, link: &ClusterLink) -> Result<Answered, Status> {
    let waiting = async {
        let head = await_head(recv);
        tokio::pin!(head);
        loop {
            match timeout(defaults::STALLED, &mut head).await {
                Ok(answered) => return answered,
                // Perhaps the answer is held up by clients that do not read theirs.
                Err(_) => link.relieve(),
            }
        }
    };
    let answered = if judged.long_running {
        waiting.await
    } else {
        timeout(defaults::RESPONSE_HEAD, waiting).await.unwrap_or_else(|_| Err(Failed::late()))
    };
    answered.map_err(|failed| failed.status(judged))
}

/// The time that requests are judged by.
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// What the simulation of the rules uses.
#[cfg(test)]
pub(super) mod rules {
    pub(crate) use super::{
        body::Next,
        failure::{Asked, Awaited, Failed},
    };
}
