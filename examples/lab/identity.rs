//! The long checks of identity: renewal, rotation of the CAs and revocation under requests and streams. Hub, agents, API server and kubectl are
//! the real programs; only where a thousand links are wanted at once the agents are the library's links alone.

#![allow(clippy::disallowed_methods, reason = "processes are started, killed and waited for in real time")]

#[path = "identity/kills.rs"]
mod kills;
#[path = "identity/renewals.rs"]
mod renewals;
#[path = "identity/rotation.rs"]
mod rotation;
#[path = "identity/site.rs"]
mod site;
#[path = "identity/streams.rs"]
mod streams;
#[path = "identity/traffic.rs"]
mod traffic;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;

use site::World;

/// One of the checks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Check {
    /// Certificates that live for a minute, renewed again and again.
    Renewals,
    /// Both CAs replaced: with an agent off, back from each phase, with the hub killed around each step.
    Rotation,
    /// A thousand links and streams cut, and new handshakes refused, within a second.
    Revocation,
}

/// Options of `lab identity`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Only these checks.
    #[arg(value_enum, value_name = "CHECK")]
    checks: Vec<Check>,
    /// How long certificates are renewed (default: 30; quick: 2).
    #[arg(long)]
    minutes: Option<f64>,
    /// How many agents.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=50))]
    agents: u32,
    /// How long their certificates live, in seconds; the hub takes no less than 60.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(60..=3600))]
    ttl: u32,
    /// Requests a second, to all clusters together.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// At most five minutes: two minutes of renewals, one kill around each step instead of three.
    #[arg(long)]
    quick: bool,
    /// Writes the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The roadstead program (set by scripts/identity).
    #[arg(long, env = "ROADSTEAD_LAB_BIN", hide = true)]
    roadstead: Option<PathBuf>,
}

impl Arguments {
    fn minutes(&self) -> f64 {
        self.minutes.unwrap_or(if self.quick { 2.0 } else { 30.0 })
    }

    fn wants(&self, check: Check) -> bool {
        self.checks.is_empty() || self.checks.contains(&check)
    }
}

/// A promise, and whether it held.
struct Found {
    name: &'static str,
    promise: String,
    held: bool,
    measured: String,
}

impl Found {
    fn of(name: &'static str, promise: impl Into<String>, held: bool, measured: impl Into<String>) -> Self {
        let (promise, measured) = (promise.into(), measured.into());
        let this = Self { name, promise, held, measured };
        eprintln!("identity: {}: {}: {}", this.name, this.word(), this.measured);
        this
    }

    fn word(&self) -> &'static str {
        if self.held { "held" } else { "BROKEN" }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let program = arguments.roadstead.as_deref().context("where is roadstead? use scripts/identity, or --roadstead")?;
    let started = Instant::now();
    // Requests, streams and the steps of an operator do not wait for each other.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let found = runtime.block_on(all(program, arguments))?;
    println!("| check | promise | measured | verdict |\n|---|---|---|---|");
    for one in &found {
        let measured = one.measured.replace('|', "/").replace('\n', " ");
        println!("| {} | {} | {measured} | {} |", one.name, one.promise, one.word());
    }
    if let Some(path) = &arguments.json {
        let row =
            |one: &Found| json!({"name": one.name, "promise": one.promise, "held": one.held, "measured": one.measured});
        let rows: Vec<_> = found.iter().map(row).collect();
        let text = serde_json::to_string_pretty(&json!({"optimised": !cfg!(debug_assertions), "rows": rows}))?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    let broken = found.iter().filter(|one| !one.held).count();
    println!("{} promises in {:.0} s, {broken} broken", found.len(), started.elapsed().as_secs_f32());
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn all(program: &Path, arguments: &Arguments) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    if arguments.wants(Check::Renewals) || arguments.wants(Check::Rotation) {
        let mut world = World::start(program)?;
        if arguments.wants(Check::Renewals) {
            found.extend(unless_it_fails("renewals", renewals::run(&mut world, arguments).await));
        }
        if arguments.wants(Check::Rotation) {
            found.extend(unless_it_fails("rotation", rotation::run(&mut world, arguments).await));
        }
    }
    if arguments.wants(Check::Revocation) {
        found.extend(unless_it_fails("revocation", revocation(program).await));
    }
    Ok(found)
}

/// A check that did not come to its end is a promise that was broken.
fn unless_it_fails(name: &'static str, found: Result<Vec<Found>>) -> Vec<Found> {
    found.unwrap_or_else(|error| vec![Found::of(name, "the check comes to its end", false, format!("{error:#}"))])
}

async fn revocation(program: &Path) -> Result<Vec<Found>> {
    let report = crate::fleet::revocation::all(program).await?;
    let goals = report.goals().into_iter();
    Ok(goals.map(|(name, held, measured)| Found::of("revocation", name, held, measured)).collect())
}
