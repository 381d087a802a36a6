//! The hub's life: start, serve, drain, end.

pub(super) mod files;
mod grants;
mod https;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use time::OffsetDateTime;
use tokio::{
    net::{TcpListener, TcpSocket},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Hub, admin,
    backup::Keeper,
    directory::{Directory, DirectoryError},
    enrol::{Attempts, Nonces},
    external, gateway,
    links::Links,
    metrics::Metrics,
    pki::{Pki, PkiError},
    restored::Restored,
    revocation,
    sealed::{self, SealedError},
    session::{self, Turns},
    settings::{PublicName, Settings},
};
use crate::{
    access::GrantsError,
    defaults,
    identity::{
        HubUrl,
        tls::{HttpsSlots, TlsError, agent_listener, https_server},
    },
    transport::{BindError, Listener, RestartKeys, udp_socket},
    wire::{ALPN_LINK, CloseCode},
};

pub(super) use self::files::prepare;

/// The hub cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file or directory of `--data`.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The store, or the key that seals it.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// What the store holds.
    #[error("cannot read the store")]
    Directory(#[from] DirectoryError),
    /// Authorities and certificates.
    #[error("cannot set up the hub's certificates")]
    Pki(#[from] PkiError),
    /// TLS.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
    /// A TCP listener.
    #[error("cannot listen on tcp {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The UDP listener.
    #[error("cannot listen for links")]
    Bind(#[from] BindError),
    /// The grants file.
    #[error("grants file {path}: {source}")]
    Grants {
        /// Which.
        path: String,
        /// Every fault in it.
        source: GrantsError,
    },
}

/// Runs a hub until `stop` is cancelled, then drains. `reload` is told to read the grants again.
///
/// # Errors
/// When it cannot start.
pub async fn run(
    settings: Settings,
    stop: CancellationToken,
    reload: tokio::sync::mpsc::Receiver<()>,
) -> Result<(), RunError> {
    let now = OffsetDateTime::now_utc();
    prepare(&settings.data).map_err(|source| RunError::File { path: settings.data.display().to_string(), source })?;
    let (key, old) = (settings.seal_key.as_ref(), settings.seal_key_old.as_ref());
    let store = sealed::open(&settings.data.join("store.redb"), key, old).await?;
    let (keeper, store) = (Keeper::new(store.raw, store.keys, &settings.data), store.store);
    let (listener, udp) = listen_both(settings.listen).await?;
    let address = listener.local_addr().map_err(|source| RunError::Listen { address: settings.listen, source })?;
    let admin = listen(settings.admin_listen).await?;
    let public_url = settings.public_url.clone().unwrap_or_else(|| HubUrl::from(address));
    let public_name = PublicName::of(&public_url);
    let pki = Pki::load_or_create(store.clone(), &public_name, now).await?;
    let links = agent_listener(pki.verifier.clone(), pki.link.clone(), ALPN_LINK)?;
    let links = Listener::on(udp, Arc::new(links), RestartKeys::from_secret(&pki.restart_secret))?;
    let slots = HttpsSlots::new(pki.https.clone());
    let https = https_server(slots.clone())?;
    let mut given = settings.https.map(|files| https::Watcher::new(files, public_url.host(), slots.clone()));
    let directory = Directory::load(store.clone()).await?;
    let restored = Restored::load(store.clone()).await?;
    let known = grants::load(&settings.grants)?;
    let hub = Arc::new(Hub {
        public_url,
        data: settings.data.clone(),
        started: now,
        directory,
        restored,
        keeper,
        grants: std::sync::RwLock::new(Arc::new(known)),
        links: Links::default(),
        pki,
        https: slots,
        certificate_life: settings.agent_certificate_life,
        metrics: Metrics::new(now.unix_timestamp() as f64),
        attempts: Attempts::default(),
        nonces: Nonces::new(),
        tasks: TaskTracker::new(),
        admin_tasks: TaskTracker::new(),
        draining: CancellationToken::new(),
    });
    external::put_in_force(&hub);
    for (cluster, seen) in hub.directory.seen() {
        hub.links.remember(cluster, seen);
    }
    if let Some(given) = &mut given {
        given.look(&hub.metrics, now).await;
    }
    files::publish(&hub, &settings.data, address, admin.local_addr().ok()).await?;
    tracing::info!(url = %hub.public_url, %address, version = env!("CARGO_PKG_VERSION"), "hub listens");
    let hub_ref = &hub;
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = gateway::serve(hub.clone(), listener, Arc::new(https)) => {}
        () = accept_links(hub_ref, &links) => {}
        () = admin::serve(hub.clone(), admin) => {}
        () = grants::watch(hub_ref, settings.grants.clone(), reload) => {}
        () = https::watch(given, &hub_ref.metrics) => {}
        () = revocation::forget_ended(hub_ref) => {}
        () = renew_certificates(hub_ref) => {}
    }
    drain(&hub, &links).await;
    Ok(())
}

/// Stop admitting, tell everyone, wait, cut.
async fn drain(hub: &Arc<Hub>, links: &Listener) {
    tracing::info!(links = hub.links.all().len(), "hub drains");
    hub.draining.cancel();
    hub.tasks.close();
    let idle = async {
        while hub.links.all().iter().any(|link| link.streams() > 0) {
            tokio::time::sleep(defaults::DRAIN_POLL).await;
        }
    };
    if timeout(defaults::DRAIN, idle).await.is_err() {
        tracing::warn!("requests under way were cut");
    }
    links.close(CloseCode::Draining, defaults::CLOSE_GRACE).await;
    if timeout(defaults::CLOSE_GRACE, hub.tasks.wait()).await.is_err() {
        tracing::debug!(left = hub.tasks.len(), "client connections were cut");
    }
    tracing::info!("hub ended");
}

async fn accept_links(hub: &Arc<Hub>, links: &Listener) {
    let turns = Turns::default();
    while let Some(handshake) = links.accept().await {
        if hub.draining.is_cancelled() {
            handshake.refuse();
            continue;
        }
        if turns.are_scarce() && !handshake.address_validated() {
            handshake.retry();
            continue;
        }
        let Some(place) = turns.place(handshake.remote_address().ip().into()) else {
            hub.metrics.refused_link();
            handshake.refuse();
            continue;
        };
        hub.tasks.spawn(session::serve(hub.clone(), handshake, place));
    }
}

async fn renew_certificates(hub: &Hub) {
    loop {
        tokio::time::sleep(defaults::HUB_RENEWAL).await;
        match hub.pki.renew(OffsetDateTime::now_utc()).await {
            Ok(()) => tracing::info!("the hub's own certificates were renewed"),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the hub's own certificates were not renewed"
                );
            }
        }
    }
}

/// TCP and UDP on one port number. Where the system may choose it, it chooses for TCP; another process may have the same number of
/// UDP, so it is asked again, holding what does not fit until then.
async fn listen_both(address: SocketAddr) -> Result<(TcpListener, UdpSocket), RunError> {
    let mut unfit = Vec::new();
    loop {
        let listener = listen(address).await?;
        let chosen = listener.local_addr().map_err(|source| RunError::Listen { address, source })?;
        match udp_socket(chosen) {
            Ok(udp) => return Ok((listener, udp)),
            Err(_) if address.port() == 0 && unfit.len() < defaults::PORT_ATTEMPTS => unfit.push(listener),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    let listening = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restarted hub takes its port back at once.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(defaults::BACKLOG)
    };
    listening().map_err(|source| RunError::Listen { address, source })
}
