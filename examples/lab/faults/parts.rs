//! What the quickstart and the tests have already: control planes, the environment, a client, a stand-in. Nothing of it is new here.

#![allow(dead_code, unused_imports, reason = "the quickstart and the tests use more of it")]

#[path = "../../../tests/faults/client.rs"]
pub(super) mod client;
#[path = "../../../tests/cluster/mod.rs"]
pub(super) mod cluster;
#[path = "../../quickstart/environment.rs"]
pub(super) mod environment;
#[path = "../../../tests/faults/fleet.rs"]
pub(super) mod fleet;
#[path = "../../quickstart/janitor.rs"]
mod janitor;
#[path = "../../quickstart/member.rs"]
pub(super) mod member;
#[path = "../../../tests/faults/origin.rs"]
pub(super) mod origin;
#[path = "../../../tests/faults/pattern.rs"]
pub(super) mod pattern;

use std::path::PathBuf;

pub(super) use crate::network::noise;

/// What an [`environment::Environment`] is made from; the quickstart's own has more.
pub(super) struct Arguments {
    clusters: u16,
    pods: bool,
    kubeconfig: Option<PathBuf>,
    roadstead: PathBuf,
}
