//! An agent that renews its certificate at a hub, while both crash and everything between them is lost, late or out of order; and a thief.
//!
//! Real: what a certificate that is shown means (`Standing`). Simulated: the agent's disk and memory, the hub's store, messages, time.
//! Every message is dead after what a silent link lives for: what is later than that, no link carries.

use std::{cell::Cell, time::Duration};

use time::OffsetDateTime;

use super::{Dice, play};
use crate::{
    defaults,
    identity::{Held, Position, RenewalRefused, Serial, SpkiSha256, Standing, Verdict, generation::LATE},
};

/// A key by its number.
type Key = u64;

/// What an agent keeps: a key and the certificate for it.
#[derive(Clone, Copy, Debug)]
struct Kept {
    key: Key,
    held: Held,
}

/// Who has an identity: the agent, or a thief with a copy of its disk.
#[derive(Debug)]
struct Holder {
    disk: Kept,
    memory: Kept,
    /// The keys that it asks for a certificate with, of this life of its process; only the last counts.
    asked: Option<Key>,
    process: usize,
    /// Renewed certificates of its own that came into use.
    steps: usize,
}

/// What is on its way between a holder and the hub.
#[derive(Clone, Debug)]
enum Message {
    Dial { with: Held },
    Renew { link: Held, key: Key },
    Renewed { next: Kept },
}

#[derive(Debug)]
struct Sent {
    holder: usize,
    /// Of which process: its answers die with it.
    process: usize,
    arrives: Duration,
    message: Message,
}

struct World<'a> {
    dice: &'a mut Dice,
    now: Duration,
    /// What the hub has stored; what it knew and had not stored is lost with each crash.
    standing: Standing,
    locked: bool,
    holders: Vec<Holder>,
    wire: Vec<Sent>,
    keys: Key,
}

impl World<'_> {
    fn new(dice: &mut Dice) -> World<'_> {
        let mut standing = Standing::default();
        let first = Kept { key: 0, held: held(standing.enrol(), 0) };
        let agent = Holder { disk: first, memory: first, asked: None, process: 0, steps: 0 };
        World { dice, now: Duration::ZERO, standing, locked: false, holders: vec![agent], wire: Vec::new(), keys: 1 }
    }

    fn clock(&self) -> OffsetDateTime {
        time::macros::datetime!(2026-11-25 00:00 UTC) + self.now
    }

    fn send(&mut self, holder: usize, message: Message) {
        let process = self.holders[holder].process;
        if self.dice.chance(15) {
            return;
        }
        for _ in 0..if self.dice.chance(10) { 2 } else { 1 } {
            let late = if self.dice.chance(20) { defaults::LINK_IDLE } else { Duration::from_millis(200) };
            let arrives = self.now + late.mul_f64(self.dice.fraction());
            self.wire.push(Sent { holder, process, arrives, message: message.clone() });
        }
    }

    fn dial(&mut self, holder: usize) {
        let with = self.holders[holder].memory.held;
        self.send(holder, Message::Dial { with });
    }

    /// With a new key, or again with the one of before: agents that keep their next key before they ask do that.
    fn ask(&mut self, holder: usize) {
        let again = self.dice.chance(30);
        let holding = &mut self.holders[holder];
        let key = match holding.asked.filter(|_| again) {
            Some(key) => key,
            None => {
                self.keys += 1;
                self.keys
            }
        };
        holding.asked = Some(key);
        let link = holding.memory.held;
        self.send(holder, Message::Renew { link, key });
    }

    /// The process ends; its successor reads the disk. Answers to it are lost, what it sent is not.
    fn crash(&mut self, holder: usize) {
        let holding = &mut self.holders[holder];
        (holding.memory, holding.asked, holding.process) = (holding.disk, None, holding.process + 1);
    }

    /// Something arrives, in any order that its delay allows.
    fn arrive(&mut self) {
        let now = self.now;
        // What is too late was on links that are dead.
        self.wire.retain(|sent| now.saturating_sub(sent.arrives) < defaults::LINK_IDLE);
        let due: Vec<usize> = (0..self.wire.len()).filter(|at| self.wire[*at].arrives <= now).collect();
        if due.is_empty() {
            return;
        }
        let at = self.dice.one(&due);
        let sent = self.wire.swap_remove(at);
        match sent.message {
            Message::Dial { with } => self.admit(sent.holder, sent.process, with),
            Message::Renew { link, key } => self.renew(sent.holder, sent.process, link, key),
            Message::Renewed { next } => self.renewed(sent.holder, sent.process, next),
        }
    }

    fn admit(&mut self, holder: usize, process: usize, with: Held) {
        if self.locked {
            return;
        }
        let now = self.clock();
        let verdict = self.standing.judge(&with, now);
        if verdict == Verdict::Copied {
            return self.lock();
        }
        let holding = &self.holders[holder];
        let fresh = process == holding.process && with == holding.memory.held;
        if fresh && self.holders.len() == 1 {
            assert!(matches!(verdict, Verdict::Current | Verdict::Next), "the only agent was refused: {verdict:?}");
        }
        // The hub crashed before it stored what it saw.
        if self.dice.chance(10) {
            return;
        }
        if self.standing.promote(&with, now) {
            self.holders[holder].steps += 1;
        }
    }

    fn renew(&mut self, holder: usize, process: usize, link: Held, key: Key) {
        if self.locked {
            return;
        }
        match self.standing.successor(&link, spki(key), self.clock()) {
            Ok(position) => {
                let next = Kept { key, held: held(position, key) };
                // The hub crashed after it signed: the reply is lost.
                if process == self.holders[holder].process && !self.dice.chance(15) {
                    self.send(holder, Message::Renewed { next });
                }
            }
            Err(RenewalRefused::Standing(Verdict::Copied)) => self.lock(),
            Err(refused) => assert_eq!(refused, RenewalRefused::Standing(Verdict::Late), "no other reason is here"),
        }
    }

    fn renewed(&mut self, holder: usize, process: usize, next: Kept) {
        let holding = &mut self.holders[holder];
        if process != holding.process || holding.asked != Some(next.key) {
            return;
        }
        holding.asked = None;
        match self.dice.below(10) {
            // It crashed before it was stored.
            0 => self.crash(holder),
            // It cannot be stored.
            1 => {}
            // It was stored, and the answer to that was lost: the old one goes on.
            2 => self.holders[holder].disk = next,
            // It crashed once it was stored.
            3 => {
                self.holders[holder].disk = next;
                self.crash(holder);
            }
            _ => {
                let holding = &mut self.holders[holder];
                (holding.disk, holding.memory) = (next, next);
                self.dial(holder);
            }
        }
    }

    fn lock(&mut self) {
        assert!(self.holders.len() > 1, "an agent that is alone with its key was locked out");
        self.locked = true;
    }

    fn step(&mut self) {
        let holder = self.dice.below(self.holders.len());
        match self.dice.below(100) {
            0..25 => self.dial(holder),
            25..45 => self.ask(holder),
            45..50 => self.crash(holder),
            50..60 => {
                let seconds = self.dice.one(&[1, 5, 40]);
                self.now += Duration::from_secs(seconds);
            }
            _ => {
                self.now += Duration::from_millis(20);
                self.arrive();
            }
        }
    }

    /// Everything arrives and nobody crashes: the agent gets in with what it has.
    fn comes_back(&mut self) -> Verdict {
        self.now += LATE * 2;
        self.wire.clear();
        self.crash(0);
        self.standing.judge(&self.holders[0].disk.held, self.clock())
    }
}

