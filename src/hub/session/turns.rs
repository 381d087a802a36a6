//! Whose turn it is to do a handshake: a few at once, so that each of them ends; many wait, in order and not for long.

use std::sync::Arc;

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::defaults;

/// See the module.
#[derive(Debug)]
pub(crate) struct Turns {
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// A place among those that wait or have their turn.
#[derive(Debug)]
pub(crate) struct Place {
    turns: Arc<Semaphore>,
    place: OwnedSemaphorePermit,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(#[allow(dead_code, reason = "held")] [OwnedSemaphorePermit; 2]);

impl Default for Turns {
    fn default() -> Self {
        let of = |count| Arc::new(Semaphore::new(count));
        Self { turns: of(defaults::HANDSHAKES), places: of(defaults::HANDSHAKES + defaults::HANDSHAKES_WAITING) }
    }
}

impl Turns {
    /// Whether half of the turns are taken: who comes now must prove its address first.
    pub(crate) fn are_scarce(&self) -> bool {
        self.turns.available_permits() < defaults::HANDSHAKES / 2
    }

    /// A place to wait; `None` when there is none left.
    pub(crate) fn place(&self) -> Option<Place> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        Some(Place { turns: self.turns.clone(), place })
    }
}

impl Place {
    /// Waits for its turn, in order of coming; `None` after [`defaults::HANDSHAKE_TURN`], when the peer has hardly time left to use it.
    ///
    /// # Cancel safety
    /// Gives up the place.
    pub(crate) async fn turn(self) -> Option<Turn> {
        let turn = timeout(defaults::HANDSHAKE_TURN, self.turns.acquire_owned()).await.ok()?.ok()?;
        Some(Turn([turn, self.place]))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        task::{JoinSet, yield_now},
        time::Instant,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn some_have_turns_many_wait_in_order_and_not_for_ever_and_more_are_refused() {
        let turns = Turns::default();
        let mut served = Vec::new();
        for _ in 0..defaults::HANDSHAKES {
            served.push(turns.place().unwrap().turn().await.unwrap());
        }
        assert!(turns.are_scarce());
        let mut waiting = JoinSet::new();
        for number in 0..defaults::HANDSHAKES_WAITING {
            let place = turns.place().unwrap();
            waiting.spawn(async move { place.turn().await.map(|_turn| number) });
        }
        assert!(turns.place().is_none());
        yield_now().await;

        let began = Instant::now();
        drop(served.pop());
        for number in 0..defaults::HANDSHAKES_WAITING {
            assert_eq!(waiting.join_next().await.unwrap().unwrap(), Some(number));
        }
        assert_eq!(began.elapsed(), std::time::Duration::ZERO, "each turn that ended went to the next");

        served.push(turns.place().unwrap().turn().await.unwrap());
        assert!(turns.place().unwrap().turn().await.is_none(), "all have turns that do not end");
        assert_eq!(began.elapsed(), defaults::HANDSHAKE_TURN);
    }
}
