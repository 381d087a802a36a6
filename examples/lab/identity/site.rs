//! What the checks run against: one real control plane with pods, a hub of its own for each check, and agents, each a process with a cluster's
//! name and identity of its own in front of that one API server; and the operator and kubectl who use them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use roadstead::hub::api_types::CaStatus;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::traffic::Door;
use crate::cluster::{ControlPlane, Options, Process, write_private};
use crate::fleet::hub::Hub;
use crate::janitor::Workspace;
use crate::member::{ADMIN_GROUP, Member, succeed};

/// How long anything may take that must come in the end, beside compilers on two cores.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at the same thing.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// The namespace of the objects that are read, changed and watched.
pub(super) const NAMESPACE: &str = "identity";

/// The text of the object that is read.
pub(super) const TEXT: &str = "what is read again and again, and must be the same each time";

/// The control plane, and where everything is kept.
pub(super) struct World {
    member: Member,
    program: PathBuf,
    dir: Workspace,
}

/// A hub and its agents.
pub(super) struct Site {
    pub(super) hub: Hub,
    pub(super) agents: Vec<Agent>,
    dir: PathBuf,
    program: PathBuf,
    kubectl: PathBuf,
}

/// An agent of a cluster's own name, and whether it runs.
pub(super) struct Agent {
    pub(super) name: String,
    command: Command,
    process: Option<Process>,
    dir: PathBuf,
}

/// What `roadstead cluster add --output json` prints, as far as it is needed here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Added {
    token: String,
    hub_ca_pin: String,
    manifest: String,
}

/// What a command did.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) out: String,
    #[allow(dead_code, reason = "shown when it did not go as it should")]
    pub(super) err: String,
}

impl World {
    /// Starts the control plane: `demo/shell` runs then.
    pub(super) fn start(program: &Path) -> Result<Self> {
        let dir = Workspace::new()?;
        // Another build may replace the program under our feet; this copy is the one that is judged, restarts included.
        let copy = dir.path().join("roadstead");
        fs::copy(program, &copy).with_context(|| format!("copying {}", program.display()))?;
        let options = Options { dir: Some(dir.path().join("plane")), ..Options::new("plane").with_pods() };
        let plane = ControlPlane::start(options)?;
        let fixed = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": TEXT},
            "metadata": {"name": "fixed", "namespace": NAMESPACE}});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        plane.apply(&format!("{namespace}\n---\n{fixed}\n"))?;
        Ok(Self { member: Member::own(plane, dir.path()), program: copy, dir })
    }

    /// A hub with these flags and so many agents, each of which answers.
    pub(super) async fn site(&mut self, name: &str, agents: usize, flags: &[&str]) -> Result<Site> {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir)?;
        let hub = Hub::start(&self.program, &dir, ADMIN_GROUP, flags).await?;
        let kubectl = self.plane()?.bin_dir().join("kubectl");
        let mut site = Site { hub, agents: Vec::new(), dir, program: self.program.clone(), kubectl };
        let ticks = (0..agents).map(|number| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"n": "0"},
                "metadata": {"name": agent_name(number), "namespace": NAMESPACE}})
            .to_string()
        });
        self.plane()?.apply(&ticks.collect::<Vec<_>>().join("\n---\n"))?;
        for number in 0..agents {
            site.join(&agent_name(number), &mut self.member)?;
        }
        site.write_kubeconfig().await?;
        for number in 0..agents {
            site.answers(&agent_name(number)).await?;
        }
        Ok(site)
    }

    fn plane(&self) -> Result<&ControlPlane> {
        self.member.plane.as_ref().context("the control plane is gone")
    }
}

fn agent_name(number: usize) -> String {
    format!("site-{}", number + 1)
}

