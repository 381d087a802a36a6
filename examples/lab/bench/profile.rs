//! Samples where hub or agent spend their CPU while one row's load runs; `scripts/profile` turns what perf wrote into folded stacks.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command as Spawn;

use super::rows::{self, Context, Pace, Row, Server};
use super::say;
use super::setup::{Kind, Target};
use crate::cluster::bound_to_us;

/// Samples a second; a prime, so that nothing periodic hides.
const FREQUENCY: &str = "997";

/// What to sample.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Samples this process (hub or agent) during the first row chosen, instead of comparing anything.
    #[arg(long, value_name = "PROCESS", requires = "perf_data", hide = true)]
    profile: Option<String>,
    /// For so long.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, hide = true)]
    seconds: u32,
    /// Where perf writes.
    #[arg(long, value_name = "FILE", hide = true)]
    perf_data: Option<PathBuf>,
}

impl Options {
    /// Process, time and file, if anything is to be sampled.
    pub(crate) fn wanted(&self) -> Option<(&str, Duration, &PathBuf)> {
        Some((self.profile.as_deref()?, Duration::from_secs(self.seconds.into()), self.perf_data.as_ref()?))
    }
}

/// Runs the row once and perf beside it.
pub(crate) async fn run(
    row: &Row,
    targets: &[Target],
    mut context: Context<'_>,
    (process, time, file): (&str, Duration, &PathBuf),
) -> Result<()> {
    let target = targets.iter().find(|target| target.kind == Kind::Roadstead).context("there is no hub")?;
    let way = if row.server == Server::Api { Some(&target.api) } else { target.origin.as_ref() };
    let watched = way.and_then(|way| way.processes.iter().find(|one| one.name == process));
    let watched = watched.with_context(|| format!("there is no process {process:?}: hub or agent"))?;
    // The load lasts a little longer than the sampling, which begins with its warm-up.
    context.pace = Pace { warm: Duration::from_secs(1), time };
    let mut perf = Command::new("perf");
    // The clock of the CPU, which virtual machines without counters have as well.
    perf.args(["record", "--event", "cpu-clock", "--freq", FREQUENCY, "--call-graph", "fp", "--quiet", "--output"]);
    perf.arg(file).args(["--pid", &watched.pid.to_string(), "--", "sleep"]).arg(time.as_secs().to_string());
    say(&format!("sampling the {process} for {} s: {}, {}", time.as_secs(), row.name, row.what));
    let mut perf = Spawn::from(bound_to_us(&perf)).spawn().context("starting perf (Debian package: linux-perf)")?;
    let whole = Row { finer: 1, ..row.clone() };
    let sample = rows::run(&whole, target, &context).await?.context("the hub does not lead there")?;
    ensure!(perf.wait().await?.success(), "perf failed");
    let figure = |name: &str| sample.get(name).unwrap_or_default();
    say(&format!(
        "{:.0} req/s, {:.0} MB/s, {:.0} errors; the figures of a sampled process are a little worse",
        figure("req_s"),
        figure("mb_s"),
        figure("errors")
    ));
    Ok(())
}
