//! Which frame may follow which: the life cycle of one direction of a stream, for its sender and its receiver alike.

use super::FrameKind;

/// Which direction of which stream the rules are for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Hub to agent on a `Proxy` stream: HEAD, DATA…, END.
    Request,
    /// Agent to hub on a `Proxy` stream: \[DISPATCHED\], HEAD, DATA…, \[TRAILERS\], END.
    Response,
    /// Either direction of a `Control` stream: MESSAGE…, END.
    Control,
}

/// A frame came that must not come now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("frame of kind {kind:?} is not allowed on a {direction:?} stream in state {state:?}")]
pub struct RulesError {
    kind: FrameKind,
    direction: Direction,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Start,
    Dispatched,
    Body,
    Trailed,
    Failed,
    Ended,
}

/// The state of one direction of a stream.
#[derive(Debug)]
pub struct Rules {
    direction: Direction,
    state: State,
}

impl Rules {
    /// The rules of a fresh stream.
    pub fn new(direction: Direction) -> Self {
        Self { direction, state: State::Start }
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// When the contract does not allow it now.
    pub fn accept(&mut self, kind: FrameKind) -> Result<(), RulesError> {
        use FrameKind as K;
        use State as S;
        let next = match (self.direction, self.state, kind) {
            (Direction::Request | Direction::Response, S::Start, K::Head) => S::Body,
            (Direction::Response, S::Dispatched, K::Head) => S::Body,
            (Direction::Response, S::Start, K::Dispatched) => S::Dispatched,
            (Direction::Request | Direction::Response, S::Body, K::Data) => S::Body,
            (Direction::Request | Direction::Response, S::Body, K::Trailers) => S::Trailed,
            (Direction::Request | Direction::Response, S::Body | S::Trailed, K::End) => S::Ended,
            (Direction::Response, S::Start | S::Dispatched | S::Body, K::Error) => S::Failed,
            (Direction::Control, S::Start | S::Body, K::Message) => S::Body,
            (Direction::Control, S::Start | S::Body, K::End) => S::Ended,
            (direction, state, kind) => return Err(RulesError { kind, direction, state }),
        };
        self.state = next;
        Ok(())
    }

    /// Whether the direction came to its clean end. A stream that finishes before was cut.
    pub fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether the direction ended, cleanly or by ERROR: nothing may follow.
    pub fn closed(&self) -> bool {
        matches!(self.state, State::Ended | State::Failed)
    }
}

#[cfg(test)]
mod tests {
    use FrameKind::{Data, Dispatched, End, Error, Head, Message, Trailers};

    use super::*;

    fn run(direction: Direction, frames: &[FrameKind]) -> Result<bool, usize> {
        let mut rules = Rules::new(direction);
        for (i, kind) in frames.iter().enumerate() {
            rules.accept(*kind).map_err(|_| i)?;
        }
        Ok(rules.ended())
    }

    #[test]
    fn only_these_orders_are_allowed() {
        use Direction::{Control, Request, Response};
        let cases: &[(Direction, &[FrameKind], Result<bool, usize>)] = &[
            (Request, &[Head, End], Ok(true)),
            (Request, &[Head, Data, Data, Trailers, End], Ok(true)),
            (Request, &[Head, Data], Ok(false)),
            (Request, &[Data], Err(0)),
            (Request, &[Head, Head], Err(1)),
            (Request, &[Dispatched], Err(0)),
            (Request, &[Head, Error], Err(1)),
            (Request, &[Head, End, Data], Err(2)),
            (Response, &[Dispatched, Head, Data, End], Ok(true)),
            (Response, &[Head, End], Ok(true)),
            (Response, &[Dispatched, Dispatched], Err(1)),
            (Response, &[Head, Dispatched], Err(1)),
            (Response, &[Error], Ok(false)),
            (Response, &[Dispatched, Error], Ok(false)),
            (Response, &[Head, Data, Error], Ok(false)),
            (Response, &[Error, Head], Err(1)),
            (Response, &[Head, Trailers, Data], Err(2)),
            (Response, &[Head, Trailers, Error], Err(2)),
            (Control, &[Message, Message, End], Ok(true)),
            (Control, &[Head], Err(0)),
            (Control, &[Message, End, Message], Err(2)),
        ];
        for (direction, frames, expected) in cases {
            assert_eq!(run(*direction, frames), *expected, "{direction:?} {frames:?}");
        }
    }
}
