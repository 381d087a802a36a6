//! What is broken: a hub, edge-1 with a real API server, and stand-ins; each agent behind a network of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::holes::Holes;
use super::parts::client::{HubClient, answers};
use super::parts::cluster::{Process, bound_to_us, write_private};
use super::parts::fleet::Fleet;
use super::parts::origin::{Manners, Origin};
use crate::network::relay::Relay;
use crate::network::rules::Rules;

/// How long a cluster may take to answer again after everything was mended.
const BACK_WITHIN: Duration = Duration::from_secs(40);

/// Everything that a row may break.
pub(super) struct World {
    pub(super) fleet: Fleet,
    /// Between the agent of edge-1 and the hub.
    pub(super) relay: Relay,
    pub(super) origin: Origin,
    stand_ins: Vec<StandIn>,
    pub(super) quick: bool,
    pub(super) seed: u64,
    /// How many loads ran so far; each has its own objects.
    pub(super) loads: u32,
    /// The rows about black holes wait at the same time.
    pub(super) holes: Option<Holes>,
}

/// An agent of a cluster whose API server is the stand-in.
pub(super) struct StandIn {
    pub(super) name: String,
    pub(super) relay: Relay,
    pub(super) process: Process,
    pub(super) command: Command,
    log: PathBuf,
}

impl StandIn {
    /// Everything that its agent has said.
    pub(super) fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("reading the log of {}", self.name))
    }
}

impl World {
    /// Starts hub, edge-1 and the relay between them; stand-ins come when they are wanted.
    pub(super) fn start(program: &Path, quick: bool, seed: u64) -> Result<Self> {
        let mut relay = None;
        let mut way = |_: &str, url: &str| -> Result<String> {
            let one = relay_to(url, seed)?;
            let url = format!("https://{}", one.address());
            relay = Some(one);
            Ok(url)
        };
        let fleet = Fleet::start(program, 1, false, &mut way)?;
        let origin = Origin::start(Manners::default())?;
        let relay = relay.context("no agent was started")?;
        Ok(Self { fleet, relay, origin, stand_ins: Vec::new(), quick, seed, loads: 0, holes: None })
    }

    /// The stand-ins `0..=index`, whole and answering.
    pub(super) fn stand_ins(&mut self, count: usize) -> Result<&mut [StandIn]> {
        while self.stand_ins.len() < count {
            let name = format!("stand-in-{}", self.stand_ins.len() + 1);
            let one = self.start_stand_in(&name, &self.origin)?;
            self.stand_ins.push(one);
        }
        for one in &self.stand_ins[..count] {
            self.answers(&one.name, BACK_WITHIN).with_context(|| one.process.log_tail())?;
        }
        Ok(&mut self.stand_ins[..count])
    }

    /// The first stand-in with a new link, on a path that is so from the link's first packet on: what a link learnt of another path it
    /// would not forget.
    pub(super) fn on_path(&mut self, rules: Rules) -> Result<&StandIn> {
        self.stand_ins(1)?;
        let dir = self.fleet.file("");
        let one = &mut self.stand_ins[0];
        one.relay.set_both(rules)?;
        one.process.ask_to_end(BACK_WITHIN);
        one.process = Process::spawn(&format!("agent-{}", one.name), bound_to_us(&one.command), &dir)?;
        self.answers("stand-in-1", BACK_WITHIN)?;
        Ok(&self.stand_ins[0])
    }

    /// Both, to be looked at together.
    pub(super) fn fleet_and_stand_ins(&self) -> (&Fleet, &[StandIn]) {
        (&self.fleet, &self.stand_ins)
    }

    /// A client of the hub that is allowed everything.
    pub(super) fn client(&self) -> Result<HubClient> {
        HubClient::new(&self.fleet)
    }

    /// An agent in front of `origin`.
    pub(super) fn start_stand_in(&self, name: &str, origin: &Origin) -> Result<StandIn> {
        let (relay, command) = self.announce(name, origin)?;
        let process = Process::spawn(&format!("agent-{name}"), bound_to_us(&command), &self.fleet.file(""))?;
        let log = self.fleet.file(&format!("logs/agent-{name}.log"));
        Ok(StandIn { name: name.to_owned(), relay, process, command, log })
    }

    /// An agent that the hub expects; the caller starts it.
    pub(super) fn announce(&self, name: &str, origin: &Origin) -> Result<(Relay, Command)> {
        let kubeconfig = self.fleet.file(&format!("{name}.kubeconfig"));
        write_private(&kubeconfig, origin.kubeconfig().to_string().as_bytes())?;
        let relay = relay_to(self.fleet.environment.url(), self.seed)?;
        let url = format!("https://{}", relay.address());
        let command = self.fleet.environment.agent_for(name, &kubeconfig, &url)?;
        Ok((relay, command))
    }

    /// Until a cluster answers through the hub; how long that took.
    pub(super) fn answers(&self, cluster: &str, within: Duration) -> Result<Duration> {
        answers(&self.client()?, cluster, within)
    }

    /// Whole again: the network does nothing, everything runs, every cluster answers.
    pub(super) fn mend(&mut self) -> Result<()> {
        for relay in self.stand_ins.iter().map(|one| &one.relay).chain([&self.relay]) {
            relay.set_both(Rules::default())?;
            relay.block_udp(false)?;
        }
        self.fleet.environment.mend()?;
        let dir = self.fleet.file("");
        for one in &mut self.stand_ins {
            if one.process.check().is_err() {
                one.process = Process::spawn(&format!("agent-{}", one.name), bound_to_us(&one.command), &dir)?;
            }
        }
        self.stand_ins(self.stand_ins.len()).map(drop)
    }
}

/// A relay in front of a hub.
pub(super) fn relay_to(url: &str, seed: u64) -> Result<Relay> {
    let hub: SocketAddr = url.trim_start_matches("https://").parse()?;
    Relay::start("127.0.0.1:0".parse()?, hub, seed)
}
