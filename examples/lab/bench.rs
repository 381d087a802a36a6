//! The benchmark: what Roadstead adds to a request and what it costs, beside other ways to the same API server.
//!
//! One run, interleaved: every round measures every target once, in an order that turns, and ratios are made within a round. Figures of
//! two runs are not comparable on a machine that does something else as well; ratios of one run are.

#[path = "bench/goals.rs"]
mod goals;
#[path = "bench/load.rs"]
mod load;
#[path = "bench/nginx.rs"]
mod nginx;
#[path = "bench/numbers.rs"]
mod numbers;
#[path = "bench/origin.rs"]
mod origin;
#[path = "bench/other.rs"]
mod other;
#[path = "bench/process.rs"]
mod process;
#[path = "bench/profile.rs"]
mod profile;
#[path = "bench/relay.rs"]
mod relay;
#[path = "bench/rows.rs"]
mod rows;
#[path = "bench/sample.rs"]
mod sample;
#[path = "bench/setup.rs"]
mod setup;
#[path = "bench/stalled.rs"]
mod stalled;
#[path = "bench/stream.rs"]
mod stream;
#[path = "bench/table.rs"]
mod table;
#[path = "bench/watches.rs"]
mod watches;
#[path = "bench/way.rs"]
mod way;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use goals::Results;
use load::{Clients, Work, measure};
use rows::{Context, Lengths, Pace, Row, SMALL};
use sample::{Measured, Sample};
use setup::{Bench, LIST_PATH, Target};
use way::Protocol;

/// Options of `lab bench`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Shorter rounds, smaller bodies, no row of thousands: at most 5 minutes.
    #[arg(long)]
    quick: bool,
    /// Only these scenarios: alone, new-connection, small-64, list, beside-lists, fixed-rate, bulk, stalled, watches.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Another tunnel to the API server: a file that describes it, or a program that starts it (see CONTRIBUTING.md).
    #[arg(long, value_name = "FILE")]
    target: Vec<PathBuf>,
    /// Another build of roadstead, side by side with the first.
    #[arg(long, value_name = "PROGRAM")]
    roadstead: Vec<PathBuf>,
    /// Adds a target that holds every request back for so long: it must miss its goals.
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    slow: Option<Duration>,
    /// Ends with 1 if a goal is missed by more than its margin.
    #[arg(long)]
    check: bool,
    /// Rounds, at least 3; some rows have fewer.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(3..))]
    rounds: u16,
    /// Where all figures go.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    profile: profile::Options,
    /// The roadstead program (set by scripts/bench).
    #[arg(long, env = "ROADSTEAD_LAB_BIN", hide = true)]
    program: PathBuf,
}

/// Reads `1ms`.
fn milliseconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix("ms").and_then(|number| number.parse().ok());
    number.map(Duration::from_millis).ok_or_else(|| format!("{text:?} is not a time such as 1ms"))
}

/// Progress, on stderr: stdout belongs to results.
fn say(what: &str) {
    eprintln!("bench: {what}");
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let rows = chosen(&arguments)?;
    let bench = Bench::start(&arguments)?;
    // One thread: it is the client, and shares nothing with what is measured but the machine.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measuring = async {
        bench.wait_ready().await?;
        let context = context(&bench, arguments.quick).await?;
        if let (Some(wanted), Some(row)) = (arguments.profile.wanted(), rows.first()) {
            profile::run(row, &bench.targets, context, wanted).await?;
            return Ok(None);
        }
        let client = own_limit(&bench.targets[0], &context).await?;
        let rounds = usize::from(arguments.rounds);
        let mut results = Vec::new();
        for row in &rows {
            say(&format!("{}: {}", row.name, row.what));
            results.push((row.clone(), interleaved(row, &bench.targets, &context, rounds).await));
        }
        Ok::<_, anyhow::Error>(Some((results, client)))
    };
    let Some((results, client)) = runtime.block_on(measuring)? else { return Ok(ExitCode::SUCCESS) };
    report(&arguments, &bench.targets, &results, client)
}

