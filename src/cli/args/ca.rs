//! `roadstead ca …` as typed.

use clap::{Args, Subcommand};

use super::{ClientArgs, OutputArgs, PlainArgs};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CaCommand {
    /// Show the authorities, where a rotation between two generations of them stands, and who holds it up
    Status(PlainArgs),
    /// Print the hub's roots that clients are to trust now (PEM), for `caData:` and --hub-ca
    Bundle(ClientArgs),
    /// Begin a rotation: make the next generation and have agents trust it beside the current one
    Prepare(PlainArgs),
    /// Take the next step: agents get new certificates, then the hub presents a new one, then the old generation is distrusted
    Activate(CaActivateArgs),
    /// Go back to the current generation; `activate` ends the way back as soon as every agent is on it again
    Rollback(PlainArgs),
    /// A key of the current generation is suspected: sign with the next one and renew every certificate, now
    Taint(PlainArgs),
    /// Trust certificates of the current generation no more, and cut those who hold one
    Revoke(CaActivateArgs),
    /// Rotate: every step from here to the end, each as soon as it may be taken
    Rotate(CaRotateArgs),
}

/// Who need not be ready.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct AcceptArgs {
    /// Give this cluster up: it may have to join again; repeat for more
    #[arg(long = "accept-lost", value_name = "NAME")]
    pub(in crate::cli) accept_lost: Vec<String>,
    /// Give up to so many clusters up that are not connected, whichever they are
    #[arg(long, value_name = "COUNT")]
    pub(in crate::cli) accept_lost_count: Option<u32>,
}

#[derive(Debug, Default, Args)]
pub(in crate::cli) struct CaActivateArgs {
    #[command(flatten)]
    pub(in crate::cli) accept: AcceptArgs,
    #[command(flatten)]
    pub(in crate::cli) plain: PlainArgs,
}

#[derive(Debug, Default, Args)]
pub(in crate::cli) struct CaRotateArgs {
    /// Wait for clusters that are not ready; without it the command stops at the first that is not
    #[arg(long)]
    pub(in crate::cli) wait: bool,
    /// How long to wait in all, such as 30m or 1d
    #[arg(long, value_name = "DURATION", default_value = "1h", requires = "wait")]
    pub(in crate::cli) timeout: String,
    #[command(flatten)]
    pub(in crate::cli) accept: AcceptArgs,
    #[command(flatten)]
    pub(in crate::cli) client: ClientArgs,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}
