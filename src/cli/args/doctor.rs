//! `roadstead doctor` as typed.

use clap::{Args, Subcommand};

use super::{AgentArgs, OutputArgs, PlainArgs};

/// `roadstead doctor`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(in crate::cli) struct DoctorArgs {
    #[command(subcommand)]
    pub(in crate::cli) side: Option<DoctorSide>,
    #[command(flatten)]
    pub(in crate::cli) plain: PlainArgs,
}

/// Whose way is looked at, besides one's own.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DoctorSide {
    /// Look at an agent's: with its settings, where it runs
    Agent(Box<DoctorAgentArgs>),
}

/// `roadstead doctor agent`: what `roadstead agent` takes.
#[derive(Debug, Args)]
pub(in crate::cli) struct DoctorAgentArgs {
    #[command(flatten)]
    pub(in crate::cli) agent: AgentArgs,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}
