//! What people ask of the fleet while it is measured: requests to clusters picked at random, watches, and a probe through a restart.
//! Every answer must name the cluster that was asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use super::api_server::unix_micros;
use super::hub::Sender;
use crate::client::HubClient;

/// Connections that carry requests at once.
const CONNECTIONS: usize = 16;

/// A probe that takes longer failed.
const PROBE_WITHIN: Duration = Duration::from_secs(10);

/// Latencies in microseconds.
pub(crate) type Latencies = Histogram<u64>;

/// No latency yet; to three digits, and ten minutes at most.
pub(crate) fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds that are allowed")
}

/// The name of the cluster with this number.
pub(crate) fn name(number: usize) -> String {
    format!("sim-{number:05}")
}

/// A number below `bound`, from a generator whose seed is the caller's (splitmix64).
pub(crate) fn pick(state: &mut u64, bound: usize) -> usize {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound.max(1)).unwrap_or(1)).unwrap_or(0)
}

/// Asks `count` clusters at random for `path`, some at a time; all must answer, and each with its own name.
pub(crate) async fn ask_at_random(client: &HubClient, agents: usize, count: usize, path: &str) -> Result<Latencies> {
    let left = Arc::new(AtomicUsize::new(count));
    let mut tasks = JoinSet::new();
    for worker in 0..CONNECTIONS {
        let (client, left, path) = (client.clone(), left.clone(), path.to_owned());
        tasks.spawn(async move {
            let mut sender = client.http1().await?;
            let (mut seed, mut taken) = (worker as u64, latencies());
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let cluster = name(pick(&mut seed, agents));
                let (status, body, took) = ask(&mut sender, &client, &cluster, &path).await?;
                ensure!(status == StatusCode::OK, "{cluster}: {status}: {body:.300}");
                ensure!(names(&body, &cluster), "{cluster} was asked, and somebody else answered: {body:.300}");
                taken.saturating_record(micros(took));
            }
            Ok::<_, anyhow::Error>(taken)
        });
    }
    let mut all = latencies();
    while let Some(one) = tasks.join_next().await {
        all.add(one??)?;
    }
    Ok(all)
}

async fn ask(
    sender: &mut Sender,
    client: &HubClient,
    cluster: &str,
    path: &str,
) -> Result<(StatusCode, String, Duration)> {
    sender.ready().await?;
    let asked = Instant::now();
    let request = client.request_h1(Method::GET, &format!("/clusters/{cluster}{path}"), "");
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned(), asked.elapsed()))
}

/// Whether an answer of a fake API server is that of `cluster`.
fn names(body: &str, cluster: &str) -> bool {
    body.contains(&format!("+simulated.{cluster}\""))
        || body.contains(&format!("\"simulated.example/cluster\":\"{cluster}\""))
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// What watches got.
#[derive(Debug)]
pub(crate) struct Watched {
    /// From the fake API server to the client, of every event.
    pub(crate) latencies: Latencies,
    /// Events that came, in order and without a gap, all of the right cluster.
    pub(crate) events: u64,
}

/// Watches `count` clusters at random, each with so many events a second, for a while.
pub(crate) async fn watch(
    client: &HubClient,
    agents: usize,
    (count, rate): (usize, u64),
    lasting: Duration,
) -> Result<Watched> {
    let mut tasks = JoinSet::new();
    let mut seed = 7;
    for _ in 0..count {
        let (client, cluster) = (client.clone(), name(pick(&mut seed, agents)));
        tasks.spawn(async move { watch_one(&client, &cluster, rate, lasting).await });
    }
    let mut all = Watched { latencies: latencies(), events: 0 };
    while let Some(one) = tasks.join_next().await {
        let one = one??;
        all.latencies.add(one.latencies)?;
        all.events += one.events;
    }
    Ok(all)
}

async fn watch_one(client: &HubClient, cluster: &str, rate: u64, lasting: Duration) -> Result<Watched> {
    let mut sender = client.http1().await?;
    let path = format!("/clusters/{cluster}/api/v1/configmaps?watch=1&limit={rate}");
    let response = sender.send_request(client.request_h1(Method::GET, &path, "")).await?;
    ensure!(response.status() == StatusCode::OK, "{cluster}: watch: {}", response.status());
    let mut watched = Watched { latencies: latencies(), events: 0 };
    let reading = read_events(response.into_body(), cluster, &mut watched);
    match timeout(lasting, reading).await {
        Err(_) => Ok(watched),
        Ok(ended) => ended.and_then(|()| anyhow::bail!("{cluster}: the watch ended")),
    }
}

async fn read_events(mut body: Incoming, cluster: &str, watched: &mut Watched) -> Result<()> {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        text.extend_from_slice(&frame?.into_data().unwrap_or_default());
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line)?;
            let metadata = &event["object"]["metadata"];
            let annotations = &metadata["annotations"];
            watched.events += 1;
            let number = watched.events.to_string();
            ensure!(metadata["resourceVersion"] == number.as_str(), "{cluster}: an event is missing: {event}");
            ensure!(annotations["simulated.example/cluster"] == cluster, "{cluster} was watched: {event}");
            let at: i64 = annotations["simulated.example/at"].as_str().context("no time")?.parse()?;
            watched.latencies.saturating_record(u64::try_from(unix_micros() - at).unwrap_or(0));
        }
    }
    Ok(())
}

