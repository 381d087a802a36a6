//! How fast a thousand links are revoked: from the request of an administrator until the agents' ends have seen the close, the clients of their
//! streams the last byte, and new handshakes a refusal. The hub is the program; agents are links alone, for nothing else is measured.

#[path = "revocation/agent.rs"]
mod agent;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use http::Method;
use http_body_util::BodyExt;
use roadstead::hub::api_types::ClusterActed;
use roadstead::transport::{Dialer, LinkEnd};
use roadstead::wire::CloseCode;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::hub::{Hub, Sender};
use super::report::Report;
use crate::client::HubClient;
use crate::janitor::Workspace;
use agent::{Agent, Moored, Watch, follow_links};

/// Links at once, and streams, as the goal has it.
const LINKS: usize = 1_000;

/// How often all links of one cluster are cut at once.
const ROUNDS: usize = 3;

/// Administrators at once, where many are locked at the same time; and clients that begin at the same time.
const AT_ONCE: usize = 32;

/// What the whole must not take longer than.
const AT_ONCE_MS: f64 = 1_000.0;

/// Anything on loopback that takes longer does not happen.
const SOON: Duration = Duration::from_secs(30);

/// What a client is told whose cluster was locked here.
const LOCKED: &str = "the cluster is locked: lab";

/// The hub and who uses it.
struct Bench {
    hub: Hub,
    operator: HubClient,
    user: HubClient,
    dialer: Dialer,
}

/// How long each thing took, in microseconds from the request.
struct Times {
    closed: Histogram<u64>,
    last_byte: Histogram<u64>,
    answered: Histogram<u64>,
    refused: Histogram<u64>,
    admitted: u32,
}

