//! What the agent's `/metrics` shows (Prometheus text). No label comes from a hub, a client or a cluster.

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use time::OffsetDateTime;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// What became of a renewed certificate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Renewal {
    /// It is kept, and the next link is dialled with it.
    Done,
    /// It could not be kept.
    Failed,
}

/// All metrics of an agent.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    /// 1 while there is a link.
    pub(super) connected: Gauge,
    expiry: Gauge,
    clock: Gauge,
    renewals: Family<OutcomeLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("roadstead_agent");
        let (connected, expiry, clock) = (Gauge::default(), Gauge::default(), Gauge::default());
        let renewals = Family::default();
        registry.register("connected", "1 while there is a link to the hub", connected.clone());
        let ends = "Unix time at which the agent's certificate ends";
        registry.register_with_unit("certificate_expiry", ends, Unit::Seconds, expiry.clone());
        let ahead = "How far the clock here is ahead of the hub's, as of the last link";
        registry.register_with_unit("clock_ahead", ahead, Unit::Seconds, clock.clone());
        registry.register(
            "renewals",
            "Renewed certificates: that the hub gave, or that the files of another CA held",
            Family::clone(&renewals),
        );
        Self { registry, connected, expiry, clock, renewals }
    }
}

impl Metrics {
    /// The agent has a certificate that ends then.
    pub(super) fn certificate(&self, ends: OffsetDateTime) {
        self.expiry.set(ends.unix_timestamp());
    }

    /// The clock here is so far ahead of the hub's.
    pub(super) fn clock(&self, ahead: time::Duration) {
        self.clock.set(ahead.whole_seconds());
    }

    /// Counts a renewed certificate.
    pub(super) fn renewal(&self, outcome: Renewal) {
        let outcome = match outcome {
            Renewal::Done => "done",
            Renewal::Failed => "failed",
        };
        self.renewals.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// The text for Prometheus.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes all");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_certificate_the_clock_and_renewals_by_their_outcome_are_shown() {
        let metrics = Metrics::default();
        metrics.clock(time::Duration::milliseconds(-600_400));
        metrics.certificate(time::macros::datetime!(2026-11-25 12:00 UTC));
        metrics.renewal(Renewal::Done);
        metrics.renewal(Renewal::Failed);
        metrics.renewal(Renewal::Failed);
        let text = metrics.render();
        for line in [
            "roadstead_agent_certificate_expiry_seconds 1795608000",
            "roadstead_agent_clock_ahead_seconds -600\n",
            "roadstead_agent_renewals_total{outcome=\"done\"} 1",
            "roadstead_agent_renewals_total{outcome=\"failed\"} 2",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
