//! A process of real agents: the library's own `agent::run`, once for each cluster, on one thread; and a thread of fake API servers.
//!
//! A fleet is more than one such process where one may not open enough files: an agent needs a UDP socket, a second one while the first
//! drains, a listener for probes, and two ends of a connection to its API server, which is in the same process here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead::agent::{self, ApiServerFrom, JoinToken, StateAt};
use roadstead::identity::Secret;
use serde::{Deserialize, Serialize};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::api_server::ApiServer;
use crate::cluster::write_private;

/// Files that one agent may have open at the worst moment: see the module.
pub(crate) const FILES: u64 = 7;

/// What a worker is told.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Orders {
    /// The hub's host.
    pub(crate) host: String,
    /// The hub's port.
    pub(crate) port: u16,
    /// What the hub's CA is known by.
    pub(crate) pin: String,
    /// Where identities and kubeconfigs go.
    pub(crate) dir: PathBuf,
    /// A file with the number of agents that may have started by now; it grows.
    pub(crate) gate: PathBuf,
    /// Clusters and their join tokens.
    pub(crate) agents: Vec<(String, String)>,
}

/// Runs until it is killed; it dies with its parent.
pub(crate) fn run(orders: &Path) -> Result<()> {
    let orders: Orders = serde_json::from_slice(&fs::read(orders)?).context("reading the worker's orders")?;
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false).init();
    let api_server = ApiServer::bind()?;
    let settings: Vec<_> =
        orders.agents.iter().map(|agent| settings(&orders, agent, &api_server)).collect::<Result<_>>()?;
    api_server.start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, live(settings, &orders.gate))
}

/// All agents; none should end.
async fn live(settings: Vec<agent::Settings>, gate: &Path) -> Result<()> {
    let mut agents = JoinSet::new();
    for (number, settings) in settings.into_iter().enumerate() {
        while number >= fs::read_to_string(gate).ok().and_then(|text| text.parse().ok()).unwrap_or(0) {
            sleep(Duration::from_millis(50)).await;
        }
        agents.spawn_local(agent::run(settings, CancellationToken::new()));
    }
    while let Some(ended) = agents.join_next().await {
        if let Err(error) = ended? {
            tracing::error!(error = &error as &dyn std::error::Error, "agent ended");
        }
    }
    anyhow::bail!("no agent is left")
}

fn settings(orders: &Orders, (name, token): &(String, String), api_server: &ApiServer) -> Result<agent::Settings> {
    let dir = orders.dir.join(name);
    fs::create_dir_all(&dir)?;
    let kubeconfig = dir.join("kubeconfig");
    write_private(&kubeconfig, api_server.kubeconfig(name)?.to_string().as_bytes())?;
    Ok(agent::Settings {
        hub: format!("https://{}:{}", orders.host, orders.port).parse().context("the hub's address")?,
        hub_ca_pins: vec![orders.pin.parse().context("the hub's pin")?],
        cluster: None,
        join_token: Some(JoinToken::Text(Secret::new(token.clone()))),
        certificate: None,
        state: StateAt::Directory(dir),
        api_server: ApiServerFrom::Kubeconfig { path: kubeconfig, context: None },
        admin_listen: "127.0.0.1:0".parse()?,
    })
}

/// How many processes a fleet needs with as many files as this one may have.
///
/// # Errors
/// When not even one agent fits.
pub(crate) fn count(agents: usize) -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of open files")?;
    let files: u64 = line.split_whitespace().nth(1).and_then(|hard| hard.parse().ok()).unwrap_or(1 << 20);
    let each = usize::try_from(files.saturating_sub(100) / FILES)?;
    ensure!(each > 0, "a process may open {files} files at most; raise it (`ulimit -Hn`)");
    // More in one process only wait for one thread.
    Ok(agents.div_ceil(each.min(5_000)))
}