/// Asks clusters at a steady pace through whatever happens to the hub.
#[derive(Debug)]
pub(crate) struct Probe {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    task: JoinSet<()>,
}

/// What a probe saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Of requests to clusters that had answered since the hub was back.
    pub(crate) returned: Latencies,
    /// Such requests that were not answered with 200 in time, by what came instead.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Requests to any cluster while it was away: answered with 503 at once.
    pub(crate) away: u64,
    /// Answers of the wrong cluster.
    pub(crate) wrong: u64,
    back: Vec<usize>,
    seed: u64,
}

impl Probe {
    /// Starts, now that the hub is back: every 5 ms one request, to a cluster picked at random or to one that was back already, in turn.
    pub(crate) fn start(client: &HubClient, agents: usize) -> Self {
        let seen =
            Seen { returned: latencies(), failed: BTreeMap::new(), away: 0, wrong: 0, back: Vec::new(), seed: 11 };
        let (seen, stop) = (Arc::new(Mutex::new(seen)), Arc::new(AtomicBool::new(false)));
        let mut task = JoinSet::new();
        task.spawn(pace(client.clone(), agents, seen.clone(), stop.clone()));
        Self { seen, stop, task }
    }

    /// Ends it and says what it saw.
    pub(crate) async fn finish(mut self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.task.join_next().await {
            ended?;
        }
        let seen = Arc::into_inner(self.seen).context("the probe still runs")?;
        seen.into_inner().map_err(|_| anyhow::anyhow!("the probe panicked"))
    }
}

async fn pace(client: HubClient, agents: usize, seen: Arc<Mutex<Seen>>, stop: Arc<AtomicBool>) {
    let mut ticks = interval(Duration::from_millis(5));
    let mut tasks = JoinSet::new();
    let idle: Arc<Mutex<Vec<Sender>>> = Arc::default();
    let mut turn = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        turn += 1;
        let (known, cluster) = {
            let mut seen = seen.lock().expect("no panic while it is held");
            let known = turn.is_multiple_of(2) && !seen.back.is_empty();
            let mut seed = seen.seed;
            let cluster = if known { seen.back[pick(&mut seed, seen.back.len())] } else { pick(&mut seed, agents) };
            seen.seed = seed;
            (known, cluster)
        };
        tasks.spawn(probe(client.clone(), idle.clone(), seen.clone(), (known, cluster), Instant::now()));
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
}

/// One request, timed from when it was due: a slow one before it must not hide it.
async fn probe(
    client: HubClient,
    idle: Arc<Mutex<Vec<Sender>>>,
    seen: Arc<Mutex<Seen>>,
    (known, cluster): (bool, usize),
    due: Instant,
) {
    let asking = async {
        let kept = idle.lock().expect("no panic while it is held").pop();
        let mut sender = match kept {
            Some(sender) => sender,
            None => client.http1().await?,
        };
        let answer = ask(&mut sender, &client, &name(cluster), "/version").await?;
        idle.lock().expect("no panic while it is held").push(sender);
        Ok::<_, anyhow::Error>(answer)
    };
    let asked = timeout(PROBE_WITHIN, asking).await;
    let mut seen = seen.lock().expect("no panic while it is held");
    match asked {
        Ok(Ok((StatusCode::OK, body, _))) => {
            seen.wrong += u64::from(!names(&body, &name(cluster)));
            if known {
                seen.returned.saturating_record(micros(due.elapsed()));
            } else {
                seen.back.push(cluster);
            }
        }
        other => {
            let what = match other {
                Ok(Ok((status, body, _))) => format!("{status} {body:.160}"),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "no answer in 10 s".to_owned(),
            };
            if known {
                *seen.failed.entry(what).or_default() += 1;
            } else {
                seen.away += 1;
            }
        }
    }
}
