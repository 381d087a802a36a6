//! Changes run at most once, whatever breaks between the cluster's "I have it" and its answer.

#![allow(clippy::disallowed_methods, reason = "real time is measured")]

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use serde_json::json;
use tokio::task::JoinSet;

use crate::client::{HubClient, block_on};
use crate::cluster::{Process, bound_to_us, write_private};
use crate::fleet::figure;
use crate::noise::Noise;
use crate::origin::{Manners, Origin};
use crate::turn::fleet;

/// Requests that are under way when the agent is killed, each time.
const AT_ONCE: u64 = 40;
/// So many must break between DISPATCHED and the answer.
const BROKEN: u64 = 1_000;

/// How attempts ended.
#[derive(Debug, Default)]
struct Tally {
    created: AtomicU64,
    /// Failed without a promise: the client must look.
    unknown: AtomicU64,
    /// Of these, the origin had it.
    executed: AtomicU64,
    /// Failed with `Retry-After`.
    promised: AtomicU64,
    next: AtomicU64,
    /// Attempts that were promised not to have run.
    not_run: Mutex<Vec<u64>>,
}

/// One object, made as client-go would: sent again exactly when the answer has `Retry-After`, at most ten times.
struct Making {
    client: HubClient,
    sender: SendRequest<Full<Bytes>>,
    tally: Arc<Tally>,
    name: String,
    hold: u64,
    rude: bool,
}

impl Making {
    async fn run(mut self) -> Result<(String, u64)> {
        for _ in 0..=10 {
            let attempt = self.tally.next.fetch_add(1, Ordering::Relaxed);
            let path = format!(
                "/clusters/stand-in/api/v1/namespaces/default/configmaps?attempt={attempt}&hold={}&rude={}",
                self.hold,
                u8::from(self.rude)
            );
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name}}).to_string();
            self.sender.ready().await?;
            let request = self.client.request(Method::POST, &path, body);
            let response = tokio::time::timeout(Duration::from_secs(30), self.sender.send_request(request)).await;
            let response = response.context("no answer within 30 s")??;
            let (status, retry) = (response.status(), response.headers().get("retry-after").cloned());
            let text = response.into_body().collect().await?.to_bytes();
            if status == StatusCode::CREATED {
                self.tally.created.fetch_add(1, Ordering::Relaxed);
                return Ok((self.name, attempt));
            }
            ensure!(status == 429 || status.is_server_error(), "{status}: {}", String::from_utf8_lossy(&text));
            let Some(retry) = retry else {
                self.tally.unknown.fetch_add(1, Ordering::Relaxed);
                return Ok((self.name, attempt));
            };
            self.tally.promised.fetch_add(1, Ordering::Relaxed);
            self.tally.not_run.lock().map_err(|_| anyhow::anyhow!("lost"))?.push(attempt);
            tokio::time::sleep(Duration::from_secs(retry.to_str()?.parse()?)).await;
        }
        // Ten promises kept: it was never made, as far as anybody knows.
        Ok((self.name, u64::MAX))
    }
}

/// Until the new agent answers; what is asked of the old link is given up.
async fn moored(client: &HubClient) -> Result<()> {
    let started = Instant::now();
    loop {
        let get = client.get("/clusters/stand-in/version");
        if matches!(tokio::time::timeout(Duration::from_millis(100), get).await, Ok(Ok(answer)) if answer.status == 200)
        {
            return Ok(());
        }
        if started.elapsed() > Duration::from_secs(20) {
            bail!("the agent does not come back");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Round<'a> {
    client: &'a HubClient,
    tally: &'a Arc<Tally>,
    noise: Noise,
    making: JoinSet<Result<(String, u64)>>,
}

impl Round<'_> {
    /// Begins changes, some now, some a little later, and some too late for this agent.
    async fn begin(&mut self, number: u64) -> Result<()> {
        let sender = self.client.http2().await?;
        for one in 0..AT_ONCE {
            let making = Making {
                client: self.client.clone(),
                sender: sender.clone(),
                tally: self.tally.clone(),
                name: format!("object-{number}-{one}"),
                hold: if self.noise.below(4) == 0 { self.noise.below(60) } else { 1_000 },
                rude: self.noise.below(20) == 0,
            };
            let later = Duration::from_millis(self.noise.below(60));
            self.making.spawn(async move {
                tokio::time::sleep(later).await;
                making.run().await
            });
        }
        tokio::time::sleep(Duration::from_millis(30 + self.noise.below(120))).await;
        Ok(())
    }
}

#[test]
fn a_change_runs_at_most_once_whatever_breaks() -> Result<()> {
    let fleet = fleet();
    let origin = Origin::start(Manners::rude())?;
    let kubeconfig = fleet.file("stand-in.kubeconfig");
    write_private(&kubeconfig, origin.kubeconfig().to_string().as_bytes())?;
    let command = fleet.environment.agent_for("stand-in", &kubeconfig, fleet.environment.url())?;
    let dir = fleet.file("");
    let agent = |command: &Command| Process::spawn("agent-stand-in", bound_to_us(command), &dir);
    let client = HubClient::new(&fleet)?;
    let tally = Arc::new(Tally::default());
    let started = Instant::now();
    block_on(async {
        let mut running = agent(&command)?;
        let mut round =
            Round { client: &client, tally: &tally, noise: Noise(88_172_645_463_325_252), making: JoinSet::new() };
        let mut rounds = 0;
        // Requests on a link that died are answered when its silence is noticed; the next round does not wait for that.
        while origin_had(&origin)? < BROKEN + BROKEN / 4 + tally.created.load(Ordering::Relaxed) {
            moored(&client).await?;
            round.begin(rounds).await?;
            rounds += 1;
            crate::cluster::signal(running.pid(), "KILL")?;
            running = agent(&command)?;
        }
        moored(&client).await?;
        while let Some(made) = round.making.join_next().await {
            let (_, attempt) = made??;
            if origin.book.lock().map_err(|_| anyhow::anyhow!("lost"))?.seen.contains(&attempt) {
                tally.executed.fetch_add(1, Ordering::Relaxed);
            }
        }
        figure(&format!("changes: {rounds} kills in {:.0?}", started.elapsed()));
        Ok(())
    })?;
    judge(&origin, &tally)
}

fn origin_had(origin: &Origin) -> Result<u64> {
    Ok(origin.book.lock().map_err(|_| anyhow::anyhow!("lost"))?.made.len() as u64)
}

fn judge(origin: &Origin, tally: &Tally) -> Result<()> {
    let book = origin.book.lock().map_err(|_| anyhow::anyhow!("lost"))?;
    let twice: Vec<_> = book.made.iter().filter(|(_, times)| **times > 1).collect();
    let promises = tally.not_run.lock().map_err(|_| anyhow::anyhow!("lost"))?;
    let lies: Vec<_> = promises.iter().filter(|attempt| book.seen.contains(attempt)).collect();
    let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (created, unknown) = (number(&tally.created), number(&tally.unknown));
    let broken = number(&tally.executed).saturating_sub(created);
    figure(&format!(
        "changes: {} attempts, {created} answered, {broken} broken after the API server had them, {} broken before, {} promised not to have run; {} objects made, {} twice, {} promises broken",
        number(&tally.next),
        unknown - broken,
        promises.len(),
        book.made.len(),
        twice.len(),
        lies.len()
    ));
    ensure!(twice.is_empty() && lies.is_empty(), "made twice: {twice:?}; promised and yet run: {lies:?}");
    ensure!(broken >= BROKEN, "only {broken} broke where they should");
    Ok(())
}
