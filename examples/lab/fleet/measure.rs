//! The order of things: a hub, clusters, agents; then rest, requests, watches, and two restarts of the hub.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Arguments;
use super::hub::{Hub, Restart, add_cluster, dropped_datagrams, usage};
use super::load::{self, Latencies, Probe, ask_at_random, name};
use super::report::Report;
use super::worker::{self, Orders};
use crate::client::HubClient;
use crate::cluster::{Process, write_private};
use crate::janitor::Workspace;

/// Everything that joins or comes back must have done so within this.
const PATIENCE: Duration = Duration::from_secs(600);

/// Agents that join at once: each would have a core of its own, here they share one, and more only wait longer than their deadlines.
const JOINING: usize = 128;

/// How often the hub is asked how many links it has.
const LOOK: Duration = Duration::from_millis(500);

struct Fleet {
    hub: Hub,
    user: HubClient,
    workers: Vec<Process>,
    agents: usize,
    quick: bool,
    gate: PathBuf,
    report: Report,
    dir: Workspace,
    _agents_dir: Workspace,
}

/// Measures everything.
pub(crate) async fn all(arguments: &Arguments) -> Result<Report> {
    let mut fleet = Fleet::start(arguments).await?;
    fleet.rest().await?;
    fleet.requests().await?;
    fleet.watches().await?;
    fleet.storm(None).await?;
    fleet.storm(Some(Duration::from_secs(60))).await?;
    let Fleet { report, workers, .. } = fleet;
    drop(workers);
    Ok(report)
}

/// The program that is measured.
pub(super) fn program(arguments: &Arguments) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let built = || own.ancestors().nth(2).map(|dir| dir.join("roadstead"));
    let program = arguments.roadstead.clone().or_else(built).context("no roadstead program")?;
    ensure!(program.exists(), "{} does not exist: build it, or say --roadstead FILE", program.display());
    Ok(program)
}

impl Fleet {
    async fn start(arguments: &Arguments) -> Result<Self> {
        let agents = if arguments.quick { 1_000 } else { usize::try_from(arguments.agents)? };
        let processes = worker::count(agents)?;
        let own = std::env::current_exe()?;
        let program = program(arguments)?;
        let dir = Workspace::new()?;
        let in_memory = Some(PathBuf::from("/dev/shm")).filter(|dir| dir.is_dir());
        let agents_dir = arguments.agents_dir.clone().or(in_memory).unwrap_or_else(std::env::temp_dir);
        let agents_dir = Workspace::within(&agents_dir)?;
        let hub = Hub::start(&program, dir.path(), "roadstead:view", &[]).await?;
        let mut report = Report::default();
        report.add("agents", agents as f64, "");
        report.add("processes that hold them", processes as f64, "");
        let orders = announce(&hub, agents, processes, agents_dir.path(), &mut report).await?;
        let user = hub.user().await?;
        let workers = Vec::new();
        let quick = arguments.quick;
        let gate = gate(agents_dir.path());
        let mut this = Self { hub, user, workers, agents, quick, gate, report, dir, _agents_dir: agents_dir };
        this.join(&own, orders).await?;
        Ok(this)
    }

    /// Starts all agents, [`JOINING`] at a time: each enrols with its token, dials and says hello.
    async fn join(&mut self, own: &Path, orders: Vec<Orders>) -> Result<()> {
        let before = usage(self.hub.pid())?;
        let started = Instant::now();
        for (number, orders) in orders.iter().enumerate() {
            let file = orders.dir.join(format!("worker-{number}.json"));
            write_private(&file, &serde_json::to_vec(orders)?)?;
            let mut command = Command::new(own);
            command.args(["fleet", "--worker"]).arg(&file);
            // Thousands of agents in one process dial at once. Without this the C library takes the buffers of their sockets from its heap, and
            // clears them there: in a storm they filled the machine's memory.
            command.env("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=262144");
            self.workers.push(Process::spawn(&format!("agents-{number}"), command, self.dir.path())?);
        }
        let back = self.count_links(started).await?;
        let took = back.all.as_secs_f64();
        let after = usage(self.hub.pid())?;
        self.report.add("joined (enrolled, certified, linked), 128 at a time", took, "s");
        self.report.add("joined per second", self.agents as f64 / took, "/s");
        let cpu = (after.cpu - before.cpu).as_secs_f64() * 1e3 / self.agents as f64;
        self.report.add("hub's CPU per join", cpu, "ms");
        // Handshakes and requests leave buffers behind that are gone within seconds, or never.
        sleep(Duration::from_secs(if self.quick { 3 } else { 10 })).await;
        let rest = usage(self.hub.pid())?;
        let each = rest.kilobytes.saturating_sub(before.kilobytes) as f64 / self.agents as f64;
        self.report.add_at_most("hub's memory per idle agent", each, "KB", 40.0);
        self.report.add("hub's memory", rest.kilobytes as f64 / 1024.0, "MB");
        let agents: u64 = self.usage_of_workers()?.1;
        self.report.add("memory per simulated agent, API server included", agents as f64 / self.agents as f64, "KB");
        Ok(())
    }

