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
use http_body::Body;
use hyper::{body::Incoming, upgrade::OnUpgrade};
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
pub(super) async fn proxy(hub: &Arc<Hub>, caller: Caller, mut request: Request<Incoming>) -> Response<ProxyBody> {
    let start = Instant::now();
    let judged = match judge(hub, &caller, &request) {
        Ok(judged) => judged,
        Err(refused) => {
            hub.metrics.refused_request();
            return refused.into_response();
        }
    };
    hub.metrics.phase(Phase::Decide, start.elapsed());
    let (cluster, verb) = (judged.cluster.clone(), judged.verb());
    let sent = match judged.upgrade {
        Some(_) => Sent::Upgrade(hyper::upgrade::on(&mut request)),
        None if request.body().is_end_stream() => Sent::Nothing,
        None => Sent::Body(request.into_body()),
    };
    let response = match exchange(hub, caller, judged, sent).await {
        Ok(response) => response,
        Err(status) => failure::respond(&status),
    };
    hub.metrics.request(&cluster.name, verb, response.status().as_u16());
    response
}

/// What the client sends after the head.
enum Sent {
    Nothing,
    Body(Incoming),
    Upgrade(OnUpgrade),
}

async fn exchange(
    hub: &Arc<Hub>,
    caller: Caller,
    mut judged: Box<Judged>,
    sent: Sent,
) -> Result<Response<ProxyBody>, Status> {
    let link = route::find(hub, &judged)?;
    link.relieve();
    // A drain waits for requests whose answer has not begun, too.
    let _under_way = link.count_stream();
    let opening = Instant::now();
    let opened = link.link.open(Kind::Proxy(Proxy {})).await;
    let (mut send, recv) = opened.map_err(|error| Failed::not_sent(error).status(&judged))?;
    hub.metrics.phase(Phase::Open, opening.elapsed());
    queue_head(&mut send, &mut judged, !matches!(sent, Sent::Body(_)))?;
    let upload = match sent {
        Sent::Nothing => finish(send, &judged).await.map(|()| None)?,
        Sent::Body(body) => Some(Upload::start(hub, body, send)),
        // Boxed, as everything that is rare: each request would carry its size.
        Sent::Upgrade(client) => {
            return Box::pin(upgrade::exchange(hub, caller, *judged, link, (send, recv), client)).await;
        }
    };
    let cut = Cut::new(&caller, judged.long_running);
    let asked = Instant::now();
    let answered = head_in_time(recv, &judged, &link).await?;
    hub.metrics.phase(Phase::Answer, asked.elapsed());
    answer::respond(hub, &judged, answered, upload, cut, &link).await
}

/// Queues the head: what is sent next takes it along.
fn queue_head(send: &mut SendHalf, judged: &mut Judged, bodyless: bool) -> Result<(), Status> {
    let head = judged.wire_head(bodyless);
    let bytes = head.encoded_len();
    if bytes > MAX_PAYLOAD {
        return Err(Failed::head_too_large(bytes).status(judged));
    }
    send.queue_message(FrameKind::Head, &head);
    Ok(())
}

async fn finish(send: SendHalf, judged: &Judged) -> Result<(), Status> {
    send.finish().await.map_err(|error| Failed::lost(Hop::Link, error.to_string()).status(judged))
}

async fn head_in_time(recv: RecvHalf, judged: &Judged, link: &ClusterLink) -> Result<Answered, Status> {
    let head = await_head(recv);
    tokio::pin!(head);
    let asked = Instant::now();
    let answered = loop {
        match timeout(defaults::STALLED, &mut head).await {
            Ok(answered) => break answered,
            Err(_) if !judged.long_running && asked.elapsed() >= defaults::RESPONSE_HEAD => break Err(Failed::late()),
            // Perhaps the answer is held up by clients that do not read theirs.
            Err(_) => link.relieve(),
        }
    };
    answered.map_err(|failed| failed.because(link.cut_because()).status(judged))
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
