//! `roadstead ca …` as typed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ClientArgs, ExternalCaCommand, OutputArgs, PlainArgs};

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
    /// Keep the private keys of the roots offline
    #[command(subcommand)]
    Root(RootCommand),
    /// Rotate: every step from here to the end, each as soon as it may be taken
    Rotate(CaRotateArgs),
    /// Manage CAs of others that issue agents' certificates
    #[command(subcommand)]
    External(ExternalCaCommand),
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

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RootCommand {
    /// Write a root's private key into a file, sealed with a passphrase of its own
    Export(RootExportArgs),
    /// Remove from the hub the key that an exported file holds; the hub serves on, and needs it again within 58 days
    Remove(RootKeyArgs),
    /// Make a new issuing certificate with the key of an exported file, and keep the key at the hub again
    Import(RootImportArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum AuthorityArg {
    /// The CA of agents
    Agents,
    /// The CA of the hub
    Hub,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RootExportArgs {
    /// Whose root
    #[arg(long, value_name = "AUTHORITY")]
    pub(in crate::cli) authority: AuthorityArg,
    /// File to write; one that is there is not replaced
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) to: PathBuf,
    /// File of the passphrase for the new file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) passphrase: PathBuf,
    /// File of the hub's own passphrase, with which the key comes sealed [env: ROADSTEAD_SEAL_KEY]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) seal_key: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) plain: PlainArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RootKeyArgs {
    /// The exported file
    pub(in crate::cli) file: PathBuf,
    /// File of its passphrase
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) passphrase: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) plain: PlainArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RootImportArgs {
    #[command(flatten)]
    pub(in crate::cli) key: RootKeyArgs,
    /// Only make the new issuing certificate: the key does not stay at the hub
    #[arg(long, conflicts_with = "data")]
    pub(in crate::cli) once: bool,
    /// Put it into this data directory of a hub that does not run
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) data: Option<PathBuf>,
    /// File of the hub's own passphrase, beside --data [env: ROADSTEAD_SEAL_KEY]
    #[arg(long, value_name = "FILE", requires = "data")]
    pub(in crate::cli) seal_key: Option<PathBuf>,
}
