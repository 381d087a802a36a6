//! A real pair of ends on loopback: what becomes of streams and links when they end, and when they do not.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{net::UdpSocket, task::JoinSet, time::timeout};

use super::*;
use crate::{
    identity::{ClusterUid, testing::World, verify::LINK_SERVER_NAME},
    wire::{
        CloseCode, Frame, FrameKind, StreamCode,
        generated::{Control, Proxy, open::Kind},
    },
};

const SOON: Duration = Duration::from_secs(10);

struct Pair {
    world: World,
    listener: Listener,
    dialer: Dialer,
    hub: Link,
    agent: Link,
}

fn keys() -> RestartKeys {
    RestartKeys::from_secret(&[7; 32])
}

async fn dial(world: &World, dialer: &Dialer, address: SocketAddr) -> Result<Link, DialError> {
    let agent = world.agent(&ClusterUid::generate(world.now));
    dialer.dial(address, LINK_SERVER_NAME, Arc::new(world.dialer(agent)), SOON).await
}

async fn pair() -> Pair {
    let world = World::new();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Arc::new(world.listener()), keys()).unwrap();
    let address = listener.local_address().unwrap();
    let dialer = Dialer::bind(address).unwrap();
    let accept = async { listener.accept().await.unwrap().finish().await.unwrap() };
    let (agent, hub) = tokio::join!(dial(&world, &dialer, address), accept);
    Pair { world, listener, dialer, hub, agent: agent.unwrap() }
}

impl Pair {
    /// A `Proxy` stream whose head has arrived: hub's halves, agent's halves.
    async fn exchange(&self) -> ((SendHalf, RecvHalf), (SendHalf, RecvHalf)) {
        let (mut send, recv) = self.hub.open(Kind::Proxy(Proxy {})).await.unwrap();
        send.queue(FrameKind::Head, b"head");
        send.flush().await.unwrap();
        let (kind, back, mut got) = self.agent.accept().await.unwrap().open().await.unwrap();
        assert_eq!(kind, Kind::Proxy(Proxy {}));
        assert_eq!(got.frame().await.unwrap(), Some(Frame::Head(Bytes::from_static(b"head"))));
        ((send, recv), (back, got))
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("within 10 s")
}

#[tokio::test]
async fn a_half_that_ends_says_end_and_nothing_else_does() {
    let pair = pair().await;
    let ((send, _recv), (_back, mut got)) = pair.exchange().await;
    send.finish().await.unwrap();
    assert_eq!(soon(got.frame()).await.unwrap(), None);
    let ((send, _recv), (_back, mut got)) = pair.exchange().await;
    drop(send);
    assert!(matches!(soon(got.frame()).await, Err(RecvError::Cut(StreamCode::Dropped))));
    let ((send, _recv), (_back, mut got)) = pair.exchange().await;
    send.reset(StreamCode::Cancelled);
    assert!(matches!(soon(got.frame()).await, Err(RecvError::Cut(StreamCode::Cancelled))));
}

#[tokio::test]
async fn a_reader_that_leaves_stops_the_writer() {
    let pair = pair().await;
    let ((send, recv), (back, got)) = pair.exchange().await;
    let stopped = back.stopped();
    drop(recv);
    assert_eq!(soon(stopped).await, Some(StreamCode::Cancelled));
    got.stop(StreamCode::SlowReader);
    assert_eq!(soon(send.stopped()).await, Some(StreamCode::SlowReader));
}

#[tokio::test]
async fn a_body_larger_than_every_window_arrives_whole_and_waits_for_its_reader() {
    let pair = pair().await;
    let ((send, mut recv), (mut back, _got)) = pair.exchange().await;
    send.finish().await.unwrap();
    let size = 3 * crate::defaults::HUB_STREAM_WINDOW as usize;
    let body: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let sent = body.clone();
    let write = async move {
        back.queue(FrameKind::Head, b"200");
        back.queue_data(&sent);
        assert!(timeout(Duration::from_millis(300), back.flush()).await.is_err(), "nobody reads: it must wait");
        back.flush().await.unwrap();
        back.finish().await.unwrap();
    };
    let read = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let mut got = Vec::new();
        while let Some(frame) = recv.frame().await.unwrap() {
            if let Frame::Data(bytes) = frame {
                got.extend_from_slice(&bytes);
            }
        }
        got
    };
    let ((), got) = soon(async { tokio::join!(write, read) }).await;
    assert!(got == body);
}

