//! Many watches through one agent, some of them with events: how late these are, whether all of them come, and what a watch costs in memory.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::numbers::{histogram, percentile_ms};
use super::process::Usage;
use super::rows::Context;
use super::sample::{HOPS, Sample};
use super::stream::{DUE, Phase, Watches};
use super::way::{Connection, Protocol, Way};

/// Watches on one HTTP/2 connection, as programs with many informers have them.
const PER_CONNECTION: usize = 250;

/// Until what was opened has settled, and the last events have come.
const SETTLE: Duration = Duration::from_secs(1);

/// All events must have come, and all watches ended, so long after the last was sent.
const END_WITHIN: Duration = Duration::from_secs(20);

/// What the watches of a run saw.
#[derive(Debug)]
struct Seen {
    latency: Histogram<u64>,
    cut: u64,
    first_error: Option<String>,
}

/// Opens them, lets the busy ones have events, and lets all end.
pub(crate) async fn run(way: &Way, (all, busy): (usize, usize), context: &Context<'_>) -> Result<Sample> {
    let watches = &context.watches;
    watches.set(Phase::Quiet);
    watches.take_sent();
    let memory = Usage::begin(&way.processes)?;
    // The connections stay as long as their watches.
    let (mut running, _connections) = open(way, (all, busy), watches).await?;
    sleep(SETTLE).await;
    let grown = memory.growth_now()?;
    let cpu = Usage::begin_again(&way.processes)?;
    watches.set(Phase::Events);
    sleep(context.pace.warm + context.pace.time).await;
    watches.set(Phase::Quiet);
    let used = cpu.cpu_seconds()?;
    // What is under way arrives before thousands end at once: a percentile of events is not about that.
    sleep(SETTLE).await;
    watches.set(Phase::End);
    let seen = Seen::wait(&mut running).await?;
    let sent = watches.take_sent();
    let mut sample = Sample::default();
    sample.set_some("p50_ms", percentile_ms(&seen.latency, 50.0));
    sample.set_some("p99_ms", percentile_ms(&seen.latency, 99.0));
    sample.set("events", seen.latency.len() as f64);
    sample.set("missing", sent as f64 - seen.latency.len() as f64);
    for ((hop, grown), used) in HOPS.iter().zip(grown).zip(used) {
        sample.set(&format!("{hop}_kb_per_watch"), grown * 1024.0 / all as f64);
        sample.set(&format!("{hop}_cpu_us_per_event"), used * 1e6 / seen.latency.len() as f64);
    }
    let missing = sent.saturating_sub(seen.latency.len());
    sample.add_errors(seen.cut + missing, seen.first_error);
    Ok(sample)
}

type Running = JoinSet<Result<Histogram<u64>>>;

/// Opens so many watches, of which so many will have events; each has said that it is there.
async fn open(way: &Way, (all, busy): (usize, usize), watches: &Arc<Watches>) -> Result<(Running, Vec<Connection>)> {
    let (mut connections, mut running) = (Vec::new(), JoinSet::new());
    for number in 0..all {
        if number % PER_CONNECTION == 0 {
            connections.push(way.open(Protocol::H2).await?);
        }
        let kind = if number < busy { "busy" } else { "idle" };
        let path = format!("/api/v1/namespaces/{kind}/configmaps?watch=true");
        let connection = connections.last_mut().context("no connection")?;
        let mut body = connection.begin(way.request(Protocol::H2, &path)?).await?;
        timeout(END_WITHIN, body.frame()).await.context("a watch says nothing")?.context("a watch ended at once")??;
        running.spawn(read(body, watches.clone()));
    }
    Ok((running, connections))
}

impl Seen {
    /// Waits until all have ended; what has not in time counts as cut.
    async fn wait(running: &mut Running) -> Result<Self> {
        let mut this = Self { latency: histogram(), cut: 0, first_error: None };
        let ended = timeout(END_WITHIN, async {
            while let Some(one) = running.join_next().await {
                this.add(one?)?;
            }
            Ok::<_, anyhow::Error>(())
        });
        if let Ok(ended) = ended.await {
            ended?;
        }
        let left = running.len();
        if left > 0 {
            this.cut += left as u64;
            let late = format!("{left} watches have not ended {END_WITHIN:?} after their last event");
            this.first_error.get_or_insert(late);
        }
        Ok(this)
    }

    fn add(&mut self, one: Result<Histogram<u64>>) -> Result<()> {
        match one {
            Ok(latency) => self.latency.add(&latency).map_err(|error| anyhow::anyhow!("{error:?}"))?,
            Err(error) => {
                self.cut += 1;
                self.first_error.get_or_insert_with(|| format!("a watch was cut: {error:#}"));
            }
        }
        Ok(())
    }
}

/// Reads a watch to its end; gives how late each event was.
async fn read(mut body: Incoming, watches: Arc<Watches>) -> Result<Histogram<u64>> {
    let mut reader = Reader::new()?;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            reader.take(&data, &|due| watches.age(due))?;
        }
    }
    reader.end()
}

/// Finds events in what a watch says, however it comes in pieces.
struct Reader {
    rest: Vec<u8>,
    /// Most watches see nothing: no room for events that do not come.
    latency: Histogram<u64>,
}

impl Reader {
    fn new() -> Result<Self> {
        Ok(Self { rest: Vec::new(), latency: Histogram::new(3)? })
    }

    fn take(&mut self, data: &[u8], age: &dyn Fn(u64) -> Duration) -> Result<()> {
        self.rest.extend_from_slice(data);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let late = age(due(&self.rest[..end])?);
            // Not the saturating kind: this one makes room.
            self.latency.record(u64::try_from(late.as_nanos())?)?;
            self.rest.drain(..=end);
        }
        Ok(())
    }

    fn end(self) -> Result<Histogram<u64>> {
        ensure!(self.rest.is_empty(), "it ends within an event");
        Ok(self.latency)
    }
}

/// When an event was due, in nanoseconds of the origin's clock.
fn due(event: &[u8]) -> Result<u64> {
    let at = event.windows(DUE.len()).position(|window| window == DUE).context("an event without its time")?;
    let digits: String =
        event[at + DUE.len()..].iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
    digits.parse().context("an event whose time is no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_when_it_was_due() {
        let event = br#"{"type":"MODIFIED","object":{"metadata":{"resourceVersion":"9"},"data":{"due":"1234567","filler":"0"}}}"#;
        assert_eq!(due(event).unwrap(), 1_234_567);
        assert!(due(br#"{"type":"MODIFIED"}"#).is_err());
        assert!(due(br#"{"due":""}"#).is_err());
    }

    #[test]
    fn events_are_counted_once_however_they_come_in_pieces() {
        let stream = b"{\"due\":\"1000000\"}\n{\"due\":\"3000000\"}\n";
        for cut in 0..stream.len() {
            let mut reader = Reader::new().unwrap();
            for piece in [&stream[..cut], &stream[cut..]] {
                reader.take(piece, &|due| Duration::from_nanos(9_000_000 - due)).unwrap();
            }
            let latency = reader.end().unwrap();
            assert_eq!(latency.len(), 2, "cut at {cut}");
            assert!((latency.max() as f64 / 8e6 - 1.0).abs() < 0.01 && (latency.min() as f64 / 6e6 - 1.0).abs() < 0.01);
        }
        let mut reader = Reader::new().unwrap();
        reader.take(b"{\"due\":", &|_| Duration::ZERO).unwrap();
        assert!(reader.end().is_err());
    }
}
