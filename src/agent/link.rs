//! One live link of the agent: hello, serving the hub's streams, and the conversation on its control stream.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::{
    allowance::Allowances,
    exchange,
    redial::{Retirement, jitter},
    trust::{self, Trust},
    upstream::Upstream,
};
use crate::{
    defaults,
    identity::KeyPair,
    transport::{Heard, IncomingStream, Link, LinkEnd, OpenError, Priority, RecvError, RecvHalf, SendError, SendHalf},
    wire::{
        ALLOWANCE, CloseCode, Frame, FrameKind, GENERATION, RENEW, ROTATE,
        generated::{
            Control, ControlMessage, Drain, Hello, RenewRequest, RenewResponse, TrustAck, TrustUpdate, Welcome,
            control_message::Body, open::Kind,
        },
    },
};

/// A link that came up did not become live.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelloError {
    #[error("cannot open the control stream")]
    Open(#[from] OpenError),
    #[error("cannot say hello")]
    Send(#[from] SendError),
    #[error("no welcome")]
    Recv(#[from] RecvError),
    #[error("the hub's welcome is not valid")]
    Welcome,
    #[error("no welcome within {} s", defaults::HELLO.as_secs())]
    Late,
}

/// What the agent tells of its API server, as it was when it dialled.
pub(super) struct ClusterSays {
    /// Its version; may be empty.
    pub(super) version: String,
    /// The keys by which it signs ServiceAccount tokens; may be empty.
    pub(super) keys: Bytes,
}

/// A link whose hub said welcome.
pub(super) struct Live {
    pub(super) link: Link,
    pub(super) welcome: Welcome,
    /// How far the clock here is ahead of the hub's.
    ahead: time::Duration,
    send: SendHalf,
    recv: RecvHalf,
    heard: Heard,
    streams: TaskTracker,
    granted: u32,
    allowances: Arc<Allowances>,
    /// Of the roots that the hub said on this link, until they are acknowledged.
    wanted: Option<[u8; 32]>,
}

/// Why the agent must act.
pub(super) enum Event {
    /// The link is gone.
    Ended(LinkEnd),
    /// The hub goes away: another link, then let this one end after the grace.
    Drain { delay: Duration, grace: Duration },
    /// It is time to ask for the next certificate.
    Due,
    /// The hub wants it to be asked for within that time.
    RenewNow(Duration),
    /// Whom the hub wants to be trusted.
    Trust(TrustUpdate),
    /// The hub's answer to that.
    Answered(RenewResponse),
}

impl Live {
    /// Says hello and waits for the welcome.
    pub(super) async fn start(link: Link, cluster: &ClusterSays, instance: &str) -> Result<Self, HelloError> {
        let hello = Hello {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: [RENEW, ALLOWANCE, GENERATION, ROTATE].map(str::to_owned).to_vec(),
            instance: instance.to_owned(),
            kubernetes_version: cluster.version.clone(),
            service_account_keys: cluster.keys.clone(),
            agent_time_ms: i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(0),
        };
        timeout(defaults::HELLO, Self::hello(link, hello)).await.unwrap_or(Err(HelloError::Late))
    }

    async fn hello(link: Link, hello: Hello) -> Result<Self, HelloError> {
        let (mut send, mut recv) = link.open(Kind::Control(Control {})).await?;
        send.set_priority(Priority::Control);
        say(&mut send, Body::Hello(hello)).await?;
        let Some(Body::Welcome(welcome)) = message(recv.frame().await?) else { return Err(HelloError::Welcome) };
        let paced = welcome.capabilities.iter().any(|capability| capability == ALLOWANCE);
        let ahead = ahead(welcome.hub_time_ms, OffsetDateTime::now_utc());
        if ahead.abs() > defaults::CLOCK_SKEW {
            tracing::warn!(ahead_s = ahead.whole_seconds(), "the clock here differs from the hub's; set it by NTP");
        }
        Ok(Self {
            link,
            welcome,
            ahead,
            send,
            recv,
            heard: Heard::default(),
            streams: TaskTracker::new(),
            granted: defaults::AGENT_STREAMS_FIRST,
            allowances: Allowances::new(paced),
            wanted: None,
        })
    }

    /// Whether the hub agreed to renew certificates on this link.
    pub(super) fn renews(&self) -> bool {
        self.agreed(RENEW)
    }

    fn agreed(&self, word: &str) -> bool {
        self.welcome.capabilities.iter().any(|capability| capability == word)
    }

    /// How far the clock here is ahead of the hub's, as of the welcome.
    pub(super) fn ahead(&self) -> time::Duration {
        self.ahead
    }

    /// The time by the hub's clock, by which certificates begin and end.
    pub(super) fn hub_now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() - self.ahead
    }

    /// Serves the hub until something must be done, which is to ask for the next certificate from `renew_at` on, by the hub's
    /// clock. Hears whom to trust, and acknowledges what is kept of it.
    ///
    /// # Cancel safety
    /// Safe, but for an acknowledgement under way: the hub says again whom to trust on the next link.
    pub(super) async fn serve(
        &mut self,
        upstream: &Arc<Upstream>,
        renew_at: Option<OffsetDateTime>,
        trust: &Trust,
    ) -> Event {
        let (ahead, rotates) = (self.ahead, self.agreed(ROTATE));
        let mut kept = trust.kept();
        loop {
            // What was heard on this link is acknowledged once, as soon as it is kept.
            let hash = trust::hash(&kept.borrow_and_update());
            if let Some(hash) = hash.filter(|hash| Some(*hash) == self.wanted) {
                self.wanted = None;
                let ack = TrustAck { hash: Bytes::copy_from_slice(&hash) };
                if say(&mut self.send, Body::TrustAck(ack)).await.is_err() {
                    return Event::Ended(broken(&self.link));
                }
            }
            tokio::select! {
                biased;
                event = self.serve_until_told(upstream) => match event {
                    Event::Trust(update) if rotates => self.wanted = trust.hear(&update, &self.link.peer_chain()),
                    // Not agreed on.
                    Event::Trust(_) => {}
                    Event::RenewNow(_) if !rotates => {}
                    event => return event,
                },
                Ok(()) = kept.changed() => {}
                () = until(renew_at.map(|at| at + ahead)) => return Event::Due,
            }
        }
    }

    /// As [`Live::serve`], and neither asks nor hears of certificates.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn serve_on(&mut self, upstream: &Arc<Upstream>, trust: &Trust) -> Event {
        loop {
            match self.serve_until_told(upstream).await {
                Event::Trust(update) if self.agreed(ROTATE) => {
                    self.wanted = trust.hear(&update, &self.link.peer_chain());
                }
                Event::Answered(_) | Event::Trust(_) | Event::RenewNow(_) => {}
                event => return event,
            }
        }
    }

    /// Asks for a certificate for `key`; the link's end when that cannot be said.
    pub(super) async fn ask(&mut self, key: &KeyPair) -> Result<(), LinkEnd> {
        let request = RenewRequest { csr: Bytes::from(key.csr()), generation: self.welcome.generation };
        match say(&mut self.send, Body::RenewRequest(request)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(broken(&self.link)),
        }
    }

    async fn serve_until_told(&mut self, upstream: &Arc<Upstream>) -> Event {
        let ended = self.link.closed_or_deaf(&mut self.heard);
        tokio::pin!(ended);
        loop {
            tokio::select! {
                biased;
                end = &mut ended => return Event::Ended(end),
                incoming = self.link.accept() => match incoming {
                    Ok(incoming) => {
                        take(&self.streams, &self.allowances, incoming, upstream);
                        if let Some(more) = more_streams(self.granted, self.streams.len()) {
                            self.granted = more;
                            self.link.grant_streams(more);
                        }
                    }
                    Err(end) => return Event::Ended(end),
                },
                frame = self.recv.frame() => match frame.map(message) {
                    Ok(Some(Body::Drain(Drain { delay_ms, grace_ms }))) => {
                        let [delay, grace] = [delay_ms, grace_ms].map(|ms| Duration::from_millis(ms.into()));
                        return Event::Drain { delay, grace };
                    }
                    Ok(Some(Body::RenewResponse(response))) => return Event::Answered(response),
                    Ok(Some(Body::Allowances(said))) => self.allowances.allow(&said.items),
                    Ok(Some(Body::TrustUpdate(update))) => return Event::Trust(update),
                    Ok(Some(Body::RenewNow(now))) => return Event::RenewNow(Duration::from_millis(now.within_ms.into()).mul_f64(jitter())),
                    // Messages of newer versions are ignored.
                    Ok(_) => {}
                    Err(_) => return Event::Ended(broken(&self.link)),
                }
            }
        }
    }

    /// Requests under way on this link.
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Lets the link end once its requests have, or after `grace` when the hub has not ended it by then; new ones are still served.
    pub(super) async fn retire(self, upstream: Arc<Upstream>, grace: Duration) {
        // Nobody listens to the hub on it any more.
        self.allowances.lift();
        let serve = async {
            while let Ok(incoming) = self.link.accept().await {
                take(&self.streams, &self.allowances, incoming, &upstream);
            }
        };
        // The hub knows why it ends and says so to its clients; what they hear is whoever comes first.
        let (retirement, replaced) = (Retirement { grace: grace + defaults::RETIRE_LAST }, Instant::now());
        let due = async {
            while !retirement.may_end(replaced.elapsed(), self.streams.len()) {
                sleep(defaults::DRAIN_POLL).await;
            }
        };
        tokio::select! {
            () = serve => {}
            () = due => {}
        }
        self.link.close(CloseCode::Superseded);
    }
}

