//! `roadstead ca external …`, `cluster map` and `cluster unmap` as typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{NamedArgs, PlainArgs};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ExternalCaCommand {
    /// Trust a CA for agents' certificates, and for nothing else; by itself it lets nobody in: see `cluster map`
    Add(ExternalCaAddArgs),
    /// List them
    List(PlainArgs),
    /// Trust one no more, forget its names, and cut every link of its certificates, now; NAME is its pin
    Remove(NamedArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExternalCaAddArgs {
    /// File of the CA's certificate, PEM, one certificate; /dev/stdin reads it from a pipe
    pub(in crate::cli) file: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) plain: PlainArgs,
}

/// A name of an external CA's certificates, whole: there are no patterns.
#[derive(Debug, Args)]
pub(in crate::cli) struct NameMapArgs {
    /// Which cluster
    pub(in crate::cli) name: String,
    /// Pin of the external CA, as `ca external list` shows it
    #[arg(long, value_name = "PIN")]
    pub(in crate::cli) ca: String,
    /// The URI that the certificate carries, whole, such as spiffe://corp.example/fleet/edge-1
    #[arg(long, value_name = "URI", required_unless_present = "dns", conflicts_with = "dns")]
    pub(in crate::cli) uri: Option<String>,
    /// The DNS name that the certificate carries, whole
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) dns: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) plain: PlainArgs,
}
