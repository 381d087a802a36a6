//! What a measurement gave, and what a whole run gave: figures by row, target and round.

use std::collections::BTreeMap;

use super::load::Outcome;
use super::numbers::{median, paired, percentile_ms};

/// Where a process stands on the way of a request.
pub(crate) const HOPS: [&str; 2] = ["first", "second"];

/// The figure of what the machine's host took from it, in percent of its time.
pub(crate) const STOLEN: &str = "machine_stolen_percent";

/// Figures of one measurement, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    figures: BTreeMap<String, f64>,
    /// Why a request failed, if one did.
    pub(crate) error: Option<String>,
}

impl Sample {
    /// What is known of any load: requests, times, errors, and CPU per request and per megabyte of each process.
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let mut this = Self { error: outcome.tally.first_error.clone(), ..Self::default() };
        let (latency, seconds) = (&outcome.tally.latency, outcome.seconds);
        let (requests, megabytes) = (latency.len() as f64, outcome.tally.bytes as f64 / 1e6);
        for (name, percentile) in [("p50_ms", 50.0), ("p99_ms", 99.0), ("p999_ms", 99.9)] {
            this.set_some(name, percentile_ms(latency, percentile));
        }
        this.set("requests", requests);
        this.set("req_s", requests / seconds);
        this.set("mb_s", megabytes / seconds);
        this.set("errors", outcome.tally.errors as f64);
        for (hop, cpu) in HOPS.iter().zip(&outcome.cpu) {
            this.set(&format!("{hop}_cpu_us_per_request"), cpu * 1e6 / requests);
            this.set(&format!("{hop}_cpu_ms_per_mb"), cpu * 1e3 / megabytes);
        }
        this.set_some("server_cpu_us_per_request", outcome.server_cpu.map(|cpu| cpu * 1e6 / requests));
        this.set("machine_idle_percent", outcome.machine.0);
        this.set(STOLEN, outcome.machine.1);
        for (hop, growth) in HOPS.iter().zip(&outcome.growth) {
            this.set(&format!("{hop}_growth_mb"), *growth);
        }
        this
    }

    /// What is known when nothing could be measured.
    pub(crate) fn failed(error: &anyhow::Error) -> Self {
        let mut this = Self::default();
        this.add_errors(1, Some(format!("{error:#}")));
        this
    }

    /// Notes a figure; one that is no number (nothing was done) is not there.
    pub(crate) fn set(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.figures.insert(name.to_owned(), value);
        }
    }

    /// Notes a figure, if there is one.
    pub(crate) fn set_some(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Counts errors in, on top of those that are there.
    pub(crate) fn add_errors(&mut self, count: u64, first: Option<String>) {
        let all = self.figures.get("errors").copied().unwrap_or_default() + count as f64;
        self.set("errors", all);
        self.error = self.error.take().or(first);
    }

    /// A figure.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    /// Every figure.
    pub(crate) fn figures(&self) -> &BTreeMap<String, f64> {
        &self.figures
    }
}

/// What a row gave: for each target a sample a round, or nothing where it cannot be measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    rounds: BTreeMap<String, Vec<Option<Sample>>>,
}

impl Measured {
    /// Notes the sample of the next round of a target.
    pub(crate) fn push(&mut self, target: &str, sample: Option<Sample>) {
        self.rounds.entry(target.to_owned()).or_default().push(sample);
    }

    /// The samples of a target, round by round.
    pub(crate) fn rounds(&self, target: &str) -> &[Option<Sample>] {
        self.rounds.get(target).map_or(&[], Vec::as_slice)
    }

    /// The median over the rounds.
    pub(crate) fn median(&self, target: &str, figure: &str) -> Option<f64> {
        median(self.values(target, figure).into_iter().flatten())
    }

    /// The median over the rounds of `target / base`.
    pub(crate) fn ratio(&self, target: &str, base: &str, figure: &str) -> Option<f64> {
        paired(&self.values(target, figure), &self.values(base, figure), |ours, theirs| ours / theirs)
    }

    /// The median over the rounds of `target - base`.
    pub(crate) fn added(&self, target: &str, base: &str, figure: &str) -> Option<f64> {
        paired(&self.values(target, figure), &self.values(base, figure), |ours, theirs| ours - theirs)
    }

