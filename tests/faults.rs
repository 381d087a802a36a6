//! What happens when something breaks: processes killed, stopped and restarted in the middle of requests, clients that cancel
//! or stop reading, and changes that must not run twice. On a real hub, real agents and real API servers; prints what it measures.

#[path = "cluster/mod.rs"]
mod cluster;
#[allow(dead_code, reason = "the quickstart uses more of it")]
#[path = "../examples/quickstart/environment.rs"]
mod environment;
#[path = "../examples/quickstart/janitor.rs"]
mod janitor;
#[path = "../examples/quickstart/member.rs"]
mod member;

#[path = "faults/cancel.rs"]
mod cancel;
#[path = "faults/client.rs"]
mod client;
#[path = "faults/cut.rs"]
mod cut;
#[path = "faults/fleet.rs"]
mod fleet;
#[path = "faults/noise.rs"]
mod noise;
#[path = "faults/offline.rs"]
mod offline;
#[path = "faults/once.rs"]
mod once;
#[path = "faults/origin.rs"]
mod origin;
#[path = "faults/pattern.rs"]
mod pattern;
#[path = "faults/restart.rs"]
mod restart;
#[path = "faults/stall.rs"]
mod stall;
#[path = "faults/turn.rs"]
mod turn;

use std::path::PathBuf;

/// What an [`environment::Environment`] is made from; the quickstart's own has more.
struct Arguments {
    clusters: u16,
    pods: bool,
    kubeconfig: Option<PathBuf>,
    roadstead: PathBuf,
}
