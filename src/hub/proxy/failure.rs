//! What failed, at which hop, and what the client may be promised: `Retry-After` says "not executed", so it is given only
//! where that is certain or where running twice does no harm.

use bytes::Bytes;
use http::Response;
use prost::Message;

use super::{Judged, ProxyBody};
use crate::{
    hub::said::{MESSAGE, shown},
    k8s::{Reason, Status},
    transport::{OpenError, RecvError},
    wire::{
        Frame, StreamCode,
        generated::{Failure, FailureCode},
    },
};

/// Where on its way a request failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hop {
    /// In the hub.
    Hub,
    /// Between hub and agent.
    Link,
    /// In the agent.
    Agent,
    /// Between agent and API server, or in the API server.
    ApiServer,
}

impl Hop {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Link => "link between hub and agent",
            Self::Agent => "agent",
            Self::ApiServer => "API server",
        }
    }
}

/// Whether the API server may have run the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Run {
    /// Certainly not.
    No,
    /// Perhaps.
    Unknown,
}

/// What the promise to the client hangs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// For the message.
    pub(crate) cluster: &'a str,
    /// For the message.
    pub(crate) request_id: &'a str,
    /// It changes nothing, so it may run twice.
    pub(crate) repeatable: bool,
    /// kubectl repeats it by itself.
    pub(crate) discovery: bool,
}

/// A stream whose answer has not begun, and what the agent said on it.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    dispatched: bool,
}

impl Awaited {
    /// Takes what came: the answer's head, or nothing yet.
    ///
    /// # Errors
    /// When no head can come any more.
    pub(crate) fn hear(&mut self, came: Result<Option<Frame>, RecvError>) -> Result<Option<Bytes>, Failed> {
        match came {
            Ok(Some(Frame::Dispatched)) => {
                self.dispatched = true;
                Ok(None)
            }
            Ok(Some(Frame::Head(bytes))) => Ok(Some(bytes)),
            Ok(Some(Frame::Error(bytes))) => {
                // What cannot be read promises nothing.
                let unreadable = Failure { dispatched: true, ..Failure::default() };
                // It comes after DISPATCHED, and knows more: a connection may hand a request back unsent.
                Err(Failed::told(Failure::decode(bytes).unwrap_or(unreadable)))
            }
            Ok(_) => Err(Failed::invalid(Hop::Agent, "the agent's answer has no head")),
            Err(RecvError::Cut(StreamCode::Unstarted)) if !self.dispatched => Err(Failed::unstarted()),
            Err(error) => Err(Failed::lost(Hop::Link, error.to_string())),
        }
    }
}

/// A request that failed before its answer began.
#[derive(Debug)]
pub(crate) struct Failed {
    reason: Reason,
    hop: Hop,
    run: Run,
    message: String,
}

impl Failed {
    /// The stream could not even be opened.
    pub(crate) fn not_sent(error: OpenError) -> Self {
        let reason = match error {
            OpenError::NoRoom => Reason::TooManyRequests,
            OpenError::Lost(_) => Reason::ServiceUnavailable,
        };
        Self { reason, hop: Hop::Link, run: Run::No, message: error.to_string() }
    }

    /// The request's head does not fit the wire.
    pub(super) fn head_too_large(bytes: usize) -> Self {
        let message = format!("the request head takes {bytes} bytes, more than {}", crate::wire::MAX_PAYLOAD);
        Self { reason: Reason::HeadTooLarge, hop: Hop::Hub, run: Run::Unknown, message }
    }

    /// The way broke once the request was on it. That the agent never said DISPATCHED proves nothing: its word may have
    /// been lost with the link.
    pub(super) fn lost(hop: Hop, message: impl Into<String>) -> Self {
        Self { reason: Reason::BadGateway, hop, run: Run::Unknown, message: message.into() }
    }

    /// The agent gave up waiting for the request's head.
    fn unstarted() -> Self {
        let message = format!("the request took longer than {} s to the agent", crate::defaults::STREAM_HEAD.as_secs());
        Self { reason: Reason::ServiceUnavailable, hop: Hop::Link, run: Run::No, message }
    }

    /// No head in time.
    pub(crate) fn late() -> Self {
        let message = format!("no answer within {} s", crate::defaults::RESPONSE_HEAD.as_secs());
        Self { reason: Reason::Timeout, hop: Hop::ApiServer, run: Run::Unknown, message }
    }

    /// The peer broke a rule: its answer cannot be passed on.
    pub(super) fn invalid(hop: Hop, message: impl Into<String>) -> Self {
        Self { reason: Reason::BadGateway, hop, run: Run::Unknown, message: message.into() }
    }

    /// What the agent says.
    fn told(failure: Failure) -> Self {
        let (reason, hop) = meaning(failure.code());
        let run = if failure.dispatched { Run::Unknown } else { Run::No };
        Self { reason, hop, run, message: shown(&failure.message, MESSAGE) }
    }

    /// Which hop a failure of the agent's is about.
    pub(super) fn hop_of(failure: &Failure) -> Hop {
        meaning(failure.code()).1
    }

