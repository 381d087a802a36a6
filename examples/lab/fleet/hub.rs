//! The hub under test: the real program with its real store, in a directory of ours; and what it takes of the machine.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use http_body_util::BodyExt;
use roadstead::hub::api_types::{ClusterCreate, ClusterCreated, TokenCreate, TokenCreated};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::client::HubClient;
use crate::cluster::{Process, signal};

/// How long a hub may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Who the fleet's user is: a group, and in the grant below.
const GROUP: &str = "fleet";

/// A hub that runs.
#[derive(Debug)]
pub(crate) struct Hub {
    process: Process,
    program: PathBuf,
    dir: PathBuf,
    flags: Vec<String>,
    /// HTTPS and links.
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
}

/// What a process has taken so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// On any core.
    pub(crate) cpu: Duration,
    /// Resident.
    pub(crate) kilobytes: u64,
}

impl Hub {
    /// Starts a hub with one grant: the fleet's user may do everything everywhere, as a group of this name in each cluster.
    pub(crate) async fn start(program: &Path, dir: &Path, as_group: &str, flags: &[&str]) -> Result<Self> {
        let data = dir.join("hub");
        fs::create_dir_all(&data)?;
        let grant = json!({
            "apiVersion": "roadstead.dev/v1", "kind": "Grant", "metadata": {"name": GROUP},
            "spec": {
                "subjects": [{"group": format!("token:{GROUP}")}], "clusters": {"all": true},
                "as": {"user": "roadstead:user", "groups": [as_group]}, "capabilities": ["*"],
            },
        });
        fs::write(data.join("grants.yaml"), grant.to_string())?;
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let process = spawn(program, dir, "127.0.0.1:0", &flags)?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (program, dir) = (program.to_owned(), dir.to_owned());
        let mut this = Self { process, program, dir, flags, address: nowhere, admin: nowhere };
        this.wait_listening().await?;
        Ok(this)
    }

    /// Ends it at once, or in order and at most this long; then starts it again with the same data and address. Returns when each happened.
    pub(crate) async fn restart(&mut self, in_order: Option<Duration>) -> Result<Restart> {
        let told = Instant::now();
        match in_order {
            Some(within) => self.process.ask_to_end(within),
            None => signal(self.process.pid(), "KILL")?,
        }
        while self.process.check().is_ok() {
            ensure!(told.elapsed() < READY_WITHIN, "the hub does not end: {}", self.process.log_tail());
            sleep(Duration::from_millis(5)).await;
        }
        let ended = Instant::now();
        // Gone already where the hub was killed before it wrote it.
        let _ = fs::remove_file(self.dir.join("hub/endpoints.json"));
        self.process = spawn(&self.program, &self.dir, &self.address.to_string(), &self.flags)?;
        self.wait_listening().await?;
        Ok(Restart { told, ended, listening: Instant::now() })
    }

    async fn wait_listening(&mut self) -> Result<()> {
        let started = Instant::now();
        let data = self.dir.join("hub");
        loop {
            if let (Ok(text), true) =
                (fs::read_to_string(data.join("endpoints.json")), data.join("admin.yaml").exists())
            {
                let endpoints: Value = serde_json::from_str(&text).context("reading the hub's endpoints.json")?;
                let address = |key: &str| endpoints[key].as_str().and_then(|text| text.parse().ok());
                self.address = address("listen").context("no address")?;
                self.admin = address("admin").context("no admin address")?;
                return Ok(());
            }
            self.process.check()?;
            ensure!(started.elapsed() < READY_WITHIN, "the hub does not listen: {}", self.process.log_tail());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// A client with the administrator's token.
    pub(crate) fn operator(&self) -> Result<HubClient> {
        let text = fs::read_to_string(self.admin_config())?;
        let token = text.lines().find_map(|line| line.strip_prefix("token: ")).context("admin.yaml has no token")?;
        self.client(token)
    }

    /// A client of the fleet's user.
    pub(crate) async fn user(&self) -> Result<HubClient> {
        self.client(&self.user_token().await?)
    }

    /// A token of the fleet's user.
    pub(crate) async fn user_token(&self) -> Result<String> {
        let wish = TokenCreate {
            user: "lab".to_owned(),
            groups: vec![GROUP.to_owned()],
            admin: false,
            ttl_seconds: Some(86_400),
        };
        let operator = self.operator()?;
        let created: TokenCreated = post(&mut operator.http1().await?, &operator, "/api/v1/tokens", &wish).await?;
        Ok(created.token.expose().to_owned())
    }

    /// The roots that people are to trust now.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.join("hub/hub-ca.pem")
    }

    /// The administrator's configuration.
    pub(crate) fn admin_config(&self) -> PathBuf {
        self.dir.join("hub/admin.yaml")
    }

    /// What it logged.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("logs/hub.log")
    }

