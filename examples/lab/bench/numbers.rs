//! The arithmetic of figures: medians, ratios within a round, CPU and memory as Linux prints them. No I/O, so that it can be doubted here.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Ticks a second of the times in `/proc/PID/stat`: `USER_HZ`, which Linux fixes at 100 for user space on every architecture it is run on here.
const TICKS: u64 = 100;

/// The middle of these, or the mean of the two in the middle; nothing of nothing. What is not a number is left out.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The median over rounds of `combine(ours, theirs)`, each pair from the same round: what disturbs the machine for longer than a round
/// disturbs both. Rounds that lack either are left out.
pub(crate) fn paired(ours: &[Option<f64>], theirs: &[Option<f64>], combine: fn(f64, f64) -> f64) -> Option<f64> {
    median(ours.iter().zip(theirs).filter_map(|(ours, theirs)| Some(combine((*ours)?, (*theirs)?))))
}

/// An empty histogram of nanoseconds, to a thousandth, up to two minutes.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("the bounds are constants that fit")
}

/// Milliseconds at a percentile; nothing when fewer than two values lie beyond it: then it would be the worst of few, by chance.
pub(crate) fn percentile_ms(histogram: &Histogram<u64>, percentile: f64) -> Option<f64> {
    let beyond = histogram.len() as f64 * (1.0 - percentile / 100.0);
    (beyond >= 2.0 - 1e-6).then(|| histogram.value_at_percentile(percentile) as f64 / 1e6)
}

/// User and system time of `/proc/PID/stat`, threads that ended included.
pub(crate) fn cpu_of_stat(stat: &str) -> Option<Duration> {
    // The program's name may hold spaces and parentheses; behind the last one everything is a number but the state.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (user, system): (u64, u64) = (fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1_000 / TICKS))
}

/// What a machine did with its time since it started, all its processors together, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Machine {
    all: u64,
    idle: u64,
    stolen: u64,
}

impl Machine {
    /// From `/proc/stat` (man 5 proc_stat).
    pub(crate) fn of_stat(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        // user, nice, system, idle, iowait, irq, softirq, steal; guests, behind them, are in user already.
        let ticks: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        let &[_, _, _, idle, waiting, _, _, stolen] = ticks.as_slice() else { return None };
        Some(Self { all: ticks.iter().sum(), idle: idle + waiting, stolen })
    }

    /// Percent of the time since `from` that was idle, and that its host gave to others although there was something to do.
    pub(crate) fn since(self, from: Self) -> (f64, f64) {
        let percent =
            |now: u64, then: u64| 100.0 * now.saturating_sub(then) as f64 / self.all.saturating_sub(from.all) as f64;
        (percent(self.idle, from.idle), percent(self.stolen, from.stolen))
    }
}

/// Kilobytes of one line of `/proc/PID/status`, such as `VmRSS`.
pub(crate) fn kilobytes_of_status(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_and_ignores_order_and_outliers() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([900.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median([f64::NAN, 7.0]), Some(7.0));
    }

    #[test]
    fn a_ratio_pairs_what_was_measured_in_the_same_round() {
        // The machine was three times slower in the second round, and the last round of ours is missing.
        let (ours, theirs) = ([Some(2.0), Some(6.0), Some(4.0), None], [Some(1.0), Some(3.0), Some(1.0), Some(1.0)]);
        assert_eq!(paired(&ours, &theirs, |a, b| a / b), Some(2.0));
        assert_eq!(paired(&ours, &theirs, |a, b| a - b), Some(3.0));
        assert_eq!(paired(&[None], &[Some(1.0)], |a, b| a / b), None);
    }

    #[test]
    fn percentiles_are_those_of_the_values_recorded() {
        let mut values = histogram();
        assert_eq!(percentile_ms(&values, 50.0), None);
        for micros in 1..=1_000 {
            values.record(micros * 1_000).unwrap();
        }
        assert_eq!(percentile_ms(&values, 99.9), None, "one value lies beyond it");
        for (percentile, expected) in [(50.0, 0.5), (99.0, 0.99), (99.8, 0.998)] {
            let got = percentile_ms(&values, percentile).unwrap();
            assert!((got - expected).abs() < 0.002, "p{percentile}: {got}");
        }
    }

    #[test]
    fn cpu_is_user_and_system_time_even_behind_a_strange_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 94 0 0 0 150 25 3 4 20 0 1 0 1220740 5124096 634";
        assert_eq!(cpu_of_stat(stat), Some(Duration::from_millis(1_750)));
        assert_eq!(cpu_of_stat("7 (x) S 1"), None);
    }

    #[test]
    fn what_the_host_took_is_no_idle_time() {
        let machine = |line: &str| Machine::of_stat(line);
        let from = machine("cpu  100 5 50 800 10 0 5 30 7 0\ncpu0 1 1 1 1").unwrap();
        let now = machine("cpu  150 5 70 810 10 0 10 45 7 0\ncpu0 1 1 1 1").unwrap();
        assert_eq!(now.since(from), (10.0, 15.0));
        assert_eq!((machine("cpu  1 2 3"), machine("")), (None, None));
    }

    #[test]
    fn memory_is_read_from_the_line_of_that_name() {
        let status = "Name:\tVmRSS: 1 kB\nVmHWM:\t  2048 kB\nVmRSS:\t   1024 kB\n";
        assert_eq!(kilobytes_of_status(status, "VmRSS"), Some(1024));
        assert_eq!(kilobytes_of_status(status, "VmHWM"), Some(2048));
        assert_eq!(kilobytes_of_status(status, "VmSwap"), None);
    }
}