impl Site {
    /// Joins a cluster as an operator does, but for the Deployment.
    fn join(&mut self, name: &str, member: &mut Member) -> Result<()> {
        let mut add = self.roadstead();
        add.args(["cluster", "add", name, "--output", "json", "--allow-group", ADMIN_GROUP]);
        let added: Added = serde_json::from_str(&succeed(add.output()?, "roadstead cluster add")?)?;
        // One API server has one set of rights and one ServiceAccount; each hub's first manifest says which.
        let kubeconfig = match self.agents.first() {
            Some(first) => first.dir.join("kubeconfig"),
            None => {
                fs::create_dir_all(self.dir.join(name))?;
                let kubeconfig = self.dir.join(name).join("kubeconfig");
                fs::copy(member.admit_agent(&added.manifest)?, &kubeconfig)?;
                kubeconfig
            }
        };
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir)?;
        let token = dir.join("join-token");
        write_private(&token, added.token.as_bytes())?;
        let mut command = clean(&self.program);
        let url = format!("https://{}", self.hub.address);
        command.args(["agent", "--hub", &url, "--hub-ca-pin", &added.hub_ca_pin, "--admin-listen", "127.0.0.1:0"]);
        command.arg("--join-token-file").arg(token).arg("--state").arg(dir.join("state"));
        command.arg("--kubeconfig").arg(kubeconfig);
        let mut agent = Agent { name: name.to_owned(), command, process: None, dir };
        agent.start()?;
        self.agents.push(agent);
        Ok(())
    }

    /// A context for each cluster. The roots are read from the hub's own file, which follows a rotation.
    async fn write_kubeconfig(&self) -> Result<()> {
        let token = self.hub.user_token().await?;
        let entry = |agent: &Agent| {
            let server = format!("https://{}/clusters/{}", self.hub.address, agent.name);
            json!({"name": agent.name, "cluster": {"server": server, "certificate-authority": self.hub.ca_file()}})
        };
        let context = |agent: &Agent| json!({"name": agent.name, "context": {"cluster": agent.name, "user": "user"}});
        let config = json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": self.agents.iter().map(entry).collect::<Vec<_>>(),
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": self.agents.iter().map(context).collect::<Vec<_>>(),
        });
        write_private(&self.dir.join("kubeconfig"), config.to_string().as_bytes())?;
        write_private(&self.dir.join("token"), token.as_bytes())
    }

    /// The way in for people.
    pub(super) fn door(&self) -> Result<Door> {
        let token = fs::read_to_string(self.dir.join("token"))?;
        Ok(Door { address: self.hub.address, token, ca: self.hub.ca_file() })
    }

    /// `kubectl` through the hub.
    pub(super) fn kubectl(&self, cluster: &str) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.dir.join("kubeconfig")).args(["--context", cluster]);
        command.env("KUBECACHEDIR", self.dir.join("cache"));
        command
    }

    /// `roadstead` as the hub's administrator.
    fn roadstead(&self) -> Command {
        let mut command = clean(&self.program);
        command.env("ROADSTEAD_CONFIG", self.hub.admin_config()).stdin(Stdio::null());
        command
    }

    /// Runs `roadstead` as the administrator, to its end.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        let mut command = self.roadstead();
        command.args(arguments);
        let output = tokio::process::Command::from(command).output().await?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ran { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) })
    }

    /// The hub's own API, on a connection of its own that trusts what is to be trusted now.
    pub(super) async fn api(&self, method: Method, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
        let operator = self.hub.operator()?;
        let asking = async {
            let mut sender = operator.http1().await?;
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let response = sender.send_request(operator.request_h1(method, path, body)).await?;
            let status = response.status();
            let bytes = response.into_body().collect().await?.to_bytes();
            Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
        };
        timeout(PATIENCE, asking).await.with_context(|| format!("{path}: no answer"))?
    }

    /// Where a rotation stands.
    pub(super) async fn ca(&self) -> Result<CaStatus> {
        let (status, body) = self.api(Method::GET, "/api/v1/ca", &Value::Null).await?;
        ensure!(status == StatusCode::OK, "GET /api/v1/ca: {status} {body}");
        Ok(serde_json::from_value(body)?)
    }

    /// Until a cluster answers through the hub; how long that took.
    pub(super) async fn answers(&self, cluster: &str) -> Result<Duration> {
        let started = Instant::now();
        let path = format!("/clusters/{cluster}/version");
        loop {
            let asked = timeout(Duration::from_secs(5), async { self.door()?.client()?.get(&path).await }).await;
            if matches!(&asked, Ok(Ok(answer)) if answer.status == StatusCode::OK) {
                return Ok(started.elapsed());
            }
            if started.elapsed() > PATIENCE {
                let agent = self.agents.iter().find(|agent| agent.name == cluster);
                bail!(
                    "{cluster} does not answer after {PATIENCE:?}: {asked:?}; its agent: {}",
                    agent.map(Agent::tail).unwrap_or_default()
                );
            }
            sleep(LOOK).await;
        }
    }

    /// # Errors
    /// When the hub or an agent that should run has ended, or one of them panicked.
    pub(super) fn check(&mut self) -> Result<()> {
        self.hub.check()?;
        self.agents.iter_mut().filter_map(|agent| agent.process.as_mut()).try_for_each(Process::check)?;
        for log in [self.hub.log()].into_iter().chain(self.agents.iter().map(Agent::log)) {
            let said = fs::read_to_string(&log)?;
            ensure!(!said.contains("panicked at"), "{} says that something panicked", log.display());
        }
        Ok(())
    }
}

impl Agent {
    /// Starts it, with the settings that it had when it joined.
    pub(super) fn start(&mut self) -> Result<()> {
        self.process = Some(Process::spawn("agent", copy(&self.command), &self.dir)?);
        Ok(())
    }

    /// Ends it as an operator does.
    pub(super) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.ask_to_end(Duration::from_secs(10));
        }
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        self.process = None;
    }

    fn log(&self) -> PathBuf {
        self.dir.join("logs/agent.log")
    }

    /// How often it said these words.
    pub(super) fn said(&self, words: &str) -> Result<usize> {
        Ok(fs::read_to_string(self.log())?.matches(words).count())
    }

    fn tail(&self) -> String {
        self.process.as_ref().map_or_else(|| "does not run".to_owned(), Process::log_tail)
    }
}

/// A command that sees no setting but ours.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ROADSTEAD_")) {
        command.env_remove(name);
    }
    command
}

fn copy(command: &Command) -> Command {
    let mut copy = clean(Path::new(command.get_program()));
    copy.args(command.get_args());
    copy
}
