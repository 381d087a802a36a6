//! One live link of the agent: hello, serving the hub's streams, and the conversation on its control stream.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::{
    allowance::Allowances,
    exchange,
    redial::Retirement,
    state::{Enrolled, Identity},
    upstream::Upstream,
};
use crate::{
    defaults,
    identity::KeyPair,
    transport::{Heard, IncomingStream, Link, LinkEnd, OpenError, Priority, RecvError, RecvHalf, SendError, SendHalf},
    wire::{
        ALLOWANCE, CloseCode, Frame, FrameKind, GENERATION, RENEW,
        generated::{
            Control, ControlMessage, Drain, Hello, RenewRequest, RenewResponse, Welcome, control_message::Body,
            open::Kind,
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

/// A link whose hub said welcome.
pub(super) struct Live {
    pub(super) link: Link,
    pub(super) welcome: Welcome,
    send: SendHalf,
    recv: RecvHalf,
    heard: Heard,
    streams: TaskTracker,
    granted: u32,
    allowances: Arc<Allowances>,
}

/// Why the agent must act.
pub(super) enum Event {
    /// The link is gone.
    Ended(LinkEnd),
    /// The hub goes away: another link, then let this one end after the grace.
    Drain { delay: Duration, grace: Duration },
    /// A certificate for a new key came: another link with it; this one may stay until its own certificate ends.
    Renewed(Box<Identity>),
}

impl Live {
    /// Says hello and waits for the welcome.
    pub(super) async fn start(link: Link, kubernetes_version: &str, instance: &str) -> Result<Self, HelloError> {
        let hello = Hello {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: [RENEW, ALLOWANCE, GENERATION].map(str::to_owned).to_vec(),
            instance: instance.to_owned(),
            kubernetes_version: kubernetes_version.to_owned(),
        };
        timeout(defaults::HELLO, Self::hello(link, hello)).await.unwrap_or(Err(HelloError::Late))
    }

    async fn hello(link: Link, hello: Hello) -> Result<Self, HelloError> {
        let (mut send, mut recv) = link.open(Kind::Control(Control {})).await?;
        send.set_priority(Priority::Control);
        say(&mut send, Body::Hello(hello)).await?;
        let Some(Body::Welcome(welcome)) = message(recv.frame().await?) else { return Err(HelloError::Welcome) };
        let paced = welcome.capabilities.iter().any(|capability| capability == ALLOWANCE);
        Ok(Self {
            link,
            welcome,
            send,
            recv,
            heard: Heard::default(),
            streams: TaskTracker::new(),
            granted: defaults::AGENT_STREAMS_FIRST,
            allowances: Allowances::new(paced),
        })
    }

    /// Whether the hub agreed to renew certificates on this link.
    pub(super) fn renews(&self) -> bool {
        self.welcome.capabilities.iter().any(|capability| capability == RENEW)
    }

    /// Serves the hub until something must be done. A new certificate is asked for from `renew_at` on, which is only for links
    /// that renew.
    pub(super) async fn serve(
        &mut self,
        upstream: &Arc<Upstream>,
        renew_at: Option<OffsetDateTime>,
        identity: &Identity,
    ) -> Event {
        let mut renewal = Renewal { due: renew_at, asked: None, generation: self.welcome.generation };
        loop {
            tokio::select! {
                biased;
                event = self.serve_until_told(upstream) => match event {
                    Told::Event(event) => return event,
                    Told::Renewed(response) => {
                        if let Some(next) = renewal.answered(response, identity) {
                            return Event::Renewed(Box::new(next));
                        }
                    }
                },
                () = renewal.wait() => {
                    let ask = renewal.ask(identity);
                    if say(&mut self.send, Body::RenewRequest(ask)).await.is_err() {
                        return broken(&self.link);
                    }
                }
            }
        }
    }

    /// As [`Live::serve`], and asks for nothing.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn serve_on(&mut self, upstream: &Arc<Upstream>) -> Event {
        loop {
            if let Told::Event(event) = self.serve_until_told(upstream).await {
                return event;
            }
        }
    }

    async fn serve_until_told(&mut self, upstream: &Arc<Upstream>) -> Told {
        let ended = self.link.closed_or_deaf(&mut self.heard);
        tokio::pin!(ended);
        loop {
            tokio::select! {
                biased;
                end = &mut ended => return Told::Event(Event::Ended(end)),
                incoming = self.link.accept() => match incoming {
                    Ok(incoming) => {
                        take(&self.streams, &self.allowances, incoming, upstream);
                        if let Some(more) = more_streams(self.granted, self.streams.len()) {
                            self.granted = more;
                            self.link.grant_streams(more);
                        }
                    }
                    Err(end) => return Told::Event(Event::Ended(end)),
                },
                frame = self.recv.frame() => match frame.map(message) {
                    Ok(Some(Body::Drain(Drain { delay_ms, grace_ms }))) => {
                        let [delay, grace] = [delay_ms, grace_ms].map(|ms| Duration::from_millis(ms.into()));
                        return Told::Event(Event::Drain { delay, grace });
                    }
                    Ok(Some(Body::RenewResponse(response))) => return Told::Renewed(response),
                    Ok(Some(Body::Allowances(said))) => self.allowances.allow(&said.items),
                    // Messages of newer versions are ignored.
                    Ok(_) => {}
                    Err(_) => return Told::Event(broken(&self.link)),
                }
            }
        }
    }

    /// Requests under way on this link.
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Lets the link end once its requests have, at `deadline` at the latest; new ones are still served until then.
    pub(super) async fn retire(self, upstream: Arc<Upstream>, grace: Duration) {
        // Nobody listens to the hub on it any more.
        self.allowances.lift();
        let serve = async {
            while let Ok(incoming) = self.link.accept().await {
                take(&self.streams, &self.allowances, incoming, &upstream);
            }
        };
        let (retirement, replaced) = (Retirement { grace }, Instant::now());
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
fn broken(link: &Link) -> Event {
    link.close(CloseCode::Protocol);
    Event::Ended(link.end().unwrap_or(LinkEnd::Here))
}

/// What the hub said on the control stream, or that there is no more of it.
enum Told {
    Event(Event),
    Renewed(RenewResponse),
}

/// The next certificate: when to ask for it, and with which key that was done.
struct Renewal {
    due: Option<OffsetDateTime>,
    asked: Option<KeyPair>,
    /// What the hub calls the certificate that is renewed; 0 where it does not count.
    generation: u64,
}

impl Renewal {
    async fn wait(&self) {
        match self.due {
            Some(due) => sleep(Duration::try_from(due - OffsetDateTime::now_utc()).unwrap_or(Duration::ZERO)).await,
            None => std::future::pending().await,
        }
    }

    /// Asks with a new key each time; the one that is asked with last counts.
    fn ask(&mut self, identity: &Identity) -> RenewRequest {
        let now = OffsetDateTime::now_utc();
        let left = identity.enrolled.as_ref().map_or(time::Duration::ZERO, |e| e.not_after() - now);
        self.due = Some(now + renewal_retry(Duration::try_from(left).unwrap_or(Duration::ZERO)));
        let key = self.asked.insert(KeyPair::generate());
        RenewRequest { csr: Bytes::from(key.csr()), generation: self.generation }
    }

    /// The new identity, if it is one for the key that was asked with, and for who this agent is.
    fn answered(&mut self, response: RenewResponse, identity: &Identity) -> Option<Identity> {
        if !response.refusal.is_empty() {
            tracing::error!(refusal = response.refusal, "the hub refuses to renew the certificate");
            return None;
        }
        let (key, old) = (self.asked.take()?, identity.enrolled.as_ref()?);
        let chain = response.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
        match Enrolled::new(old.cluster.clone(), chain, &key, OffsetDateTime::now_utc()) {
            Ok(next) if next.own.cluster == old.own.cluster && next.own.trust_domain == old.own.trust_domain => {
                Some(Identity { key, enrolled: Some(next), joined_with: identity.joined_with.clone() })
            }
            Ok(_) => {
                tracing::error!("the renewed certificate is another cluster's");
                None
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the renewed certificate cannot be used");
                None
            }
        }
    }
}

/// How long to wait before asking again, when so much of the certificate's life is left: several tries fit into it.
pub(super) fn renewal_retry(left: Duration) -> Duration {
    (left / 4).clamp(defaults::RENEWAL_RETRY_FIRST, defaults::RENEWAL_RETRY)
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

    #[test]
    fn streams_are_granted_before_they_run_out_and_within_the_bound() {
        assert_eq!(more_streams(256, 128), None);
        assert_eq!(more_streams(256, 129), Some(1_024));
        assert_eq!(more_streams(4_096, 2_049), Some(defaults::AGENT_STREAMS));
        assert_eq!(more_streams(defaults::AGENT_STREAMS, usize::MAX), None);
    }
}
