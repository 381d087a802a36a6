//! The agent: dials the hub, and carries what comes over the link to its one API server. Never uses the hub.

mod exchange;
mod upstream;

pub use self::{
    exchange::serve,
    upstream::{ConnectError, SetupError, Upstream},
};
