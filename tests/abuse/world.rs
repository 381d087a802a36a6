//! A real hub and real agents as processes, with people who hold tokens. Knows how to set up, not what is tested.

use std::{
    fs::{self, File, OpenOptions},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    origin::Origin,
    raw::{Door, Reply},
};

/// How long a process may take to get somewhere, beside compilers on two cores.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who may what. `alice` may do everything but be `system:`; `bob` only reads; `carol` also execs.
pub(crate) const GRANTS: &str = r#"
apiVersion: roadstead.dev/v1
kind: Grant
metadata: {name: all}
spec:
  subjects: [{user: "token:alice"}]
  clusters: {all: true}
  as: {user: "roadstead:user", groups: ["roadstead:all"]}
  capabilities: ["*"]
  impersonate: {users: ["dave"], groups: ["dev"]}
---
apiVersion: roadstead.dev/v1
kind: Grant
metadata: {name: readers}
spec:
  subjects: [{user: "token:bob"}]
  clusters: {names: [edge-1]}
  as: {groups: ["roadstead:view"]}
  capabilities: [read]
"#;

/// A child that does not outlive its test.
pub(crate) struct Process {
    child: Child,
    pub(crate) log: PathBuf,
}

impl Process {
    pub(crate) fn spawn(name: &str, arguments: &[&str], log_level: &str, dir: &Path) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_roadstead"))
            .args(arguments)
            .env_clear()
            .env("ROADSTEAD_LOG", log_level)
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub(crate) fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Resident memory, bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) << 10
    }

    /// Open file descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// SIGTERM, and its end.
    pub(crate) async fn end(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        until("the process ends", || matches!(self.child.try_wait(), Ok(Some(_)))).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a state, in small steps.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A hub that runs.
pub(crate) struct Hub {
    pub(crate) process: Process,
    pub(crate) dir: TempDir,
    pub(crate) door: Door,
    /// The administrator's token.
    pub(crate) admin: String,
    metrics: SocketAddr,
}

/// A cluster that was announced.
pub(crate) struct Announced {
    pub(crate) uid: String,
    pub(crate) token: String,
    pub(crate) pin: String,
}

impl Hub {
    pub(crate) async fn start(log_level: &str) -> Self {
        Self::start_with(&[], log_level).await
    }

    /// Starts with these flags beside the usual ones.
    pub(crate) async fn start_with(flags: &[&str], log_level: &str) -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("data/grants.yaml"), GRANTS).unwrap();
        Self::start_at(dir, flags, log_level).await
    }

    /// Starts with whatever the directory holds.
    pub(crate) async fn start_in(dir: TempDir, log_level: &str) -> Self {
        Self::start_at(dir, &[], log_level).await
    }

    async fn start_at(dir: TempDir, more: &[&str], log_level: &str) -> Self {
        let data = dir.path().join("data");
        let _ = fs::remove_file(data.join("endpoints.json"));
        let usual =
            ["hub", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let flags = [&usual, more].concat();
        let mut process = Process::spawn("hub", &flags, log_level, dir.path());
        until("the hub listens", || {
            assert!(process.alive(), "hub ended: {}", process.said());
            data.join("endpoints.json").exists()
        })
        .await;
        let endpoints: Value = serde_json::from_slice(&fs::read(data.join("endpoints.json")).unwrap()).unwrap();
        let address = endpoints["listen"].as_str().unwrap().parse().unwrap();
        let metrics = endpoints["admin"].as_str().unwrap().parse().unwrap();
        let ca = fs::read_to_string(data.join("hub-ca.pem")).unwrap();
        let admin = fs::read_to_string(data.join("admin.yaml")).unwrap();
        let admin = admin.lines().find_map(|l| l.strip_prefix("token: ")).unwrap().to_owned();
        Self { process, dir, door: Door { address, ca, from: Ipv4Addr::LOCALHOST }, admin, metrics }
    }

    /// The names and labels of all metrics.
    pub(crate) async fn series(&self) -> Vec<String> {
        let lines = self.samples().await;
        lines.into_iter().map(|(series, _)| series).collect()
    }

    /// One metric, labels and all as its text names it; 0 when it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        metric(self.metrics, name).await
    }

    async fn samples(&self) -> Vec<(String, String)> {
        samples(self.metrics).await
    }

    /// A request of the hub's own API by its administrator; status and body.
    pub(crate) async fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let reply = self.post(method, path, &self.admin, &body).await;
        (reply.status(), serde_json::from_slice(&reply.first().body).unwrap_or(Value::Null))
    }

    pub(crate) async fn post(&self, method: &str, path: &str, token: &str, body: &str) -> Reply {
        ask(&self.door, (method, path), token, body).await
    }

    /// Runs a command to its end, as the administrator.
    pub(crate) fn roadstead(&self, arguments: &[&str]) -> Output {
        roadstead(&self.dir.path().join("data"), arguments)
    }

    pub(crate) async fn announce(&self, name: &str) -> Announced {
        let (status, created) = self.api("POST", "/api/v1/clusters", &json!({"name": name, "ttlSeconds": 600})).await;
        assert_eq!(status, 201, "{created}");
        let text = |key: &str| created[key].as_str().unwrap().to_owned();
        Announced { uid: text("uid"), token: text("token"), pin: text("hubCaPin") }
    }

    pub(crate) async fn token(&self, user: &str) -> String {
        let (status, created) = self.api("POST", "/api/v1/tokens", &json!({"user": user})).await;
        assert_eq!(status, 201, "{created}");
        created["token"].as_str().unwrap().to_owned()
    }

    /// Starts the real agent of a cluster and waits for its link.
    pub(crate) async fn agent(&self, name: &str, origin: &Origin, log_level: &str) -> Process {
        let announced = self.announce(name).await;
        let process = self.spawn_agent(name, &announced, origin, log_level);
        self.connected(name).await;
        process
    }

    pub(crate) fn spawn_agent(&self, name: &str, announced: &Announced, origin: &Origin, level: &str) -> Process {
        let token = self.dir.path().join(format!("{name}.join"));
        write_private(&token, &announced.token);
        self.spawn_agent_again(name, announced, origin, level)
    }

    /// The same for an agent that has its identity.
    pub(crate) fn spawn_agent_again(&self, name: &str, announced: &Announced, origin: &Origin, level: &str) -> Process {
        spawn_agent(self.dir.path(), name, &self.door.address.to_string(), &announced.pin, origin, level)
    }

    pub(crate) async fn connected(&self, name: &str) {
        let start = Instant::now();
        loop {
            let (_, cluster) = self.api("GET", &format!("/api/v1/clusters/{name}"), &Value::Null).await;
            if cluster["connected"] == true {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{name} does not connect; hub:\n{}", self.process.said());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// What must be true of a hub at the end of every test.
    pub(crate) fn check_unharmed(&mut self) {
        assert!(self.process.alive(), "the hub ended:\n{}", self.process.said());
        let said = self.process.said();
        assert!(!said.contains("panicked"), "the hub panicked:\n{said}");
    }
}

/// A request to a hub, by whoever has this token.
pub(crate) async fn ask(door: &Door, (method, path): (&str, &str), token: &str, body: &str) -> Reply {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        door.address,
        body.len()
    );
    door.send(request.as_bytes(), false).await
}

/// Runs a command to its end, as the administrator of the hub whose data directory this is.
pub(crate) fn roadstead(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadstead"));
    command.args(arguments).env_clear().env("ROADSTEAD_CONFIG", data.join("admin.yaml")).output().unwrap()
}

/// One metric of the hub with this admin address; 0 when it is not there.
pub(crate) async fn metric(admin: SocketAddr, name: &str) -> f64 {
    let found = samples(admin).await.into_iter().find(|(series, _)| series == name);
    found.map_or(0.0, |(_, value)| value.parse().unwrap())
}

async fn samples(admin: SocketAddr) -> Vec<(String, String)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut tcp = tokio::net::TcpStream::connect(admin).await.unwrap();
    tcp.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    tcp.read_to_string(&mut text).await.unwrap();
    let lines = text.lines().filter(|line| line.starts_with("roadstead_"));
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    pairs.map(|(series, value)| (series.to_owned(), value.to_owned())).collect()
}

/// The agent's process; its join token, if it needs one, is in `<name>.join`, its state in `<name>`.
pub(crate) fn spawn_agent(dir: &Path, name: &str, hub: &str, pin: &str, origin: &Origin, log_level: &str) -> Process {
    let at = |file: String| dir.join(file).to_str().unwrap().to_owned();
    let (url, kubeconfig) = (format!("https://{hub}"), at(format!("{name}.kubeconfig")));
    write_private(Path::new(&kubeconfig), &origin.kubeconfig());
    let (token, state) = (at(format!("{name}.join")), at(name.to_owned()));
    let mut flags = vec!["agent", "--hub", &url, "--hub-ca-pin", pin, "--state", &state, "--kubeconfig", &kubeconfig];
    if Path::new(&token).exists() {
        flags.extend(["--join-token-file", &token]);
    }
    Process::spawn(&format!("agent-{name}"), &flags, log_level, dir)
}

pub(crate) fn write_private(path: &Path, text: &str) {
    use std::io::Write;
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A name that no other request of this process has.
pub(crate) fn marker() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("mark-{:05}-x", NEXT.fetch_add(1, Ordering::Relaxed))
}