    /// # Errors
    /// When it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    fn client(&self, token: &str) -> Result<HubClient> {
        HubClient::of(self.address, token, &self.ca_file())
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Links with an agent that said hello, as its metrics say.
    pub(crate) fn links(&self) -> Result<usize> {
        self.metric("roadstead_links").map(|links| links as usize)
    }

    /// The sum of a metric over its labels; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let mut tcp = TcpStream::connect(self.admin)?;
        tcp.set_read_timeout(Some(READY_WITHIN))?;
        write!(tcp, "GET /metrics HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        tcp.read_to_string(&mut text).with_context(|| format!("the hub shows no metrics within {READY_WITHIN:?}"))?;
        ensure!(text.starts_with("HTTP/1.1 200"), "no metrics: {text:.200}");
        let of = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let values =
            text.lines().filter(|line| of(line)).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        Ok(values.fold(0.0, |sum, value| sum + value))
    }
}

/// When a hub was told to end, was gone, and listened again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restart {
    pub(crate) told: Instant,
    pub(crate) ended: Instant,
    pub(crate) listening: Instant,
}

fn spawn(program: &Path, dir: &Path, listen: &str, flags: &[String]) -> Result<Process> {
    // The agents would be on other machines: here they must not keep the hub from its core. Without the right to it, nice only complains.
    let mut command = Command::new("nice");
    command
        .args(["-n", "-10"])
        .arg(program)
        .args(["hub", "--listen", listen, "--admin-listen", "127.0.0.1:0", "--data"])
        .arg(dir.join("hub"))
        .args(flags);
    Process::spawn("hub", command, dir)
}

/// A connection to the hub.
pub(crate) type Sender = hyper::client::conn::http1::SendRequest<http_body_util::Full<bytes::Bytes>>;

/// Announces a cluster.
pub(crate) async fn add_cluster(sender: &mut Sender, client: &HubClient, name: &str) -> Result<ClusterCreated> {
    let wish = ClusterCreate { name: name.to_owned(), ..ClusterCreate::default() };
    post(sender, client, "/api/v1/clusters", &wish).await
}

/// Sends something to the hub's API, and reads its answer.
pub(crate) async fn post<T: DeserializeOwned>(
    sender: &mut Sender,
    client: &HubClient,
    path: &str,
    wish: &impl Serialize,
) -> Result<T> {
    sender.ready().await?;
    let request = client.request_h1(Method::POST, path, serde_json::to_vec(wish)?);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "POST {path}: {status}: {}", String::from_utf8_lossy(&body));
    Ok(serde_json::from_slice(&body)?)
}

/// What a process takes now.
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    // Fields 14 and 15, after the name, which ends with the last bracket (proc_pid_stat(5)); Linux counts 100 ticks a second.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(Usage { cpu: Duration::from_millis((ticks(11) + ticks(12)) * 10), kilobytes })
}

/// Datagrams that this machine dropped because a socket's buffer was full (`/proc/net/snmp`): everybody's, not only ours.
pub(crate) fn dropped_datagrams() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/snmp")?;
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, values) = (rows.next().unwrap_or_default(), rows.next().unwrap_or_default());
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    let value = columns.find(|(name, _)| *name == "RcvbufErrors").and_then(|(_, value)| value.parse().ok());
    value.context("no RcvbufErrors in /proc/net/snmp")
}
