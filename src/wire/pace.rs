//! How far an answer may go before its client has proved that it reads. Both ends of a link follow it; refuses to know streams.
//!
//! A client that stops reading holds what its stream's window takes, and the streams of a link share one window. Large windows are for clients
//! that are far away and read; so an answer begins with little, and the hub allows more as its client takes it.

/// Bytes of an answer that may be sent before the hub allows more.
pub const FIRST: u64 = 128 << 10;

/// From this many bytes on the hub may say something of an answer, and so often it does while the client may not have read anything.
pub const WORD: u64 = 64 << 10;

/// What a client takes that does not read at all, above the sum of the kernel's buffers and of the hub's own, bytes. Up to here it is allowed
/// [`FIRST`] beyond what it took.
const UNREAD: u64 = 768 << 10;

/// An answer that may lead is allowed so many bytes in all at once: of a client that does not read it holds some 400 KiB.
const LEADING: u64 = UNREAD + FIRST;

/// From [`UNREAD`] on any answer is allowed so many bytes in all.
const READING: u64 = 2 << 20;

/// When it has taken so many it reads, and only QUIC's own windows bound the rest.
const PROVEN: u64 = 3 << 19;

/// On the wire: no bound.
pub const UNBOUNDED: u64 = 0;

/// What the hub knows of one answer.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    taken: u64,
    allowed: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { taken: 0, allowed: FIRST }
    }
}

impl Pace {
    /// The client took so many more bytes. How many may be sent in all from now on, if that has changed; [`UNBOUNDED`] at last. `lead` is asked
    /// before an answer would go on step by step: whether it may have more at once, because few answers of the link do.
    pub fn taken(&mut self, bytes: usize, lead: impl FnOnce() -> bool) -> Option<u64> {
        if self.allowed == u64::MAX {
            return None;
        }
        self.taken = self.taken.saturating_add(bytes as u64);
        let allowed = match self.taken {
            PROVEN.. => u64::MAX,
            UNREAD.. => READING,
            taken => taken / WORD * WORD + FIRST,
        };
        if allowed <= self.allowed {
            return None;
        }
        let allowed = if allowed < LEADING && lead() { LEADING } else { allowed };
        self.allowed = allowed;
        Some(if allowed == u64::MAX { UNBOUNDED } else { allowed })
    }

    /// Bytes that may have been sent and were not taken: at most `window`, which is the stream's.
    pub fn held(&self, window: u64) -> u64 {
        self.allowed.saturating_sub(self.taken).min(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_read_is_soon_unbounded_and_each_step_is_said_once() {
        let (mut pace, mut said, mut sent) = (Pace::default(), Vec::new(), 0);
        let mut allowed = FIRST;
        while allowed != UNBOUNDED {
            // The agent sends all that it may, in pieces that no step divides; the client takes it.
            let piece = (allowed - sent).min(10_007);
            assert!(piece > 0, "stuck at {sent} of {allowed}: the client took everything and is allowed no more");
            sent += piece;
            if let Some(more) = pace.taken(usize::try_from(piece).unwrap(), || false) {
                assert!(more == UNBOUNDED || more > allowed);
                said.push(more);
                allowed = more;
            }
        }
        assert!(said.len() <= 14, "{said:?}");
        assert_eq!(pace.taken(1 << 30, || panic!("nothing to ask for")), None);
        assert_eq!(pace.held(2 << 20), 2 << 20);
    }

    #[test]
    fn a_client_that_stops_early_holds_little_and_the_hub_knows_how_much() {
        let mut pace = Pace::default();
        assert_eq!(pace.held(2 << 20), FIRST);
        assert_eq!(pace.taken(300 << 10, || false), Some(384 << 10));
        assert_eq!(pace.held(2 << 20), 84 << 10);
        assert_eq!(pace.held(64 << 10), 64 << 10);
    }

    #[test]
    fn a_piece_that_passes_several_steps_says_the_last_only() {
        assert_eq!(Pace::default().taken(2 << 20, || false), Some(UNBOUNDED));
    }

    #[test]
    fn an_answer_that_may_lead_is_told_so_in_its_first_word_and_then_only_what_a_client_that_reads_is_told() {
        let (mut pace, mut asked) = (Pace::default(), 0);
        let mut said = Vec::new();
        for _ in 0..(PROVEN / WORD) {
            said.extend(pace.taken(WORD as usize, || {
                asked += 1;
                true
            }));
        }
        assert_eq!((said, asked), (vec![LEADING, READING, UNBOUNDED], 1));
    }

    #[test]
    fn an_answer_that_may_not_lead_at_first_may_do_so_later() {
        let mut pace = Pace::default();
        assert_eq!(pace.taken(WORD as usize, || false), Some(FIRST + WORD));
        assert_eq!(pace.taken(WORD as usize, || true), Some(LEADING));
        assert_eq!(pace.held(1 << 30), LEADING - 2 * WORD);
    }
}
