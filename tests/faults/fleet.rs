//! A hub and its clusters that are to be broken, and how their processes are looked at. `lab faults` uses it, too.

#![allow(clippy::disallowed_methods, reason = "processes are waited for in real time")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Arguments;
use super::client::HubClient;
use super::cluster::Options;
pub(crate) use super::environment::Part;
use super::environment::{Environment, Way};
use super::janitor::Workspace;
pub(crate) use super::noise::Noise;

/// The cluster with pods and an audit log.
pub(crate) const EDGE_1: Part = Part::Agent(0);
/// A bare control plane.
pub(crate) const EDGE_2: Part = Part::Agent(1);

/// Bytes in the namespace `bulk` of each of them.
pub(crate) const BULK: usize = 50 << 20;

/// A hub with edge-1 and edge-2.
pub(crate) struct Fleet {
    pub(crate) environment: Environment,
    /// Resident kilobytes of hub and of both agents, before any test ran.
    pub(crate) at_rest: [u64; 3],
    clusters: usize,
    bulk: bool,
    _copy: Workspace,
}

/// Prints a figure, past the capture of the test runner: it is a result.
pub(crate) fn figure(text: &str) {
    let _ = writeln!(std::io::stderr(), "figure: {text}");
}

impl Fleet {
    /// A fleet of `clusters`, the first of them with pods and an audit log if `pods` says so; agents dial as `way` says.
    pub(crate) fn start(program: &Path, clusters: u16, pods: bool, way: Way<'_>) -> Result<Self> {
        // Another build may replace the program under our feet; this copy is the one that is judged, restarts included.
        let copy = Workspace::new()?;
        let roadstead = copy.path().join("roadstead");
        fs::copy(program, &roadstead)?;
        let arguments = Arguments { clusters, pods, kubeconfig: None, roadstead };
        let adapt = |mut options: Options| {
            options.pods = pods && options.name == "edge-1";
            options.audit_log = options.pods;
            options
        };
        let environment = Environment::start_with(&arguments, &adapt, way)?;
        Ok(Self { environment, clusters: clusters.into(), at_rest: [0; 3], bulk: false, _copy: copy })
    }

    /// `kubectl` through the hub.
    pub(crate) fn kubectl(&self, cluster: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.environment.file("bin/kubectl"));
        command.args(["--context", cluster]).args(args).stdin(Stdio::null());
        command.envs(self.environment.variables().expect("the environment has variables"));
        command
    }

    /// The namespace `bulk` of every cluster: [`BULK`] bytes of ConfigMaps that do not compress.
    pub(crate) fn with_bulk(&mut self) -> Result<()> {
        if self.bulk {
            return Ok(());
        }
        const EACH: usize = 900 << 10;
        let mut noise = Noise(0x2545_F491_4F6C_DD1D);
        let mut items = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bulk"}})];
        for number in 0..=BULK / EACH {
            let text: String = (0..EACH).map(|_| letter(&mut noise)).collect();
            let metadata = json!({"name": format!("bulk-{number}"), "namespace": "bulk"});
            items.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"noise": text}}));
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        let file = self.environment.file("bulk.json");
        fs::write(&file, list.to_string())?;
        for index in 0..self.clusters {
            self.environment.plane(index)?.kubectl_ok(&["create", "-f", &file.display().to_string()])?;
        }
        self.bulk = true;
        Ok(())
    }

    /// One of the hub's metrics, labels and all, as its text names it; 0 when it is not there yet.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        self.metric_of(&self.environment.file("hub"), name)
    }

    /// The same of the hub that has its data in `dir`.
    pub(crate) fn metric_of(&self, dir: &Path, name: &str) -> Result<f64> {
        let text = fs::read_to_string(dir.join("endpoints.json"))?;
        let endpoints: Value = serde_json::from_str(&text)?;
        let address = endpoints["admin"].as_str().context("endpoints.json has no admin address")?;
        let mut tcp = std::net::TcpStream::connect(address)?;
        write!(tcp, "GET /metrics HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut tcp, &mut text)?;
        ensure!(text.starts_with("HTTP/1.1 200"), "no metrics: {text:.200}");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        Ok(value.unwrap_or(0.0))
    }

    /// The audit events of edge-1 whose URI has `marker`, as (stage, Unix time of the stage in ms).
    pub(crate) fn audited(&mut self, marker: &str) -> Result<Vec<(String, i128)>> {
        let path = self.environment.plane(0)?.audit_log();
        let text = fs::read_to_string(path)?;
        let mut events = Vec::new();
        for line in text.lines().filter(|line| line.contains(marker) && line.ends_with('}')) {
            let event: Value = serde_json::from_str(line)?;
            // A watch begins with a list, which is not meant.
            let meant =
                |uri: &str| uri.contains(marker) && (uri.contains("watch=true") || !uri.contains("fieldSelector"));
            if event["requestURI"].as_str().is_some_and(meant) {
                let at = event["stageTimestamp"].as_str().context("no stageTimestamp")?;
                let at = time::OffsetDateTime::parse(at, &time::format_description::well_known::Rfc3339)?;
                let stage = event["stage"].as_str().unwrap_or_default().to_owned();
                events.push((stage, at.unix_timestamp_nanos() / 1_000_000));
            }
        }
        Ok(events)
    }

    /// Whether the hub says that a cluster has a live link.
    pub(crate) fn says_connected(&self, cluster: &str) -> Result<bool> {
        let mut show = self.environment.operator();
        let output = show.args(["cluster", "show", cluster, "--output", "json"]).output()?;
        let view: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        view["connected"].as_bool().context("the hub does not say")
    }

    /// A new file's path.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.environment.file(name)
    }
}

impl HubClient {
    /// With the token of the quickstart's people.
    pub(crate) fn new(fleet: &Fleet) -> Result<Self> {
        let client: Value = serde_json::from_str(&fs::read_to_string(fleet.file("client.yaml"))?)?;
        let token = client["token"].as_str().context("client.yaml has no token")?;
        let address = fleet.environment.url().trim_start_matches("https://").parse()?;
        Self::of(address, token, &fleet.file("hub/hub-ca.pem"))
    }
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, within: Duration, mut so: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let started = Instant::now();
    while !so()? {
        ensure!(started.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(started.elapsed())
}

/// A command that is killed when nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(command.spawn()?))
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            match self.0.try_wait()? {
                Some(status) => return Ok(status),
                None if Instant::now() > deadline => bail!("still running after {within:?}"),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Resident kilobytes of a process.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// Open file descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Unix time in milliseconds.
pub(crate) fn unix_ms() -> i128 {
    time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000
}

fn letter(noise: &mut Noise) -> char {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    char::from(LETTERS[(noise.next() >> 20) as usize % 64])
}
