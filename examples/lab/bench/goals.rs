//! The goals of Roadstead's request path, and whether a run meets them.
//!
//! A goal in microseconds holds for the machine on which it was set. On another it is scaled by what two nginx cost there and here in the
//! same run ([`Goal::scale`]), so that ratios decide. What misses its limit by less than the margin is `near`: two runs of one program differ
//! by that much on a machine that does something else as well.

use super::rows::Row;
use super::sample::Measured;

/// How a figure becomes the value that is judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Value {
    /// The median itself.
    Own(&'static str),
    /// What is added to the direct way.
    Added(&'static str),
    /// So many times another target's.
    Times(&'static str, &'static str),
    /// The sum of all rounds.
    Sum(&'static str),
    /// The most of all rounds: of memory, as a process that grew once is as large in the next round.
    Most(&'static str),
}

impl Value {
    /// The value of a target.
    pub(crate) fn of(self, measured: &Measured, target: &str) -> Option<f64> {
        match self {
            Self::Own(figure) => measured.median(target, figure),
            Self::Added(figure) => measured.added(target, "direct", figure),
            Self::Times(base, figure) => measured.ratio(target, base, figure),
            Self::Sum(figure) => measured.sum(target, figure),
            Self::Most(figure) => measured.most(target, figure),
        }
    }
}

/// Which side of the limit is good.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// One goal.
#[derive(Clone, Copy, Debug)]
struct Goal {
    /// Rows whose names begin so.
    rows: &'static str,
    what: &'static str,
    value: Value,
    limit: Limit,
    /// A figure of nginx in the row of that name, and what it was where the goal was set: the limit is scaled by what it is now.
    scale: Option<(&'static str, &'static str, f64)>,
    margin: f64,
}

/// Two runs of the same program differ by up to 8 % in throughput and CPU (measured when the goals were set).
const STEADY: f64 = 0.10;
/// The slowest hundredth of requests is mostly waiting for a core: it differs by a third.
const TAIL: f64 = 0.35;

const fn goal(rows: &'static str, what: &'static str, value: Value, limit: Limit) -> Goal {
    Goal { rows, what, value, limit, scale: None, margin: STEADY }
}

const fn scaled(goal: Goal, row: &'static str, figure: &'static str, then: f64) -> Goal {
    Goal { scale: Some((row, figure, then)), ..goal }
}

const fn tail(goal: Goal) -> Goal {
    Goal { margin: TAIL, ..goal }
}

/// All of them but one: no request may fail in any row.
const GOALS: [Goal; 17] = {
    use Limit::{AtLeast, AtMost};
    use Value::{Added, Most, Own, Times};
    let us_first = "first_cpu_us_per_request";
    let us_second = "second_cpu_us_per_request";
    let ms_first = "first_cpu_ms_per_mb";
    let ms_second = "second_cpu_ms_per_mb";
    [
        scaled(goal("alone", "ms added to the median", Added("p50_ms"), AtMost(0.20)), "alone h1", "p50_ms", 0.48),
        tail(scaled(goal("alone", "ms added to p99", Added("p99_ms"), AtMost(0.5)), "alone h1", "p99_ms", 1.06)),
        goal("new-connection", "× direct, median", Times("direct", "p50_ms"), AtMost(0.8)),
        scaled(goal("small-64", "µs of hub a request", Own(us_first), AtMost(35.0)), "small-64 h1", us_first, 38.0),
        scaled(goal("small-64", "µs of agent a request", Own(us_second), AtMost(35.0)), "small-64 h1", us_second, 35.0),
        goal("small-64", "× nginx, requests", Times("nginx", "req_s"), AtLeast(1.1)),
        goal("list h1", "× nginx, MB/s", Times("nginx", "mb_s"), AtLeast(0.95)),
        goal("list h2", "× nginx, MB/s", Times("nginx", "mb_s"), AtLeast(0.9)),
        scaled(goal("list", "ms of hub a MB", Own(ms_first), AtMost(1.4)), "list h1", ms_first, 1.1),
        scaled(goal("list", "ms of agent a MB", Own(ms_second), AtMost(1.6)), "list h1", ms_second, 1.1),
        goal("list", "MB more of hub", Most("first_growth_mb"), AtMost(32.0)),
        goal("list", "MB more of agent", Most("second_growth_mb"), AtMost(32.0)),
        goal("bulk", "MB more of hub", Most("first_growth_mb"), AtMost(32.0)),
        goal("bulk", "MB more of agent", Most("second_growth_mb"), AtMost(32.0)),
        tail(goal("stalled", "× p99 without them", Own("p99_times"), AtMost(1.2))),
        tail(goal("watches", "ms added to p99", Added("p99_ms"), AtMost(20.0))),
        goal("watches", "KB of hub a watch", Most("first_kb_per_watch"), AtMost(12.0)),
    ]
};

/// Whether a goal is met.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum State {
    /// It is.
    Met,
    /// Missed by less than the margin.
    Near,
    /// Missed.
    Missed,
}

impl State {
    /// As the table says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Near => "near",
            Self::Missed => "MISSED",
        }
    }
}

