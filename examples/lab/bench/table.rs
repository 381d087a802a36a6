//! How results are shown: a table to read, and JSON to compare runs with.

use std::fmt::Write;

use serde_json::{Map, Value as Json, json};

use super::goals::{Results, State, Value, Verdict, judge};
use super::rows::{Row, Server, Shape};
use super::sample::{Measured, STOLEN};
use super::setup::{Kind, Target};

/// From so many percent on a round says little about who was measured in it.
const MUCH_STOLEN: f64 = 5.0;

/// A column: its head, its value, digits behind the point.
type Column = (&'static str, Value, usize);

fn columns(shape: Shape) -> Vec<Column> {
    use Value::{Added, Most, Own, Sum, Times};
    let us = [("µs/req 1st", Own("first_cpu_us_per_request"), 1), ("2nd", Own("second_cpu_us_per_request"), 1)];
    let growth = [("grew MB 1st", Most("first_growth_mb"), 1), ("2nd", Most("second_growth_mb"), 1)];
    let errors = ("errors", Sum("errors"), 0);
    let mut columns = match shape {
        Shape::Latency => vec![
            ("p50 ms", Own("p50_ms"), 3),
            ("p99 ms", Own("p99_ms"), 3),
            ("p99.9 ms", Own("p999_ms"), 3),
            ("+p50", Added("p50_ms"), 3),
            ("+p99", Added("p99_ms"), 3),
            ("× direct", Times("direct", "p50_ms"), 2),
            ("× nginx", Times("nginx", "p50_ms"), 2),
        ],
        Shape::Requests => vec![
            ("req/s", Own("req_s"), 0),
            ("× direct", Times("direct", "req_s"), 2),
            ("× nginx", Times("nginx", "req_s"), 2),
            ("p50 ms", Own("p50_ms"), 2),
            ("p99 ms", Own("p99_ms"), 2),
        ],
        Shape::Bulk => vec![
            ("MB/s", Own("mb_s"), 0),
            ("× direct", Times("direct", "mb_s"), 2),
            ("× nginx", Times("nginx", "mb_s"), 2),
            ("ms/MB 1st", Own("first_cpu_ms_per_mb"), 2),
            ("2nd", Own("second_cpu_ms_per_mb"), 2),
        ],
        Shape::Stalled => vec![
            ("answered", Own("answered"), 0),
            ("p99 ms without", Own("before_p99_ms"), 3),
            ("with", Own("p99_ms"), 3),
            ("×", Own("p99_times"), 2),
            ("kept MB 1st", Most("first_kept_mb"), 1),
            ("2nd", Most("second_kept_mb"), 1),
        ],
        Shape::Watches => vec![
            ("p50 ms", Own("p50_ms"), 2),
            ("p99 ms", Own("p99_ms"), 2),
            ("+p99", Added("p99_ms"), 2),
            ("events", Own("events"), 0),
            ("missing", Sum("missing"), 0),
            ("KB/watch 1st", Most("first_kb_per_watch"), 1),
            ("2nd", Most("second_kb_per_watch"), 1),
            ("µs/event 1st", Own("first_cpu_us_per_event"), 1),
            ("2nd", Own("second_cpu_us_per_event"), 1),
        ],
    };
    match shape {
        Shape::Latency | Shape::Requests => {
            columns.extend(us);
            columns.push(("API server", Own("server_cpu_us_per_request"), 1));
        }
        Shape::Bulk | Shape::Stalled => columns.extend(growth),
        Shape::Watches => {}
    }
    columns.push(errors);
    columns
}

/// Verdicts about a target, if goals apply to it.
fn verdicts(results: &Results, (row, measured): &(Row, Measured), target: &Target) -> Vec<Verdict> {
    if target.kind == Kind::Roadstead { judge(results, row, measured, &target.name) } else { Vec::new() }
}

/// Whether any goal is missed by more than its margin.
pub(crate) fn any_missed(results: &Results, targets: &[Target]) -> bool {
    let pairs = results.iter().flat_map(|result| targets.iter().map(move |target| (result, target)));
    pairs.flat_map(|(result, target)| verdicts(results, result, target)).any(|verdict| verdict.state == State::Missed)
}

/// The table of one row: a line a target, and under it every goal that is not met.
pub(crate) fn row(results: &Results, result: &(Row, Measured), targets: &[Target]) -> String {
    let (row, measured) = result;
    let (columns, mut out) = (columns(row.shape), String::new());
    let server = match row.server {
        Server::Api => "kube-apiserver",
        Server::Origin => "minimal origin, no API server",
    };
    let rounds = targets.iter().map(|target| measured.rounds(&target.name).len()).max().unwrap_or_default();
    let _ = writeln!(out, "\n{}: {} ({server}; {rounds} rounds)", row.name, row.what);
    let heads: Vec<String> = columns.iter().map(|(head, ..)| format!("{head:>9}")).collect();
    let _ = writeln!(out, "  {:<16}{}  goals", "", heads.join("  "));
    let mut missed = String::new();
    for target in targets {
        let cell = |(head, value, digits): &Column| {
            let width = head.chars().count().max(9);
            value
                .of(measured, &target.name)
                .map_or(format!("{:>width$}", "–"), |value| format!("{value:>width$.digits$}"))
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        let verdicts = verdicts(results, result, target);
        let worst = verdicts.iter().map(|verdict| verdict.state).max().map_or("", State::name);
        let _ = writeln!(out, "  {:<16}{}  {worst}", target.name, cells.join("  "));
        for verdict in verdicts.iter().filter(|verdict| verdict.state != State::Met) {
            let _ = writeln!(missed, "    {} {}: {}", verdict.state.name(), target.name, verdict.text);
        }
        if let Some(stolen) = measured.most(&target.name, STOLEN).filter(|percent| *percent >= MUCH_STOLEN) {
            let _ = writeln!(
                missed,
                "    doubtful {}: the machine's host took {stolen:.0} % of its time in a round",
                target.name
            );
        }
        if target.kind != Kind::Roadstead
            && let Some(error) = measured.first_error(&target.name)
        {
            let _ = writeln!(missed, "    error of {}: {error}", target.name);
        }
    }
    out + &missed
}

/// Everything that was measured, for programs.
pub(crate) fn json(results: &Results, targets: &[Target]) -> Json {
    let rows: Vec<Json> = results.iter().map(|result| row_json(results, result, targets)).collect();
    let processes = |target: &Target| target.api.processes.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    let targets: Map<String, Json> = targets
        .iter()
        .map(|one| (one.name.clone(), json!({"first": processes(one).first(), "second": processes(one).get(1)})))
        .collect();
    json!({"targets": targets, "rows": rows})
}

fn row_json(results: &Results, result: &(Row, Measured), targets: &[Target]) -> Json {
    let (row, measured) = result;
    let mut of_targets = Map::new();
    for target in targets {
        let rounds = measured.rounds(&target.name);
        let names = rounds.iter().flatten().flat_map(|sample| sample.figures().keys());
        let names: std::collections::BTreeSet<&String> = names.collect();
        let each = |value: &dyn Fn(&str) -> Option<f64>| -> Map<String, Json> {
            names.iter().filter_map(|name| Some(((*name).clone(), json!(value(name)?)))).collect()
        };
        let verdicts: Vec<Json> = verdicts(results, result, target)
            .iter()
            .map(|verdict| json!({"state": verdict.state.name(), "goal": verdict.text}))
            .collect();
        let one = json!({
            "median": each(&|name| measured.median(&target.name, name)),
            "timesDirect": each(&|name| measured.ratio(&target.name, "direct", name)),
            "timesNginx": each(&|name| measured.ratio(&target.name, "nginx", name)),
            "addedToDirect": each(&|name| measured.added(&target.name, "direct", name)),
            "rounds": rounds.iter().map(|round| round.as_ref().map(|sample| sample.figures().clone())).collect::<Vec<_>>(),
            "firstError": measured.first_error(&target.name),
            "verdicts": verdicts,
        });
        of_targets.insert(target.name.clone(), one);
    }
    let server = if row.server == Server::Api { "kube-apiserver" } else { "minimal origin" };
    json!({"row": row.name, "scenario": row.scenario, "what": row.what, "server": server, "targets": of_targets})
}
