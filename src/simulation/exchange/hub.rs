//! The hub's half: sends the request, waits for the head, passes the body on.

use bytes::BytesMut;

use super::{Outcome, Pipe};
use crate::{
    hub::rules::{Asked, Awaited, Failed, Next},
    transport::{LinkEnd, OpenError, RecvError},
    wire::{Direction, Frame, FrameKind, Received, Reception, StreamCode},
};

#[derive(Debug)]
enum State {
    /// The stream is not open yet.
    Opening,
    /// Until the head comes.
    Waiting(Awaited),
    /// What came of the body.
    Body(Vec<u8>),
    Whole(Vec<u8>),
    Cut,
    Failed(Failed),
    /// The client went away: nobody is told anything.
    Left,
}

#[derive(Debug)]
pub(super) struct Hub {
    state: State,
    to_send: Vec<FrameKind>,
    reception: Reception,
    buf: BytesMut,
}

impl Hub {
    /// With a request whose body has so many frames.
    pub(super) fn new(body: usize) -> Self {
        let mut to_send = vec![FrameKind::End];
        to_send.extend(vec![FrameKind::Data; body]);
        to_send.push(FrameKind::Head);
        let reception = Reception::new(Direction::Response);
        Self { state: State::Opening, to_send, reception, buf: BytesMut::new() }
    }

    pub(super) fn send(&mut self, down: &mut Pipe, dead: bool, fails: bool) {
        if matches!(self.state, State::Opening) {
            self.state = match (dead, fails) {
                (true, _) => State::Failed(Failed::not_sent(OpenError::Lost(LinkEnd::Silent))),
                (_, true) => State::Failed(Failed::not_sent(OpenError::NoRoom)),
                _ => State::Waiting(Awaited::default()),
            };
        }
        if matches!(self.state, State::Waiting(_) | State::Body(_))
            && let Some(kind) = self.to_send.pop()
            && !dead
        {
            let payload: &[u8] = if kind == FrameKind::End { b"" } else { b"head or body" };
            down.send(kind, payload);
        }
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
        loop {
            let came = match self.reception.take(&mut self.buf) {
                Ok(Received::More) => return,
                Ok(Received::Frame(frame)) => Ok(Some(frame)),
                Ok(Received::End) => Ok(None),
                Ok(Received::Failed) => Err(RecvError::Closed),
                Err(error) => panic!("the agent broke the contract: {error}"),
            };
            let ended = !matches!(came, Ok(Some(_)));
            self.hear(came);
            if ended {
                return;
            }
        }
    }

    fn hear(&mut self, came: Result<Option<Frame>, RecvError>) {
        let state = std::mem::replace(&mut self.state, State::Cut);
        self.state = match state {
            State::Waiting(mut awaited) => match awaited.hear(came) {
                Ok(None) => State::Waiting(awaited),
                Ok(Some(_)) => State::Body(Vec::new()),
                Err(failed) => State::Failed(failed),
            },
            State::Body(mut body) => match Next::of(came) {
                Next::Data(bytes) => {
                    body.extend_from_slice(&bytes);
                    State::Body(body)
                }
                Next::Nothing => State::Body(body),
                Next::End => State::Whole(body),
                Next::Cut(..) => State::Cut,
            },
            done => done,
        };
    }

    /// The stream finished: whether it came to its end is for the rules to say.
    pub(super) fn unfinished(&mut self) {
        if !self.reception.closed() {
            self.hear(Err(RecvError::Unfinished));
        }
    }

    pub(super) fn cut(&mut self, code: StreamCode) {
        self.hear(Err(RecvError::Cut(code)));
    }

    pub(super) fn link_lost(&mut self) {
        if !matches!(self.state, State::Opening) {
            self.hear(Err(RecvError::Lost(LinkEnd::Restarted)));
        }
    }

    /// The deadline of an answer's head.
    pub(super) fn give_up(&mut self, down: &mut Pipe) {
        if matches!(self.state, State::Waiting(_)) {
            self.state = State::Failed(Failed::late());
            down.drop_half();
        }
    }

    pub(super) fn client_leaves(&mut self, down: &mut Pipe) {
        if matches!(self.state, State::Waiting(_) | State::Body(_)) {
            self.state = State::Left;
            down.drop_half();
        }
    }

    pub(super) fn left(&self) -> bool {
        matches!(self.state, State::Left | State::Failed(_) | State::Cut)
    }

    pub(super) fn outcome(&mut self, writes: bool) -> Outcome {
        match std::mem::replace(&mut self.state, State::Left) {
            State::Whole(body) => Outcome::Whole(body),
            State::Failed(failed) => {
                let asked = Asked { cluster: "edge-1", request_id: "1", repeatable: !writes, discovery: false };
                let status = failed.answer(&asked);
                let says_not_run = status.message().contains("it was not executed");
                Outcome::Refused { again: status.retry_after().is_some(), says_not_run }
            }
            State::Opening | State::Waiting(_) | State::Body(_) | State::Cut | State::Left => Outcome::Cut,
        }
    }
}