#[tokio::test]
async fn the_rest_is_taken_at_once_only_when_all_of_it_is_here() {
    let pair = pair().await;
    // Small, larger than a first read, and in two pieces.
    for (pieces, whole) in [(&[300][..], true), (&[5_000], true), (&[300, 300], false)] {
        let ((_send, mut recv), (mut back, _got)) = pair.exchange().await;
        back.queue(FrameKind::Head, b"200");
        pieces.iter().for_each(|size| back.queue(FrameKind::Data, &vec![7; *size]));
        back.finish().await.unwrap();
        assert_eq!(soon(recv.frame()).await.unwrap(), Some(Frame::Head(Bytes::from_static(b"200"))));
        let rest = std::future::poll_fn(|cx| std::task::Poll::Ready(recv.take_rest(cx))).await.unwrap();
        let mut taken = rest.as_ref().map_or(0, Bytes::len);
        assert_eq!(rest.is_some(), whole, "{pieces:?}");
        while let Some(frame) = soon(recv.frame()).await.unwrap() {
            let Frame::Data(bytes) = frame else { panic!("{frame:?}") };
            taken += bytes.len();
        }
        assert_eq!(taken, pieces.iter().sum::<usize>(), "{pieces:?}");
    }
}

#[tokio::test]
async fn frames_out_of_order_are_refused() {
    let pair = pair().await;
    let ((_send, mut recv), (mut back, _got)) = pair.exchange().await;
    // A hostile peer: the rules of this side would not let it.
    back.set_direction(crate::wire::Direction::Control);
    back.queue(FrameKind::Message, b"m");
    back.flush().await.unwrap();
    assert!(matches!(soon(recv.frame()).await, Err(RecvError::Rules(_))));
}

#[tokio::test]
async fn a_closed_link_says_why_and_ends_its_streams() {
    let pair = pair().await;
    let ((_send, mut recv), _agent) = pair.exchange().await;
    pair.agent.close(CloseCode::Normal);
    let end = LinkEnd::Peer(CloseCode::Normal);
    assert_eq!(soon(pair.hub.closed()).await, end);
    assert!(matches!(soon(recv.frame()).await, Err(RecvError::Lost(lost)) if lost == end));
    assert!(matches!(pair.hub.open(Kind::Control(Control {})).await, Err(OpenError::Lost(_))));
    assert_eq!(pair.agent.end(), Some(LinkEnd::Here));
}

