//! One request after the other through hub, link and agent, while any of them breaks at any point.
//!
//! Real: frames, their order (`Rules`, `Reception`), what the hub makes of an answer that does not come (`Awaited`, `Failed`), what it makes of
//! a body (`Next`), whether the agent sends again (`Attempts`) and what it reports (`Fault`). Simulated: the link, which keeps each stream's bytes
//! in order, lets a reset overtake them and loses them when it dies; the API server, which may run a request long after its
//! connection broke; and a client that does as client-go: it repeats what has `Retry-After`, at once.

mod agent;
mod hub;

use std::cell::Cell;

use bytes::BytesMut;

use self::{agent::Agent, hub::Hub};
use super::{Dice, play};
use crate::wire::{Direction, FrameKind, Rules, StreamCode, encode_frame};

/// One direction of a stream.
#[derive(Debug)]
struct Pipe {
    /// Sent, and not arrived.
    under_way: BytesMut,
    /// The sender finished it.
    finished: bool,
    /// The sender cut it: the word may overtake what is under way.
    reset: Option<StreamCode>,
    rules: Rules,
}

/// What arrives at once.
enum Arrival {
    Bytes(BytesMut),
    Finish,
    Reset(StreamCode),
    Nothing,
}

impl Pipe {
    fn new(direction: Direction) -> Self {
        Self { under_way: BytesMut::new(), finished: false, reset: None, rules: Rules::new(direction) }
    }

    /// Sends a frame, as `SendHalf` does.
    fn send(&mut self, kind: FrameKind, payload: &[u8]) {
        if self.reset.is_none() && !self.finished {
            self.rules.accept(kind).expect("neither side sends what it may not");
            encode_frame(kind, payload, &mut self.under_way);
            self.finished = self.rules.closed();
        }
    }

    /// A half that is dropped before its end cuts the stream.
    fn drop_half(&mut self) {
        self.cut(StreamCode::Dropped);
    }

    fn cut(&mut self, code: StreamCode) {
        if !self.finished {
            self.reset.get_or_insert(code);
        }
    }

    fn arrive(&mut self, dice: &mut Dice) -> Arrival {
        if let Some(code) = self.reset
            && (self.under_way.is_empty() || dice.chance(30))
        {
            self.under_way.clear();
            return Arrival::Reset(code);
        }
        if !self.under_way.is_empty() {
            let len = 1 + dice.below(self.under_way.len());
            return Arrival::Bytes(self.under_way.split_to(len));
        }
        if self.finished { Arrival::Finish } else { Arrival::Nothing }
    }
}

/// The API server, as far as one request goes.
#[derive(Debug, Default)]
struct ApiServer {
    /// Requests that reached it and that it may still run.
    may_run: usize,
    /// Requests that it ran.
    ran: usize,
}

struct World<'a> {
    dice: &'a mut Dice,
    writes: bool,
    down: Pipe,
    up: Pipe,
    /// The link died; each side notices in its own time.
    dead: bool,
    api: ApiServer,
    hub: Hub,
    agent: Agent,
}

/// How one request ended for its client.
#[derive(Debug, Eq, PartialEq)]
enum Outcome {
    /// A whole answer.
    Whole(Vec<u8>),
    /// An answer that ended visibly before its end, or a connection that broke.
    Cut,
    /// A Status instead of an answer.
    Refused { again: bool, says_not_run: bool },
}

impl<'a> World<'a> {
    fn new(dice: &'a mut Dice, writes: bool) -> Self {
        let body = if writes { dice.below(3) } else { 0 };
        Self {
            writes,
            down: Pipe::new(Direction::Request),
            up: Pipe::new(Direction::Response),
            dead: false,
            api: ApiServer::default(),
            hub: Hub::new(body),
            agent: Agent::default(),
            dice,
        }
    }

    /// One thing happens: somebody goes on, bytes arrive, or something breaks.
    fn step(&mut self) {
        match self.dice.below(100) {
            0..22 => self.hub_sends(),
            22..44 => self.deliver_down(),
            44..66 => self.agent_goes_on(),
            66..88 => self.deliver_up(),
            88..94 => self.api_runs(),
            94..95 => self.link_dies(),
            95..96 => self.agent_crashes(),
            96..97 => self.hub.give_up(&mut self.down),
            97..98 => self.hub.client_leaves(&mut self.down),
            _ => self.notice_death(),
        }
    }

