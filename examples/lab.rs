//! The lab: what Roadstead costs and what it survives, measured on this machine with real parts and with simulated fleets.
//!
//! `scripts/bench`, `scripts/faults` and `scripts/identity` build and run it; `docs/performance.md` holds its figures. It uses the product as an operator does
//! wherever it can; the simulated fleet uses the library's own agent.

#[allow(dead_code, reason = "the tests of faults use more of it")]
#[path = "../tests/faults/client.rs"]
mod client;
#[path = "../tests/cluster/mod.rs"]
mod cluster;
#[allow(dead_code, reason = "the quickstart uses more of it")]
#[path = "quickstart/environment.rs"]
mod environment;
#[path = "quickstart/janitor.rs"]
mod janitor;
#[path = "quickstart/member.rs"]
mod member;

#[path = "lab/bench.rs"]
mod bench;
#[path = "lab/faults.rs"]
mod faults;
#[path = "lab/fleet.rs"]
mod fleet;
#[path = "lab/identity.rs"]
mod identity;
#[path = "lab/network.rs"]
mod network;

use clap::Parser;

/// Measures Roadstead, and breaks it on purpose.
#[derive(Debug, Parser)]
#[command(name = "lab")]
enum Command {
    /// What a request through the hub adds and costs, beside other ways to the same API server.
    Bench(bench::Arguments),
    /// Many agents in one process.
    Fleet(fleet::Arguments),
    /// A bad network between two addresses.
    Network(network::Arguments),
    /// Every part broken on purpose.
    Faults(faults::Arguments),
    /// Renewal, rotation and revocation under requests and streams.
    Identity(identity::Arguments),
}

/// What an [`environment::Environment`] is made from; the quickstart's own has more.
struct Arguments {
    clusters: u16,
    pods: bool,
    kubeconfig: Option<std::path::PathBuf>,
    roadstead: std::path::PathBuf,
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    match Command::parse() {
        Command::Bench(arguments) => bench::run(arguments),
        Command::Fleet(arguments) => fleet::run(arguments),
        Command::Network(arguments) => network::run(arguments),
        Command::Faults(arguments) => faults::run(arguments),
        Command::Identity(arguments) => identity::run(&arguments),
    }
}