fn take(streams: &TaskTracker, allowances: &Arc<Allowances>, incoming: IncomingStream, upstream: &Arc<Upstream>) {
    let (upstream, allowances) = (upstream.clone(), allowances.clone());
    streams.spawn(async move { exchange::serve(incoming, &upstream, &allowances).await });
}

/// How many streams to grant, if half of those that are granted are in use.
fn more_streams(granted: u32, used: usize) -> Option<u32> {
    let used = u32::try_from(used).unwrap_or(u32::MAX);
    (used > granted / 2 && granted < defaults::AGENT_STREAMS)
        .then(|| granted.saturating_mul(4).min(defaults::AGENT_STREAMS))
}

/// The conversation broke, and with it the link.
fn broken(link: &Link) -> LinkEnd {
    link.close(CloseCode::Protocol);
    link.end().unwrap_or(LinkEnd::Here)
}

/// How far `now` is ahead of what the hub said; nothing when the hub said no time.
fn ahead(hub_time_ms: i64, now: OffsetDateTime) -> time::Duration {
    let said = OffsetDateTime::from_unix_timestamp_nanos(i128::from(hub_time_ms) * 1_000_000);
    said.ok().filter(|_| hub_time_ms > 0).map_or(time::Duration::ZERO, |hub| now - hub)
}

