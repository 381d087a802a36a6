//! Whose turn it is to do a handshake: a few at once, so that each of them ends; many wait, and no address keeps the others from theirs.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{sync::oneshot, time::timeout};

use crate::{defaults, hub::source::Source};

/// One address has three quarters of the turns at the most: a whole fleet may be behind it. Of the rest the next has three quarters, and so on
/// (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998).
const SHARE: usize = 3;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<Table>>);

/// A place among those that wait or have their turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    table: Arc<Mutex<Table>>,
    source: Source,
    number: u64,
    came: oneshot::Receiver<()>,
    has_turn: bool,
}

#[derive(Debug, Default)]
struct Table {
    turns: usize,
    waiting: usize,
    next: u64,
    /// Those that wait or have a turn; no other.
    sources: HashMap<Source, Share>,
}

/// What the peers of one address have.
#[derive(Debug, Default)]
struct Share {
    turns: usize,
    /// Those that wait, by number: the first came first.
    queue: VecDeque<(u64, oneshot::Sender<()>)>,
}

impl Turns {
    /// Whether half of the turns are taken: who comes now must prove its address first.
    pub(crate) fn are_scarce(&self) -> bool {
        lock(&self.0).turns > defaults::HANDSHAKES / 2
    }

    /// A place to wait. `None` when there is none left, and nobody who has more of them than `source` to give one up.
    pub(crate) fn place(&self, source: Source) -> Option<Place> {
        let mut table = lock(&self.0);
        if table.waiting >= defaults::HANDSHAKES_WAITING && !table.make_room(source) {
            return None;
        }
        let number = table.next;
        let (sender, came) = oneshot::channel();
        table.sources.entry(source).or_default().queue.push_back((number, sender));
        (table.next, table.waiting) = (number + 1, table.waiting + 1);
        table.grant();
        Some(Place { table: self.0.clone(), source, number, came, has_turn: false })
    }
}

impl Place {
    /// Waits for its turn, which it has until it is dropped. `false` after [`defaults::HANDSHAKE_TURN`], when the peer has hardly time left to
    /// use it, or when it had to give up its place.
    pub(crate) async fn turn(&mut self) -> bool {
        self.has_turn = matches!(timeout(defaults::HANDSHAKE_TURN, &mut self.came).await, Ok(Ok(())));
        self.has_turn
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        if table.leave(self.source, self.number) {
            return;
        }
        // Its turn may have come unseen; else its place was taken from it.
        if self.has_turn || self.came.try_recv().is_ok() {
            table.end(self.source);
        }
    }
}

impl Table {
    /// Gives turns that are free to those that wait: first to the address that has the fewest, of these to the one that came first. None may
    /// have more than [`SHARE`] times as many as are left, so that some are always left to others.
    fn grant(&mut self) {
        while self.turns < defaults::HANDSHAKES {
            let left = defaults::HANDSHAKES - self.turns;
            let first = |share: &Share| share.queue.front().map(|(number, _)| (share.turns, *number));
            let waiting = self.sources.values_mut().filter_map(|share| Some((first(share)?, share)));
            let Some((_, share)) = waiting.min_by_key(|(order, _)| *order) else { return };
            if share.turns >= SHARE * left {
                return;
            }
            let Some((_, sender)) = share.queue.pop_front() else { return };
            share.turns += 1;
            (self.turns, self.waiting) = (self.turns + 1, self.waiting - 1);
            // Who does not hear of it is being dropped, and ends the turn.
            let _ = sender.send(());
        }
    }

    /// Takes the last place of the address that has the most, if one more is not as many for `source`.
    fn make_room(&mut self, source: Source) -> bool {
        let own = self.sources.get(&source).map_or(0, |share| share.queue.len());
        let Some(most) = self.sources.values_mut().max_by_key(|share| share.queue.len()) else { return false };
        if most.queue.len() <= own + 1 || most.queue.pop_back().is_none() {
            return false;
        }
        self.waiting -= 1;
        true
    }

    /// Gives up a place in the queue, if it is there.
    fn leave(&mut self, source: Source, number: u64) -> bool {
        let Some(share) = self.sources.get_mut(&source) else { return false };
        let Ok(at) = share.queue.binary_search_by_key(&number, |(number, _)| *number) else { return false };
        share.queue.remove(at);
        self.waiting -= 1;
        self.forget(source);
        true
    }