    /// The sum over the rounds: of errors.
    pub(crate) fn sum(&self, target: &str, figure: &str) -> Option<f64> {
        let values: Vec<f64> = self.values(target, figure).into_iter().flatten().collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The most of the rounds: of memory.
    pub(crate) fn most(&self, target: &str, figure: &str) -> Option<f64> {
        self.values(target, figure).into_iter().flatten().max_by(f64::total_cmp)
    }

    /// The first error of a target.
    pub(crate) fn first_error(&self, target: &str) -> Option<&str> {
        self.rounds(target).iter().flatten().find_map(|sample| sample.error.as_deref())
    }

    /// The figure round by round; nothing at all when a round that was measured lacks it: a percentile that only some rounds have enough
    /// values for would be the median of others than its neighbours in the table.
    fn values(&self, target: &str, figure: &str) -> Vec<Option<f64>> {
        let rounds = self.rounds(target);
        let complete = rounds.iter().flatten().all(|sample| sample.get(figure).is_some());
        rounds.iter().map(|sample| sample.as_ref()?.get(figure).filter(|_| complete)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::load::Tally;
    use super::*;

    #[test]
    fn cpu_is_divided_by_the_requests_and_bytes_that_were_counted() {
        let mut tally = Tally::new();
        for _ in 0..1_000 {
            tally.latency.record(Duration::from_millis(2).as_nanos() as u64).unwrap();
        }
        tally.bytes = 50_000_000;
        tally.errors = 3;
        let sample = Sample::of(&Outcome {
            tally,
            seconds: 0.5,
            cpu: vec![0.04, 0.1],
            server_cpu: Some(0.3),
            machine: (20.0, 3.0),
            growth: vec![1.5],
        });
        let expected = [
            ("req_s", 2_000.0),
            ("mb_s", 100.0),
            ("errors", 3.0),
            ("first_cpu_us_per_request", 40.0),
            ("second_cpu_us_per_request", 100.0),
            ("server_cpu_us_per_request", 300.0),
            ("first_cpu_ms_per_mb", 0.8),
            ("second_cpu_ms_per_mb", 2.0),
            ("first_growth_mb", 1.5),
            (STOLEN, 3.0),
        ];
        for (name, value) in expected {
            let got = sample.get(name).unwrap();
            assert!((got - value).abs() < 1e-9, "{name}: {got} instead of {value}");
        }
        assert!((sample.get("p50_ms").unwrap() - 2.0).abs() < 0.01);
        assert_eq!(sample.get("second_growth_mb"), None);
    }

    #[test]
    fn nothing_done_gives_no_figure_instead_of_an_infinite_one() {
        let sample = Sample::of(&Outcome {
            tally: Tally::new(),
            seconds: 1.0,
            cpu: vec![0.1],
            server_cpu: None,
            machine: (f64::NAN, f64::NAN),
            growth: Vec::new(),
        });
        assert_eq!(sample.get("first_cpu_us_per_request"), None);
        assert_eq!(sample.get("p50_ms"), None);
        assert_eq!(sample.get("req_s"), Some(0.0));
    }

    #[test]
    fn a_target_is_compared_round_by_round() {
        let mut measured = Measured::default();
        for (round, (ours, theirs)) in [(2.0, 1.0), (20.0, 10.0), (3.0, 1.0)].into_iter().enumerate() {
            for (target, value) in [("ours", ours), ("theirs", theirs)] {
                let mut sample = Sample::default();
                sample.set("p50_ms", value);
                sample.set("errors", round as f64);
                measured.push(target, Some(sample));
            }
        }
        measured.push("ours", None);
        assert_eq!(measured.median("ours", "p50_ms"), Some(3.0));
        assert_eq!(measured.ratio("ours", "theirs", "p50_ms"), Some(2.0));
        assert_eq!(measured.added("ours", "theirs", "p50_ms"), Some(2.0));
        assert_eq!(measured.sum("ours", "errors"), Some(3.0));
        assert_eq!(measured.most("ours", "p50_ms"), Some(20.0));
        assert_eq!(measured.ratio("ours", "absent", "p50_ms"), None);
        // A round that was measured and lacks the figure leaves none.
        measured.push("ours", Some(Sample::failed(&anyhow::anyhow!("refused"))));
        assert_eq!((measured.median("ours", "p50_ms"), measured.sum("ours", "errors")), (None, Some(4.0)));
    }
}
