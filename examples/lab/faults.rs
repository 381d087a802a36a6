//! Breaks every part on purpose and looks whether what is promised holds: real hub, agents and API server, a bad network between them.
//!
//! A stand-in for the API server is used only where a real one cannot be made to do it (hang, refuse, send known bytes for minutes).

#![allow(clippy::disallowed_methods, reason = "processes are broken and waited for in real time")]

#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/exhaust.rs"]
mod exhaust;
#[path = "faults/holes.rs"]
mod holes;
#[path = "faults/kill.rs"]
mod kill;
#[path = "faults/load.rs"]
mod load;
#[path = "faults/parts.rs"]
mod parts;
#[path = "faults/path.rs"]
mod path;
#[path = "faults/restart.rs"]
mod restart;
#[path = "faults/rows.rs"]
mod rows;
#[path = "faults/rude.rs"]
mod rude;
#[path = "faults/share.rs"]
mod share;
#[path = "faults/slow.rs"]
mod slow;
#[path = "faults/soak.rs"]
mod soak;
#[path = "faults/world.rs"]
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use rows::{Outcome, Verdict};
use world::World;

/// Options of `lab faults`.
#[derive(clap::Args, Debug)]
#[command(name = "faults")]
pub(crate) struct Arguments {
    /// Only these rows, or those whose name begins so.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// At most five minutes: a short soak, fewer repetitions.
    #[arg(long)]
    quick: bool,
    /// A figure that misses its goal fails the run, too.
    #[arg(long)]
    check: bool,
    /// Prints the rows and what each promises, and does nothing.
    #[arg(long)]
    list: bool,
    /// Writes the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What chance begins with.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The roadstead program (set by scripts/faults).
    #[arg(long, env = "ROADSTEAD_LAB_BIN", hide = true)]
    roadstead: Option<PathBuf>,
}

pub(crate) fn run(options: Arguments) -> Result<ExitCode> {
    let chosen = rows::chosen(&options.names)?;
    if options.list {
        chosen.iter().for_each(|row| println!("{:<18} {}", row.name, row.promise));
        return Ok(ExitCode::SUCCESS);
    }
    let program = options.roadstead.context("where is roadstead? use scripts/faults, or --roadstead")?;
    let started = Instant::now();
    let mut world = World::start(&program, options.quick, options.seed)?;
    let mut results = Vec::new();
    for row in chosen {
        let from = Instant::now();
        eprintln!("faults: [{:>4.0} s] {} …", started.elapsed().as_secs_f32(), row.name);
        let outcome = (row.run)(&mut world).unwrap_or_else(|error| Outcome::broken(format!("{error:#}")));
        eprintln!("faults: {}: {}: {}", row.name, outcome.verdict.word(), outcome.measured);
        results.push((row, outcome, from.elapsed()));
        world.mend().with_context(|| format!("what {} broke cannot be mended", row.name))?;
    }
    rows::print(&results);
    if let Some(path) = &options.json {
        rows::write_json(path, &results, options.seed)?;
    }
    let fails = |outcome: &Outcome| match outcome.verdict {
        Verdict::Broken => true,
        Verdict::Missed => options.check,
        Verdict::Held | Verdict::Skipped | Verdict::Met => false,
    };
    let failed = results.iter().filter(|(_, outcome, _)| fails(outcome)).count();
    println!("{} rows in {:.0} s, {failed} failed", results.len(), started.elapsed().as_secs_f32());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
