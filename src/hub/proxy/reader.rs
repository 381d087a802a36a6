//! The receiving half of an answer whose client may stop reading. What it holds unread counts against the whole link, so
//! the link may take it away.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use tokio::time::Instant;

use crate::{
    defaults,
    hub::links::{Lead, Outbox},
    transport::{RecvError, RecvHalf},
    wire::{Frame, StreamCode, generated::Allowance, pace::Pace},
};

/// One answer under way.
#[derive(Debug)]
pub(in crate::hub) struct Reader(Mutex<State>);

#[derive(Debug)]
struct State {
    recv: Option<RecvHalf>,
    /// Since when nobody asked for more, although more may be there.
    idle: Option<Instant>,
    taken: bool,
    paced: Option<Paced>,
}

/// Of an answer whose agent sends no more than the hub allows.
#[derive(Debug)]
struct Paced {
    pace: Pace,
    stream: u64,
    outbox: Arc<Outbox>,
    lead: Option<Lead>,
}

impl Paced {
    /// The client took so many bytes more.
    fn took(&mut self, bytes: usize) {
        let Self { pace, stream, outbox, lead } = self;
        let led = lead.is_some();
        let may_lead = || {
            *lead = outbox.lead();
            lead.is_some()
        };
        let Some(allowed) = pace.taken(bytes, may_lead) else { return };
        // What is said next to one that leads is more than a lead allows.
        if led {
            *lead = None;
        }
        outbox.push(Allowance { stream: *stream, bytes: allowed });
    }
}

/// What a reader gets.
pub(super) enum Read {
    /// From the link.
    Frame(Result<Option<Frame>, RecvError>),
    /// The link needed the room.
    Taken,
}

impl Reader {
    /// `outbox`: of an agent that sends no more than it is told there.
    pub(super) fn new(recv: RecvHalf, outbox: Option<Arc<Outbox>>) -> Arc<Self> {
        let stream = recv.number();
        let paced = outbox.map(|outbox| Paced { pace: Pace::default(), stream, outbox, lead: None });
        Arc::new(Self(Mutex::new(State { recv: Some(recv), idle: Some(Instant::now()), taken: false, paced })))
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Read> {
        let mut state = self.lock();
        let Some(recv) = &mut state.recv else {
            return Poll::Ready(if state.taken { Read::Taken } else { Read::Frame(Ok(None)) });
        };
        let polled = recv.poll_frame(cx);
        // Waiting for the cluster is not idling: then there is nothing to hold.
        state.idle = polled.is_ready().then(Instant::now);
        if let (Poll::Ready(Ok(Some(Frame::Data(bytes)))), Some(paced)) = (&polled, &mut state.paced) {
            paced.took(bytes.len());
        }
        polled.map(Read::Frame)
    }

    /// Ends it: nothing more is wanted.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        (state.recv, state.taken, state.paced) = (None, false, None);
    }

    /// Whether it came to its end; what was taken away did not.
    pub(super) fn is_closed(&self) -> bool {
        let state = self.lock();
        state.recv.is_none() && !state.taken
    }

    /// Since when nobody asked for more, and how many bytes that may hold.
    fn idle_since(&self) -> Option<(Instant, u64)> {
        let state = self.lock();
        let window = u64::from(defaults::HUB_STREAM_WINDOW);
        let held = state.paced.as_ref().map_or(window, |paced| paced.pace.held(window));
        state.recv.as_ref().and(state.idle).map(|since| (since, held))
    }

