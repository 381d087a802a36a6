//! The rows of the table: what is broken, what is promised, and how the result is shown.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::world::World;
use super::{clock, exhaust, holes, kill, path, restart, rude, share, slow, soak};

/// How a row ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// The promise held.
    Held,
    /// It did not.
    Broken,
    /// It cannot be tried here; the text says why.
    Skipped,
    /// A measurement that reached its goal.
    Met,
    /// A measurement that did not; fails the run with `--check` only.
    Missed,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Broken => "BROKEN",
            Self::Skipped => "skipped",
            Self::Met => "met",
            Self::Missed => "missed",
        }
    }
}

/// What a row found.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    pub(super) measured: String,
}

impl Outcome {
    pub(super) fn held(measured: impl Into<String>) -> Self {
        Self { verdict: Verdict::Held, measured: measured.into() }
    }

    pub(super) fn broken(measured: impl Into<String>) -> Self {
        Self { verdict: Verdict::Broken, measured: measured.into() }
    }

    pub(super) fn skipped(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, measured: why.into() }
    }

    /// Of a measurement.
    pub(super) fn goal(met: bool, measured: impl Into<String>) -> Self {
        Self { verdict: if met { Verdict::Met } else { Verdict::Missed }, measured: measured.into() }
    }

    /// `held` if it is so.
    pub(super) fn of(held: bool, measured: impl Into<String>) -> Self {
        if held { Self::held(measured) } else { Self::broken(measured) }
    }
}

/// One thing that is broken.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) promise: &'static str,
    pub(super) run: fn(&mut World) -> Result<Outcome>,
}

/// What every row under load promises, beside its own.
const SAFE: &str = "no wrong answer, no change twice, none lost that was acknowledged";

macro_rules! row {
    ($name:literal, $run:path, $promise:expr) => {
        Row { name: $name, promise: $promise, run: $run }
    };
}

const ROWS: &[Row] = &[
    row!("kill-hub", kill::hub, SAFE),
    row!("kill-agent", kill::agent, SAFE),
    row!("kill-api-server", kill::api_server, SAFE),
    row!("stop-hub", kill::stop_hub, SAFE),
    row!("stop-agent", kill::stop_agent, SAFE),
    row!("stop-api-server", kill::stop_api_server, SAFE),
    row!("hole-up", holes::up, "nothing reaches the hub: noticed in 30 s; requests under way end and name the hop"),
    row!("hole-down", holes::down, "nothing reaches the agent: the same"),
    row!("hole-both", holes::both, "nothing either way: the same"),
    row!("udp-blocked", holes::udp, "the agent says that UDP is blocked, in words; back in 10 s once it is not"),
    row!("hub-restart", restart::hub, "edge-1 answers 5 s after the hub listens again"),
    row!(
        "hub-stranger",
        restart::stranger,
        "a hub without the old data gets no link and no enrolment; agents say why, and come back to their own in 5 s"
    ),
    row!(
        "disk-full",
        exhaust::disk,
        "requests go on, changes are refused in clear words, nothing acknowledged is lost, room mends it"
    ),
    row!(
        "descriptors-hub",
        exhaust::hub_descriptors,
        "clients that are there are served; new ones, once descriptors are free again"
    ),
    row!(
        "descriptors-agent",
        exhaust::agent_descriptors,
        "what runs goes on; more is refused in clear words; then it recovers"
    ),
    row!("api-goaway", rude::goaway, "no request fails because the API server says GOAWAY"),
    row!("api-429", rude::too_many, "its refusal arrives as it was, Retry-After and all"),
    row!(
        "api-hang",
        rude::hang,
        "others are served; a client that leaves is gone at the API server in 1 s; one that waits gets a 504 after 70 s"
    ),
    row!(
        "clock-agent",
        clock::agent,
        "an agent whose clock is 40 days off says what is wrong with which certificate, and goes on trying"
    ),
    row!("slow-reader", slow::reader, "16 clients that read at a trickle: small reads stay as fast"),
    row!("slow-writer", slow::writer, "16 uploads at a trickle arrive whole; small reads stay as fast"),
    row!("half-open", slow::gone, "a client that vanished without a word is given up in a minute"),
    row!(
        "nat-rebind",
        path::rebind,
        "no stream breaks, no byte is wrong, when a NAT gives the agent another port three times"
    ),
    row!("mtu-drop", path::mtu, "the same when datagrams above 1,280 bytes vanish from some moment on"),
    row!(
        "small-beside-bulk",
        share::small,
        "measurement: p99 of small reads beside 4 bulk streams is at most twice that without"
    ),
    row!("bulk-with-loss", share::bulk, "measurement: 15 MB/s over 200 Mbit/s, 40 ms, 1 % loss"),
    row!("soak", soak::soak, "faults by chance, 200 requests a second: no wrong answer, no change twice, no leak"),
];

/// The rows that are wanted: all, or those whose names begin with one of `names`.
pub(super) fn chosen(names: &[String]) -> Result<Vec<&'static Row>> {
    for name in names {
        ensure!(ROWS.iter().any(|row| row.name.starts_with(name.as_str())), "there is no row {name:?}; try --list");
    }
    let wanted = |row: &&Row| names.is_empty() || names.iter().any(|name| row.name.starts_with(name.as_str()));
    Ok(ROWS.iter().filter(wanted).collect())
}

/// A row, what it found, and how long it took.
pub(super) type Found = (&'static Row, Outcome, Duration);

/// Prints the table.
pub(super) fn print(results: &[Found]) {
    println!("| name | promise | measured | verdict |\n|---|---|---|---|");
    for (row, outcome, _) in results {
        let measured = outcome.measured.replace('|', "/").replace('\n', " ");
        println!("| {} | {} | {measured} | {} |", row.name, row.promise, outcome.verdict.word());
    }
}

/// The same for machines.
pub(super) fn write_json(path: &Path, results: &[Found], seed: u64) -> Result<()> {
    let rows: Vec<_> = results
        .iter()
        .map(|(row, outcome, took)| {
            json!({"name": row.name, "promise": row.promise, "measured": outcome.measured,
                "verdict": outcome.verdict.word().to_lowercase(), "seconds": took.as_secs_f64()})
        })
        .collect();
    let text =
        serde_json::to_string_pretty(&json!({"seed": seed, "optimised": !cfg!(debug_assertions), "rows": rows}))?;
    fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
}
