//! Clients that ask for much and stop reading: they must harm nobody but themselves.

#![allow(clippy::disallowed_methods, reason = "real time is measured")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::Method;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{HubClient, block_on};
use crate::fleet::{EDGE_2, Fleet, Part, figure, resident, wait_until};
use crate::turn::fleet;

/// Clients that stop reading. Each holds a seat of the API server's own (APF), which refuses more; a thousand are in `scripts/bench`.
const STALLED: usize = 16;
/// What all of them may take of hub or agent, KiB.
const TAKEN: u64 = 16 << 10;
/// Small requests measured.
const SAMPLES: usize = 400;

/// Median and p99 of small requests, one after the other on one connection.
async fn small_requests(client: &HubClient) -> Result<(Duration, Duration)> {
    let mut sender = client.http2().await?;
    let mut took = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let started = Instant::now();
        sender.ready().await?;
        let request = client.request(Method::GET, "/clusters/edge-2/api/v1/namespaces/default", "");
        let response = tokio::time::timeout(Duration::from_secs(5), sender.send_request(request)).await??;
        ensure!(response.status() == 200, "{}", response.status());
        response.into_body().collect().await?;
        took.push(started.elapsed());
    }
    took.sort();
    Ok((took[SAMPLES / 2], took[SAMPLES * 99 / 100]))
}

fn memory(fleet: &Fleet) -> Result<(u64, u64)> {
    Ok((resident(fleet.environment.pid(Part::Hub))?, resident(fleet.environment.pid(EDGE_2))?))
}

#[test]
fn clients_that_stop_reading_slow_nobody_down() -> Result<()> {
    let mut fleet = fleet();
    fleet.with_bulk()?;
    let client = HubClient::new(&fleet)?;
    let list = "/clusters/edge-2/api/v1/namespaces/bulk/configmaps";
    let before = memory(&fleet)?;
    let streams = fleet.metric("roadstead_streams")?;
    block_on(async {
        small_requests(&client).await?;
        let (median, p99) = small_requests(&client).await?;
        let mut stalled = Vec::new();
        for _ in 0..STALLED {
            let mut io = client.connect("http/1.1").await?;
            io.write_all(client.raw_get(list).as_bytes()).await?;
            let mut first = [0; 512];
            let n = io.read(&mut first).await?;
            ensure!(first[..n].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first[..n]));
            stalled.push(io);
        }
        // Until every window is full: nothing more moves.
        let mut moved = -1.0;
        wait_until("all have stalled", Duration::from_secs(30), || {
            std::thread::sleep(Duration::from_secs(1));
            let now = fleet.metric("roadstead_proxied_bytes_total{direction=\"to_client\"}")?;
            Ok(std::mem::replace(&mut moved, now) == now)
        })?;
        let (slow_median, slow_p99) = small_requests(&client).await?;
        let during = memory(&fleet)?;
        let ratio = slow_p99.as_secs_f64() / p99.as_secs_f64();
        figure(&format!(
            "small requests: median {median:.2?}, p99 {p99:.2?}; beside {STALLED} stalled lists: median {slow_median:.2?}, p99 {slow_p99:.2?} ({ratio:.2}×)"
        ));
        figure(&format!(
            "stalled lists: hub {} → {} MB, agent {} → {} MB",
            before.0 >> 10,
            during.0 >> 10,
            before.1 >> 10,
            during.1 >> 10
        ));
        ensure!(ratio < 5.0, "p99 {p99:?}, then {slow_p99:?}");
        ensure!(fleet.metric("roadstead_streams")? >= STALLED as f64, "they are not there any more");
        ensure!(during.0 < before.0 + TAKEN && during.1 < before.1 + TAKEN, "{before:?}, then {during:?}");
        Ok(())
    })?;
    wait_until("their streams end with them", Duration::from_secs(5), || {
        Ok(fleet.metric("roadstead_streams")? <= streams)
    })?;
    let after = memory(&fleet)?;
    figure(&format!("after they left: hub {} MB, agent {} MB", after.0 >> 10, after.1 >> 10));
    ensure!(after.0 < before.0 + TAKEN && after.1 < before.1 + TAKEN, "{before:?}, then {after:?}");
    Ok(())
}