/// Carries datagrams between a dialer and `hub`; those back to the dialer only while `back` says so.
async fn one_way_street(hub: SocketAddr, back: Arc<AtomicBool>, tasks: &mut JoinSet<()>) -> SocketAddr {
    let [near, far] = [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
    far.connect(hub).await.unwrap();
    let address = near.local_addr().unwrap();
    tasks.spawn(async move {
        let (mut out, mut home, mut dialer) = ([0; 65_535], [0; 65_535], None);
        loop {
            tokio::select! {
                Ok((size, from)) = near.recv_from(&mut out) => {
                    dialer = Some(from);
                    let _ = far.send(&out[..size]).await;
                }
                Ok(size) = far.recv(&mut home) => if let Some(dialer) = dialer.filter(|_| back.load(Ordering::Relaxed)) {
                    let _ = near.send_to(&home[..size], dialer).await;
                },
            }
        }
    });
    address
}

/// The window of a link that carries nothing back fills up; the hub must hear of its close all the same.
#[tokio::test]
async fn a_close_is_heard_though_the_window_is_full() {
    let (world, back, mut street) = (World::new(), Arc::new(AtomicBool::new(true)), JoinSet::new());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Arc::new(world.listener()), keys()).unwrap();
    let address = one_way_street(listener.local_address().unwrap(), back.clone(), &mut street).await;
    let dialer = Dialer::bind(address).unwrap();
    let accept = async { listener.accept().await.unwrap().finish().await.unwrap() };
    let (agent, hub) = tokio::join!(dial(&world, &dialer, address), accept);
    let pair = Pair { world, listener, dialer, hub, agent: agent.unwrap() };
    let ((_send, _recv), (mut to_hub, _got)) = pair.exchange().await;
    back.store(false, Ordering::Relaxed);
    to_hub.queue(FrameKind::Head, b"200");
    to_hub.queue_data(&vec![7; 4 << 20]);
    assert!(timeout(Duration::from_millis(300), to_hub.flush()).await.is_err(), "nothing acknowledges: it must wait");
    pair.agent.close(CloseCode::Silent);
    assert_eq!(soon(pair.hub.closed()).await, LinkEnd::Peer(CloseCode::Silent));
}

/// To give up on a hub to which a whole fleet returns would only make it begin anew.
#[tokio::test]
async fn a_hub_that_answers_is_waited_for_and_one_that_is_silent_is_not() {
    let (world, within) = (World::new(), Duration::from_millis(300));
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Arc::new(world.listener()), keys()).unwrap();
    let address = listener.local_address().unwrap();
    let dial = async || {
        let dialer = Dialer::bind(address).unwrap();
        let tls = Arc::new(world.dialer(world.agent(&ClusterUid::generate(world.now))));
        dialer.dial(address, LINK_SERVER_NAME, tls, within).await
    };
    let busy = async {
        listener.accept().await.unwrap().retry();
        let waiting = listener.accept().await.unwrap();
        assert!(waiting.address_validated());
        tokio::time::sleep(within * 3).await;
        waiting.finish().await.unwrap()
    };
    let (link, _hub) = soon(async { tokio::join!(dial(), busy) }).await;
    link.unwrap();

    // It is there, but says nothing.
    let error = soon(dial()).await.unwrap_err();
    assert!(matches!(error, DialError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn an_agent_without_our_certificate_gets_no_link() {
    let pair = pair().await;
    let stranger = World::new();
    let address = pair.listener.local_address().unwrap();
    // The stranger trusts our hub, but its certificate comes from another authority.
    let agent = stranger.agent(&ClusterUid::generate(stranger.now));
    let tls = Arc::new(pair.world.dialer(agent));
    let accept = async { pair.listener.accept().await.unwrap().finish().await };
    let dialled = async {
        let link = pair.dialer.dial(address, LINK_SERVER_NAME, tls, SOON).await?;
        // TLS 1.3 lets the client finish first; the refusal follows at once.
        Ok::<_, DialError>(link.closed().await)
    };
    let (refused, dialled) = soon(async { tokio::join!(accept, dialled) }).await;
    assert!(matches!(refused, Err(HandshakeError::Failed(_))), "{refused:?}");
    assert!(matches!(dialled, Err(DialError::Refused { .. }) | Ok(LinkEnd::Transport(_))), "{dialled:?}");
}

#[tokio::test]
async fn an_agent_refuses_a_hub_that_is_not_the_pinned_one() {
    let pair = pair().await;
    let stranger = World::new();
    let address = pair.listener.local_address().unwrap();
    let accept = async { pair.listener.accept().await.unwrap().finish().await };
    let (refused, dialled) = soon(async { tokio::join!(accept, dial(&stranger, &pair.dialer, address)) }).await;
    assert!(matches!(dialled, Err(DialError::Refused { .. })), "{dialled:?}");
    assert!(refused.is_err());
}
