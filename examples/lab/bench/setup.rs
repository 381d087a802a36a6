//! Sets up what is compared: a real API server, and the ways to it; the minimal origin, and the same ways to that.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::nginx::{Behind, Nginx};
use super::origin::Origin;
use super::other;
use super::process::Watched;
use super::relay;
use super::way::{Protocol, Way};
use super::{Arguments, say};
use crate::cluster::{ControlPlane, Options, Process, write_private};
use crate::environment::{Environment, Part, straight};
use crate::janitor::Workspace;
use crate::member::ADMIN_GROUP;

/// Objects of the list, and letters in each: 5.2 MB of JSON.
const LIST: (usize, usize) = (250, 20_400);

/// What is the list's path.
pub(crate) const LIST_PATH: &str = "/api/v1/namespaces/bench/configmaps";

/// How long a way may take until it answers.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(30);

/// What a target is, as far as judging needs to know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Straight to the server.
    Direct,
    /// Through two nginx.
    Nginx,
    /// Through a hub and an agent: the goals apply.
    Roadstead,
    /// Something else, from a file.
    Other,
}

/// One of the ways that are compared.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// To the API server.
    pub(crate) api: Way,
    /// To the minimal origin, if it leads there, too.
    pub(crate) origin: Option<Way>,
    /// The same for watches, through processes of their own. After 5,000 of them a small request cost nginx 2.6 to 4.6 times
    /// what it costs a fresh one, so no other row is measured there.
    pub(crate) watched: Option<Way>,
}

/// Everything that runs; it ends in this order.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) targets: Vec<Target>,
    _tunnels: Vec<Process>,
    _others: Vec<Environment>,
    _nginx: [Nginx; 2],
    _main: Environment,
    pub(crate) origin: Origin,
    _workspace: Workspace,
}

impl Bench {
    /// Starts all of it.
    pub(crate) fn start(arguments: &Arguments) -> Result<Self> {
        let workspace = Workspace::new()?;
        let dir = workspace.path();
        let token = format!("direct-{}", ulid::Ulid::generate());
        let mut main = start_main(arguments, dir, &token)?;
        let origin = Origin::start()?;
        let servers = Servers::new(dir, main.plane(0)?, &origin, token)?;
        let nginx = Nginx::start(dir, &[servers.api.behind(), servers.origin.behind()])?;
        let apart = dir.join("watched");
        fs::create_dir(&apart)?;
        let watched = Nginx::start(&apart, &[servers.origin.behind()])?;
        let mut targets = vec![servers.direct()?, servers.through(&nginx, &watched)?];
        let mut tunnels = vec![start_agent(&main, "origin", &servers.origin_config, dir, "agent-origin")?];
        let api_agent = Watched::new("agent", main.pid(Part::Agent(0)));
        let ours = roadstead_target("roadstead", &main, api_agent, &tunnels[0])?;
        let slow = arguments.slow.map(|delay| slowed(&ours, delay)).transpose()?;
        targets.push(ours);
        targets.extend(slow);
        let mut others = Vec::new();
        for (number, program) in arguments.roadstead.iter().enumerate() {
            let configs = (main.file("agent-edge-1.kubeconfig"), servers.origin_config.clone());
            let (hub, agents, target) = start_another(program, number + 2, dir, configs)?;
            others.push(hub);
            tunnels.extend(agents);
            targets.push(target);
        }
        for (number, file) in arguments.target.iter().enumerate() {
            let added = other::target(file, number, dir, &servers.variables());
            let (target, process) = added.with_context(|| format!("adding {}", file.display()))?;
            targets.push(target);
            tunnels.extend(process);
        }
        let server = main.plane(0)?.apiserver_pid().map(|pid| Watched::new("apiserver", pid));
        targets.iter_mut().for_each(|target| target.api.server.clone_from(&server));
        Ok(Self {
            targets,
            _tunnels: tunnels,
            _others: others,
            _nginx: [nginx, watched],
            _main: main,
            origin,
            _workspace: workspace,
        })
    }

