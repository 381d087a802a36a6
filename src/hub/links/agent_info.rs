//! What an agent says of itself in its hello. Hostile input: shown, never trusted.

use time::{Duration, OffsetDateTime};

use crate::{
    defaults,
    hub::said::{NAME, shown},
    wire::generated::Hello,
};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(in crate::hub) struct AgentInfo {
    /// Version of its binary.
    pub version: String,
    /// Of its process.
    pub instance: String,
    /// `gitVersion` of its API server.
    pub kubernetes_version: String,
    /// How far its clock was ahead of the hub's when it said hello, less the time that took; `None` when it does not say.
    pub clock_ahead: Option<Duration>,
}

impl AgentInfo {
    /// Of a hello that came at `now`, by the hub's clock.
    pub(in crate::hub) fn of(hello: &Hello, now: OffsetDateTime) -> Self {
        let said = OffsetDateTime::from_unix_timestamp_nanos(i128::from(hello.agent_time_ms) * 1_000_000).ok();
        Self {
            version: shown(&hello.agent_version, NAME),
            instance: shown(&hello.instance, NAME),
            kubernetes_version: shown(&hello.kubernetes_version, NAME),
            clock_ahead: said.filter(|_| hello.agent_time_ms > 0).map(|agent| agent - now),
        }
    }

    /// Whether somebody should look at its clock.
    pub(in crate::hub) fn clock_is_off(&self) -> bool {
        self.clock_ahead.is_some_and(|ahead| ahead.abs() > defaults::CLOCK_SKEW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T097.
    #[test]
    fn an_agents_clock_is_compared_with_the_hubs() {
        let now = time::macros::datetime!(2026-11-25 12:00:00 UTC);
        let of = |agent_time_ms: i64| AgentInfo::of(&Hello { agent_time_ms, ..Hello::default() }, now);
        let at = |ahead: Duration| i64::try_from((now + ahead).unix_timestamp_nanos() / 1_000_000).unwrap();
        let rows = [
            (Duration::ZERO, false),
            (Duration::seconds(60), false),
            (Duration::seconds(-61), true),
            (Duration::minutes(10), true),
            (Duration::minutes(-10), true),
            (Duration::days(365), true),
        ];
        for (ahead, off) in rows {
            let info = of(at(ahead));
            assert_eq!((info.clock_ahead, info.clock_is_off()), (Some(ahead), off), "{ahead}");
        }
        for nothing in [0, -1, i64::MIN, i64::MAX] {
            assert_eq!((of(nothing).clock_ahead, of(nothing).clock_is_off()), (None, false), "{nothing}");
        }
    }
}