    fn take(&self) {
        let mut state = self.lock();
        if let Some(recv) = state.recv.take() {
            recv.stop(StreamCode::SlowReader);
            (state.taken, state.paced) = (true, None);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while it is held")
    }
}

/// Takes the room of those that have not read for the longest, while those that have not read for a while hold more than a link
/// bears. Returns how many.
pub(in crate::hub) fn relieve(readers: &[Arc<Reader>]) -> usize {
    let now = Instant::now();
    let mut stalled: Vec<_> = readers
        .iter()
        .filter_map(|reader| Some((reader.idle_since()?, reader)))
        .filter(|((since, _), _)| now.duration_since(*since) >= defaults::STALLED)
        .collect();
    let mut held: u64 = stalled.iter().map(|((_, held), _)| held).sum();
    stalled.sort_by_key(|((since, _), _)| *since);
    let mut cut = 0;
    for ((_, bytes), reader) in stalled {
        if held <= defaults::STALLED_BYTES {
            break;
        }
        reader.take();
        (held, cut) = (held - bytes, cut + 1);
    }
    cut
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;
    use crate::{
        identity::{ClusterUid, testing::World, verify::LINK_SERVER_NAME},
        transport::{Dialer, Link, Listener, RestartKeys, SendError, SendHalf},
        wire::{
            FrameKind,
            generated::{Proxy, open::Kind},
        },
    };

    /// As many that are not paced may stall on one link.
    const BORNE: usize = (defaults::STALLED_BYTES / defaults::HUB_STREAM_WINDOW as u64) as usize;

    /// A real link: without one there is nothing to stop.
    struct Ends {
        hub: Link,
        agent: Link,
        _listener: Listener,
        _dialer: Dialer,
    }

    async fn ends() -> Ends {
        let (world, keys) = (World::new(), RestartKeys::from_secret(&[7; 32]));
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Arc::new(world.listener()), keys).unwrap();
        let address = listener.local_address().unwrap();
        let (dialer, tls) =
            (Dialer::bind(address).unwrap(), world.dialer(world.agent(&ClusterUid::generate(world.now))));
        let accept = async { listener.accept().await.unwrap().finish().await.unwrap() };
        let dial = dialer.dial(address, LINK_SERVER_NAME, Arc::new(tls), Duration::from_secs(10));
        let (hub, agent) = tokio::join!(accept, dial);
        Ends { hub, agent: agent.unwrap(), _listener: listener, _dialer: dialer }
    }

    impl Ends {
        /// An answer whose head came, and which nobody has read for `idle`; and its sender.
        async fn answer(&self, idle: Duration) -> (Arc<Reader>, SendHalf) {
            let (mut request, recv) = self.hub.open(Kind::Proxy(Proxy {})).await.unwrap();
            request.queue(FrameKind::Head, b"");
            request.finish().await.unwrap();
            let (_, mut send, _) = self.agent.accept().await.unwrap().open().await.unwrap();
            send.queue(FrameKind::Head, b"head");
            send.flush().await.unwrap();
            let reader = Reader::new(recv, None);
            reader.lock().idle = Some(Instant::now() - idle);
            (reader, send)
        }
    }

    async fn read(reader: &Reader) -> Read {
        poll_fn(|cx| reader.poll(cx)).await
    }

    #[tokio::test]
    async fn of_too_many_stalled_readers_the_slowest_are_cut_and_no_other() {
        let ends = ends().await;
        let mut answers = Vec::new();
        for number in 0..BORNE + 2 {
            // The first two have not read for the longest.
            let idle = defaults::STALLED * if number < 2 { 9 } else { 2 };
            answers.push(ends.answer(idle).await);
        }
        // One that reads now and then does not count.
        let (busy, _send) = ends.answer(defaults::STALLED / 4).await;
        let mut readers: Vec<_> = answers.iter().map(|(reader, _)| reader.clone()).collect();
        readers.insert(0, busy.clone());

        assert_eq!(relieve(&readers), 2);
        for (number, (reader, send)) in answers.iter_mut().enumerate() {
            if number < 2 {
                assert!(matches!(read(reader).await, Read::Taken) && !reader.is_closed(), "{number} looks complete");
                assert!(matches!(stopped(send).await, SendError::Stopped(StreamCode::SlowReader)));
            } else {
                assert!(matches!(read(reader).await, Read::Frame(Ok(Some(Frame::Head(_))))), "{number} was cut");
            }
        }
        assert!(matches!(read(&busy).await, Read::Frame(Ok(Some(Frame::Head(_))))));
        assert_eq!(relieve(&readers), 0);
    }

    /// What the sender hears: it may take a while to arrive.
    async fn stopped(send: &mut SendHalf) -> SendError {
        loop {
            send.queue(FrameKind::Data, &[0; 1024]);
            if let Err(error) = send.flush().await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn an_answer_leads_until_its_client_has_taken_more_than_one_that_does_not_read() {
        let outbox = Arc::new(Outbox::default());
        let mut answer = Paced { pace: Pace::default(), stream: 1, outbox: outbox.clone(), lead: None };
        let free = || std::iter::from_fn(|| outbox.lead()).collect::<Vec<_>>().len();
        for (bytes, leads) in [(1 << 10, 0), (63 << 10, 1), (640 << 10, 1), (64 << 10, 0), (2 << 20, 0)] {
            answer.took(bytes);
            assert_eq!(free(), defaults::LEADS - leads, "after {bytes} more");
        }
    }

    #[tokio::test]
    async fn an_answer_that_ended_holds_nothing() {
        let ends = ends().await;
        let (reader, _send) = ends.answer(defaults::STALLED * 2).await;
        let readers = vec![reader; BORNE * 2];
        readers[0].close();
        assert_eq!(relieve(&readers), 0);
    }
}