    /// Waits until every way answers.
    pub(crate) async fn wait_ready(&self) -> Result<()> {
        for target in &self.targets {
            for way in [Some(&target.api), target.origin.as_ref()].into_iter().flatten() {
                let deadline = tokio::time::Instant::now() + READY_WITHIN;
                while let Err(error) = way.length(Protocol::H1, "/version").await {
                    ensure!(tokio::time::Instant::now() < deadline, "{} does not answer: {error:#}", target.name);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        Ok(())
    }
}

/// A server that requests end at: `HOST:PORT`, its CA, and a file of that.
#[derive(Debug)]
struct Server {
    address: String,
    ca_pem: String,
    ca: PathBuf,
}

impl Server {
    fn new(url: &str, ca_pem: &str, ca: PathBuf) -> Result<Self> {
        fs::write(&ca, ca_pem)?;
        Ok(Self { address: url.trim_start_matches("https://").to_owned(), ca_pem: ca_pem.to_owned(), ca })
    }

    fn behind(&self) -> Behind<'_> {
        Behind { address: &self.address, ca: &self.ca }
    }
}

/// Both of them, and what a way to them needs.
#[derive(Debug)]
struct Servers {
    api: Server,
    origin: Server,
    token: String,
    token_file: PathBuf,
    origin_config: PathBuf,
}

impl Servers {
    /// Puts the objects of the list into the API server, and everything that others read into files.
    fn new(dir: &Path, plane: &ControlPlane, origin: &Origin, token: String) -> Result<Self> {
        let list = dir.join("list.json");
        fs::write(&list, objects().to_string())?;
        plane.kubectl_ok(&["create", "--filename", &list.display().to_string()])?;
        let (token_file, origin_config) = (dir.join("direct.token"), dir.join("origin.kubeconfig"));
        write_private(&token_file, token.as_bytes())?;
        write_private(&origin_config, origin.kubeconfig().to_string().as_bytes())?;
        Ok(Self {
            api: Server::new(&plane.url(), plane.ca_pem(), dir.join("api.crt"))?,
            origin: Server::new(&origin.url(), &origin.ca_pem, dir.join("origin.crt"))?,
            token,
            token_file,
            origin_config,
        })
    }

    fn direct(&self) -> Result<Target> {
        let way = |server: &Server| {
            Way::new(&format!("https://{}", server.address), server.ca_pem.as_bytes(), &self.token, Vec::new())
        };
        let (api, origin) = (way(&self.api)?, Some(way(&self.origin)?));
        Ok(Target { name: "direct".to_owned(), kind: Kind::Direct, api, origin, watched: None })
    }

    fn through(&self, nginx: &Nginx, watched: &Nginx) -> Result<Target> {
        let way = |nginx: &Nginx, server| {
            Way::new(&nginx.url(server), nginx.ca_pem().as_bytes(), &self.token, nginx.processes())
        };
        let (api, origin, watched) = (way(nginx, 0)?, Some(way(nginx, 1)?), Some(way(watched, 0)?));
        Ok(Target { name: "nginx".to_owned(), kind: Kind::Nginx, api, origin, watched })
    }

    /// What a program that starts a tunnel finds in its environment.
    fn variables(&self) -> BTreeMap<&'static str, OsString> {
        BTreeMap::from([
            ("ROADSTEAD_BENCH_API", self.api.address.clone().into()),
            ("ROADSTEAD_BENCH_API_CA", self.api.ca.clone().into()),
            ("ROADSTEAD_BENCH_ORIGIN", self.origin.address.clone().into()),
            ("ROADSTEAD_BENCH_ORIGIN_CA", self.origin.ca.clone().into()),
            ("ROADSTEAD_BENCH_TOKEN", self.token_file.clone().into()),
        ])
    }
}

fn environment(clusters: u16, roadstead: &Path) -> crate::Arguments {
    crate::Arguments { clusters, pods: false, kubeconfig: None, roadstead: roadstead.to_owned() }
}

/// A hub, an agent and a real API server that knows `token` as the person that the hub makes of its own token, so that rights and
/// fairness of the API server are the same on every way.
fn start_main(arguments: &Arguments, dir: &Path, token: &str) -> Result<Environment> {
    let tokens = dir.join("tokens.csv");
    write_private(&tokens, format!("{token},roadstead:user,1,\"{ADMIN_GROUP}\"\n").as_bytes())?;
    let adapt = |mut options: Options| {
        options.rsa = true;
        options.extra_args.push(format!("--token-auth-file={}", tokens.display()));
        options
    };
    Environment::start_with(&environment(1, &arguments.program), &adapt, &mut straight)
}

fn start_agent(hub: &Environment, cluster: &str, kubeconfig: &Path, dir: &Path, name: &str) -> Result<Process> {
    Process::spawn(name, hub.agent_for(cluster, kubeconfig, hub.url())?, dir)
}

/// Another build, with a hub and agents of its own before the same servers.
fn start_another(
    program: &Path,
    number: usize,
    dir: &Path,
    (api, origin): (PathBuf, PathBuf),
) -> Result<(Environment, [Process; 2], Target)> {
    let name = format!("roadstead:{number}");
    say(&format!("{name} is {}", program.display()));
    let hub = Environment::start(&environment(0, program))?;
    let api = start_agent(&hub, "edge-1", &api, dir, &format!("{name}-agent"))?;
    let origin = start_agent(&hub, "origin", &origin, dir, &format!("{name}-agent-origin"))?;
    let target = roadstead_target(&name, &hub, Watched::new("agent", api.pid()), &origin)?;
    Ok((hub, [api, origin], target))
}

fn roadstead_target(name: &str, hub: &Environment, api_agent: Watched, origin_agent: &Process) -> Result<Target> {
    let client: Value = serde_json::from_str(&fs::read_to_string(hub.file("client.yaml"))?)?;
    let token = client["token"].as_str().context("client.yaml has no token")?;
    let roots = fs::read(hub.file("hub/hub-ca.pem"))?;
    let way = |cluster: &str, agent: Watched| {
        let processes = vec![Watched::new("hub", hub.pid(Part::Hub)), agent];
        Way::new(&format!("{}/clusters/{cluster}", hub.url()), &roots, token, processes)
    };
    Ok(Target {
        name: name.to_owned(),
        kind: Kind::Roadstead,
        api: way("edge-1", api_agent)?,
        origin: Some(way("origin", Watched::new("agent", origin_agent.pid()))?),
        watched: None,
    })
}

/// The same hub behind a relay that holds every piece of a request back for so long: it must be seen to miss its goals.
fn slowed(target: &Target, delay: Duration) -> Result<Target> {
    let address = relay::start(target.api.address, delay)?;
    Ok(Target {
        name: format!("{}+{}ms", target.name, delay.as_millis()),
        kind: target.kind,
        api: target.api.through(address),
        origin: target.origin.as_ref().map(|way| way.through(address)),
        watched: None,
    })
}

/// A namespace with the objects of the list.
fn objects() -> Value {
    let (count, size) = LIST;
    let mut items = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}})];
    let letters: String = (0..size).map(|at| char::from(b'a' + (at * at / 7 % 26) as u8)).collect();
    for number in 0..count {
        let metadata = json!({"name": format!("object-{number}"), "namespace": "bench"});
        items
            .push(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"letters": letters}}));
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}