async fn until(due: Option<OffsetDateTime>) {
    match due {
        Some(due) => sleep(Duration::try_from(due - OffsetDateTime::now_utc()).unwrap_or(Duration::ZERO)).await,
        None => std::future::pending().await,
    }
}

async fn say(send: &mut SendHalf, body: Body) -> Result<(), SendError> {
    send.queue_message(FrameKind::Message, &ControlMessage { body: Some(body) });
    send.flush().await
}

fn message(frame: Option<Frame>) -> Option<Body> {
    match frame? {
        Frame::Message(bytes) => ControlMessage::decode(bytes).ok()?.body,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T097.
    #[test]
    fn the_clock_here_is_compared_with_the_hubs() {
        let now = time::macros::datetime!(2026-11-25 12:00:00 UTC);
        let said = |hub: OffsetDateTime| i64::try_from(hub.unix_timestamp_nanos() / 1_000_000).unwrap();
        let minutes = time::Duration::minutes;
        let year = time::Duration::days(365);
        for skew in [time::Duration::ZERO, minutes(10), -minutes(10), year, -year] {
            assert_eq!(ahead(said(now - skew), now), skew);
        }
        for nothing in [0, -1, i64::MAX, i64::MIN] {
            assert_eq!(ahead(nothing, now), time::Duration::ZERO, "{nothing}");
        }
    }

    #[test]
    fn streams_are_granted_before_they_run_out_and_within_the_bound() {
        assert_eq!(more_streams(256, 128), None);
        assert_eq!(more_streams(256, 129), Some(1_024));
        assert_eq!(more_streams(4_096, 2_049), Some(defaults::AGENT_STREAMS));
        assert_eq!(more_streams(defaults::AGENT_STREAMS, usize::MAX), None);
    }
}
