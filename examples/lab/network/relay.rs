//! The relay: sockets, flows, and the thread that carries datagrams when they are due. One thread, one relay.

#![allow(clippy::disallowed_methods, reason = "real time passes on a thread of its own")]

use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::pipe::{Counts, Pipe};
use super::rules::{Direction, Rules};
use super::stream;

/// A running relay; dropping it ends its thread and cuts what it carried.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and its owner both see.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) towards: SocketAddr,
    state: Mutex<State>,
    /// Something is due earlier than the carrier thinks.
    sooner: Notify,
    /// The rules have changed.
    pub(super) changed: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    udp_blocked: bool,
    waiting: BinaryHeap<Waiting>,
    next: u64,
    flows: HashMap<SocketAddr, Flow>,
}

/// One agent's socket, and ours that stands for it at the hub.
#[derive(Debug)]
struct Flow {
    towards_hub: Arc<UdpSocket>,
    back: AbortHandle,
    used: Instant,
}

/// A datagram on its way.
#[derive(Debug, Eq, PartialEq)]
struct Waiting {
    at: Instant,
    number: u64,
    up: bool,
    agent: SocketAddr,
    bytes: Box<[u8]>,
}

impl Ord for Waiting {
    /// The earliest is the greatest: `BinaryHeap` gives that one first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug)]
enum Order {
    Rebind,
    Cut,
}

/// A flow that carried nothing for so long is forgotten, as a NAT does.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Datagrams that may wait for their time, both ways; more vanish.
const MOST_WAITING: usize = 200_000;
/// Timers fire on milliseconds; what is due within half of one leaves now.
const GRAIN: Duration = Duration::from_micros(500);
const SOCKET_BUFFER: usize = 8 << 20;
/// Datagrams taken from one socket before others get their turn.
const AT_ONCE: usize = 64;

impl Relay {
    /// Starts relaying between `listen` and `towards`, without doing any harm yet.
    pub(crate) fn start(listen: SocketAddr, towards: SocketAddr, seed: u64) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (udp, tcp) = runtime.block_on(bind(listen))?;
        let address = udp.local_addr()?;
        let now = Instant::now();
        let state = State {
            up: Pipe::new(seed, now),
            down: Pipe::new(!seed, now),
            udp_blocked: false,
            waiting: BinaryHeap::new(),
            next: 0,
            flows: HashMap::new(),
        };
        let shared =
            Arc::new(Shared { towards, state: Mutex::new(state), sooner: Notify::new(), changed: Notify::new() });
        let (orders, inbox) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let (of_thread, until) = (shared.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("relay".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = until.cancelled() => {}
                    () = datagrams(&of_thread, Arc::new(udp), inbox, tcp) => {}
                }
            });
        })?;
        Ok(Self { address, shared, orders, stop, thread: Some(thread) })
    }

    /// Where agents dial.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes one direction, from the next datagram on.
    pub(crate) fn set(&self, direction: Direction, rules: Rules) -> Result<()> {
        self.shared.lock()?.pipe(direction).rules = rules;
        self.shared.changed.notify_waiters();
        Ok(())
    }

    /// Changes both.
    pub(crate) fn set_both(&self, rules: Rules) -> Result<()> {
        self.set(Direction::Up, rules)?;
        self.set(Direction::Down, rules)
    }

    /// Blocks all datagrams, or no more; TCP passes.
    pub(crate) fn block_udp(&self, blocked: bool) -> Result<()> {
        self.shared.lock()?.udp_blocked = blocked;
        Ok(())
    }

    /// Every flow gets a new port towards the hub; what comes to the old one is lost, as behind a NAT that forgot.
    pub(crate) fn rebind(&self) -> Result<()> {
        self.orders.blocking_send(Order::Rebind).context("the relay has ended")
    }

    /// Cuts every TCP connection.
    pub(crate) fn cut(&self) -> Result<()> {
        self.orders.blocking_send(Order::Cut).context("the relay has ended")
    }

    /// What became of the datagrams so far: up, down.
    pub(crate) fn counts(&self) -> Result<(Counts, Counts)> {
        let state = self.shared.lock()?;
        Ok((state.up.counts, state.down.counts))
    }

    /// Rules and counts, for people.
    pub(crate) fn describe(&self) -> Result<String> {
        let state = self.shared.lock()?;
        let side = |name: &str, pipe: &Pipe| format!("{name}: {:?} {:?}", pipe.rules, pipe.counts);
        let (up, down) = (side("up", &state.up), side("down", &state.down));
        Ok(format!("{up}\n{down}\nudp blocked: {}, flows: {}", state.udp_blocked, state.flows.len()))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It cannot panic without having said so on stderr.
            let _ = thread.join();
        }
    }
}

impl Shared {
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, State>> {
        self.state.lock().map_err(|_| anyhow!("the relay's thread panicked"))
    }

    /// A datagram came: sends it now, later, twice or never.
    fn came(&self, udp: &UdpSocket, up: bool, agent: SocketAddr, bytes: &[u8]) -> Result<()> {
        let now = Instant::now();
        let mut state = self.lock()?;
        let blocked = state.udp_blocked;
        let pipe = state.pipe(if up { Direction::Up } else { Direction::Down });
        if blocked {
            pipe.counts.swallowed += 1;
            return Ok(());
        }
        let Some((at, twice)) = pipe.arrivals(now, bytes.len()) else { return Ok(()) };
        for at in [Some(at), twice].into_iter().flatten() {
            if at <= now {
                state.send(udp, up, agent, bytes);
            } else if state.waiting.len() < MOST_WAITING {
                let number = state.next;
                state.next += 1;
                let first = state.waiting.peek().is_none_or(|first| at < first.at);
                state.waiting.push(Waiting { at, number, up, agent, bytes: bytes.into() });
                if first {
                    self.sooner.notify_one();
                }
            }
        }
        Ok(())
    }
}

