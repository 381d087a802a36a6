//! A cluster whose agent comes, goes, crashes, renews and is told to move, at a hub that hears of it late and out of order.
//!
//! Real: which link serves (`Moorings`), and when a replaced link may end (`Retirement`). Simulated: links, their delays and their deaths.

use std::time::Duration;

use super::{Dice, play};
use crate::{agent::rules::Retirement, defaults, hub::rules::Moorings};

/// A link as both sides see it.
#[derive(Debug)]
struct Link {
    generation: u64,
    /// The hub heard its end.
    ended: bool,
    /// Its session at the hub was told to take it out.
    unmoored: bool,
    /// The agent is there.
    agent: bool,
    /// When the agent had its successor.
    replaced: Option<Duration>,
    /// Requests that the hub opened and that have not reached the agent, by when they do.
    coming: Vec<Duration>,
    /// Requests under way at the agent, by when they end.
    serving: Vec<Duration>,
}

struct World<'a> {
    dice: &'a mut Dice,
    now: Duration,
    links: Vec<Link>,
    moored: Moorings<usize>,
    grace: Duration,
    opened: usize,
    answered: usize,
    lost: usize,
}

impl World<'_> {
    /// One way over the network: less than what a replaced link waits for.
    fn way(&mut self) -> Duration {
        defaults::RETIRE_FIRST.mul_f64(0.45 * self.dice.fraction())
    }

    /// The agent dials and says hello; the hub's sessions of two links may take their places in either order.
    fn dial(&mut self) {
        let first = self.links.len();
        let both = if self.dice.chance(15) { 2 } else { 1 };
        for index in first..first + both {
            let generation = u64::try_from(index).unwrap();
            self.links.push(Link {
                generation,
                ended: false,
                unmoored: false,
                agent: true,
                replaced: None,
                coming: Vec::new(),
                serving: Vec::new(),
            });
        }
        let mut order: Vec<usize> = (first..first + both).collect();
        if self.dice.chance(50) {
            order.reverse();
        }
        for index in order {
            self.moored.moor(self.links[index].generation, index);
        }
        // Make before break: every older link of this agent is being retired.
        let now = self.now;
        for link in &mut self.links[..first + both - 1] {
            link.replaced.get_or_insert(now);
        }
    }

    fn open(&mut self) {
        let links = &self.links;
        let Some(&index) = self.moored.serving(|index| !links[*index].ended) else {
            let alive = self.links.iter().any(|link| !link.ended && !link.unmoored);
            return assert!(!alive, "a cluster with a live link was called offline");
        };
        let chosen = &self.links[index];
        assert!(!chosen.unmoored, "a stream was opened on a link that was taken out");
        let newer = self.links[index + 1..].iter().any(|link| !link.ended && !link.unmoored);
        assert!(!newer, "a stream was opened on a superseded link");
        let arrives = self.now + self.way();
        self.links[index].coming.push(arrives);
        self.opened += 1;
    }

    /// Time passes; requests arrive and end.
    fn pass(&mut self) {
        self.now += Duration::from_millis(1 + self.dice.roll() % 200);
        let now = self.now;
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            let (arrived, coming): (Vec<_>, Vec<_>) = link.coming.iter().partition(|at| **at <= now);
            link.coming = coming;
            if link.agent {
                for _ in arrived {
                    let until = now + Duration::from_millis(self.dice.roll() % 3_000);
                    self.links[index].serving.push(until);
                }
            } else {
                self.lost += arrived.len();
            }
            let link = &mut self.links[index];
            let before = link.serving.len();
            link.serving.retain(|until| *until > now);
            self.answered += before - link.serving.len();
        }
    }

    /// The agent looks whether replaced links may end.
    fn retire(&mut self) {
        for link in self.links.iter_mut().filter(|link| link.agent) {
            let Some(replaced) = link.replaced else { continue };
            let since = self.now - replaced;
            let may_end = Retirement { grace: self.grace }.may_end(since, link.serving.len());
            assert!(may_end || since < self.grace, "a replaced link outlives its grace");
            if may_end {
                let nothing_lost = link.coming.is_empty() && link.serving.is_empty();
                // The hub may open on it until it knows the newer one; here it knows at once, so what is on its way left before.
                assert!(nothing_lost || since >= self.grace, "a replaced link ended with requests on it: {link:?}");
                self.lost += link.coming.len() + link.serving.len();
                link.coming.clear();
                link.serving.clear();
                (link.agent, link.ended) = (false, true);
            }
        }
    }

    fn crash(&mut self) {
        for link in self.links.iter_mut().filter(|link| link.agent) {
            self.lost += link.serving.len();
            link.serving.clear();
            link.agent = false;
        }
    }

    /// The hub hears of an end, or its session gets round to taking a link out: late, and in any order.
    fn hear(&mut self) {
        if self.links.is_empty() {
            return;
        }
        let index = self.dice.below(self.links.len());
        let link = &mut self.links[index];
        if link.ended && !link.unmoored {
            link.unmoored = true;
            self.moored.unmoor(link.generation);
        } else if !link.agent {
            link.ended = true;
        }
    }

    fn check(&self) {
        let moored: Vec<usize> = self.moored.all().copied().collect();
        assert!(moored.is_sorted(), "links are out of order: {moored:?}");
        let expected: Vec<usize> = (0..self.links.len()).filter(|index| !self.links[*index].unmoored).collect();
        assert_eq!(moored, expected, "a link was evicted by another's end, or stayed after its own");
        let under_way: usize = self.links.iter().map(|link| link.coming.len() + link.serving.len()).sum();
        assert_eq!(self.opened, self.answered + self.lost + under_way, "a request vanished");
    }
}

#[test]
fn the_newest_live_link_serves_and_a_replaced_one_loses_nothing() {
    play(20_000, |dice| {
        let grace = dice.one(&[Duration::from_secs(1), defaults::DRAIN]);
        let mut world = World {
            dice,
            now: Duration::ZERO,
            links: Vec::new(),
            moored: Moorings::default(),
            grace,
            opened: 0,
            answered: 0,
            lost: 0,
        };
        for _ in 0..40 {
            match world.dice.below(100) {
                0..8 => world.dial(),
                8..38 => world.open(),
                38..68 => world.pass(),
                68..80 => world.retire(),
                80..83 => world.crash(),
                _ => world.hear(),
            }
            world.check();
        }
    });
}