    fn link_dies(&mut self) {
        self.dead = true;
        self.down.under_way.clear();
        self.up.under_way.clear();
    }

    /// Nobody says goodbye: the hub finds a dead link.
    fn agent_crashes(&mut self) {
        self.agent.crash();
        self.link_dies();
    }

    /// Idle timeouts, stateless resets: each side learns that the link is gone.
    fn notice_death(&mut self) {
        if self.dead {
            self.hub.link_lost();
            self.agent.link_lost();
        }
    }

    fn deliver_down(&mut self) {
        if self.dead {
            return;
        }
        match self.down.arrive(self.dice) {
            Arrival::Bytes(bytes) => self.agent.receive(&bytes),
            Arrival::Reset(_) => self.agent.stopped(&mut self.up),
            // A client that left stops the answer, too.
            Arrival::Finish | Arrival::Nothing if self.hub.left() => self.agent.stopped(&mut self.up),
            Arrival::Finish | Arrival::Nothing => {}
        }
    }

    fn deliver_up(&mut self) {
        if self.dead {
            return;
        }
        match self.up.arrive(self.dice) {
            Arrival::Bytes(bytes) => self.hub.receive(&bytes),
            Arrival::Finish => self.hub.unfinished(),
            Arrival::Reset(code) => self.hub.cut(code),
            Arrival::Nothing => {}
        }
    }

    fn hub_sends(&mut self) {
        // A stream that is refused was never seen by the agent.
        let fails = self.dice.chance(4);
        self.hub.send(&mut self.down, self.dead, fails);
    }

    fn agent_goes_on(&mut self) {
        self.agent.go_on(self.dice, (self.writes, &mut self.up, self.dead), &mut self.api);
    }

    /// The API server runs what reached it, whatever became of the connection.
    fn api_runs(&mut self) {
        if self.api.may_run > 0 {
            self.api.may_run -= 1;
            self.api.ran += 1;
        }
    }

    /// Until nothing can happen any more: the hub waits at most for its deadline.
    fn settle(&mut self) -> Outcome {
        for _ in 0..60 {
            self.step();
        }
        for round in 0..200 {
            self.hub_sends();
            self.deliver_down();
            self.agent_goes_on();
            self.deliver_up();
            self.notice_death();
            if round == 150 {
                self.hub.give_up(&mut self.down);
            }
        }
        while self.api.may_run > 0 {
            self.api_runs();
        }
        self.hub.outcome(self.writes)
    }
}

/// The body of every whole answer.
const BODY: &[u8] = b"the answer of the API server, from its first byte to its last";

#[test]
fn what_may_have_run_is_never_called_not_executed_and_what_is_cut_never_whole() {
    let met = [const { Cell::new(0_usize) }; 4];
    let meet = |kind: usize| met[kind].set(met[kind].get() + 1);
    let played = play(40_000, |dice| {
        let writes = dice.chance(60);
        let mut ran = 0;
        for _attempt in 0..4 {
            let mut world = World::new(dice, writes);
            let outcome = world.settle();
            let here = world.api.ran;
            ran += here;
            match outcome {
                Outcome::Whole(body) => {
                    meet(0);
                    assert_eq!(body, BODY, "an answer that was cut looks whole");
                    assert!(here > 0, "an answer without a request");
                    break;
                }
                Outcome::Cut => {
                    meet(1);
                    break;
                }
                Outcome::Refused { again, says_not_run } => {
                    assert!(!says_not_run || here == 0, "\"not executed\", and it ran {here} times");
                    assert!(!(writes && again) || here == 0, "Retry-After on a write that ran");
                    meet(if again { 2 } else { 3 });
                    if !again {
                        break;
                    }
                }
            }
        }
        assert!(!writes || ran <= 1, "a write ran {ran} times");
    });
    let rare = met.iter().any(|count| u64::try_from(count.get()).unwrap() < played / 50);
    assert!(played < 1_000 || !rare, "the schedules do not meet everything: {met:?}");
}
