//! What tests do to a running [`Environment`]: end its processes in every way there is, and start them again as they were.

#![allow(dead_code, reason = "the quickstart itself only starts and ends everything")]

use std::ffi::OsStr;
use std::net::TcpStream;

use super::super::cluster::signal;
use super::*;

/// One process of the environment that can be broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// The hub.
    Hub,
    /// The agent of a cluster, counted from 0.
    Agent(usize),
}

impl Environment {
    /// A file or directory of this environment.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.workspace.path().join(name)
    }

    /// The hub's URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The process id of a part.
    pub(crate) fn pid(&self, part: Part) -> u32 {
        self.process(part).pid()
    }

    /// The end of a part's log.
    pub(crate) fn log_tail(&self, part: Part) -> String {
        self.process(part).log_tail()
    }

    /// Sends a signal by name (`KILL`, `STOP`, `CONT`, …); does not wait for what it does.
    pub(crate) fn signal(&self, part: Part, name: &str) -> Result<()> {
        signal(self.pid(part), name)
    }

    /// SIGTERM, and waits for the end, at most so long.
    pub(crate) fn ask_to_end(&mut self, part: Part, within: Duration) {
        match part {
            Part::Hub => self.hub.ask_to_end(within),
            Part::Agent(index) => self.agents[index].ask_to_end(within),
        }
    }

    /// Starts a part again, with the same data and addresses; kills it first if it still runs.
    pub(crate) fn start_again(&mut self, part: Part) -> Result<()> {
        // A process that is stopped or dead already takes the signal just as well.
        let _ = self.signal(part, "KILL");
        let dir = self.workspace.path();
        match part {
            Part::Hub => {
                while self.hub.check().is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let data = self.file("hub");
                let listen = self.url.trim_start_matches("https://");
                let command = hub_command(&self.roadstead, &data, listen);
                self.hub = Process::spawn("hub", command, dir)?;
            }
            Part::Agent(index) => {
                let name = self.agents[index].name().to_owned();
                self.agents[index] = Process::spawn(&name, bound_to_us(&self.agent_commands[index]), dir)?;
            }
        }
        Ok(())
    }

    /// Ends the hub and starts one at its address from other data, by a command that runs it or by none; [`Self::start_again`] brings
    /// the own one back.
    pub(crate) fn other_hub(&mut self, data: &Path, by: &[&str]) -> Result<()> {
        // Dead already, or not: its port must be free.
        let _ = self.signal(Part::Hub, "KILL");
        while self.hub.check().is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let own = hub_command(&self.roadstead, data, self.url.trim_start_matches("https://"));
        let mut command = Command::new(by.first().map_or(own.get_program(), OsStr::new));
        if let Some((_, arguments)) = by.split_first() {
            command.args(arguments).arg(own.get_program());
        }
        command.args(own.get_args());
        for (name, _) in own.get_envs().filter(|(_, value)| value.is_none()) {
            command.env_remove(name);
        }
        self.hub = Process::spawn("hub", command, self.workspace.path())?;
        Ok(())
    }

    /// Until the hub's port takes connections.
    pub(crate) fn wait_listening(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect(self.url.trim_start_matches("https://")).is_err() {
            self.hub.check()?;
            ensure!(Instant::now() < deadline, "the hub does not listen: {}", self.hub.log_tail());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The control plane of a cluster, counted from 0.
    pub(crate) fn plane(&mut self, index: usize) -> Result<&mut ControlPlane> {
        self.members[index].plane.as_mut().context("a cluster that was not started here")
    }

    /// Starts whatever does not run, and waits until every cluster answers through the hub.
    pub(crate) fn mend(&mut self) -> Result<()> {
        let parts: Vec<Part> = [Part::Hub].into_iter().chain((0..self.agents.len()).map(Part::Agent)).collect();
        for part in parts {
            let _ = self.signal(part, "CONT");
            let process = match part {
                Part::Hub => &mut self.hub,
                Part::Agent(index) => &mut self.agents[index],
            };
            if process.check().is_err() {
                self.start_again(part)?;
            }
        }
        for member in &mut self.members {
            if let Some(plane) = member.plane.as_mut().filter(|plane| plane.apiserver_pid().is_none()) {
                plane.restart_apiserver()?;
            }
        }
        self.wait_listening()?;
        self.wait_connected()
    }

    /// `roadstead` as the hub's administrator.
    pub(crate) fn operator(&self) -> Command {
        roadstead(&self.roadstead, &self.file("hub/admin.yaml"))
    }

    /// `roadstead agent` for a cluster that is announced here and lives elsewhere; the caller starts it. It dials `url`.
    pub(crate) fn agent_for(&self, name: &str, kubeconfig: &Path, url: &str) -> Result<Command> {
        let mut add = self.operator();
        add.args(["cluster", "add", name, "--output", "json"]);
        let added: Added = serde_json::from_str(&succeed(add.output()?, "roadstead cluster add")?)?;
        agent_command(&self.roadstead, self.workspace.path(), name, &added, url, kubeconfig)
    }

    fn process(&self, part: Part) -> &Process {
        match part {
            Part::Hub => &self.hub,
            Part::Agent(index) => &self.agents[index],
        }
    }
}
