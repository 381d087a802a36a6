//! The agent's life: identity, dial, serve, dial again.

mod given;
mod identity;
mod moored;
mod renewal;
mod reread;

use std::{
    net::SocketAddr,
    sync::{Arc, Once},
    time::Duration,
};

use time::OffsetDateTime;
use tokio::{
    net::lookup_host,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    account,
    admin::{Health, serve_admin},
    enrol::EnrolError,
    link::{ClusterSays, Live},
    redial::{Redial, Shut, jitter},
    settings::{ApiServerFrom, Settings},
    state::{Identity, State, StateError},
    trust::Trust,
    upstream::{SetupError, Upstream},
};
use crate::{
    defaults,
    identity::{
        HubTrust, HubVerifier,
        tls::{TlsError, agent_client},
        verify::{LINK_SERVER_NAME, PeerError},
    },
    transport::{BindError, DialError, Dialer, LinkEnd},
    wire::ALPN_LINK,
};

/// The agent cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The kubeconfig or the pod's environment.
    #[error("cannot find the API server: {0}")]
    ApiServer(String),
    /// What they say.
    #[error("cannot use the API server's settings")]
    Setup(#[from] SetupError),
    /// The client for the agent's own Secret.
    #[error("cannot make a client for the API server")]
    Client(#[source] Box<kube::Error>),
    /// The stored identity.
    #[error("cannot use the agent's identity")]
    State(#[from] StateError),
    /// There is no identity and no token to get one.
    #[error(
        "this agent has no valid identity yet: give it a join token (`roadstead cluster add NAME` makes one), or tell it its cluster's uid if the hub knows the cluster's keys"
    )]
    NoToken,
    /// Its file.
    #[error("cannot read {path}")]
    TokenFile {
        /// Where it is.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The hub refuses the token.
    #[error("cannot join")]
    Enrol(#[from] EnrolError),
    /// The certificate.
    #[error("cannot use the agent's certificate")]
    Tls(#[from] TlsError),
    /// The UDP socket.
    #[error("cannot dial")]
    Bind(#[from] BindError),
    /// The admin listener.
    #[error("cannot listen on tcp {address}")]
    Admin {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

struct Agent {
    settings: Settings,
    state: State,
    upstream: Arc<Upstream>,
    client: kube::Client,
    instance: String,
    health: Arc<Health>,
    /// Whom it takes for its hub.
    trust: Trust,
    /// Links that are being retired.
    retiring: TaskTracker,
    /// That certificates are not renewed is said once.
    unrenewed: Once,
}

/// Runs an agent until `stop` is cancelled.
///
/// # Errors
/// When it cannot start, or its join token is refused.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), RunError> {
    let config = api_server(&settings.api_server).await?;
    let connections = TaskTracker::new();
    let upstream = Arc::new(Upstream::new(&config, connections.clone())?);
    let client = kube::Client::try_from(config).map_err(|error| RunError::Client(Box::new(error)))?;
    let state = State::at(&settings.state, &client);
    let health = Arc::new(Health::default());
    let admin = settings.admin_listen;
    let instance = ulid::Ulid::generate().to_string();
    let (retiring, unrenewed) = (TaskTracker::new(), Once::new());
    let trust = Trust::new(settings.hub_ca_pins.clone());
    trust.load(&state).await?;
    let health = health.clone();
    let agent =
        Agent { settings, state, upstream, client, instance, health: health.clone(), trust, retiring, unrenewed };
    tokio::select! {
        biased;
        ended = agent.live(&stop) => ended,
        () = agent.trust.keep(&agent.state) => Ok(()),
        failed = serve_admin(admin, health) => failed,
    }
}

impl Agent {
    async fn live(&self, stop: &CancellationToken) -> Result<(), RunError> {
        if let Some(files) = &self.settings.certificate {
            return self.live_given(files, stop).await;
        }
        let mut identity = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            identity = self.identity() => identity?,
        };
        let mut redial = Redial::default();
        loop {
            let live = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                live = self.connect(&mut identity, &mut redial) => live?,
            };
            let Some(live) = live else {
                identity = tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(()),
                    identity = self.identity() => identity?,
                };
                continue;
            };
            if !self.moored(live, &mut identity, &mut redial, stop).await? {
                return Ok(());
            }
        }
    }

    /// Dials until a link is live, with what is stored now; `None` when the certificate has ended before one was, which is looked at after an
    /// attempt: it is the hub's clock that counts.
    async fn connect(&self, identity: &mut Identity, redial: &mut Redial) -> Result<Option<Live>, RunError> {
        let says = self.says().await;
        let (mut spent, mut tried) = (None, false);
        loop {
            if tried && !identity.is_valid(OffsetDateTime::now_utc()) {
                tracing::warn!("the certificate has ended while there was no link");
                return Ok(None);
            }
            tried = true;
            sleep(redial.wait(jitter())).await;
            self.reread(identity).await;
            if spent.is_some() && spent == reread::leaf(identity) {
                tracing::error!("{}", Shut::Spent.as_str());
                continue;
            }
            match self.attempt(identity, &says).await? {
                Ok(live) => return Ok(Some(live)),
                Err(end) if self.refused(redial, end.as_ref()) == Some(Shut::Spent) => {
                    spent = reread::leaf(identity);
                    self.reread(identity).await;
                    if reread::leaf(identity) != spent {
                        *redial = Redial::default();
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// What the hub is told of the API server: one question after the other, on one connection, and no more of it than is known in time, as the
    /// hub waits for its cluster.
    async fn says(&self) -> ClusterSays {
        let mut says = ClusterSays { version: String::new(), keys: bytes::Bytes::new() };
        let asking = async {
            says.version = self.kubernetes_version().await;
            says.keys = account::keys(&self.client).await.unwrap_or_default().into();
        };
        if timeout(defaults::VERSION_PROBE, asking).await.is_err() {
            tracing::warn!("the API server does not answer in time");
        }
        says
    }

    /// Dials once; else how the hub ended it, if it was the hub.
    async fn attempt(
        &self,
        identity: &Identity,
        says: &ClusterSays,
    ) -> Result<Result<Live, Option<LinkEnd>>, RunError> {
        let enrolled = identity.enrolled.as_ref().ok_or(RunError::NoToken)?;
        self.health.metrics.certificate(enrolled.not_after());
        let trust = HubTrust::Pins(self.trust.pins());
        let verifier = Arc::new(HubVerifier::new(trust, enrolled.own.trust_domain.clone()));
        let tls = Arc::new(agent_client(verifier.clone(), enrolled.chain.clone(), &identity.key, ALPN_LINK)?);
        self.attempt_with(tls, &verifier, says).await
    }

    async fn attempt_with(
        &self,
        tls: Arc<rustls::ClientConfig>,
        verifier: &HubVerifier,
        says: &ClusterSays,
    ) -> Result<Result<Live, Option<LinkEnd>>, RunError> {
        let link = match self.dial(&tls).await {
            Ok(link) => link,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot dial the hub");
                self.health.untrusted(matches!(verifier.refusal(), Some(PeerError::NotPinned)));
                return Ok(Err(error.end()));
            }
        };
        match Live::start(link.clone(), says, &self.instance).await {
            Ok(live) => {
                let cluster = &live.welcome.cluster_name;
                tracing::info!(hub = %live.link.remote_address(), cluster, "moored");
                Ok(Ok(live))
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "link refused");
                Ok(Err(link.end()))
            }
        }
    }

    /// A link ended before it was live: where the hub said that an operator must act, it is asked slowly from now on.
    fn refused(&self, redial: &mut Redial, end: Option<&LinkEnd>) -> Option<Shut> {
        let end = end?;
        let shut = Shut::of(end)?;
        redial.lost(Duration::ZERO, end);
        self.health.shut(Some(shut));
        Some(shut)
    }

    async fn dial(&self, tls: &Arc<rustls::ClientConfig>) -> Result<crate::transport::Link, DialFailed> {
        let hub = &self.settings.hub;
        let host = || hub.host().to_owned();
        let addresses = lookup_host((hub.host(), hub.port())).await;
        let addresses = addresses.map_err(|source| DialFailed::Name { host: host(), source })?;
        let mut last = DialFailed::NoAddress(host());
        for address in addresses {
            let dialer = Dialer::bind(address)?;
            match dialer.dial(address, LINK_SERVER_NAME, tls.clone(), defaults::DIAL).await {
                Ok(link) => return Ok(link),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    async fn kubernetes_version(&self) -> String {
        match self.client.apiserver_version().await {
            Ok(info) => info.git_version,
            Err(error) => {
                tracing::warn!(%error, "the API server does not answer");
                String::new()
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum DialFailed {
    #[error("cannot look up {host}")]
    Name { host: String, source: std::io::Error },
    #[error("{0} has no address")]
    NoAddress(String),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Dial(#[from] DialError),
}

impl DialFailed {
    /// What the hub said, if it was the hub who refused.
    fn end(self) -> Option<LinkEnd> {
        match self {
            Self::Dial(DialError::Refused { end, .. }) => Some(end),
            Self::Dial(_) | Self::Name { .. } | Self::NoAddress(_) | Self::Bind(_) => None,
        }
    }
}

/// How the API server is reached, and as whom.
pub(super) async fn api_server(from: &ApiServerFrom) -> Result<kube::Config, RunError> {
    let failed = |error: &(dyn std::error::Error + 'static)| RunError::ApiServer(super::exchange::chain(error));
    match from {
        ApiServerFrom::InCluster => kube::Config::incluster().map_err(|error| failed(&error)),
        ApiServerFrom::Kubeconfig { path, context } => {
            let file = kube::config::Kubeconfig::read_from(path).map_err(|error| failed(&error))?;
            let options = kube::config::KubeConfigOptions { context: context.clone(), ..Default::default() };
            kube::Config::from_custom_kubeconfig(file, &options).await.map_err(|error| failed(&error))
        }
    }
}
