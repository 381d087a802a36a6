//! What ends a long request from the hub's side: its credential ends or is revoked (T072, T100).

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{Caller, now};

/// Why a stream was cut by the hub.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CutReason {
    Expired,
    Revoked,
}

impl CutReason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "the caller's token expired",
            Self::Revoked => "the caller's token was revoked",
        }
    }
}

/// Ready when a stream must end; a short request is never cut.
pub(super) struct Cut(Option<Ends>);

struct Ends {
    expiry: Pin<Box<Sleep>>,
    revoked: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cut {
    pub(super) fn new(caller: &Caller, long_running: bool) -> Self {
        Self(long_running.then(|| {
            let left = Duration::try_from(caller.principal.expires - now()).unwrap_or(Duration::ZERO);
            Ends { expiry: Box::pin(sleep(left)), revoked: Box::pin(caller.revoked.clone().cancelled_owned()) }
        }))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CutReason> {
        let Some(ends) = &mut self.0 else { return Poll::Pending };
        if ends.revoked.as_mut().poll(cx).is_ready() {
            return Poll::Ready(CutReason::Revoked);
        }
        ends.expiry.as_mut().poll(cx).map(|()| CutReason::Expired)
    }

    /// Waits until the stream must end.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn due(&mut self) -> CutReason {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}