    /// The same, if the hub itself closed the link: for that reason. What may have been executed stays as it is.
    pub(super) fn because(self, words: Option<&str>) -> Self {
        match words {
            Some(words) => Self { hop: Hop::Hub, message: words.to_owned(), ..self },
            None => self,
        }
    }

    /// What the client is told.
    pub(super) fn status(self, judged: &Judged) -> Status {
        self.answer(&Asked {
            cluster: &judged.cluster.name,
            request_id: &judged.request_id,
            repeatable: judged.repeatable,
            discovery: judged.discovery,
        })
    }

    /// The same, of what matters of a request.
    pub(crate) fn answer(self, asked: &Asked<'_>) -> Status {
        let cluster = asked.cluster;
        // A request that only reads may run twice; one that may have run and writes must not.
        let again = match (self.run, self.reason) {
            (_, Reason::Forbidden | Reason::HeadTooLarge | Reason::Timeout) => None,
            (Run::No, _) => Some(1),
            (Run::Unknown, _) if asked.repeatable => Some(1),
            (Run::Unknown, _) => None,
        };
        let reason = match self.reason {
            Reason::BadGateway if again.is_some() => Reason::ServiceUnavailable,
            reason => reason,
        };
        let outcome = match (self.run, asked.repeatable) {
            (Run::No, _) => "it was not executed",
            (Run::Unknown, true) => "it can be sent again",
            (Run::Unknown, false) => "it may have been executed: look before you send it again",
        };
        let message = format!(
            "cluster {cluster:?}: request failed at the {}: {}; {outcome} (request {})",
            self.hop.as_str(),
            self.message,
            asked.request_id
        );
        Status::new(reason, message).with_retry_after(again.filter(|_| !asked.discovery))
    }
}

/// The answer that means a failure of the agent's, and the hop it is about. No `_` arm.
fn meaning(code: FailureCode) -> (Reason, Hop) {
    match code {
        FailureCode::Internal | FailureCode::Protocol => (Reason::BadGateway, Hop::Agent),
        FailureCode::UpstreamUnreachable => (Reason::ServiceUnavailable, Hop::ApiServer),
        FailureCode::UpstreamLost | FailureCode::UpstreamInvalid => (Reason::BadGateway, Hop::ApiServer),
        FailureCode::UpstreamTimeout => (Reason::Timeout, Hop::ApiServer),
        FailureCode::Refused => (Reason::Forbidden, Hop::Agent),
        FailureCode::Overloaded => (Reason::TooManyRequests, Hop::Agent),
    }
}

/// A `Status` as a response.
pub(in crate::hub) fn respond(status: &Status) -> Response<ProxyBody> {
    let parts = status.response_parts();
    let mut response = Response::new(ProxyBody::full(parts.body));
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link that stood still must not make a script look whether its change was made when it was not.
    #[test]
    fn a_request_that_never_reached_the_agent_can_be_sent_again() {
        let asked = Asked { cluster: "edge", request_id: "r", repeatable: false, discovery: false };
        let cut = |code| Err(RecvError::Cut(code));
        let told = |awaited: &mut Awaited, code| awaited.hear(cut(code)).unwrap_err().answer(&asked);
        let status = told(&mut Awaited::default(), StreamCode::Unstarted);
        assert_eq!((status.code().as_u16(), status.retry_after()), (503, Some(1)), "{}", status.message());
        assert!(
            status.message().contains("took longer than 10 s to the agent; it was not executed"),
            "{}",
            status.message()
        );
        // What contradicts itself, and every other cut, promises nothing.
        for (dispatched, code) in [(true, StreamCode::Unstarted), (false, StreamCode::Dropped)] {
            let status = told(&mut Awaited { dispatched }, code);
            assert_eq!(status.retry_after(), None, "{}", status.message());
            assert!(status.message().contains("may have been executed"), "{}", status.message());
        }
    }

    /// An API server that restarts closes connections on which a change was about to be sent.
    #[test]
    fn the_agents_last_word_counts_also_after_dispatched() {
        let asked = Asked { cluster: "edge", request_id: "r", repeatable: false, discovery: false };
        let told = |bytes: Vec<u8>| {
            Awaited { dispatched: true }.hear(Ok(Some(Frame::Error(bytes.into())))).unwrap_err().answer(&asked)
        };
        let failure = |code: FailureCode, dispatched| {
            told(Failure { code: code.into(), dispatched, ..Failure::default() }.encode_to_vec())
        };
        let unsent = failure(FailureCode::UpstreamUnreachable, false);
        assert_eq!((unsent.code().as_u16(), unsent.retry_after()), (503, Some(1)), "{}", unsent.message());
        assert!(unsent.message().contains("it was not executed"), "{}", unsent.message());
        for status in [failure(FailureCode::UpstreamLost, true), told(vec![0xff; 3])] {
            assert_eq!((status.code().as_u16(), status.retry_after()), (502, None), "{}", status.message());
        }
    }
}
