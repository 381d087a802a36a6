//! Clients that are slow, or gone without a word: they may harm nobody but themselves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::parts::client::{HubClient, block_on};
use super::parts::fleet::wait_until;
use super::path::upload;
use super::rows::Outcome;
use super::world::{World, relay_to};
use crate::network::rules::Rules;

/// Slow clients at once.
const SLOW: usize = 16;
/// What one reads: 4 KiB ten times a second.
const SIP: usize = 4 << 10;
const BETWEEN: Duration = Duration::from_millis(100);
/// Small requests measured, one after the other.
const SAMPLES: usize = 200;
/// How often slower the slowest of a hundred small requests may become.
const SLOWER: f64 = 5.0;
/// Nothing is slow that takes no longer than this: below, a busy machine is measured.
const NOTHING: Duration = Duration::from_millis(20);
const BASE: &str = "/clusters/stand-in-1/api/v1/namespaces/default/configmaps";

pub(super) fn reader(world: &mut World) -> Result<Outcome> {
    world.stand_ins(1)?;
    let client = world.client()?;
    let (alone, beside) = block_on(async {
        let alone = p99(&client).await?;
        let mut slow: JoinSet<Result<()>> = JoinSet::new();
        for _ in 0..SLOW {
            let client = client.clone();
            slow.spawn(async move {
                let mut io = client.connect("http/1.1").await?;
                io.write_all(client.raw_get(&format!("{BASE}?bytes={}", 1_u64 << 40)).as_bytes()).await?;
                let mut sip = vec![0; SIP];
                loop {
                    io.read_exact(&mut sip).await?;
                    tokio::time::sleep(BETWEEN).await;
                }
            });
        }
        // Until every window on the way is full: from then on little moves.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let beside = p99(&client).await?;
        ensure!(slow.try_join_next().is_none(), "a slow reader was cut");
        Ok((alone, beside))
    })?;
    let text = format!(
        "p99 of small reads {alone:.1?} alone, {beside:.1?} beside {SLOW} clients that read 40 kB/s of endless bodies"
    );
    Ok(Outcome::of(beside < NOTHING.max(alone.mul_f64(SLOWER)), text))
}

pub(super) fn writer(world: &mut World) -> Result<Outcome> {
    world.stand_ins(1)?;
    let client = world.client()?;
    let started = Instant::now();
    let (whole, alone, beside) = block_on(async {
        let alone = p99(&client).await?;
        let mut slow: JoinSet<Result<bool>> = JoinSet::new();
        for _ in 0..SLOW {
            let client = client.clone();
            slow.spawn(async move { upload(&client, BASE, 60, 3, BETWEEN).await });
        }
        let beside = p99(&client).await?;
        let mut whole = 0;
        while let Some(one) = slow.join_next().await {
            whole += usize::from(one??);
        }
        Ok((whole, alone, beside))
    })?;
    let text = format!(
        "{whole} of {SLOW} uploads of 3 bytes every 100 ms arrived byte for byte ({:.0} s); p99 of small reads {alone:.1?} alone, {beside:.1?} beside them",
        started.elapsed().as_secs_f32()
    );
    Ok(Outcome::of(whole == SLOW && beside < NOTHING.max(alone.mul_f64(SLOWER)), text))
}

/// A client whose network is gone: no FIN, no RST. Its watch must not stay for ever.
pub(super) fn gone(world: &mut World) -> Result<Outcome> {
    const WITHIN: Duration = Duration::from_secs(60);
    let relay = relay_to(world.fleet.environment.url(), world.seed)?;
    let client = world.client()?.at(relay.address());
    let streams = || world.fleet.metric("roadstead_streams");
    let before = streams()?;
    let took = block_on(async {
        let mut sender = client.http2().await?;
        let request = client.request(Method::GET, "/clusters/edge-1/api/v1/namespaces?watch=1", "");
        let mut body = sender.send_request(request).await?.into_body();
        body.frame().await.context("the watch shows nothing")??;
        ensure!(streams()? > before, "the watch is no stream");
        relay.set_both(Rules { hole: true, ..Rules::default() })?;
        wait_until("the hub gives the watch up", WITHIN, || Ok(streams()? <= before))
    })?;
    Ok(Outcome::held(format!(
        "a watch over HTTP/2 of a client that vanished was given up after {:.0} s",
        took.as_secs_f32()
    )))
}

async fn p99(client: &HubClient) -> Result<Duration> {
    let mut sender = client.http2().await?;
    let mut took = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let started = Instant::now();
        sender.ready().await?;
        let request = client.request(Method::GET, &format!("{BASE}/x"), "");
        let response = tokio::time::timeout(Duration::from_secs(10), sender.send_request(request)).await??;
        ensure!(response.status() == 200, "{}", response.status());
        response.into_body().collect().await?;
        took.push(started.elapsed());
    }
    took.sort();
    Ok(took[SAMPLES * 99 / 100])
}