    /// A turn ended.
    fn end(&mut self, source: Source) {
        if let Some(share) = self.sources.get_mut(&source) {
            share.turns -= 1;
            self.turns -= 1;
        }
        self.grant();
        self.forget(source);
    }

    fn forget(&mut self, source: Source) {
        if self.sources.get(&source).is_some_and(|share| share.turns == 0 && share.queue.is_empty()) {
            self.sources.remove(&source);
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().expect("no panic while it is held")
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use tokio::{
        task::{JoinSet, yield_now},
        time::Instant,
    };

    use super::*;

    /// As many turns as one address has.
    const FEW: usize = defaults::HANDSHAKES / 4 * 3;
    const MANY: usize = defaults::HANDSHAKES_WAITING;

    fn source(number: u32) -> Source {
        Source::from(std::net::IpAddr::from(Ipv4Addr::from_bits(number)))
    }

    async fn with_turn(turns: &Turns, from: u32) -> Place {
        let mut place = turns.place(source(from)).unwrap();
        assert!(place.turn().await);
        place
    }

    /// One address with all the turns that it gets.
    async fn crowd(turns: &Turns, from: u32) -> Vec<Place> {
        let mut all = Vec::new();
        for _ in 0..FEW {
            all.push(with_turn(turns, from).await);
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn some_have_turns_many_wait_in_order_and_not_for_ever_and_more_are_refused() {
        let turns = Turns::default();
        let mut served = crowd(&turns, 1).await;
        assert!(turns.are_scarce());
        let mut waiting = JoinSet::new();
        for number in 0..MANY {
            let mut place = turns.place(source(1)).unwrap();
            waiting.spawn(async move { place.turn().await.then_some(number) });
        }
        assert!(turns.place(source(1)).is_none());
        yield_now().await;

        let began = Instant::now();
        drop(served.pop());
        for number in 0..MANY {
            assert_eq!(waiting.join_next().await.unwrap().unwrap(), Some(number));
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "each turn that ended went to the next");

        served.push(with_turn(&turns, 1).await);
        assert!(!turns.place(source(1)).unwrap().turn().await, "all have turns that do not end");
        assert_eq!(began.elapsed(), defaults::HANDSHAKE_TURN);
        drop(served);
        assert!(lock(&turns.0).sources.is_empty() && !turns.are_scarce());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_with_all_it_gets_keeps_others_neither_from_turns_nor_from_places() {
        let turns = Turns::default();
        let mut served = crowd(&turns, 1).await;
        let mut queue: Vec<_> = (0..MANY).map(|_| turns.place(source(1)).unwrap()).collect();
        assert!(turns.place(source(1)).is_none());
        let began = Instant::now();
        drop([with_turn(&turns, 2).await, with_turn(&turns, 3).await]);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(!queue.last_mut().unwrap().turn().await, "one of its places went to the second");

        let ended = Instant::now();
        drop(served.pop());
        assert!(queue[0].turn().await && !queue[1].turn().await);
        assert_eq!(ended.elapsed(), defaults::HANDSHAKE_TURN);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_turns_are_taken_the_next_is_of_whose_address_has_the_fewest() {
        let turns = Turns::default();
        let mut served = Vec::new();
        for from in 0.. {
            let mut place = turns.place(source(from % 8)).unwrap();
            if !place.turn().await {
                break;
            }
            served.push(place);
        }
        assert!(served.len() > FEW, "{} turns", served.len());
        let mut queue: Vec<_> = (0..9).map(|from| turns.place(source(from)).unwrap()).collect();
        drop(served.pop());
        assert!(queue[8].turn().await);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_share_all_places_do_not_take_them_from_each_other() {
        let turns = Turns::default();
        let mut all = crowd(&turns, 0).await;
        let mut refused = 0;
        for number in 0..4 * MANY as u32 {
            match turns.place(source(number % 64)) {
                Some(place) => (refused, _) = (0, all.push(place)),
                None => refused += 1,
            }
        }
        assert!(refused >= 64, "places still go from one to the other");
        assert!(turns.place(source(99)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_came_unseen_goes_to_the_next() {
        let turns = Turns::default();
        let mut served = crowd(&turns, 1).await;
        let (unseen, mut next) = (turns.place(source(1)).unwrap(), turns.place(source(1)).unwrap());
        drop(served.pop());
        drop(unseen);
        assert!(next.turn().await);
    }
}