/// Prints the table, writes the file, and judges.
fn report(arguments: &Arguments, targets: &[Target], results: &Results, client: Value) -> Result<ExitCode> {
    println!("{}", machine(&client));
    results.iter().for_each(|result| print!("{}", table::row(results, result, targets)));
    if let Some(file) = &arguments.json {
        let mut all = table::json(results, targets);
        all["quick"] = json!(arguments.quick);
        all["client"] = client;
        fs::write(file, serde_json::to_string_pretty(&all)?).with_context(|| format!("writing {}", file.display()))?;
    }
    let missed = table::any_missed(results, targets);
    println!("\n{}", if missed { "goals: MISSED" } else { "goals: none missed by more than its margin" });
    Ok(if missed && arguments.check { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The rows that are asked for.
fn chosen(arguments: &Arguments) -> Result<Vec<Row>> {
    let rows = rows::all(arguments.quick);
    for name in &arguments.only {
        ensure!(
            rows.iter().any(|row| row.scenario == name),
            "there is no scenario {name:?}; lab bench --help names them"
        );
    }
    let only = |row: &Row| arguments.only.is_empty() || arguments.only.iter().any(|name| row.scenario == name);
    Ok(rows.into_iter().filter(only).collect())
}

/// Learns on the direct way how long whole answers are.
async fn context(bench: &Bench, quick: bool) -> Result<Context<'_>> {
    let time = Duration::from_millis(if quick { 600 } else { 4_000 });
    let direct = &bench.targets[0];
    let origin = direct.origin.as_ref().context("the direct target leads to the origin")?;
    let lengths = Lengths {
        api_version: direct.api.length(Protocol::H1, SMALL).await?,
        api_list: direct.api.length(Protocol::H1, LIST_PATH).await?,
        origin_version: origin.length(Protocol::H1, SMALL).await?,
    };
    ensure!(lengths.api_list > 5_000_000, "the list has only {} bytes", lengths.api_list);
    Ok(Context { pace: Pace { warm: time / 4, time }, lengths, watches: &bench.origin.watches })
}

/// Measures each target once a round, in an order that turns.
async fn interleaved(row: &Row, targets: &[Target], context: &Context<'_>, rounds: usize) -> Measured {
    let mut measured = Measured::default();
    for round in 0..row.times(rounds) {
        for number in 0..targets.len() {
            let target = &targets[(number + round) % targets.len()];
            let sample = rows::run(row, target, context).await.unwrap_or_else(|error| Some(Sample::failed(&error)));
            measured.push(&target.name, sample);
        }
    }
    measured
}

/// What the client could do at most: the same load against the minimal origin, which does next to nothing. Both share the machine here,
/// so the CPU that a request costs the client says more than the requests a second.
async fn own_limit(direct: &Target, context: &Context<'_>) -> Result<Value> {
    let way = direct.origin.as_ref().context("the direct target leads to the origin")?;
    let mut limits = json!({});
    for protocol in [Protocol::H1, Protocol::H2] {
        let clients = Clients::start(way, &Work::new(protocol, SMALL, context.lengths.origin_version), 64).await?;
        let before = process::this_thread()?;
        let outcome = measure(way, clients, context.pace.warm, context.pace.time).await?;
        let all = context.pace.warm + context.pace.time;
        let share = (process::this_thread()? - before).as_secs_f64() / all.as_secs_f64();
        let requests = outcome.tally.latency.len() as f64 / outcome.seconds;
        ensure!(
            outcome.tally.errors == 0,
            "the client fails against the minimal origin: {:?}",
            outcome.tally.first_error
        );
        limits[protocol.name()] =
            json!({"req_s": requests.round(), "cpu_us_per_request": (share * 1e6 / requests * 10.0).round() / 10.0});
    }
    Ok(limits)
}

/// The machine, in a line, and the client.
fn machine(client: &Value) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let line = |protocol: &str| {
        let limit = &client[protocol];
        format!("{protocol} {} req/s, {} µs of CPU each", limit["req_s"], limit["cpu_us_per_request"])
    };
    format!(
        "{cores} cores, Linux {}, load average {} (this run included)\nthe client's own limit, 64 clients against the minimal origin: {}; {}\n\
         1st and 2nd: the process near the client (hub, front) and near the server (agent, back)",
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        line("h1"),
        line("h2")
    )
}