/// One goal, judged.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) state: State,
    /// Value, limit and what it is, in words.
    pub(crate) text: String,
}

/// All rows of a run, for goals that look at more than one.
pub(crate) type Results = [(Row, Measured)];

/// Judges what a target did in a row.
pub(crate) fn judge(results: &Results, row: &Row, measured: &Measured, target: &str) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for goal in GOALS.iter().filter(|goal| row.name.starts_with(goal.rows)) {
        // Nothing measured is nothing to judge, unless requests failed: that is judged below.
        let Some(value) = goal.value.of(measured, target) else { continue };
        verdicts.push(goal.verdict(value, goal.factor(results)));
    }
    if let Some(errors) = measured.sum(target, "errors") {
        let state = if errors == 0.0 { State::Met } else { State::Missed };
        let first = measured.first_error(target).unwrap_or_default();
        verdicts.push(Verdict { state, text: format!("{errors} requests failed {first}") });
    }
    verdicts
}

impl Goal {
    /// By how much this machine is slower than the one where the goal was set.
    fn factor(&self, results: &Results) -> f64 {
        let Some((row, figure, then)) = self.scale else { return 1.0 };
        let now = results.iter().find(|(one, _)| one.name == row);
        now.and_then(|(_, measured)| measured.median("nginx", figure)).map_or(1.0, |now| now / then)
    }

    fn verdict(&self, value: f64, factor: f64) -> Verdict {
        let (limit, over, sign) = match self.limit {
            Limit::AtMost(limit) => (limit * factor, value / (limit * factor) - 1.0, '≤'),
            Limit::AtLeast(limit) => (limit, 1.0 - value / limit, '≥'),
        };
        let state = match over {
            over if over <= 0.0 => State::Met,
            over if over <= self.margin => State::Near,
            _ => State::Missed,
        };
        let text = match self.scale {
            Some(_) => format!("{value:.2} {} (goal {sign} {limit:.2}: this machine × {factor:.2})", self.what),
            None => format!("{value:.2} {} (goal {sign} {limit:.2})", self.what),
        };
        Verdict { state, text }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::super::sample::Sample;
    use super::*;

    /// One round of a row, with these figures of these targets.
    fn measured(figures: &[(&str, &str, f64)]) -> Measured {
        let mut measured = Measured::default();
        for target in ["direct", "nginx", "roadstead"] {
            let mut sample = Sample::default();
            figures.iter().filter(|(of, ..)| *of == target).for_each(|(_, name, value)| sample.set(name, *value));
            measured.push(target, Some(sample));
        }
        measured
    }

    fn worst(row: &str, figures: &[(&str, &str, f64)]) -> State {
        let row = rows::all(false).into_iter().find(|one| one.name == row).unwrap();
        let results = [(row, measured(figures))];
        let verdicts = judge(&results, &results[0].0, &results[0].1, "roadstead");
        assert!(!verdicts.is_empty(), "nothing was judged");
        verdicts.iter().map(|verdict| verdict.state).max().unwrap()
    }

    #[test]
    fn a_hub_that_is_a_millisecond_slower_misses_its_goal() {
        let at = |added: f64| {
            worst(
                "alone h1",
                &[("direct", "p50_ms", 0.23), ("nginx", "p50_ms", 0.48), ("roadstead", "p50_ms", 0.23 + added)],
            )
        };
        assert_eq!(at(0.19), State::Met);
        assert_eq!(at(0.21), State::Near);
        assert_eq!(at(1.19), State::Missed);
    }

    #[test]
    fn on_a_machine_that_is_twice_as_slow_the_limit_doubles() {
        let at = |hub: f64, nginx: f64| {
            let figure = "first_cpu_us_per_request";
            worst("small-64 h1", &[("nginx", figure, nginx), ("roadstead", figure, hub)])
        };
        assert_eq!(at(60.0, 76.0), State::Met);
        assert_eq!(at(60.0, 38.0), State::Missed);
        // And on a faster one it shrinks.
        assert_eq!(at(30.0, 19.0), State::Missed);
    }

    #[test]
    fn throughput_is_a_lower_limit() {
        let at = |ours: f64| worst("small-64 h2", &[("nginx", "req_s", 1_000.0), ("roadstead", "req_s", ours)]);
        assert_eq!(at(1_200.0), State::Met);
        assert_eq!(at(1_000.0), State::Near);
        assert_eq!(at(900.0), State::Missed);
    }

    #[test]
    fn one_failed_request_is_a_miss() {
        assert_eq!(worst("beside-lists h1", &[("roadstead", "errors", 0.0)]), State::Met);
        assert_eq!(worst("beside-lists h1", &[("roadstead", "errors", 1.0)]), State::Missed);
    }

    #[test]
    fn every_goal_belongs_to_a_row_that_exists() {
        let rows = rows::all(false);
        for goal in GOALS {
            assert!(rows.iter().any(|row| row.name.starts_with(goal.rows)), "{goal:?}");
            if let Some((scale, ..)) = goal.scale {
                assert!(rows.iter().any(|row| row.name == scale), "{goal:?}");
            }
        }
    }
}
