//! CUBIC that does not take every lost packet for a full queue. Knows only what QUIC tells a controller: time, bytes, round trips.
//!
//! Wireless and long paths lose a packet in a hundred by chance; CUBIC halves its window for each and ends at a few hundred kilobytes a
//! second. Here a loss counts as congestion when it comes with one of congestion's other signs: packets wait (the round trip has grown), many
//! are lost (as a policer does), or a router says so (ECN, RFC 3168). What counts goes to CUBIC (RFC 9438) unchanged.
//!
//! quinn's BBR was measured, too: as much bulk, but small requests wait three times longer, and its shortest round trip is for the
//! link's whole life, so a path that becomes longer would throttle the link for ever. Here it costs the patience, nothing else.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quinn::{
    Connection,
    congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig},
};
use quinn_proto::RttEstimator;

use crate::defaults;

/// quinn's clock.
type Instant = std::time::Instant;

/// Makes [`Patient`] controllers.
#[derive(Debug, Default)]
pub(super) struct PatientConfig {
    cubic: Arc<CubicConfig>,
}

impl ControllerFactory for PatientConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Patient {
            cubic: self.cubic.clone().build(now, current_mtu),
            losses: Losses::default(),
            closing: Arc::default(),
        })
    }
}

struct Patient {
    cubic: Box<dyn Controller>,
    losses: Losses,
    /// The connection closes; of all copies.
    closing: Arc<AtomicBool>,
}

/// To be called before `connection` is closed: lets the close leave while the window is full, as that of a path is that carries nothing back.
///
/// Until its release after 0.11.19 quinn lets the close wait for room, which never comes: what acknowledges is not heard any more
/// (quinn issue 2785). Nothing but the close is sent by then.
pub(super) fn make_room_for_close(connection: &Connection) {
    if let Ok(patient) = connection.congestion_state().into_any().downcast::<Patient>() {
        patient.closing.store(true, Ordering::Relaxed);
    }
}

impl Controller for Patient {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.losses.arrived(bytes, rtt.get(), rtt.min());
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        if self.losses.mean_congestion(now, sent, lost_bytes) || is_persistent_congestion {
            self.cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.closing.load(Ordering::Relaxed) { u64::MAX } else { self.cubic.window() }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { cubic: self.cubic.clone_box(), losses: self.losses, closing: self.closing.clone() })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What is known of the path's losses.
#[derive(Clone, Copy, Debug)]
struct Losses {
    /// Bytes that arrived, and that were lost, of about the last [`defaults::LOSS_MEMORY`]; a new link begins as one that lost nothing.
    arrived: u64,
    lost: u64,
    queued: bool,
    /// When losses last were congestion. What was sent before is answered by that: the last flight of a slow start may lose a lot.
    answered: Option<Instant>,
}

impl Default for Losses {
    fn default() -> Self {
        Self { arrived: defaults::LOSS_MEMORY / 8, lost: 0, queued: false, answered: None }
    }
}

impl Losses {
    fn arrived(&mut self, bytes: u64, round_trip: Duration, shortest: Duration) {
        self.arrived += bytes;
        self.queued = round_trip > shortest + (shortest / 2).max(defaults::QUEUE_SIGN);
        if self.arrived + self.lost > defaults::LOSS_MEMORY {
            self.arrived /= 2;
            self.lost /= 2;
        }
    }

    /// Notes a loss (of no bytes: a router's mark) of what left at `sent`, and judges it.
    fn mean_congestion(&mut self, now: Instant, sent: Instant, lost_bytes: u64) -> bool {
        if self.answered.is_some_and(|answered| sent <= answered) {
            return false;
        }
        self.lost += lost_bytes;
        let many = self.lost * defaults::LOSS_TOLERATED > self.arrived + self.lost;
        let congestion = lost_bytes == 0 || self.queued || many;
        if congestion {
            *self = Self { answered: Some(now), queued: self.queued, ..Self::default() };
        }
        congestion
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "quinn's clock; a start, from which tests count on")]
mod tests {
    use super::*;

    const PACKET: u64 = 1_452;
    const SHORTEST: Duration = Duration::from_millis(40);

    /// How many of the losses among `packets`, one of `one_of`, count as congestion; each is noticed a round trip after it left.
    fn counted(packets: u32, one_of: u32, round_trip: Duration) -> u32 {
        let (mut losses, mut counted, mut sent) = (Losses::default(), 0, tokio::time::Instant::now().into_std());
        for number in 1..=packets {
            sent += Duration::from_micros(100);
            if number.is_multiple_of(one_of) {
                counted += u32::from(losses.mean_congestion(sent + round_trip, sent, PACKET));
            } else {
                losses.arrived(PACKET, round_trip, SHORTEST);
            }
        }
        counted
    }

    #[test]
    fn one_packet_in_a_hundred_is_chance_while_none_waits() {
        assert_eq!(counted(100_000, 100, SHORTEST + Duration::from_millis(5)), 0);
    }

    #[test]
    fn losses_count_once_a_round_trip_while_packets_wait() {
        // 100,000 packets take 10 s: 90 ms are 900 of them, and every hundredth is lost.
        assert_eq!(counted(100_000, 100, SHORTEST + Duration::from_millis(50)), 100);
    }

    #[test]
    fn many_losses_count_though_none_waits() {
        let times = counted(100_000, 20, SHORTEST);
        assert!((50..250).contains(&times), "{times}");
    }

    #[test]
    fn a_routers_mark_counts_always() {
        let now = tokio::time::Instant::now().into_std();
        assert!(Losses::default().mean_congestion(now + SHORTEST, now, 0));
    }
}
