//! What the quickstart and the tests have already: control planes, the environment, a client, a stand-in. Nothing of it is new here.

#![allow(dead_code, unused_imports, reason = "the tests use more of it")]

#[path = "../../../tests/faults/fleet.rs"]
pub(super) mod fleet;
#[path = "../../../tests/faults/origin.rs"]
pub(super) mod origin;
#[path = "../../../tests/faults/pattern.rs"]
pub(super) mod pattern;

pub(super) use crate::network::noise;
pub(super) use crate::{Arguments, client, cluster, environment, janitor, member};
