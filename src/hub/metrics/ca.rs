//! The authorities in metrics: where a rotation stands, who holds it up, when each certificate of them ends.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use time::OffsetDateTime;

use crate::identity::Phase;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct PhaseLabels {
    phase: &'static str,
}

/// Which certificate of which authority.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(in crate::hub) struct AuthorityLabels {
    /// `agents` or `hub`.
    pub authority: &'static str,
    /// `current` or `next`.
    pub generation: &'static str,
    /// `root` or `issuing`.
    pub part: &'static str,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::hub) struct CaMetrics {
    phase: Family<PhaseLabels, Gauge>,
    laggards: Gauge,
    not_after: Family<AuthorityLabels, Gauge<f64, AtomicU64>>,
}

impl CaMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("ca_phase", "1 for the phase that the rotation of the authorities is in", self.phase.clone());
        r.register("ca_laggards", "Clusters that hold up the rotation of the authorities", self.laggards.clone());
        let help = "When certificates of the authorities end, as Unix time";
        r.register_with_unit("ca_not_after", help, Unit::Seconds, self.not_after.clone());
    }

    /// As things are now. `ends` is all there are.
    pub(in crate::hub) fn set(
        &self,
        phase: Phase,
        laggards: usize,
        ends: impl Iterator<Item = (AuthorityLabels, OffsetDateTime)>,
    ) {
        for each in Phase::ALL {
            let labels = PhaseLabels { phase: each.as_str() };
            self.phase.get_or_create(&labels).set(i64::from(each == phase));
        }
        self.laggards.set(i64::try_from(laggards).unwrap_or(i64::MAX));
        self.not_after.clear();
        for (labels, end) in ends {
            self.not_after.get_or_create(&labels).set(end.unix_timestamp() as f64);
        }
    }
}