/// Names in the report: of the agent's end, of a stream's last byte, of the administrator's answer, of a new handshake; p50, p99, max each.
type Names = [[&'static str; 3]; 4];

/// Measures everything with this program.
pub(crate) async fn all(program: &Path) -> Result<Report> {
    let dir = Workspace::new()?;
    let hub = Hub::start(program, dir.path(), "roadstead:view", &[]).await?;
    let (operator, user, dialer) = (hub.operator()?, hub.user().await?, Dialer::bind(hub.address)?);
    let bench = Arc::new(Bench { hub, operator, user, dialer });
    let mut report = Report::default();
    let mut sender = bench.operator.http1().await?;
    let mut agents = Vec::with_capacity(LINKS);
    for number in 0..LINKS {
        agents.push(Arc::new(Agent::enrol(&mut sender, &bench.operator, &format!("revoked-{number}")).await?));
    }
    report.add("links, of as many clusters, each with a watch", agents.len() as f64, "");
    one_by_one(&bench, &agents, &mut report).await?;
    together(&bench, &agents, &mut report).await?;
    all_of_one(&bench, &mut report).await?;
    authority(&bench, &agents, &mut report).await?;
    Ok(report)
}

impl Bench {
    /// A link and a watch of each.
    async fn under_way(&self, agents: &[Arc<Agent>]) -> Result<Vec<(Moored, Watch)>> {
        let mut moored = Vec::with_capacity(agents.len());
        for agent in agents {
            moored.push(agent.moor(&self.dialer, &self.hub).await?);
        }
        let watches = Watch::all(&self.user, agents.iter().map(|agent| &*agent.name)).await?;
        Ok(moored.into_iter().zip(watches).collect())
    }

    async fn unlock(&self, agents: &[Arc<Agent>]) -> Result<()> {
        let mut sender = self.operator.http1().await?;
        for agent in agents {
            act(&mut sender, &self.operator, &agent.name, "unlock", 0).await?;
        }
        Ok(())
    }

    /// Locks one cluster: when its link, its watch and a new handshake ended, from the request on.
    async fn lock(
        &self,
        sender: &mut Sender,
        agent: &Agent,
        (moored, mut watch): (Moored, Watch),
        times: &mut Times,
    ) -> Result<()> {
        // Nothing but what follows may have ended it.
        ensure!(moored.link.end().is_none(), "the link of {} ended before: {:?}", agent.name, moored.link.end());
        let (told, mut seen) = (Instant::now(), follow_links([&moored.link]));
        act(sender, &self.operator, &agent.name, "lock", 1).await?;
        record(&mut times.answered, told, Instant::now());
        let end = timeout(SOON, seen.recv()).await.context("a link stays")?.context("the link's watcher is gone")?;
        ensure!(end.how == LinkEnd::Peer(CloseCode::Locked), "the link ended otherwise: {}", end.how);
        record(&mut times.closed, told, end.at);
        record(&mut times.last_byte, told, watch.ends(LOCKED).await?);
        match agent.moor(&self.dialer, &self.hub).await {
            Ok(_) => times.admitted += 1,
            Err(_) => record(&mut times.refused, told, Instant::now()),
        }
        Ok(())
    }
}

/// A thousand clusters; they are locked one after another.
async fn one_by_one(bench: &Bench, agents: &[Arc<Agent>], report: &mut Report) -> Result<()> {
    const NAMES: Names = [
        ["lock: until the agent's end saw the close, p50", "the same, p99", "the same, max"],
        ["lock: until the last byte of a watch, p50", "the same byte, p99", "the same byte, max"],
        ["lock: until the administrator had the answer, p50", "the same answer, p99", "the same answer, max"],
        ["lock: until a new handshake was refused, p50", "the same handshake, p99", "the same handshake, max"],
    ];
    let (under_way, mut times) = (bench.under_way(agents).await?, Times::new()?);
    let mut sender = bench.operator.http1().await?;
    for (agent, one) in agents.iter().zip(under_way) {
        bench.lock(&mut sender, agent, one, &mut times).await?;
    }
    times.tell(report, &NAMES, "new links that got in after the answer");
    bench.unlock(agents).await
}

/// The same clusters, by many administrators at once.
async fn together(bench: &Arc<Bench>, agents: &[Arc<Agent>], report: &mut Report) -> Result<()> {
    const NAMES: Names = [
        ["32 locks at a time: agent's end, p50", "32 at a time: agent's end, p99", "32 at a time: agent's end, max"],
        ["32 at a time: last byte, p50", "32 at a time: last byte, p99", "32 at a time: last byte, max"],
        ["32 at a time: answer, p50", "32 at a time: answer, p99", "32 at a time: answer, max"],
        ["32 at a time: handshake refused, p50", "32 at a time: handshake, p99", "32 at a time: handshake, max"],
    ];
    let under_way = bench.under_way(agents).await?;
    let mut work: Vec<Vec<_>> = (0..AT_ONCE).map(|_| Vec::new()).collect();
    for (number, (agent, one)) in agents.iter().zip(under_way).enumerate() {
        work[number % AT_ONCE].push((agent.clone(), one));
    }
    let (mut locking, mut times) = (JoinSet::new(), Times::new()?);
    for share in work {
        let bench = bench.clone();
        locking.spawn(async move {
            let (mut sender, mut times) = (bench.operator.http1().await?, Times::new()?);
            for (agent, one) in share {
                bench.lock(&mut sender, &agent, one, &mut times).await?;
            }
            Ok::<_, anyhow::Error>(times)
        });
    }
    while let Some(share) = locking.join_next().await {
        times.add(&share??)?;
    }
    times.tell(report, &NAMES, "32 at a time: new links that got in");
    bench.unlock(agents).await
}

/// One cluster with a thousand links, and a thousand watches over the newest of them; all are cut at once, several times.
async fn all_of_one(bench: &Bench, report: &mut Report) -> Result<()> {
    const NAMES: Names = [
        [
            "all links of one at once: agent's end, p50",
            "all at once: agent's end, p99",
            "all at once: the last end, max",
        ],
        ["all at once: last byte, p50", "all at once: last byte, p99", "all at once: the last byte of all, max"],
        ["all at once: answer, p50", "all at once: answer, p99", "all at once: answer, max"],
        ["all at once: handshake refused, p50", "all at once: handshake, p99", "all at once: handshake, max"],
    ];
    let (mut sender, mut times) = (bench.operator.http1().await?, Times::new()?);
    let agent = Agent::enrol(&mut sender, &bench.operator, "crowded").await?;
    for _ in 0..ROUNDS {
        let mut moored = Vec::with_capacity(LINKS);
        for _ in 0..LINKS {
            moored.push(agent.moor(&bench.dialer, &bench.hub).await?);
        }
        let watches = Watch::all(&bench.user, std::iter::repeat_n("crowded", LINKS)).await?;
        let (told, seen) = (Instant::now(), follow_links(moored.iter().map(|moored| &moored.link)));
        act(&mut sender, &bench.operator, &agent.name, "lock", LINKS as u64).await?;
        record(&mut times.answered, told, Instant::now());
        times.all(told, seen, CloseCode::Locked, watches, LOCKED).await?;
        match agent.moor(&bench.dialer, &bench.hub).await {
            Ok(_) => times.admitted += 1,
            Err(_) => record(&mut times.refused, told, Instant::now()),
        }
        act(&mut sender, &bench.operator, &agent.name, "unlock", 0).await?;
    }
    times.tell(report, &NAMES, "all at once: new links that got in");
    Ok(())
}

/// The agents' CA is revoked under all of their links. Nobody renews here, so everybody is given up by name.
async fn authority(bench: &Bench, agents: &[Arc<Agent>], report: &mut Report) -> Result<()> {
    const NAMES: Names = [
        ["agents' CA revoked: agent's end, p50", "CA revoked: agent's end, p99", "CA revoked: the last end, max"],
        ["CA revoked: last byte, p50", "CA revoked: last byte, p99", "CA revoked: the last byte of all, max"],
        ["CA revoked: answer, p50", "CA revoked: answer, p99", "CA revoked: answer, max"],
        ["CA revoked: handshake refused, p50", "CA revoked: handshake, p99", "CA revoked: handshake, max"],
    ];
    let (under_way, mut times) = (bench.under_way(agents).await?, Times::new()?);
    let mut sender = bench.operator.http1().await?;
    let _: Value = ask(&mut sender, &bench.operator, "/api/v1/ca/taint", &json!({})).await?;
    let mut lost: Vec<_> = agents.iter().map(|agent| &*agent.name).collect();
    lost.push("crowded");
    let (moored, watches): (Vec<_>, Vec<_>) = under_way.into_iter().unzip();
    let (told, seen) = (Instant::now(), follow_links(moored.iter().map(|moored: &Moored| &moored.link)));
    let _: Value = ask(&mut sender, &bench.operator, "/api/v1/ca/revoke", &json!({"acceptLost": lost})).await?;
    record(&mut times.answered, told, Instant::now());
    times.all(told, seen, CloseCode::Revoked, watches, "trusted no more").await?;
    let dialled = Instant::now();
    match agents[0].moor(&bench.dialer, &bench.hub).await {
        Ok(_) => times.admitted += 1,
        Err(_) => record(&mut times.refused, dialled, Instant::now()),
    }
    times.tell(report, &NAMES, "CA revoked: new links that got in");
    Ok(())
}

impl Times {
    fn new() -> Result<Self> {
        // Microseconds, up to a minute.
        let times = || Histogram::new_with_bounds(1, 60_000_000, 3);
        Ok(Self { closed: times()?, last_byte: times()?, answered: times()?, refused: times()?, admitted: 0 })
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        self.closed.add(&other.closed)?;
        self.last_byte.add(&other.last_byte)?;
        self.answered.add(&other.answered)?;
        self.refused.add(&other.refused)?;
        self.admitted += other.admitted;
        Ok(())
    }

    /// A thousand links and watches that end at once.
    async fn all(
        &mut self,
        told: Instant,
        mut seen: tokio::sync::mpsc::Receiver<agent::Ended<LinkEnd>>,
        code: CloseCode,
        watches: Vec<Watch>,
        words: &str,
    ) -> Result<()> {
        for _ in 0..LINKS {
            let end = timeout(SOON, seen.recv()).await.context("a link stays")?.context("a link's watcher is gone")?;
            ensure!(end.how == LinkEnd::Peer(code), "a link ended otherwise: {}", end.how);
            record(&mut self.closed, told, end.at);
        }
        for mut watch in watches {
            record(&mut self.last_byte, told, watch.ends(words).await?);
        }
        Ok(())
    }

    fn tell(&self, report: &mut Report, names: &Names, got_in: &'static str) {
        let all = [&self.closed, &self.last_byte, &self.answered, &self.refused];
        for ([p50, p99, max], times) in names.iter().zip(all) {
            report.add(p50, times.value_at_quantile(0.5) as f64 / 1e3, "ms");
            report.add_at_most(p99, times.value_at_quantile(0.99) as f64 / 1e3, "ms", AT_ONCE_MS);
            report.add_at_most(max, times.max() as f64 / 1e3, "ms", AT_ONCE_MS);
        }
        report.add_at_most(got_in, f64::from(self.admitted), "", 0.0);
    }
}

fn record(times: &mut Histogram<u64>, from: Instant, at: Instant) {
    let micros = u64::try_from((at - from).as_micros()).unwrap_or(u64::MAX);
    times.saturating_record(micros.max(1));
}

async fn act(sender: &mut Sender, operator: &HubClient, name: &str, verb: &str, links: u64) -> Result<()> {
    let wish = if verb == "lock" { json!({"reason": "lab"}) } else { json!({}) };
    let acted: ClusterActed = ask(sender, operator, &format!("/api/v1/clusters/{name}/{verb}"), &wish).await?;
    ensure!(acted.links_closed == links, "{verb} closed {} links, not {links}", acted.links_closed);
    Ok(())
}

async fn ask<T: DeserializeOwned>(sender: &mut Sender, operator: &HubClient, path: &str, wish: &Value) -> Result<T> {
    sender.ready().await?;
    let response = sender.send_request(operator.request_h1(Method::POST, path, wish.to_string())).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "POST {path}: {status}: {}", String::from_utf8_lossy(&body));
    Ok(serde_json::from_slice(&body)?)
}