    fn usage_of_workers(&self) -> Result<(Duration, u64)> {
        let all = self.workers.iter().map(|worker| usage(worker.pid()));
        all.into_iter().try_fold((Duration::ZERO, 0), |(cpu, kilobytes), one| {
            let one = one?;
            Ok((cpu + one.cpu, kilobytes + one.kilobytes))
        })
    }

    /// Nothing but keep-alives.
    async fn rest(&mut self) -> Result<()> {
        let looking = Duration::from_secs(if self.quick { 10 } else { 30 });
        let (hub, workers, started) = (usage(self.hub.pid())?, self.usage_of_workers()?, Instant::now());
        sleep(looking).await;
        let (hub_after, workers_after) = (usage(self.hub.pid())?, self.usage_of_workers()?);
        let share = |cpu: Duration| cpu.as_secs_f64() * 100.0 / started.elapsed().as_secs_f64();
        self.report.add_at_most("hub's CPU at rest, of one core", share(hub_after.cpu - hub.cpu), "%", 10.0);
        self.report.add("agents' CPU at rest, all of them", share(workers_after.0 - workers.0), "%");
        ensure!(self.hub.links()? == self.agents, "links were lost at rest: {} are left", self.hub.links()?);
        Ok(())
    }

    async fn requests(&mut self) -> Result<()> {
        let count = if self.quick { 1_000 } else { 5_000 };
        let first = ask_at_random(&self.user, self.agents, count, "/version").await?;
        self.report.add("requests to random clusters, each answered by it", first.len() as f64, "");
        self.quantiles(["GET /version, p50", "GET /version, p99"], &first);
        let small = ask_at_random(&self.user, self.agents, count, "/api/v1/namespaces/default").await?;
        self.quantiles(["GET of an object, p50", "GET of an object, p99"], &small);
        let list = ask_at_random(&self.user, self.agents, count / 5, "/api/v1/configmaps").await?;
        self.quantiles(["list of 120 KB, p50", "list of 120 KB, p99"], &list);
        Ok(())
    }

