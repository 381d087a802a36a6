//! Requests at a steady rate to all clusters in turn, each begun when it is due, whatever became of those before it; every answer is judged.
//! Of ten one is a change, two come on a connection of their own as from a CI job, and the others share connections as controllers do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::site::{NAMESPACE, TEXT};
use crate::client::HubClient;

/// Connections that are shared.
const CONNECTIONS: usize = 4;

/// An answer must be there by then.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// The way in for people: whoever comes reads the roots anew, as those do who were told of a rotation.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) token: String,
    pub(super) ca: PathBuf,
}

impl Door {
    /// Somebody who comes now.
    pub(super) fn client(&self) -> Result<HubClient> {
        HubClient::of(self.address, &self.token, &self.ca)
    }
}

/// What came of the requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Answered as asked.
    pub(super) right: u64,
    /// Of these, changes.
    pub(super) changes: u64,
    /// Why others were not, without what differs from one to the next: how many, and the first of them.
    pub(super) failed: BTreeMap<String, (u64, String)>,
    /// The slowest that was right.
    pub(super) slowest: Duration,
    /// How late one was begun, at most: so long this machine, or this program, stood still.
    pub(super) late: Duration,
}

impl Tally {
    /// How many were not answered as asked.
    pub(super) fn failures(&self) -> u64 {
        self.failed.values().map(|(count, _)| count).sum()
    }

    /// In words.
    pub(super) fn text(&self) -> String {
        let reasons = self.failed.values().map(|(count, first)| format!("{count}× {first}"));
        let reasons: Vec<_> = reasons.collect();
        let why = if reasons.is_empty() { String::new() } else { format!(" [{}]", reasons.join("; ")) };
        format!(
            "{} requests right ({} changes, slowest {:.0} ms, begun {:.0} ms late at most), {} failed{why}",
            self.right,
            self.changes,
            self.slowest.as_secs_f64() * 1e3,
            self.late.as_secs_f64() * 1e3,
            self.failures()
        )
    }
}

struct Shared {
    door: Door,
    clusters: Vec<Target>,
    connections: [tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>; CONNECTIONS],
    tally: Mutex<Tally>,
    started: Instant,
}

/// A cluster, and the number that was last written there.
struct Target {
    name: String,
    number: AtomicU64,
    /// One change at a time: whoever watches sees the numbers in order.
    changing: AtomicBool,
}

/// Requests that go on until they are stopped.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    stop: CancellationToken,
    driver: JoinSet<()>,
}

impl Traffic {
    /// Begins `rate` requests a second, to these clusters in turn.
    pub(super) fn start(door: Door, clusters: &[String], rate: u32) -> Self {
        let target =
            |name: &String| Target { name: name.clone(), number: AtomicU64::new(0), changing: AtomicBool::new(false) };
        let shared = Arc::new(Shared {
            door,
            clusters: clusters.iter().map(target).collect(),
            connections: std::array::from_fn(|_| tokio::sync::Mutex::new(None)),
            tally: Mutex::default(),
            started: Instant::now(),
        });
        let (stop, mut driver) = (CancellationToken::new(), JoinSet::new());
        driver.spawn(drive(shared.clone(), rate, stop.clone()));
        Self { shared, stop, driver }
    }

    /// How it goes.
    pub(super) fn text(&self) -> String {
        self.shared.tally.lock().map_or_else(|_| "the traffic panicked".to_owned(), |tally| tally.text())
    }

    /// Ends it once every answer is there.
    pub(super) async fn stop(mut self) -> Result<Tally> {
        self.stop.cancel();
        while let Some(ended) = self.driver.join_next().await {
            ended?;
        }
        let shared = Arc::into_inner(self.shared).context("the traffic still runs")?;
        shared.tally.into_inner().map_err(|_| anyhow!("the traffic panicked"))
    }
}

async fn drive(shared: Arc<Shared>, rate: u32, stop: CancellationToken) {
    let mut asking = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
    // Late ones are made up for: a client that waits would hide what it waits for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0_usize.. {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            due = ticks.tick() => drop(asking.spawn(one(shared.clone(), number, due))),
        }
        while asking.try_join_next().is_some() {}
    }
    while asking.join_next().await.is_some() {}
}

