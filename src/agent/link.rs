//! One live link of the agent: hello, serving the hub's streams, and the conversation on its control stream.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::{
    exchange,
    state::{Enrolled, Identity},
    upstream::Upstream,
};
use crate::{
    defaults,
    identity::KeyPair,
    transport::{Heard, Link, LinkEnd, OpenError, Priority, RecvError, RecvHalf, SendError, SendHalf},
    wire::{
        CloseCode, Frame, FrameKind,
        generated::{Control, ControlMessage, Hello, RenewRequest, Welcome, control_message::Body, open::Kind},
    },
};

/// What this version can do beyond version 1 of the wire.
const CAPABILITIES: [&str; 1] = ["renew"];

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
            capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
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
        Ok(Self { link, welcome, send, recv, heard: Heard::default(), streams: TaskTracker::new() })
    }

    /// Serves the hub until something must be done. `renew_at` says when a new certificate is due.
    pub(super) async fn serve(
        &mut self,
        upstream: &Arc<Upstream>,
        renew_at: OffsetDateTime,
        cluster: &Enrolled,
    ) -> Event {
        let mut renewal: Option<KeyPair> = None;
        let mut due = renew_at;
        loop {
            let wait = Duration::try_from(due - OffsetDateTime::now_utc()).unwrap_or(Duration::ZERO);
            tokio::select! {
                biased;
                end = self.link.closed_or_deaf(&mut self.heard) => return Event::Ended(end),
                incoming = self.link.accept() => match incoming {
                    Ok(incoming) => {
                        let upstream = upstream.clone();
                        self.streams.spawn(async move { exchange::serve(incoming, &upstream).await });
                    }
                    Err(end) => return Event::Ended(end),
                },
                frame = self.recv.frame() => {
                    let Ok(frame) = frame else { return self.broken() };
                    match self.react(message(frame), &mut renewal, cluster) {
                        Some(event) => return event,
                        None => continue,
                    }
                }
                () = sleep(wait) => {
                    let key = KeyPair::generate();
                    let ask = Body::RenewRequest(RenewRequest { csr: Bytes::from(key.csr()) });
                    if say(&mut self.send, ask).await.is_err() {
                        return self.broken();
                    }
                    renewal = Some(key);
                    due = OffsetDateTime::now_utc() + defaults::RENEWAL_RETRY;
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
        let serve = async {
            while let Ok(incoming) = self.link.accept().await {
                let upstream = upstream.clone();
                self.streams.spawn(async move { exchange::serve(incoming, &upstream).await });
            }
        };
        let idle = async {
            // The hub prefers the newer link; what it opened here before it knew arrives within a moment.
            sleep(defaults::RETIRE_FIRST).await;
            while !self.streams.is_empty() {
                sleep(defaults::DRAIN_POLL).await;
            }
        };
        tokio::select! {
            () = serve => {}
            _ = timeout(grace, idle) => {}
        }
        self.link.close(CloseCode::Superseded);
    }

    fn broken(&self) -> Event {
        self.link.close(CloseCode::Protocol);
        Event::Ended(self.link.end().unwrap_or(LinkEnd::Here))
    }

    fn react(&self, body: Option<Body>, renewal: &mut Option<KeyPair>, cluster: &Enrolled) -> Option<Event> {
        match body? {
            Body::Drain(drain) => Some(Event::Drain {
                delay: Duration::from_millis(drain.delay_ms.into()),
                grace: Duration::from_millis(drain.grace_ms.into()),
            }),
            Body::RenewResponse(response) if !response.refusal.is_empty() => {
                tracing::error!(refusal = response.refusal, "the hub refuses to renew the certificate");
                None
            }
            Body::RenewResponse(response) => {
                let key = renewal.take()?;
                let chain = response.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
                renewed(key, chain, cluster)
            }
            // Messages of newer versions are ignored.
            _ => None,
        }
    }
}

fn renewed(key: KeyPair, chain: Vec<CertificateDer<'static>>, cluster: &Enrolled) -> Option<Event> {
    let leaf = chain.first()?;
    let Some((not_before, not_after)) = crate::identity::validity(leaf) else {
        tracing::error!("the renewed certificate cannot be read");
        return None;
    };
    let enrolled = Enrolled { chain, not_before, not_after, ..cluster.clone() };
    Some(Event::Renewed(Box::new(Identity { key, enrolled: Some(enrolled) })))
}

async fn say(send: &mut SendHalf, body: Body) -> Result<(), SendError> {
    send.queue(FrameKind::Message, &ControlMessage { body: Some(body) }.encode_to_vec());
    send.flush().await
}

fn message(frame: Option<Frame>) -> Option<Body> {
    match frame? {
        Frame::Message(bytes) => ControlMessage::decode(bytes).ok()?.body,
        _ => None,
    }
}
