//! (being built)

use std::process::ExitCode;

/// Options of `lab network`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: Arguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