fn spki(key: Key) -> SpkiSha256 {
    SpkiSha256::of(&key.to_be_bytes())
}

fn held(position: Position, key: Key) -> Held {
    let not_after = time::macros::datetime!(2027-11-25 00:00 UTC);
    Held { serial: Serial::random(), spki: spki(key), position, not_after }
}

#[test]
fn an_agent_that_is_alone_with_its_key_is_never_locked_out() {
    let most = Cell::new(0);
    let played = play(10_000, |dice| {
        let mut world = World::new(dice);
        for _ in 0..120 {
            world.step();
        }
        assert!(!world.locked);
        let verdict = world.comes_back();
        assert!(matches!(verdict, Verdict::Current | Verdict::Next), "it cannot come back: {verdict:?}");
        most.set(most.get().max(world.holders[0].steps));
    });
    assert!(most.get() > 3 || played == 1, "nothing was renewed: the model does nothing");
}

#[test]
fn of_two_holders_of_one_key_both_are_out_before_either_is_far() {
    play(10_000, |dice| {
        let mut world = World::new(dice);
        for _ in 0..world.dice.below(60) {
            world.step();
        }
        let copy = world.holders[0].disk;
        world.holders.push(Holder { disk: copy, memory: copy, asked: None, process: 0, steps: 0 });
        world.holders[0].steps = 0;
        for _ in 0..400 {
            world.step();
            let renewed = world.holders.iter().filter(|holder| holder.steps > 1).count();
            assert!(world.locked || renewed < 2, "both went on renewing side by side");
        }
        if world.locked {
            return;
        }
        // Both come once more, one after the other, each with a renewal of its own: they cannot both be right.
        for holder in [0, 1, 0, 1] {
            world.now += LATE * 2;
            world.wire.clear();
            let with = world.holders[holder].disk;
            match world.standing.judge(&with.held, world.clock()) {
                Verdict::Copied => return,
                Verdict::Current | Verdict::Next => {}
                verdict => panic!("neither let in nor told: {verdict:?}"),
            }
            world.standing.promote(&with.held, world.clock());
            world.keys += 1;
            let key = world.keys;
            let position = world.standing.successor(&with.held, spki(key), world.clock()).unwrap();
            let next = Kept { key, held: held(position, key) };
            world.standing.promote(&next.held, world.clock());
            world.holders[holder].disk = next;
        }
        panic!("two holders renewed in turns and nobody was told");
    });
}
