//! How many enrolments may fail for one source address. Knows no HTTP, and takes the time as an argument.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use crate::{defaults, hub::source::Source};

/// Tokens of each source: an attempt takes one, a success gives it back.
#[derive(Debug, Default)]
pub(in crate::hub) struct Attempts(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Those that failed lately; at most [`defaults::ENROLMENT_SOURCES`].
    sources: HashMap<Source, Bucket>,
    /// All that found no room there share one: a flood from everywhere must not grow the table.
    others: Option<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Attempts taken and not grown back as of `at`.
    taken: f64,
    at: Instant,
}

impl Attempts {
    /// Takes an attempt for `source`.
    ///
    /// # Errors
    /// How long it must wait for its next one.
    pub(in crate::hub) fn take(&self, source: Source, now: Instant) -> Result<(), Duration> {
        let mut table = self.lock();
        let bucket = table.of(source, now);
        bucket.grow(now);
        let missing = bucket.taken + 1.0 - f64::from(defaults::ENROLMENT_FAILURES);
        if missing > 0.0 {
            return Err(defaults::ENROLMENT_FAILURE_EACH.mul_f64(missing));
        }
        bucket.taken += 1.0;
        Ok(())
    }

    /// Gives an attempt back that did not fail.
    pub(in crate::hub) fn give_back(&self, source: Source, now: Instant) {
        let mut table = self.lock();
        let bucket = table.of(source, now);
        bucket.taken = (bucket.taken - 1.0).max(0.0);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("no panic while it is held")
    }
}

impl Table {
    fn of(&mut self, source: Source, now: Instant) -> &mut Bucket {
        let fresh = Bucket { taken: 0.0, at: now };
        if self.sources.len() >= defaults::ENROLMENT_SOURCES && !self.sources.contains_key(&source) {
            self.sources.retain(|_, bucket| {
                bucket.grow(now);
                bucket.taken > 0.0
            });
            if self.sources.len() >= defaults::ENROLMENT_SOURCES {
                return self.others.get_or_insert(fresh);
            }
        }
        self.sources.entry(source).or_insert(fresh)
    }
}

impl Bucket {
    fn grow(&mut self, now: Instant) {
        let grown = now.saturating_duration_since(self.at).div_duration_f64(defaults::ENROLMENT_FAILURE_EACH);
        (self.taken, self.at) = ((self.taken - grown).max(0.0), now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const ALL: u32 = defaults::ENROLMENT_FAILURES;

    fn source(text: &str) -> Source {
        Source::from(text.parse::<IpAddr>().unwrap())
    }

    fn use_up(attempts: &Attempts, source: Source, now: Instant) {
        (0..ALL).for_each(|_| attempts.take(source, now).unwrap());
        assert!(attempts.take(source, now).is_err());
    }

    #[test]
    fn failures_are_limited_and_grow_back_one_by_one() {
        let (attempts, one, now) = (Attempts::default(), source("192.0.2.1"), Instant::now());
        use_up(&attempts, one, now);
        assert_eq!(attempts.take(one, now), Err(defaults::ENROLMENT_FAILURE_EACH));
        let later = now + defaults::ENROLMENT_FAILURE_EACH;
        assert_eq!(attempts.take(one, later), Ok(()));
        assert!(attempts.take(one, later).is_err());
        use_up(&attempts, one, later + defaults::ENROLMENT_FAILURE_EACH * ALL * 2);
    }

    #[test]
    fn successes_are_not_limited() {
        let (attempts, one, now) = (Attempts::default(), source("192.0.2.1"), Instant::now());
        for _ in 0..ALL * 10 {
            attempts.take(one, now).unwrap();
            attempts.give_back(one, now);
        }
        use_up(&attempts, one, now);
    }

    #[test]
    fn neighbours_are_others_and_a_subnet_of_ipv6_is_one() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        use_up(&attempts, source("192.0.2.1"), now);
        assert!(attempts.take(source("::ffff:192.0.2.1"), now).is_err());
        assert!(attempts.take(source("192.0.2.2"), now).is_ok());
        use_up(&attempts, source("2001:db8::1"), now);
        assert!(attempts.take(source("2001:db8::ffff:2"), now).is_err());
        assert!(attempts.take(source("2001:db8:0:1::1"), now).is_ok());
    }

    #[test]
    fn a_flood_from_everywhere_does_not_grow_the_table_and_is_forgotten() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..2 * u32::try_from(defaults::ENROLMENT_SOURCES).unwrap() {
            let _ = attempts.take(Source::from(IpAddr::from(number.to_be_bytes())), now);
        }
        assert_eq!(attempts.lock().sources.len(), defaults::ENROLMENT_SOURCES);
        assert!(attempts.take(source("192.0.2.1"), now).is_err(), "the room that is shared is not bounded");
        let later = now + defaults::ENROLMENT_FAILURE_EACH * 2;
        assert!(attempts.take(source("192.0.2.1"), later).is_ok());
        assert_eq!(attempts.lock().sources.len(), 1);
    }
}
