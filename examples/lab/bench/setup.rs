//! Sets up what is compared: a real API server, and the ways to it; the minimal origin, and the same ways to that.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::nginx::{Behind, Nginx};
use super::origin::Origin;
use super::process::Watched;
use super::relay;
use super::way::{Protocol, Way};
use super::{Arguments, say};
use crate::cluster::{Options, Process, write_private};
use crate::environment::{Environment, Part};
use crate::janitor::Workspace;
use crate::member::ADMIN_GROUP;

/// Objects of the list, and letters in each: 5.2 MB of JSON.
const LIST: (usize, usize) = (250, 20_400);

/// What is the list's path.
pub(crate) const LIST_PATH: &str = "/api/v1/namespaces/bench/configmaps";

/// How long a way may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);

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
}

/// Everything that runs; it ends in this order.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) targets: Vec<Target>,
    _agents: Vec<Process>,
    _others: Vec<Environment>,
    _nginx: Nginx,
    _main: Environment,
    pub(crate) origin: Origin,
    _workspace: Workspace,
}

/// A target as a file describes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TargetFile {
    name: String,
    base_url: String,
    ca_file: PathBuf,
    token_file: PathBuf,
    #[serde(default)]
    pids: Vec<Watched>,
    /// The same tunnel to the minimal origin, where it was told to lead there.
    origin_url: Option<String>,
}

impl Bench {
    /// Starts all of it.
    pub(crate) fn start(arguments: &Arguments) -> Result<Self> {
        let workspace = Workspace::new()?;
        let dir = workspace.path();
        let token = format!("direct-{}", ulid::Ulid::generate());
        let mut main = start_main(arguments, dir, &token)?;
        let plane = main.plane(0)?;
        let (api_url, api_ca, list) = (plane.url(), plane.ca_pem().to_owned(), dir.join("list.json"));
        fs::write(&list, objects().to_string())?;
        plane.kubectl_ok(&["create", "--filename", &list.display().to_string()])?;
        let (origin, origin_ca, api_ca_file) = (Origin::start()?, dir.join("origin.crt"), dir.join("api.crt"));
        fs::write(&origin_ca, &origin.ca_pem)?;
        fs::write(&api_ca_file, &api_ca)?;
        let origin_config = dir.join("origin.kubeconfig");
        write_private(&origin_config, origin.kubeconfig().to_string().as_bytes())?;

        let way = |url: &str, ca: &str, processes| Way::new(url, ca.as_bytes(), &token, processes);
        let mut targets = vec![Target {
            name: "direct".to_owned(),
            kind: Kind::Direct,
            api: way(&api_url, &api_ca, Vec::new())?,
            origin: Some(way(&origin.url(), &origin.ca_pem, Vec::new())?),
        }];
        let servers = [
            Behind { address: api_url.trim_start_matches("https://"), ca: &api_ca_file },
            Behind { address: &origin.address.to_string(), ca: &origin_ca },
        ];
        let nginx = Nginx::start(dir, &servers)?;
        targets.push(Target {
            name: "nginx".to_owned(),
            kind: Kind::Nginx,
            api: way(&nginx.url(0), nginx.ca_pem(), nginx.processes())?,
            origin: Some(way(&nginx.url(1), nginx.ca_pem(), nginx.processes())?),
        });
        let mut agents = Vec::new();
        agents.push(start_agent(&main, "origin", &origin_config, dir, "agent-origin")?);
        let api_agent = Watched::new("agent", main.pid(Part::Agent(0)));
        let ours = roadstead_target("roadstead", &main, api_agent, &agents[0])?;
        let slow = arguments.slow.map(|delay| slowed(&ours, delay)).transpose()?;
        targets.push(ours);
        targets.extend(slow);
        let mut others = Vec::new();
        for program in &arguments.roadstead {
            let name = format!("roadstead:{}", others.len() + 2);
            say(&format!("{name} is {}", program.display()));
            let other = Environment::start(&crate::Arguments {
                clusters: 0,
                pods: false,
                kubeconfig: None,
                roadstead: program.clone(),
            })?;
            let config = main.file("agent-edge-1.kubeconfig");
            let api = start_agent(&other, "edge-1", &config, dir, &format!("agent-{}-api", others.len()))?;
            let to_origin =
                start_agent(&other, "origin", &origin_config, dir, &format!("agent-{}-origin", others.len()))?;
            targets.push(roadstead_target(&name, &other, Watched::new("agent", api.pid()), &to_origin)?);
            agents.extend([api, to_origin]);
            others.push(other);
        }
        for file in &arguments.target {
            targets.push(from_file(file).with_context(|| format!("reading {}", file.display()))?);
        }
        Ok(Self {
            targets,
            _agents: agents,
            _others: others,
            _nginx: nginx,
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
    let roadstead = arguments.program.clone();
    Environment::start_with(&crate::Arguments { clusters: 1, pods: false, kubeconfig: None, roadstead }, &adapt)
}

fn start_agent(hub: &Environment, cluster: &str, kubeconfig: &Path, dir: &Path, name: &str) -> Result<Process> {
    Process::spawn(name, hub.agent_for(cluster, kubeconfig)?, dir)
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
    })
}

fn from_file(file: &Path) -> Result<Target> {
    let text = fs::read_to_string(file)?;
    let TargetFile { name, base_url, ca_file, token_file, pids, origin_url } = serde_saphyr::from_str(&text)?;
    let beside = |path: &Path| file.parent().unwrap_or(Path::new("")).join(path);
    let (roots, token) = (fs::read(beside(&ca_file))?, fs::read_to_string(beside(&token_file))?);
    let way = |url: &str| Way::new(url, &roots, &token, pids.clone());
    let origin = origin_url.as_deref().map(way).transpose()?;
    Ok(Target { api: way(&base_url)?, name, kind: Kind::Other, origin })
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
