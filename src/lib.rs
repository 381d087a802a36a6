//! Roadstead joins Kubernetes clusters to one hub over QUIC: the agent in each cluster dials out, the hub routes by cluster.
//!
//! The folders are the architecture (`ARCHITECTURE.md`): a layer uses only what stands above it in this list.
#![cfg_attr(not(test), deny(clippy::unwrap_used))]

pub mod defaults;

pub mod wire;

pub mod identity;

pub mod k8s;

pub mod access;

pub mod store;

pub mod transport;

pub mod hub;

pub mod agent;

pub mod cli;

#[cfg(test)]
mod simulation;
