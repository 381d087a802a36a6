//! Clients that make load. Closed loop: each asks again as soon as it has its answer. Open loop: requests are due at fixed times, whoever is
//! slow, and a request that waits for its turn is late already. All on the thread that calls, which serves nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::numbers::histogram;
use super::process::{Usage, machine};
use super::way::{Connection, Protocol, Way};

/// After an error a client waits so long before it goes on.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// What every client of a group does.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// What it speaks.
    pub(crate) protocol: Protocol,
    /// What it asks for.
    pub(crate) path: String,
    /// Bytes of a whole answer; a list's resource version may have become a digit longer.
    pub(crate) length: u64,
    /// A connection for each request instead of one for all.
    pub(crate) fresh: bool,
}

impl Work {
    /// Answers may differ by so many bytes from what was expected.
    const SLACK: u64 = 8;

    /// GETs of `path` on connections that stay.
    pub(crate) fn new(protocol: Protocol, path: &str, length: u64) -> Self {
        Self { protocol, path: path.to_owned(), length, fresh: false }
    }
}

/// What clients saw while it counted.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Nanoseconds of each request that ended well.
    pub(crate) latency: Histogram<u64>,
    /// Bytes of bodies, those of requests under way included.
    pub(crate) bytes: u64,
    /// How many requests failed, whether it counted or not.
    pub(crate) errors: u64,
    /// The first of these, in words.
    pub(crate) first_error: Option<String>,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { latency: histogram(), bytes: 0, errors: 0, first_error: None }
    }

    fn failed(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }

    fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency).expect("all histograms have the same bounds");
        self.bytes += other.bytes;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
    }
}

/// What the clients of a group are told while they run.
#[derive(Debug, Default)]
struct Orders {
    counting: AtomicBool,
    stop: AtomicBool,
    bytes: AtomicU64,
}

/// A group of clients that run until they are told to stop.
#[derive(Debug)]
pub(crate) struct Clients {
    orders: Arc<Orders>,
    running: JoinSet<Tally>,
}

impl Clients {
    /// Opens `count` connections and starts a closed loop on each.
    pub(crate) async fn start(way: &Way, work: &Work, count: usize) -> Result<Self> {
        let mut this = Self { orders: Arc::default(), running: JoinSet::new() };
        for _ in 0..count {
            let client = Client::open(way, work, &this.orders).await?;
            this.running.spawn(client.run());
        }
        Ok(this)
    }

    /// Opens `connections` and sends `rate` requests a second over whichever is free.
    pub(crate) async fn start_open(
        way: &Way,
        work: &Work,
        rate: u32,
        connections: usize,
        time: Duration,
    ) -> Result<Self> {
        let mut this = Self { orders: Arc::default(), running: JoinSet::new() };
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(Client::open(way, work, &this.orders).await?);
        }
        let due = Arc::new(Mutex::new(pacer(rate, time)));
        for client in clients {
            this.running.spawn(client.run_when_due(due.clone()));
        }
        Ok(this)
    }

    /// From now on what happens counts.
    pub(crate) fn count(&self) {
        self.orders.counting.store(true, Ordering::Relaxed);
    }

    /// Nothing more counts; gives what was counted once every client has ended its last request.
    pub(crate) async fn end(mut self) -> Result<Tally> {
        self.orders.counting.store(false, Ordering::Relaxed);
        self.orders.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::new();
        while let Some(tally) = self.running.join_next().await {
            all.add(&tally?);
        }
        all.bytes = self.orders.bytes.load(Ordering::Relaxed);
        Ok(all)
    }
}

/// What a group of clients saw, and what it cost the processes on the way.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What the clients saw.
    pub(crate) tally: Tally,
    /// For how long it counted.
    pub(crate) seconds: f64,
    /// Seconds of CPU of each process on the way.
    pub(crate) cpu: Vec<f64>,
    /// Seconds of CPU of the API server.
    pub(crate) server_cpu: Option<f64>,
    /// Percent of the machine's time that was idle, and that its host gave to others.
    pub(crate) machine: (f64, f64),
    /// Megabytes by which each of them grew at its largest, warm-up included.
    pub(crate) growth: Vec<f64>,
}

