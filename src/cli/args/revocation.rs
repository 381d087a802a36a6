//! Arguments of `cluster lock|unlock|revoke` and of `cert …`.

use clap::{Args, Subcommand};

use super::{NamedArgs, PlainArgs};

/// A cluster or certificate, and why.
#[derive(Debug, Args)]
pub(in crate::cli) struct BecauseArgs {
    /// Which one
    pub(in crate::cli) name: String,
    /// Why, in one line; told to whoever asks from then on
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) reason: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) plain: PlainArgs,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CertCommand {
    /// List certificates of agents, the oldest first
    List(CertListArgs),
    /// Show one certificate: NAME is its serial, or its key (sha256:…) if an external CA issued it
    Show(NamedArgs),
    /// Revoke one certificate and its key, now: NAME is its serial, or its key (sha256:…) if an external CA issued it
    Revoke(BecauseArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CertListArgs {
    /// Only those of this cluster
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) cluster: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) plain: PlainArgs,
}
