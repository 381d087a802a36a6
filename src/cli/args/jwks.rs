//! `roadstead cluster jwks …` as typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{NamedArgs, PlainArgs};

/// `roadstead cluster jwks …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum JwksCommand {
    /// Show the keys by which a cluster may prove itself, and those that wait
    Show(NamedArgs),
    /// Pin keys, as `kubectl get --raw /openid/v1/jwks` prints them in that cluster
    Set(JwksSetArgs),
    /// Pin the keys that the agent showed and that wait
    Accept(NamedArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct JwksSetArgs {
    /// Which cluster
    pub(in crate::cli) name: String,
    /// File of the key set; /dev/stdin reads it from a pipe
    pub(in crate::cli) file: PathBuf,
    /// ServiceAccount of the agent, if it is not what was said before
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(in crate::cli) service_account: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) plain: PlainArgs,
}