async fn one(shared: Arc<Shared>, number: usize, due: Instant) {
    let target = &shared.clusters[number % shared.clusters.len()];
    let kind = number / shared.clusters.len() % 10;
    let changes = kind == 0 && !target.changing.swap(true, Ordering::Relaxed);
    let late = due.elapsed();
    let asked = async {
        match (changes, kind) {
            (true, _) => change(&shared, number, target).await,
            (false, 1 | 2) => read_alone(&shared, target).await,
            _ => read(&shared, number, target).await,
        }
    };
    let came = timeout(ANSWER_WITHIN, asked).await.unwrap_or_else(|_| Err(anyhow!("no answer in {ANSWER_WITHIN:?}")));
    if changes {
        target.changing.store(false, Ordering::Relaxed);
    }
    let Ok(mut tally) = shared.tally.lock() else { return };
    tally.late = tally.late.max(late);
    match came {
        Ok(()) => {
            tally.right += 1;
            tally.changes += u64::from(changes);
            tally.slowest = tally.slowest.max(due.elapsed());
        }
        Err(error) => {
            let (what, error) = (if changes { "change" } else { "read" }, format!("{error:#}"));
            let first =
                format!("second {:.1}, {} of {}: {error}", shared.started.elapsed().as_secs_f32(), what, target.name);
            tally.failed.entry(format!("{what} {}", alike(&error, &target.name))).or_insert((0, first)).0 += 1;
        }
    }
}

/// A reason without the request's id, the cluster's name and digits.
fn alike(reason: &str, cluster: &str) -> String {
    let reason = reason.split(" (request ").next().unwrap_or_default();
    reason.replace(cluster, "…").chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn path(target: &Target, object: &str) -> String {
    format!("/clusters/{}/api/v1/namespaces/{NAMESPACE}/configmaps/{object}", target.name)
}

async fn change(shared: &Shared, number: usize, target: &Target) -> Result<()> {
    let n = (target.number.fetch_add(1, Ordering::Relaxed) + 1).to_string();
    let wish = json!({"data": {"n": n}}).to_string();
    let mut request = shared.door.client()?.request(Method::PATCH, &path(target, &target.name), wish);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/merge-patch+json"));
    let (status, object) = send(shared, number, request).await?;
    ensure!(status == StatusCode::OK, "{status}: {}", object["message"]);
    ensure!(object["data"]["n"] == json!(n), "a wrong answer: {:.200}", object.to_string());
    Ok(())
}

async fn read(shared: &Shared, number: usize, target: &Target) -> Result<()> {
    let request = shared.door.client()?.request(Method::GET, &path(target, "fixed"), "");
    let (status, object) = send(shared, number, request).await?;
    judge(status, &object)
}

async fn read_alone(shared: &Shared, target: &Target) -> Result<()> {
    let answer = shared.door.client()?.get(&path(target, "fixed")).await?;
    judge(answer.status, &serde_json::from_slice(&answer.body).context("an answer without JSON")?)
}

fn judge(status: StatusCode, object: &Value) -> Result<()> {
    ensure!(status == StatusCode::OK, "{status}: {}", object["message"]);
    ensure!(object["data"]["text"] == json!(TEXT), "a wrong answer: {:.200}", object.to_string());
    Ok(())
}

/// On one of the connections that are shared, made anew when it broke.
async fn send(shared: &Shared, number: usize, request: Request<Full<Bytes>>) -> Result<(StatusCode, Value)> {
    let mut sender = {
        let mut slot = shared.connections[number % CONNECTIONS].lock().await;
        let usable = match slot.as_mut() {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            *slot = Some(shared.door.client()?.http2().await.context("connecting")?);
        }
        let Some(sender) = slot.as_ref() else { bail!("no connection") };
        sender.clone()
    };
    let response = sender.send_request(request).await.context("sending")?;
    let status = response.status();
    let body = response.into_body().collect().await.context("an answer that was cut")?.to_bytes();
    Ok((status, serde_json::from_slice(&body).context("an answer without JSON")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_names_and_numbers_alone_are_one() {
        let [one, other] = [("site-1", "01J"), ("site-2", "02K")]
            .map(|(name, id)| alike(&format!("503: cluster {name}: last seen 3s ago (request {id})"), name));
        assert_eq!(one, other);
        assert_ne!(one, alike("502: cluster site-1: link lost", "site-1"));
    }
}
