//! Clients that ask for much and stop reading: what it does to others, and to the memory of the processes on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use super::load::{Clients, measure};
use super::process::Usage;
use super::rows::{Context, Row, SMALL, sized};
use super::sample::{HOPS, Sample};
use super::way::{Protocol, Way};

/// Bytes that each asks for: more than all buffers of a way can hold together.
const ASKED: usize = 64 << 20;

/// Until every buffer is full, and for each client that has to come until then.
const SETTLE: (Duration, Duration) = (Duration::from_millis(1_500), Duration::from_millis(5));

/// After they left, until what they held is given back: at most, and how often it is looked.
const LEAVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_millis(500));

/// Growth that is not looked at further, MB.
const BACK: f64 = 4.0;

/// Measures small requests before and during, and memory before, during and after.
pub(crate) async fn run(row: &Row, way: &Way, count: usize, context: &Context<'_>) -> Result<Sample> {
    let pace = context.pace;
    let small = || async { Clients::start(way, &context.work(row, SMALL), 1).await };
    let before = Sample::of(&measure(way, small().await?, pace.warm, pace.time).await?);
    let usage = Usage::begin(&way.processes)?;
    // All at once: a hub that is full answers the next only when it has cut another.
    let (mut stalled, answered) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..count {
        let (way, answered) = (way.clone(), answered.clone());
        stalled.spawn(async move {
            let io = stop_reading(&way).await;
            answered.fetch_add(usize::from(io.is_ok()), Ordering::Relaxed);
            // Held open until the task is dropped.
            let _io = io;
            std::future::pending::<()>().await;
        });
    }
    sleep(SETTLE.0 + SETTLE.1 * u32::try_from(count)?).await;
    let answered = answered.load(Ordering::Relaxed);
    ensure!(answered > 0, "none of {count} was answered");
    let during = measure(way, small().await?, pace.warm, pace.time).await?;
    let mut sample = Sample::of(&during);
    // The peak was begun anew for the measurement within.
    let growth = usage.growth_now()?;
    drop(stalled);
    let mut kept = usage.growth_now()?;
    let left = tokio::time::Instant::now();
    while kept.iter().any(|mb| *mb > BACK) && left.elapsed() < LEAVE.0 {
        sleep(LEAVE.1).await;
        kept = usage.growth_now()?;
    }
    for ((hop, peak), kept) in HOPS.iter().zip(growth).zip(kept) {
        sample.set(&format!("{hop}_growth_mb"), peak);
        sample.set(&format!("{hop}_kept_mb"), kept);
    }
    sample.set("answered", answered as f64);
    sample.set_some("before_p99_ms", before.get("p99_ms"));
    match (before.get("p99_ms"), sample.get("p99_ms")) {
        (Some(before), Some(during)) => sample.set("p99_times", during / before),
        // No figure would be judged as no miss.
        _ => sample.add_errors(1, Some("too few requests were answered beside them for a p99".to_owned())),
    }
    sample.add_errors(before.get("errors").unwrap_or_default() as u64, before.error.clone());
    Ok(sample)
}

/// A client that reads the beginning of its answer and nothing more.
async fn stop_reading(way: &Way) -> Result<TlsStream<TcpStream>> {
    let mut io = way.connect(Protocol::H1).await?;
    io.write_all(way.raw_get(&sized(ASKED))?.as_bytes()).await?;
    let mut first = [0; 512];
    let size = timeout(Duration::from_secs(20), io.read(&mut first)).await??;
    ensure!(first[..size].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first[..size]));
    Ok(io)
}