impl State {
    pub(super) fn pipe(&mut self, direction: Direction) -> &mut Pipe {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    fn send(&self, udp: &UdpSocket, up: bool, agent: SocketAddr, bytes: &[u8]) {
        // A full socket buffer, or a receiver that is gone: the datagram is lost, as anywhere.
        let _ = match (up, self.flows.get(&agent)) {
            (true, Some(flow)) => flow.towards_hub.try_send(bytes),
            (true, None) => Ok(0),
            (false, _) => udp.try_send_to(bytes, agent),
        };
    }
}

async fn bind(listen: SocketAddr) -> Result<(UdpSocket, TcpListener)> {
    // The same number for both; somebody else may have one of them.
    for _ in 0..50 {
        let tcp = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
        match socket(tcp.local_addr()?) {
            Ok(udp) => return Ok((udp, tcp)),
            Err(_) if listen.port() == 0 => {}
            Err(error) => return Err(error).with_context(|| format!("binding udp {listen}")),
        }
    }
    Err(anyhow!("no port number is free for both UDP and TCP"))
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // What the kernel gives of it is enough.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Takes what agents send, makes their flows, and obeys.
async fn datagrams(shared: &Arc<Shared>, udp: Arc<UdpSocket>, mut orders: mpsc::Receiver<Order>, tcp: TcpListener) {
    let mut tasks = JoinSet::new();
    let mut streams = stream::Streams::new(shared.clone(), tcp);
    let carrier = (shared.clone(), udp.clone());
    tasks.spawn(async move { deliver(&carrier.0, &carrier.1).await });
    let mut buffer = vec![0; 65_536];
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Rebind) => rebind(shared, &udp, &mut tasks),
                Some(Order::Cut) => streams.cut(),
                None => return,
            },
            () = streams.accept() => {}
            Some(_) = tasks.join_next() => {}
            readable = udp.readable() => {
                if readable.is_err() {
                    return;
                }
                for _ in 0..AT_ONCE {
                    let Ok((length, agent)) = udp.try_recv_from(&mut buffer) else { break };
                    if flow(shared, &udp, agent, &mut tasks).is_err()
                        || shared.came(&udp, true, agent, &buffer[..length]).is_err()
                    {
                        return;
                    }
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

/// The flow of an agent's socket, made when it is new.
fn flow(shared: &Arc<Shared>, udp: &Arc<UdpSocket>, agent: SocketAddr, tasks: &mut JoinSet<()>) -> Result<()> {
    let now = Instant::now();
    let mut state = shared.lock()?;
    if let Some(flow) = state.flows.get_mut(&agent) {
        flow.used = now;
        return Ok(());
    }
    state.flows.retain(|_, flow| {
        let kept = now.duration_since(flow.used) < FORGOTTEN;
        if !kept {
            flow.back.abort();
        }
        kept
    });
    let flow = make_flow(shared, udp, agent, tasks)?;
    state.flows.insert(agent, flow);
    Ok(())
}

fn make_flow(shared: &Arc<Shared>, udp: &Arc<UdpSocket>, agent: SocketAddr, tasks: &mut JoinSet<()>) -> Result<Flow> {
    let any: SocketAddr = if shared.towards.is_ipv4() { "127.0.0.1:0".parse()? } else { "[::1]:0".parse()? };
    let towards_hub = Arc::new(socket(any)?);
    socket2::SockRef::from(&*towards_hub).connect(&shared.towards.into())?;
    let (of_task, udp, from_hub) = (shared.clone(), udp.clone(), towards_hub.clone());
    let back = tasks.spawn(async move {
        let mut buffer = vec![0; 65_536];
        // An unreachable hub is an error of the socket; the next datagram may find it back.
        while from_hub.readable().await.is_ok() {
            for _ in 0..AT_ONCE {
                match from_hub.try_recv(&mut buffer) {
                    Ok(length) if of_task.came(&udp, false, agent, &buffer[..length]).is_ok() => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Ok(_) => return,
                    Err(_) => {}
                }
            }
            tokio::task::yield_now().await;
        }
    });
    Ok(Flow { towards_hub, back, used: Instant::now() })
}

fn rebind(shared: &Arc<Shared>, udp: &Arc<UdpSocket>, tasks: &mut JoinSet<()>) {
    let Ok(mut state) = shared.lock() else { return };
    let agents: Vec<SocketAddr> = state.flows.keys().copied().collect();
    for agent in agents {
        // Without a new socket the flow is gone, which is a worse NAT, not a wrong one.
        if let Some(old) = state.flows.remove(&agent) {
            old.back.abort();
        }
        if let Ok(flow) = make_flow(shared, udp, agent, tasks) {
            state.flows.insert(agent, flow);
        }
    }
}

/// Sends what is due, when it is.
async fn deliver(shared: &Shared, udp: &UdpSocket) {
    loop {
        let next = {
            let Ok(mut state) = shared.lock() else { return };
            let now = Instant::now() + GRAIN;
            while state.waiting.peek().is_some_and(|first| first.at <= now) {
                if let Some(Waiting { up, agent, bytes, .. }) = state.waiting.pop() {
                    state.send(udp, up, agent, &bytes);
                }
            }
            state.waiting.peek().map(|first| first.at)
        };
        match next {
            None => shared.sooner.notified().await,
            Some(at) => {
                let slept = tokio::time::sleep_until(at.into());
                tokio::select! {
                    () = slept => {}
                    () = shared.sooner.notified() => {}
                }
            }
        }
    }
}
