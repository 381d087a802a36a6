//! What happens to each datagram of one direction. Knows no socket; time is an argument.

use std::time::{Duration, Instant};

use super::noise::Noise;
use super::rules::Rules;

/// What became of the datagrams of one direction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    /// Came in.
    pub(crate) came: u64,
    /// Left, duplicates too.
    pub(crate) left: u64,
    /// Lost by chance.
    pub(crate) lost: u64,
    /// Found the queue full.
    pub(crate) queue_full: u64,
    /// Larger than the MTU.
    pub(crate) too_large: u64,
    /// Fell into the black hole, or UDP was blocked.
    pub(crate) swallowed: u64,
}

/// One direction of the network.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) rules: Rules,
    pub(crate) counts: Counts,
    noise: Noise,
    /// When the last byte so far has left, at the given rate.
    busy_until: Instant,
    /// When the last datagram so far arrives: jitter does not reorder.
    last: Instant,
}

/// How far behind others a reordered datagram falls, beside what the delay adds.
const BEHIND: Duration = Duration::from_millis(3);

impl Pipe {
    pub(crate) fn new(seed: u64, now: Instant) -> Self {
        // Zero would stay zero.
        let noise = Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        Self { rules: Rules::default(), counts: Counts::default(), noise, busy_until: now, last: now }
    }

    /// When a datagram arrives, and its duplicate if it gets one. `None`: never.
    pub(crate) fn arrivals(&mut self, now: Instant, bytes: usize) -> Option<(Instant, Option<Instant>)> {
        let rules = self.rules;
        self.counts.came += 1;
        if rules.hole {
            self.counts.swallowed += 1;
            return None;
        }
        if rules.mtu.is_some_and(|mtu| bytes > mtu) {
            self.counts.too_large += 1;
            return None;
        }
        if self.chance(rules.loss) {
            self.counts.lost += 1;
            return None;
        }
        if self.busy_until.saturating_duration_since(now) > rules.queue && rules.rate.is_some() {
            self.counts.queue_full += 1;
            return None;
        }
        let mut at = self.sent(now, bytes) + rules.delay;
        if self.chance(rules.reorder) {
            at += BEHIND + rules.delay / 4;
        } else {
            at = (at + self.jitter()).max(self.last);
            self.last = at;
        }
        let twice = self.chance(rules.duplicate).then(|| at + Duration::from_micros(100));
        self.counts.left += 1 + u64::from(twice.is_some());
        Some((at, twice))
    }

    /// When bytes of a TCP connection arrive; they are never lost. Waiting until then is the caller's.
    pub(crate) fn arrival_of_stream(&mut self, now: Instant, bytes: usize) -> Instant {
        self.sent(now, bytes) + self.rules.delay
    }

    fn sent(&mut self, now: Instant, bytes: usize) -> Instant {
        if let Some(rate) = self.rules.rate {
            let nanoseconds = (bytes as u64).saturating_mul(8_000_000_000) / rate.max(1);
            self.busy_until = self.busy_until.max(now) + Duration::from_nanos(nanoseconds);
            return self.busy_until;
        }
        now
    }

    fn jitter(&mut self) -> Duration {
        let most = u64::try_from(self.rules.jitter.as_nanos()).unwrap_or(u64::MAX);
        if most == 0 { Duration::ZERO } else { Duration::from_nanos(self.noise.below(most)) }
    }

    fn chance(&mut self, share: f64) -> bool {
        const FINE: u64 = 1 << 32;
        share > 0.0 && (self.noise.below(FINE) as f64) < share * FINE as f64
    }
}
