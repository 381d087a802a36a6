//! The agent's own credential: a token that is read again as it rotates, or none when TLS carries a certificate.

use std::sync::{Mutex, MutexGuard};

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
    config: kube::Config,
    state: Mutex<State>,
}

struct State {
    /// kube's layer, which keeps what it read for a minute; `None` when the agent needs no header.
    source: Option<Source>,
    made: Instant,
    cached: Option<(Instant, HeaderValue)>,
}

impl Credential {
    pub(super) fn new(config: &kube::Config) -> Result<Self, SetupError> {
        let state = State { source: source(config)?, made: Instant::now(), cached: None };
        Ok(Self { config: config.clone(), state: Mutex::new(state) })
    }

    /// The header, at most [`defaults::CREDENTIAL_REFRESH`] and kube's minute old; `None` when the agent needs none.
    pub(super) async fn header(&self) -> Result<Option<HeaderValue>, ConnectError> {
        let source = {
            let state = self.state();
            let Some(source) = &state.source else { return Ok(None) };
            if let Some((read, header)) = &state.cached
                && read.elapsed() < defaults::CREDENTIAL_REFRESH
            {
                return Ok(Some(header.clone()));
            }
            source.clone()
        };
        let asked = Box::pin(source.oneshot(Request::new(Empty::new()))).await;
        let answer = asked.map_err(|error| ConnectError::Credential(error.to_string()))?;
        let Some(header) = answer.into_body() else { return Ok(None) };
        self.state().cached = Some((Instant::now(), header.clone()));
        Ok(Some(header))
    }

    /// The API server answered 401: whatever is cached is read or made again by the next request, as client-go does. Not more
    /// often than every [`defaults::CREDENTIAL_REFRESH`]: an exec plugin may be slow, and a proxied application may answer 401, too.
    pub(super) fn rejected(&self) {
        let mut state = self.state();
        if state.source.is_none() || state.made.elapsed() < defaults::CREDENTIAL_REFRESH {
            return;
        }
        tracing::warn!("the API server answered 401: reading the agent's own credential again");
        match source(&self.config) {
            Ok(source) => *state = State { source, made: Instant::now(), cached: None },
            Err(error) => tracing::error!(%error, "cannot read the agent's own credential again"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }
}

fn source(config: &kube::Config) -> Result<Option<Source>, SetupError> {
    let layer = config.auth_layer().map_err(SetupError::Credential)?;
    Ok(layer.map(|layer| {
        let read = service_fn(|request: Request<Empty<Bytes>>| async move {
            Ok::<_, BoxError>(Response::new(request.headers().get(AUTHORIZATION).cloned()))
        });
        BoxCloneSyncService::new(layer.layer(read))
    }))
}