    fn quantiles(&mut self, [p50, p99]: [&'static str; 2], latencies: &Latencies) {
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
        self.report.add(p50, at(0.5), "ms");
        self.report.add(p99, at(0.99), "ms");
    }

    async fn watches(&mut self) -> Result<()> {
        let (count, rate, lasting) = (200.min(self.agents), 2, Duration::from_secs(10));
        let watched = load::watch(&self.user, self.agents, (count, rate), lasting).await?;
        self.report.add("watches of random clusters, 2 events a second each", count as f64, "");
        self.report.add("events without a gap", watched.events as f64, "");
        self.quantiles(["event to watcher, p50", "event to watcher, p99"], &watched.latencies);
        Ok(())
    }

    /// The hub ends and comes back: killed, or in order.
    async fn storm(&mut self, in_order: Option<Duration>) -> Result<()> {
        let dropped = dropped_datagrams()?;
        let restart = self.hub.restart(in_order).await?;
        let probe = Probe::start(&self.user, self.agents);
        let back = self.count_links(restart.listening).await?;
        // Clusters that came last are asked, too.
        sleep(Duration::from_secs(1)).await;
        let seen = probe.finish().await?;
        let cpu = usage(self.hub.pid())?.cpu;
        let names = if in_order.is_some() { &STOPPED } else { &KILLED };
        self.tell(names, restart, back);
        self.report.add(names[4], cpu.as_secs_f64() * 1e3 / self.agents as f64, "ms");
        self.quantiles([names[5], names[6]], &seen.returned);
        for (what, times) in &seen.failed {
            eprintln!("fleet: to a cluster that was back, {times} times: {what}");
        }
        self.report.add_at_most(names[7], seen.failed.values().sum::<u64>() as f64, "", 0.0);
        self.report.add_at_most(names[8], seen.wrong as f64, "", 0.0);
        self.report.add(names[9], (dropped_datagrams()? - dropped) as f64, "");
        ask_at_random(&self.user, self.agents, 500, "/version").await?;
        self.workers.iter_mut().try_for_each(Process::check)
    }

    fn tell(&mut self, names: &[&'static str; 10], restart: Restart, back: Back) {
        let away = restart.listening - restart.told;
        eprintln!("fleet: the hub ended in {:.2?}", restart.ended - restart.told);
        self.report.add(names[0], away.as_secs_f64(), "s");
        self.report.add(names[1], back.p50.as_secs_f64(), "s");
        self.report.add(names[2], back.p99.as_secs_f64(), "s");
        self.report.add_at_most(names[3], back.all.as_secs_f64(), "s", 30.0);
    }

    /// How long after `since` half, nearly all and all agents had a link.
    async fn count_links(&mut self, since: Instant) -> Result<Back> {
        let (mut p50, mut p99, mut told) = (None, None, Instant::now());
        loop {
            let links = self.hub.links()?;
            let each = (links + JOINING).div_ceil(self.workers.len());
            write_private(&self.gate.with_extension("part"), each.to_string().as_bytes())?;
            std::fs::rename(self.gate.with_extension("part"), &self.gate)?;
            let now = since.elapsed();
            if told.elapsed() > Duration::from_secs(5) {
                eprintln!("fleet: {links} of {} after {now:.1?}", self.agents);
                told = Instant::now();
            }
            if links * 2 >= self.agents {
                p50.get_or_insert(now);
            }
            if links * 100 >= self.agents * 99 {
                p99.get_or_insert(now);
            }
            if links >= self.agents {
                return Ok(Back { p50: p50.unwrap_or(now), p99: p99.unwrap_or(now), all: now });
            }
            ensure!(now < PATIENCE, "after {now:.0?} only {links} of {} have a link", self.agents);
            self.workers.iter_mut().try_for_each(Process::check)?;
            sleep(LOOK).await;
        }
    }
}

/// Where the workers read how many of their agents may have started.
fn gate(dir: &Path) -> PathBuf {
    dir.join("started")
}

const KILLED: [&str; 10] = [
    "hub killed: listens again after",
    "hub killed: half of the agents back, from listening",
    "hub killed: 99 % back",
    "hub killed: all back",
    "hub killed: its CPU per returning agent",
    "hub killed: requests to returned clusters, p50",
    "hub killed: requests to returned clusters, p99",
    "hub killed: requests to returned clusters that failed",
    "hub killed: answers of a wrong cluster",
    "hub killed: datagrams dropped on this machine",
];

const STOPPED: [&str; 10] = [
    "hub restarted: listens again after",
    "hub restarted: half of the agents back, from listening",
    "hub restarted: 99 % back",
    "hub restarted: all back",
    "hub restarted: its CPU per returning agent",
    "hub restarted: requests to returned clusters, p50",
    "hub restarted: requests to returned clusters, p99",
    "hub restarted: requests to returned clusters that failed",
    "hub restarted: answers of a wrong cluster",
    "hub restarted: datagrams dropped on this machine",
];

/// When agents had a link.
#[derive(Clone, Copy, Debug)]
struct Back {
    p50: Duration,
    p99: Duration,
    all: Duration,
}

/// Announces all clusters, and writes down who is to hold which.
async fn announce(hub: &Hub, agents: usize, processes: usize, dir: &Path, report: &mut Report) -> Result<Vec<Orders>> {
    let (before, started) = (usage(hub.pid())?, Instant::now());
    let next = Arc::new(AtomicUsize::new(0));
    let operator = hub.operator()?;
    let mut tasks = JoinSet::new();
    for _ in 0..32 {
        let (operator, next) = (operator.clone(), next.clone());
        tasks.spawn(async move {
            let mut sender = operator.http1().await?;
            let mut added = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= agents {
                    return Ok::<_, anyhow::Error>(added);
                }
                added.push(add_cluster(&mut sender, &operator, &name(number)).await?);
            }
        });
    }
    let mut added = Vec::new();
    while let Some(some) = tasks.join_next().await {
        added.extend(some??);
    }
    report.add("clusters announced per second", agents as f64 / started.elapsed().as_secs_f64(), "/s");
    let grown = usage(hub.pid())?.kilobytes.saturating_sub(before.kilobytes);
    report.add("hub's memory per announced cluster", grown as f64 / agents as f64, "KB");
    let pin = added.first().context("no clusters")?.hub_ca_pin.clone();
    let tokens: Vec<_> = added.iter().map(|one| (one.name.clone(), one.token.expose().to_owned())).collect();
    let (host, port) = (hub.address.ip().to_string(), hub.address.port());
    let order = |agents: &[_]| Orders {
        host: host.clone(),
        port,
        pin: pin.clone(),
        dir: dir.to_owned(),
        gate: gate(dir),
        agents: agents.to_vec(),
    };
    Ok(tokens.chunks(agents.div_ceil(processes)).map(order).collect())
}