/// Lets clients run warm, then counts for `time`.
pub(crate) async fn measure(way: &Way, clients: Clients, warm: Duration, time: Duration) -> Result<Outcome> {
    let whole = Usage::begin(&way.processes)?;
    sleep(warm).await;
    let usage = Usage::begin_again(&way.processes)?;
    let server = Usage::begin_again(way.server.as_slice())?;
    let before = machine()?;
    let started = Instant::now();
    clients.count();
    sleep(time).await;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), usage.cpu_seconds()?);
    let server_cpu = server.cpu_seconds()?.first().copied();
    let machine = machine()?.since(before);
    let tally = clients.end().await?;
    Ok(Outcome { tally, seconds, cpu, server_cpu, machine, growth: whole.peak_growth()? })
}

/// One client.
struct Client {
    way: Way,
    work: Work,
    orders: Arc<Orders>,
    connection: Option<Connection>,
    tally: Tally,
}

impl Client {
    async fn open(way: &Way, work: &Work, orders: &Arc<Orders>) -> Result<Self> {
        let connection = if work.fresh { None } else { Some(way.open(work.protocol).await?) };
        Ok(Self { way: way.clone(), work: work.clone(), orders: orders.clone(), connection, tally: Tally::new() })
    }

    async fn run(mut self) -> Tally {
        while !self.orders.stop.load(Ordering::Relaxed) {
            self.one(Instant::now()).await;
        }
        self.tally
    }

    async fn run_when_due(mut self, due: Arc<Mutex<mpsc::Receiver<Instant>>>) -> Tally {
        while !self.orders.stop.load(Ordering::Relaxed) {
            let next = due.lock().await.recv().await;
            let Some(at) = next else { break };
            self.one(at).await;
        }
        self.tally
    }

    /// One request, whose time runs since `from`.
    async fn one(&mut self, from: Instant) {
        match self.ask().await {
            Ok(()) if self.orders.counting.load(Ordering::Relaxed) => {
                let nanos = u64::try_from(from.elapsed().as_nanos()).unwrap_or(u64::MAX);
                self.tally.latency.saturating_record(nanos);
            }
            Ok(()) => {}
            Err(error) => {
                self.tally.failed(&error);
                self.connection = None;
                sleep(AFTER_ERROR).await;
            }
        }
    }

    async fn ask(&mut self) -> Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.way.open(self.work.protocol).await?,
        };
        let (mut length, orders) = (0, &self.orders);
        let mut on_data = |data: &bytes::Bytes| {
            length += data.len() as u64;
            if orders.counting.load(Ordering::Relaxed) {
                orders.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
            }
        };
        connection.get(self.way.request(self.work.protocol, &self.work.path)?, &mut on_data).await?;
        let expected = self.work.length;
        ensure!(length.abs_diff(expected) <= Work::SLACK, "an answer of {length} bytes instead of {expected}");
        if !self.work.fresh {
            self.connection = Some(connection);
        }
        Ok(())
    }
}

/// Says when requests are due, from a thread that sleeps more exactly than tokio's timer of a millisecond does. The queue holds all of them:
/// nobody who is slow slows it.
#[allow(clippy::disallowed_methods, reason = "a thread without a runtime keeps real time")]
fn pacer(rate: u32, time: Duration) -> mpsc::Receiver<Instant> {
    let count = (f64::from(rate) * time.as_secs_f64()) as u32;
    let (due, queue) = mpsc::channel(count.max(1) as usize);
    std::thread::spawn(move || {
        let started = std::time::Instant::now();
        for number in 0..count {
            let at = started + Duration::from_secs(1) * number / rate;
            std::thread::sleep(at.saturating_duration_since(std::time::Instant::now()));
            if due.try_send(Instant::from_std(at)).is_err() {
                // The clients were told to stop.
                break;
            }
        }
    });
    queue
}
