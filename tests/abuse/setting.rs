//! What tests outside `abuse.rs` share with it: hubs, agents and people as processes, and a fake API server. A file that declares it says
//! `use setting::{origin, raw, world};` at its root.
#![allow(dead_code, unused_imports, reason = "the abuse tests use more of it")]

#[path = "origin.rs"]
pub(crate) mod origin;
#[path = "raw.rs"]
pub(crate) mod raw;
#[path = "world.rs"]
pub(crate) mod world;
