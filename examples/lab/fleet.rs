//! A simulated fleet: thousands of agents on this machine, with the real hub program in front of them.
//!
//! Real are the hub with its store, PKI and enrolment, and of each agent the dialer, link, streams and redialling: the library's own
//! `agent::run`. Simulated are the API servers behind them ([`api_server`]) and the distance: everything is on loopback and shares the cores.

#[path = "fleet/api_server.rs"]
mod api_server;
#[path = "fleet/hub.rs"]
pub(crate) mod hub;
#[path = "fleet/load.rs"]
mod load;
#[path = "fleet/measure.rs"]
mod measure;
#[path = "fleet/report.rs"]
mod report;
#[path = "fleet/revocation.rs"]
pub(crate) mod revocation;
#[path = "fleet/worker.rs"]
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

/// Options of `lab fleet`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// How many agents.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    agents: u32,
    /// 1,000 agents and short looks: a smoke test with the same parts.
    #[arg(long, conflicts_with = "agents")]
    quick: bool,
    /// Instead of all that: how fast 1,000 links are revoked.
    #[arg(long, conflicts_with_all = ["agents", "quick"])]
    revoke: bool,
    /// Writes the figures here, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the agents keep their keys; by default in memory, where there is such a place: each would have a disk of its own.
    #[arg(long, value_name = "DIRECTORY")]
    agents_dir: Option<PathBuf>,
    /// The roadstead program; by default the one built beside this one.
    #[arg(long, env = "ROADSTEAD_LAB_BIN", value_name = "FILE")]
    roadstead: Option<PathBuf>,
    /// What one process of agents does (set by its parent).
    #[arg(long, hide = true)]
    worker: Option<PathBuf>,
}

/// Runs the fleet, or one process of it.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if let Some(orders) = &arguments.worker {
        return worker::run(orders).map(|()| ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let report = match arguments.revoke {
        true => runtime.block_on(revocation::all(&measure::program(&arguments)?))?,
        false => runtime.block_on(measure::all(&arguments))?,
    };
    print!("{}", report.table());
    if let Some(path) = &arguments.json {
        std::fs::write(path, report.json().to_string()).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(if report.met() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
