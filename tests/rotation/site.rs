//! A hub on a port that survives its process, agents, and people who read the hub's roots anew for each request, as those do who were told
//! of a rotation.

use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::Command,
    task::{JoinHandle, JoinSet},
    time::{Instant, interval, sleep},
};

use crate::{
    origin::Origin,
    raw::{Door, Reply},
    world::{self, GRANTS, Process, spawn_agent, until, write_private},
};

/// How long anything may take, beside compilers on two cores.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Site {
    dir: Arc<TempDir>,
    port: u16,
    hub: Arc<Mutex<Option<Process>>>,
    admin: String,
    /// The pins that agents were given when their cluster was announced: their settings do not follow a rotation.
    pins: Arc<Mutex<HashMap<String, String>>>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    #[allow(dead_code, reason = "shown when a test fails")]
    pub(crate) err: String,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let dir = Arc::new(TempDir::new().unwrap());
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("data/grants.yaml"), GRANTS).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut site = Self { dir, port, hub: Arc::default(), admin: String::new(), pins: Arc::default() };
        site.run().await;
        let admin = fs::read_to_string(site.path("data/admin.yaml")).unwrap();
        site.admin = admin.lines().find_map(|line| line.strip_prefix("token: ")).unwrap().to_owned();
        site
    }

    async fn run(&self) {
        let (data, listen) = (self.path("data"), format!("127.0.0.1:{}", self.port));
        let _ = fs::remove_file(data.join("endpoints.json"));
        let flags = ["hub", "--data", data.to_str().unwrap(), "--listen", &listen, "--admin-listen", "127.0.0.1:0"];
        let mut process = Process::spawn("hub", &flags, "info", self.dir.path());
        until("the hub listens", || {
            assert!(process.alive(), "hub ended: {}", process.said());
            data.join("endpoints.json").exists()
        })
        .await;
        *self.hub.lock().unwrap() = Some(process);
    }

    /// SIGKILL, and another process in its place.
    pub(crate) async fn kill_and_start(&mut self) {
        drop(self.hub.lock().unwrap().take());
        self.run().await;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// With the roots that the hub says are to be trusted now.
    fn door(&self) -> Door {
        let ca = fs::read_to_string(self.path("data/hub-ca.pem")).unwrap();
        Door { address: (Ipv4Addr::LOCALHOST, self.port).into(), ca, from: Ipv4Addr::LOCALHOST }
    }

    async fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> Reply {
        world::ask(&self.door(), (method, path), token, body).await
    }

    /// A request to a cluster.
    pub(crate) async fn get(self, token: &str, cluster: &str, what: &str) -> Reply {
        self.ask("GET", &format!("/clusters/{cluster}/api/v1/{what}"), token, "").await
    }

    async fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let reply = self.ask(method, path, &self.admin, &body).await;
        (reply.status(), serde_json::from_slice(&reply.first().body).unwrap_or(Value::Null))
    }

    pub(crate) async fn status(&self) -> Value {
        let (code, status) = self.api("GET", "/api/v1/ca", &Value::Null).await;
        assert_eq!(code, 200, "{status}");
        status
    }

    /// The status once nobody is behind.
    pub(crate) async fn told(&self) -> Value {
        let started = Instant::now();
        loop {
            let status = self.status().await;
            if status["laggards"].as_array().is_some_and(Vec::is_empty) {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "not told: {status}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn step(&self, step: &str, body: &Value) -> (u16, Value) {
        self.api("POST", &format!("/api/v1/ca/{step}"), body).await
    }

    /// Into the next phase, as soon as the gate opens.
    pub(crate) async fn goes_on(&self) -> Value {
        let started = Instant::now();
        loop {
            let (code, status) = self.step("activate", &json!({})).await;
            if code == 200 {
                return status;
            }
            assert!(code == 409 && started.elapsed() < PATIENCE, "{code}: {status}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn cluster(&self, name: &str) -> Value {
        self.api("GET", &format!("/api/v1/clusters/{name}"), &Value::Null).await.1
    }

    pub(crate) async fn connected(&self, name: &str) {
        let started = Instant::now();
        while self.cluster(name).await["connected"] != true {
            assert!(started.elapsed() < PATIENCE, "{name} does not connect");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn token(&self, user: &str) -> String {
        let (code, created) = self.api("POST", "/api/v1/tokens", &json!({"user": user})).await;
        assert_eq!(code, 201, "{created}");
        created["token"].as_str().unwrap().to_owned()
    }

    /// Joins a cluster, and waits for its link.
    pub(crate) async fn agent(&self, name: &str, origin: &Origin) -> Process {
        self.settings_of(name, self.api("POST", "/api/v1/clusters", &json!({"name": name, "ttlSeconds": 600})).await);
        let agent = self.agent_again(name, origin);
        self.connected(name).await;
        agent
    }

    /// The operator gives an agent another join token, and the pins that the hub has now.
    pub(crate) async fn gets_another_token(&self, name: &str) {
        let path = format!("/api/v1/clusters/{name}/tokens");
        self.settings_of(name, self.api("POST", &path, &json!({"ttlSeconds": 600})).await);
    }

    fn settings_of(&self, name: &str, (code, created): (u16, Value)) {
        assert_eq!(code, 201, "{created}");
        write_private(&self.path(&format!("{name}.join")), created["token"].as_str().unwrap());
        let pins: Vec<_> = created["hubCaPins"].as_array().unwrap().iter().map(|pin| pin.as_str().unwrap()).collect();
        self.pins.lock().unwrap().insert(name.to_owned(), pins.join(","));
    }

    /// The agent of a cluster that joined, with the settings that it had then.
    pub(crate) fn agent_again(&self, name: &str, origin: &Origin) -> Process {
        let pin = self.pins.lock().unwrap()[name].clone();
        spawn_agent(self.dir.path(), name, &format!("127.0.0.1:{}", self.port), &pin, origin, "info")
    }

    /// Runs the program as the administrator.
    pub(crate) async fn roadstead(&self, arguments: &[&str]) -> Ran {
        self.run_program(env!("CARGO_BIN_EXE_roadstead"), arguments).await
    }

    /// Runs `scripts/rotate-ca` as the administrator.
    pub(crate) async fn script(&self, arguments: &[&str]) -> Ran {
        self.run_program(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/rotate-ca"), arguments).await
    }

    async fn run_program(&self, program: &str, arguments: &[&str]) -> Ran {
        let output = Command::new(program)
            .args(arguments)
            .env("ROADSTEAD_CONFIG", self.path("data/admin.yaml"))
            .env("ROADSTEAD_BIN", env!("CARGO_BIN_EXE_roadstead"))
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// One metric of the hub; 0 when it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let endpoints: Value = serde_json::from_slice(&fs::read(self.path("data/endpoints.json")).unwrap()).unwrap();
        world::metric(endpoints["admin"].as_str().unwrap().parse().unwrap(), name).await
    }

    /// What must be true of a hub at the end of every test.
    pub(crate) fn check_unharmed(&self) {
        let mut hub = self.hub.lock().unwrap();
        let process = hub.as_mut().unwrap();
        let said = process.said();
        assert!(process.alive() && !said.contains("panicked"), "the hub is not well:\n{said}");
    }
}

/// Requests, 20 a second to each of some clusters, each on a connection of its own.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    asking: Vec<JoinHandle<(usize, Vec<String>)>>,
}

impl Traffic {
    pub(crate) fn start(site: &Site, token: &str, clusters: &[&str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ask =
            |cluster: &&str| tokio::spawn(traffic(site.clone(), token.to_owned(), (*cluster).to_owned(), stop.clone()));
        let asking = clusters.iter().map(ask).collect();
        Self { stop, asking }
    }

    /// How often was asked, and what was not answered with 200 and whole.
    pub(crate) async fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut asked, mut failed) = (0, Vec::new());
        for task in self.asking {
            let (more, worse) = task.await.unwrap();
            asked += more;
            failed.extend(worse);
        }
        (asked, failed)
    }
}

async fn traffic(site: Site, token: String, cluster: String, stop: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (mut asking, mut every, mut asked) = (JoinSet::new(), interval(Duration::from_millis(50)), 0);
    while !stop.load(Ordering::Relaxed) {
        every.tick().await;
        let (site, token, cluster) = (site.clone(), token.clone(), cluster.clone());
        asked += 1;
        asking.spawn(async move {
            let reply = site.get(&token, &cluster, "namespaces/default/pods").await;
            let whole = reply.status() == 200 && reply.first().whole;
            (!whole).then(|| {
                let at = time::OffsetDateTime::now_utc();
                format!("{cluster} at {at}: {} {}", reply.first().head, reply.first().text())
            })
        });
    }
    (asked, asking.join_all().await.into_iter().flatten().collect())
}
