//! The agent: dials the hub, and carries what comes over the link to its one API server. Never uses the hub.

mod account;
mod admin;
mod allowance;
pub mod doctor;
mod enrol;
mod exchange;
mod files;
mod link;
mod metrics;
mod redial;
mod run;
mod settings;
mod state;
mod trust;
mod upstream;

pub use self::{
    account::AccountError,
    enrol::EnrolError,
    run::{RunError, run},
    settings::{ApiServerFrom, CertificateFiles, JoinToken, Settings, StateAt},
    state::StateError,
    upstream::{ConnectError, SetupError},
};

/// What the simulation of the rules uses.
#[cfg(test)]
pub(crate) mod rules {
    pub(crate) use super::{
        exchange::Fault,
        redial::{Redial, Retirement},
        upstream::attempts::{Again, Attempts, Broken},
    };
}
