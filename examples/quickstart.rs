//! A hub and two clusters on this machine, in one command: what `scripts/quickstart` runs once everything is built.
//!
//! It uses the product as an operator does (the `roadstead` program and `kubectl`, nothing of the library), on real control planes
//! or on clusters that exist already. Whatever ends it, nothing stays behind: children die with it, and a janitor removes its files.

#[path = "../tests/cluster/mod.rs"]
mod cluster;
#[path = "quickstart/environment.rs"]
mod environment;
#[path = "quickstart/janitor.rs"]
mod janitor;
#[path = "quickstart/member.rs"]
mod member;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::process::Child;
use tokio::signal::unix::{Signal, SignalKind, signal};

use environment::Environment;

/// Sets up a hub and clusters, and keeps them until Ctrl-C; or runs COMMAND in that environment and ends with its exit code.
#[derive(Clone, Debug, Parser)]
#[command(name = "scripts/quickstart", override_usage = "scripts/quickstart [OPTIONS] [-- COMMAND…]", override_help = HELP)]
struct Arguments {
    /// How many clusters (edge-1 …).
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=50))]
    clusters: u16,
    /// Pods that run: controllers, scheduler, kwok, and a node of real processes with the pod demo/shell.
    #[arg(long)]
    pods: bool,
    /// Joins the clusters of this kubeconfig (each context) instead of starting some.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["clusters", "pods"])]
    kubeconfig: Option<PathBuf>,
    /// Builds roadstead optimised (the default).
    #[arg(long, conflicts_with = "debug")]
    release: bool,
    /// Builds roadstead for debugging: faster to build.
    #[arg(long)]
    debug: bool,
    /// Only installs and builds what a run needs.
    #[arg(long)]
    install_only: bool,
    /// The roadstead program (set by scripts/quickstart).
    #[arg(long, env = "ROADSTEAD_QUICKSTART_BIN", hide = true)]
    roadstead: PathBuf,
    /// What to run, instead of waiting for Ctrl-C.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The same text that `scripts/quickstart --help` prints before anything is built.
const HELP: &str = include_str!("quickstart/help.txt");

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.install_only {
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let code = runtime.block_on(run(arguments)).unwrap_or_else(|error| fail(&error));
    // A thread that still waits for something must not keep us.
    runtime.shutdown_background();
    code
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("quickstart: {error:#}");
    ExitCode::FAILURE
}

/// The signals that end a quickstart.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// The next one, by its number.
    ///
    /// # Cancel safety
    /// Loses no signal.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
            _ = self.hang_up.recv() => 1,
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut signals = Signals {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
        hang_up: signal(SignalKind::hangup())?,
    };
    let command = arguments.command.clone();
    let mut setup = tokio::task::spawn_blocking(move || Environment::start(&arguments));
    let environment = tokio::select! {
        biased;
        number = signals.next() => {
            eprintln!("quickstart: interrupted, cleaning up");
            cluster::stop_all();
            // What it had set up is dropped with its result.
            drop(setup.await);
            return Ok(ExitCode::from(128 + number));
        }
        environment = &mut setup => environment.context("setting up panicked")??,
    };
    let code = if command.is_empty() {
        environment.greet();
        let number = signals.next().await;
        if number == 2 { ExitCode::SUCCESS } else { ExitCode::from(128 + number) }
    } else {
        run_command(&environment, &command, &mut signals).await?
    };
    eprintln!("quickstart: cleaning up");
    tokio::task::spawn_blocking(move || drop(environment)).await.context("cleaning up panicked")?;
    Ok(code)
}

/// Runs COMMAND in the foreground and gives its exit code, as a shell counts it.
async fn run_command(environment: &Environment, command: &[OsString], signals: &mut Signals) -> Result<ExitCode> {
    let Some((program, arguments)) = command.split_first() else { bail!("no COMMAND") };
    let mut plain = std::process::Command::new(program);
    plain.args(arguments).envs(environment.variables()?);
    let mut child = tokio::process::Command::from(cluster::bound_to_us(&plain)).spawn().context("running COMMAND")?;
    loop {
        tokio::select! {
            biased;
            status = child.wait() => return Ok(exit_code(status.context("waiting for COMMAND")?)),
            number = signals.next() => {
                if let Some(status) = pass_on(&mut child, number).await? {
                    return Ok(exit_code(status));
                }
            }
        }
    }
}

/// A terminal sends Ctrl-C to COMMAND as well, which may go on (a shell does), and so do we. Any other end is meant for all of us.
async fn pass_on(child: &mut Child, number: u8) -> Result<Option<ExitStatus>> {
    const GRACE: Duration = Duration::from_secs(5);
    let (grace, name) = if number == 2 { (Duration::from_secs(1), "INT") } else { (Duration::ZERO, "TERM") };
    if let Ok(status) = tokio::time::timeout(grace, child.wait()).await {
        return Ok(Some(status?));
    }
    if let Some(pid) = child.id() {
        cluster::signal(pid, name)?;
    }
    if number == 2 {
        return Ok(None);
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(Some(ExitStatus::from_raw(i32::from(number))))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|number| 128 + number));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
