//! A request's body on its way to the agent, beside the wait for the answer.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::task::AbortOnDropHandle;

use super::{Hub, Toward};
use crate::{transport::SendHalf, wire::StreamCode};

/// A running upload. Dropped, it is aborted, and the stream's sending half with it is cut.
pub(super) struct Upload {
    _task: AbortOnDropHandle<()>,
}

impl Upload {
    pub(super) fn start(hub: &Arc<Hub>, body: Incoming, send: SendHalf) -> Self {
        let task = hub.tasks.spawn(pump(hub.clone(), body, send));
        Self { _task: AbortOnDropHandle::new(task) }
    }
}

async fn pump(hub: Arc<Hub>, mut body: Incoming, mut send: SendHalf) {
    // The head does not wait for the body.
    if send.flush().await.is_err() {
        return;
    }
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // The client went away in the middle: the API server must not take the part for the whole.
            return send.reset(StreamCode::Cancelled);
        };
        if let Ok(data) = frame.into_data() {
            hub.metrics.bytes(Toward::Cluster, data.len());
            send.queue_data(&data);
            if send.flush().await.is_err() {
                // The agent wants no more: its answer says why.
                return;
            }
        }
    }
    let _ = send.finish().await;
}
