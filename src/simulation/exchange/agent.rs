//! The agent's half: takes the request, sends it to the API server, says what became of it.

use bytes::BytesMut;

use super::{ApiServer, BODY, Pipe};
use crate::{
    agent::rules::{Again, Attempts, Broken, Fault},
    simulation::Dice,
    wire::{Direction, Frame, FrameKind, Received, Reception, StreamCode, generated::FailureCode},
};

#[derive(Debug, Default)]
enum State {
    #[default]
    NoHead,
    /// The head came.
    Asked,
    /// On a connection; whether it carried requests before.
    Sending { reused: bool },
    /// The API server answers; so much was passed on.
    Answering { sent: usize, headed: bool },
    /// Nothing more is to be done, or can be.
    Done,
}

#[derive(Debug)]
pub(super) struct Agent {
    state: State,
    attempts: Attempts,
    reception: Reception,
    buf: BytesMut,
}

impl Default for Agent {
    fn default() -> Self {
        let reception = Reception::new(Direction::Request);
        Self { state: State::NoHead, attempts: Attempts::default(), reception, buf: BytesMut::new() }
    }
}

impl Agent {
    pub(super) fn crash(&mut self) {
        self.state = State::Done;
    }

    pub(super) fn link_lost(&mut self) {
        self.state = State::Done;
    }

    /// The hub stopped the stream: the request's connection is dropped. The API server may have it all the same.
    pub(super) fn stopped(&mut self, up: &mut Pipe) {
        self.state = State::Done;
        up.drop_half();
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
        loop {
            match self.reception.take(&mut self.buf).expect("the hub keeps the contract") {
                Received::Frame(Frame::Head(_)) if matches!(self.state, State::NoHead) => self.state = State::Asked,
                Received::Frame(_) => {}
                Received::End | Received::Failed | Received::More => return,
            }
        }
    }

    /// One step: a connection, the request, its answer.
    pub(super) fn go_on(&mut self, dice: &mut Dice, (writes, up, dead): (bool, &mut Pipe, bool), api: &mut ApiServer) {
        match self.state {
            State::NoHead if dice.chance(2) => {
                // It does not wait for ever.
                up.cut(StreamCode::Unstarted);
                self.state = State::Done;
            }
            State::NoHead | State::Done => {}
            State::Asked if dice.chance(10) => {
                self.fail(up, Fault::before(FailureCode::UpstreamUnreachable, "no connection"));
            }
            State::Asked => {
                if writes {
                    // On its way before the first byte leaves; whether it arrives is another matter.
                    up.send(FrameKind::Dispatched, b"");
                }
                self.state = State::Sending { reused: dice.chance(60) };
            }
            State::Sending { reused } => self.send(dice, (writes, reused), up, api),
            State::Answering { sent, headed } if !dead => self.answer(dice, (sent, headed), up),
            State::Answering { .. } => {}
        }
    }

    fn send(&mut self, dice: &mut Dice, (writes, reused): (bool, bool), up: &mut Pipe, api: &mut ApiServer) {
        if dice.chance(60) {
            // It has arrived, and its answer will come only once it ran.
            api.ran += 1;
            self.state = State::Answering { sent: 0, headed: false };
            return;
        }
        // The connection broke: before a byte was written, or after the API server had it, or by its refusal.
        let unsent = dice.chance(40);
        let refused = !unsent && dice.chance(20);
        if !unsent && !refused && dice.chance(70) {
            api.may_run += 1;
        }
        match self.attempts.broke(Broken { unsent, reused, refused, copy: !writes }) {
            Again::Same | Again::Copy if dice.chance(80) => self.state = State::Sending { reused: false },
            _ if !self.attempts.may_have_run() => {
                self.fail(up, Fault::before(FailureCode::UpstreamUnreachable, "no connection any more"));
            }
            _ => self.fail(up, Fault::after(FailureCode::UpstreamLost, "connection lost")),
        }
    }

    fn answer(&mut self, dice: &mut Dice, (sent, headed): (usize, bool), up: &mut Pipe) {
        if !headed {
            up.send(FrameKind::Head, b"200");
            self.state = State::Answering { sent, headed: true };
        } else if dice.chance(5) {
            self.fail(up, Fault::after(FailureCode::UpstreamLost, "answer cut"));
        } else if sent < BODY.len() {
            let next = sent + 1 + dice.below(BODY.len() - sent);
            up.send(FrameKind::Data, &BODY[sent..next]);
            self.state = State::Answering { sent: next, headed };
        } else {
            up.send(FrameKind::End, b"");
            self.state = State::Done;
        }
    }

    fn fail(&mut self, up: &mut Pipe, fault: Fault) {
        up.send(FrameKind::Error, &fault.encode());
        self.state = State::Done;
    }
}
