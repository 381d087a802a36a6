//! The agent's own credential: a token that is read again as it rotates, or none when TLS carries a certificate.

use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::Empty;
use kube::client::ConfigExt;
use tokio::time::Instant;
use tower::{BoxError, Layer, ServiceExt, service_fn, util::BoxCloneSyncService};

use super::{ConnectError, SetupError};
use crate::defaults;

/// Answers with the `Authorization` that kube's own layer set: it knows every way that a kubeconfig has.
type Source = BoxCloneSyncService<Request<Empty<Bytes>>, Response<Option<HeaderValue>>, BoxError>;

pub(super) struct Credential {
    source: Option<Source>,
    cached: Mutex<Option<(Instant, HeaderValue)>>,
}

impl Credential {
    pub(super) fn new(config: &kube::Config) -> Result<Self, SetupError> {
        let layer = config.auth_layer().map_err(SetupError::Credential)?;
        let source = layer.map(|layer| {
            let read = service_fn(|request: Request<Empty<Bytes>>| async move {
                Ok::<_, BoxError>(Response::new(request.headers().get(AUTHORIZATION).cloned()))
            });
            BoxCloneSyncService::new(layer.layer(read))
        });
        Ok(Self { source, cached: Mutex::new(None) })
    }

    /// The header, at most [`defaults::CREDENTIAL_REFRESH`] old; `None` when the agent needs none.
    pub(super) async fn header(&self) -> Result<Option<HeaderValue>, ConnectError> {
        let Some(source) = &self.source else { return Ok(None) };
        if let Some((read, header)) = &*self.cached.lock().expect("no panic while it is held")
            && read.elapsed() < defaults::CREDENTIAL_REFRESH
        {
            return Ok(Some(header.clone()));
        }
        let asked = source.clone().oneshot(Request::new(Empty::new())).await;
        let answer = asked.map_err(|error| ConnectError::Credential(error.to_string()))?;
        let Some(header) = answer.into_body() else { return Ok(None) };
        *self.cached.lock().expect("no panic while it is held") = Some((Instant::now(), header.clone()));
        Ok(Some(header))
    }
}
