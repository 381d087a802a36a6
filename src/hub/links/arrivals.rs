//! Whether two agent processes take turns at one cluster. Knows instances and times, not links.

use std::{collections::VecDeque, time::Duration};

/// Arrivals that are remembered.
const REMEMBERED: usize = 32;

/// The links that came lately, by the process that made them.
///
/// A process that was replaced never comes back: its successor has an instance of its own. One that does, after another came in between,
/// lives beside that other one.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    recent: VecDeque<(Duration, String)>,
    told: Option<Duration>,
}

impl Arrivals {
    /// A link of `instance` came at `now`, on any clock that only goes forward. True when processes have taken turns `most` times `within`
    /// so long, and that was not said as recently.
    pub(crate) fn came(&mut self, instance: &str, now: Duration, most: usize, within: Duration) -> bool {
        self.recent.retain(|(at, _)| now.saturating_sub(*at) < within);
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((now, instance.to_owned()));
        let flaps = self.turns() >= most && self.told.is_none_or(|told| now.saturating_sub(told) >= within);
        if flaps {
            self.told = Some(now);
        }
        flaps
    }

    /// How often a process came back after another one.
    fn turns(&self) -> usize {
        let came: Vec<&str> = self.recent.iter().map(|(_, instance)| instance.as_str()).collect();
        let back = |at: usize| came[at] != came[at - 1] && came[..at - 1].contains(&came[at]);
        (1..came.len()).filter(|at| back(*at)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const NEVER: [usize; 0] = [];

    /// Feeds instances by their letters, two seconds apart; after which of them it was said that they flap.
    fn said_at(letters: &str) -> Vec<usize> {
        let mut arrivals = Arrivals::default();
        let each = |(at, letter): (usize, char)| {
            arrivals.came(&letter.to_string(), Duration::from_secs(2 * at as u64), 3, MINUTE).then_some(at)
        };
        letters.chars().enumerate().filter_map(each).collect()
    }

    #[test]
    fn only_processes_that_take_turns_flap() {
        assert_eq!(said_at("abab"), NEVER);
        assert_eq!(said_at("ababab"), [4], "and it is said once in a minute");
        assert_eq!(said_at("aaaaaaaaaabbbbbbbbbccccccc"), NEVER, "one process that dials often; replaced by another");
        assert_eq!(said_at("abcdefghijklm"), NEVER, "a process that restarts all the time is no second one");
        assert_eq!(said_at("aababbcc"), NEVER, "two turns, and a third process");
        assert_eq!(said_at(&"ab".repeat(40)).len(), 3, "once in a minute");
    }

    #[test]
    fn old_arrivals_do_not_count() {
        let mut arrivals = Arrivals::default();
        for turn in 0..40 {
            let now = Duration::from_secs(25 * turn);
            assert!(!arrivals.came(if turn % 2 == 0 { "a" } else { "b" }, now, 3, MINUTE), "{turn}");
        }
    }
}
