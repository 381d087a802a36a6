//! What a direction of the network does to a datagram, and how people write it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    /// From the agent to the hub.
    Up,
    /// From the hub to the agent.
    Down,
}

/// One direction. The default is a network that does nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rules {
    /// Share of datagrams that vanish, each by itself (no bursts).
    pub(crate) loss: f64,
    /// Share that comes twice.
    pub(crate) duplicate: f64,
    /// Share that others overtake.
    pub(crate) reorder: f64,
    /// One way, for every datagram.
    pub(crate) delay: Duration,
    /// On top of the delay, between nothing and this; it keeps the order.
    pub(crate) jitter: Duration,
    /// Bits a second of UDP payload.
    pub(crate) rate: Option<u64>,
    /// How long a datagram may wait for the rate; one that would wait longer vanishes (tail drop).
    pub(crate) queue: Duration,
    /// Datagrams with more bytes of UDP payload vanish.
    pub(crate) mtu: Option<usize>,
    /// Everything vanishes, TCP's bytes wait.
    pub(crate) hole: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate: None,
            queue: Duration::from_millis(50),
            mtu: None,
            hole: false,
        }
    }
}

impl Rules {
    /// A path with a round trip, a rate and loss, the same both ways.
    pub(crate) fn path(round_trip: Duration, megabits: u64, loss: f64) -> Self {
        Self { delay: round_trip / 2, rate: Some(megabits * 1_000_000), loss, ..Self::default() }
    }
}

/// A word that is no rule.
#[derive(Debug)]
pub(crate) struct RulesError(String);

impl std::error::Error for RulesError {}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is none of loss=1% duplicate=1% reorder=1% delay=20ms jitter=2ms rate=100mbit queue=50ms ",
            self.0
        )?;
        f.write_str("mtu=1280 hole=on")
    }
}

impl FromStr for Rules {
    type Err = RulesError;

    fn from_str(text: &str) -> Result<Self, RulesError> {
        let mut rules = Self::default();
        for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
            rules.word(word).ok_or_else(|| RulesError(word.to_owned()))?;
        }
        Ok(rules)
    }
}

impl Rules {
    fn word(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.split_once('=')?;
        match name {
            "loss" => self.loss = share(value)?,
            "duplicate" => self.duplicate = share(value)?,
            "reorder" => self.reorder = share(value)?,
            "delay" => self.delay = milliseconds(value)?,
            "jitter" => self.jitter = milliseconds(value)?,
            "queue" => self.queue = milliseconds(value)?,
            "rate" => self.rate = Some(value.strip_suffix("mbit")?.parse::<u64>().ok()?.checked_mul(1_000_000)?),
            "mtu" => self.mtu = Some(value.parse().ok()?),
            "hole" => self.hole = matches!(value, "on"),
            _ => return None,
        }
        Some(())
    }
}

fn share(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

fn milliseconds(text: &str) -> Option<Duration> {
    let number: f64 = text.strip_suffix("ms")?.parse().ok()?;
    (0.0..=600_000.0).contains(&number).then(|| Duration::from_secs_f64(number / 1_000.0))
}
