//! What a link with loss carries, and what small requests wait beside it. Two measurements with goals, not promises: the API server is
//! the stand-in, because a real one would be the bottleneck.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio::task::{AbortHandle, JoinSet};

use super::parts::client::{HubClient, block_on};
use super::rows::Outcome;
use super::world::World;
use crate::network::rules::Rules;

/// What is asked of the stand-in.
const BASE: &str = "/clusters/stand-in-1/api/v1/namespaces/default/configmaps";
const ROUND_TRIP: Duration = Duration::from_millis(40);
const LOSS: f64 = 0.01;
/// Streams of bulk beside the small requests.
const BULK: usize = 4;
/// Between small requests; they do not wait for each other.
const EVERY: Duration = Duration::from_millis(25);
/// Enough for any measurement here.
const ENDLESS: u64 = 1 << 40;

pub(super) fn small(world: &mut World) -> Result<Outcome> {
    /// The goal: p99 beside bulk, compared with p99 alone.
    const TIMES: f64 = 2.0;
    let (client, quick) = (world.client()?, world.quick);
    world.on_path(Rules::path(ROUND_TRIP, 100, LOSS))?;
    let within = Duration::from_secs(if quick { 8 } else { 30 });
    let (alone, beside, bulk) = block_on(async {
        let path = format!("{BASE}/x");
        let alone = latencies(&client, &path, within).await?;
        let bulk = Bulk::start(&client, BASE, BULK).await?;
        // Past the first search for the path's rate.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let from = bulk.mark();
        let beside = latencies(&client, &path, within).await?;
        Ok((alone, beside, bulk.since(from)))
    })?;
    let ms = |h: &Histogram<u64>, quantile| h.value_at_quantile(quantile) as f64 / 1_000.0;
    let ratio = ms(&beside, 0.99) / ms(&alone, 0.99);
    let text = format!(
        "100 Mbit/s, 40 ms, 1 % loss each way: alone p50 {:.1} p99 {:.1} ms; beside {BULK} bulk streams ({:.1} MB/s in all) p50 {:.1} p99 {:.1} ms, {ratio:.2}×; goal {TIMES}×; {} and {} requests",
        ms(&alone, 0.5),
        ms(&alone, 0.99),
        bulk,
        ms(&beside, 0.5),
        ms(&beside, 0.99),
        alone.len(),
        beside.len()
    );
    Ok(Outcome::goal(ratio <= TIMES, text))
}

pub(super) fn bulk(world: &mut World) -> Result<Outcome> {
    /// The goal, in megabytes a second.
    const GOAL: f64 = 15.0;
    let clean = carried(world, Rules::path(ROUND_TRIP, 200, 0.0))?;
    let lossy = carried(world, Rules::path(ROUND_TRIP, 200, LOSS))?;
    let text = format!(
        "200 Mbit/s, 40 ms, one stream: {clean:.1} MB/s without loss, {lossy:.1} MB/s at 1 % each way; goal {GOAL} MB/s"
    );
    Ok(Outcome::goal(lossy >= GOAL, text))
}

/// Megabytes a second of one stream on a new link, after its first two seconds.
fn carried(world: &mut World, rules: Rules) -> Result<f64> {
    let (client, within) = (world.client()?, Duration::from_secs(if world.quick { 8 } else { 30 }));
    world.on_path(rules)?;
    block_on(async {
        let bulk = Bulk::start(&client, BASE, 1).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let from = bulk.mark();
        tokio::time::sleep(within).await;
        Ok(bulk.since(from))
    })
}

/// Large bodies that are read as fast as they come, until this is dropped.
struct Bulk {
    bytes: Arc<AtomicU64>,
    tasks: JoinSet<Result<()>>,
}

impl Bulk {
    async fn start(client: &HubClient, base: &str, count: usize) -> Result<Self> {
        let mut this = Self { bytes: Arc::default(), tasks: JoinSet::new() };
        for _ in 0..count {
            let mut sender = client.http2().await?;
            let request = client.request(Method::GET, &format!("{base}?bytes={ENDLESS}"), "");
            let mut body = sender.send_request(request).await?.into_body();
            let bytes = this.bytes.clone();
            let _: AbortHandle = this.tasks.spawn(async move {
                let _sender = sender;
                while let Some(frame) = body.frame().await {
                    let length = frame?.data_ref().map_or(0, bytes::Bytes::len);
                    bytes.fetch_add(length as u64, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Ok(this)
    }

    fn mark(&self) -> (Instant, u64) {
        (Instant::now(), self.bytes.load(Ordering::Relaxed))
    }

    /// Megabytes a second since then.
    fn since(&self, (at, bytes): (Instant, u64)) -> f64 {
        (self.bytes.load(Ordering::Relaxed) - bytes) as f64 / 1e6 / at.elapsed().as_secs_f64()
    }
}

/// Microseconds that small requests took, each begun when it was due, whatever became of those before it.
async fn latencies(client: &HubClient, path: &str, within: Duration) -> Result<Histogram<u64>> {
    let sender = client.http2().await?;
    let mut tasks: JoinSet<Result<Duration>> = JoinSet::new();
    let mut ticks = tokio::time::interval(EVERY);
    let until = Instant::now() + within;
    while Instant::now() < until {
        let due = ticks.tick().await;
        let (mut sender, request) = (sender.clone(), client.request(Method::GET, path, ""));
        tasks.spawn(async move {
            let response = sender.send_request(request).await?;
            ensure!(response.status() == StatusCode::OK, "{}", response.status());
            response.into_body().collect().await?;
            Ok(due.elapsed())
        });
    }
    let mut histogram = Histogram::new(3)?;
    while let Some(took) = tasks.join_next().await {
        histogram.record(u64::try_from(took??.as_micros())?)?;
    }
    Ok(histogram)
}
