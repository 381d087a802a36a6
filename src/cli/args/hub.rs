//! `roadstead hub` as typed: it runs the hub, and has commands about one.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{HubArgs, OutputArgs, PlainArgs};

/// Runs the hub, unless a command follows.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct HubCall {
    #[command(subcommand)]
    pub(in crate::cli) command: Option<HubCommand>,
    #[command(flatten)]
    pub(in crate::cli) run: HubArgs,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum HubCommand {
    /// Write a backup of a hub that runs, sealed with the hub's own --seal-key
    Backup(BackupArgs),
    /// Make the data directory of a hub from a backup, while no hub runs on it
    Restore(RestoreArgs),
    /// End the warning that this hub was restored: what was revoked or removed after the backup is so again
    RestoreAcknowledge(PlainArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BackupArgs {
    /// File to write; an older backup of this name is replaced when the new one is whole
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) to: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) plain: PlainArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreArgs {
    /// Data directory to make [env: ROADSTEAD_DATA]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) data: Option<PathBuf>,
    /// The backup
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) from: PathBuf,
    /// File of the passphrase that the hub had when the backup was made [env: ROADSTEAD_SEAL_KEY]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) seal_key: Option<PathBuf>,
    /// Lock this cluster before a hub serves it: it was locked, revoked or removed after the backup, or may have been; repeat for more
    #[arg(long = "lock", value_name = "NAME", conflicts_with = "lock_all")]
    pub(in crate::cli) lock: Vec<String>,
    /// Lock every cluster; `cluster unlock NAME` serves each again
    #[arg(long)]
    pub(in crate::cli) lock_all: bool,
    /// Restore no token of a person or program: those that were revoked after the backup would work again
    #[arg(long)]
    pub(in crate::cli) drop_tokens: bool,
    /// Move aside what the data directory holds
    #[arg(long)]
    pub(in crate::cli) force: bool,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}
