//! The answer's head from the agent, and the response that the client gets for it.

use std::{future::poll_fn, sync::Arc, task::Poll};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, WARNING},
};
use prost::Message;

use super::{
    ClusterLink, Hub, Judged, ProxyBody, Toward, Upload,
    body::LinkBody,
    cut::Cut,
    failure::{Awaited, Failed, Hop},
    reader::Reader,
};
use crate::{
    hub::links::StreamGuard,
    k8s::{RecordTracker, ResponseContext, Status, sanitise_response, warning},
    transport::RecvHalf,
    wire::generated::ResponseHead,
};

/// The most headers of an answer: far above what any API server sends, and few enough for any client.
const MAX_HEADERS: usize = 256;

/// An answer whose head is here and whose body is not.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) recv: RecvHalf,
}

/// Waits for the head of the answer.
pub(super) async fn await_head(mut recv: RecvHalf) -> Result<Answered, Failed> {
    let mut awaited = Awaited::default();
    loop {
        if let Some(head) = awaited.hear(recv.frame().await)? {
            return decode(head, recv);
        }
    }
}

/// The head of a cluster's answer is hostile input: it must be a status that can be passed on, and valid headers (T104).
fn decode(bytes: Bytes, recv: RecvHalf) -> Result<Answered, Failed> {
    let invalid = |what: &str| Failed::invalid(Hop::Agent, format!("{what} in the answer's head is not valid"));
    let head = ResponseHead::decode(bytes).map_err(|_| invalid("protobuf"))?;
    let status = u16::try_from(head.status).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|s| *s == StatusCode::SWITCHING_PROTOCOLS || !s.is_informational());
    let status = status.filter(|s| s.as_u16() < 600).ok_or_else(|| invalid("status"))?;
    if head.headers.len() > MAX_HEADERS {
        return Err(invalid("the number of headers"));
    }
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for header in head.headers {
        let name = HeaderName::from_bytes(&header.name).map_err(|_| invalid("a header name"))?;
        let value = HeaderValue::from_maybe_shared(header.value).map_err(|_| invalid("a header value"))?;
        headers.append(name, value);
    }
    // hyper frames the answer by it: where a body ends must have one meaning here, too.
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let plain = |value: &HeaderValue| !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
    if !lengths.next().is_none_or(plain) || lengths.next().is_some() {
        return Err(invalid("the length"));
    }
    Ok(Answered { status, headers, recv })
}

/// The response for an answer that is no upgrade.
pub(super) async fn respond(
    hub: &Arc<Hub>,
    judged: &Judged,
    answered: Answered,
    upload: Option<Upload>,
    cut: Cut,
    link: &Arc<ClusterLink>,
) -> Result<Response<ProxyBody>, Status> {
    let Answered { status, mut headers, mut recv } = answered;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failed::invalid(Hop::ApiServer, "101 without an upgrade").status(judged));
    }
    clean(&mut headers, status, judged)?;
    if status == StatusCode::FORBIDDEN && judged.discovery {
        // Everybody may discover, so the agent may not act as this user or group; and kubectl drops the body that says so.
        headers.append(WARNING, warning(&judged.refused_to_act()));
    }
    if judged.upgrade.is_some() {
        // What follows on this connection is not HTTP that anybody checked.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let rest = poll_fn(|cx| Poll::Ready(recv.take_rest(cx))).await;
    let body = match rest.map_err(|error| Failed::lost(Hop::Link, error.to_string()).status(judged))? {
        // Most small answers come whole: nothing of theirs can stall, be cut or have to be watched.
        Some(bytes) => {
            hub.metrics.bytes(Toward::Client, bytes.len());
            ProxyBody::whole(bytes)
        }
        None => {
            let reader = Reader::new(recv, link.outbox.clone());
            let stream = link.read_stream(&reader);
            ProxyBody::link(link_body(hub, judged, (status, &headers), reader, stream, (upload, cut)))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn link_body(
    hub: &Arc<Hub>,
    judged: &Judged,
    (status, headers): (StatusCode, &HeaderMap),
    reader: Arc<Reader>,
    stream: StreamGuard,
    (upload, cut): (Option<Upload>, Cut),
) -> LinkBody {
    let ok = status == StatusCode::OK;
    let watch = ok.then(|| RecordTracker::for_response(&judged.info, headers)).flatten();
    let plain = !headers.contains_key(CONTENT_ENCODING) && !headers.contains_key(CONTENT_LENGTH);
    let log = (ok && plain && judged.info.is_log()).then_some(true);
    let cluster = judged.cluster.name.clone();
    LinkBody { hub: hub.clone(), cluster, reader, cut, upload, stream, watch, log, ending: None }
}

/// Drops and sets headers for the client; refuses answers that must not reach it.
pub(super) fn clean(headers: &mut HeaderMap, status: StatusCode, judged: &Judged) -> Result<(), Status> {
    let name = &judged.cluster.name;
    let context = ResponseContext {
        cluster_prefix: &format!("/clusters/{name}"),
        streaming: judged.info.streaming(),
        upgrade: judged.upgrade.as_ref(),
    };
    sanitise_response(headers, status, &context)
        .map_err(|refused| refused.to_status(name).with_request_id(&judged.request_id))
}
