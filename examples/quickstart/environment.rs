//! Sets up what a quickstart has: clusters, the hub, agents, and the ways in for people; in the order in which an operator would.

#![allow(
    clippy::disallowed_methods,
    reason = "no runtime here: processes are waited for in real time, on a thread of its own"
)]

#[path = "control.rs"]
mod control;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Arguments;
use super::cluster::{Binaries, ControlPlane, Options, Process, Set, bound_to_us, write_private};
use super::janitor::Workspace;
use super::member::{ADMIN_GROUP, Member, succeed};
#[allow(unused_imports, reason = "only tests break what they started")]
pub(crate) use control::Part;

/// How long the hub may take to listen, and an agent to be connected.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long hub and agents may take to drain when all ends.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// From a cluster's name and the hub's URL to the URL that its agent dials.
pub(crate) type Way<'a> = &'a mut dyn FnMut(&str, &str) -> Result<String>;

/// The way of an agent that dials the hub itself.
pub(crate) fn straight(_: &str, url: &str) -> Result<String> {
    Ok(url.to_owned())
}

/// A running quickstart; dropping it ends everything in order: agents, hub, clusters, files.
#[derive(Debug)]
pub(crate) struct Environment {
    agents: Vec<Process>,
    agent_commands: Vec<Command>,
    hub: Process,
    members: Vec<Member>,
    url: String,
    roadstead: PathBuf,
    started: Instant,
    workspace: Workspace,
}

/// What the hub says when it listens (`endpoints.json`).
#[derive(Deserialize)]
struct Endpoints {
    url: String,
}

/// What `roadstead cluster add --output json` prints, as far as it is needed here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Added {
    token: String,
    hub_ca_pin: String,
    manifest: String,
}

impl Environment {
    /// Sets everything up; minutes at the very first time, seconds later.
    pub(crate) fn start(arguments: &Arguments) -> Result<Self> {
        Self::start_with(arguments, &|options| options, &mut straight)
    }

    /// The same, with control planes as `adapt` wants them, and agents that dial where `way` says.
    pub(crate) fn start_with(
        arguments: &Arguments,
        adapt: &(dyn Fn(Options) -> Options + Sync),
        way: Way<'_>,
    ) -> Result<Self> {
        let started = Instant::now();
        let workspace = Workspace::new().context("making a temporary directory")?;
        let dir = workspace.path();
        let binaries = Binaries::find(match (&arguments.kubeconfig, arguments.pods) {
            (Some(_), _) => Set::Kubectl,
            (None, false) => Set::ControlPlane,
            (None, true) => Set::Pods,
        })?;
        make_bin(&dir.join("bin"), &arguments.roadstead, binaries.dir())?;
        let members = match &arguments.kubeconfig {
            Some(file) => Member::existing(file, &binaries.dir().join("kubectl"), dir)?,
            None => start_planes(arguments, dir, adapt)?,
        };
        say(started, "starting the hub");
        let (hub, url) = start_hub(&arguments.roadstead, dir)?;
        let agent_commands = Vec::new();
        let roadstead = arguments.roadstead.clone();
        let agents = Vec::new();
        let mut this = Self { agents, agent_commands, hub, members, url, roadstead, started, workspace };
        this.join_members(way)?;
        this.make_ways_in()?;
        this.wait_connected()?;
        say(started, "ready");
        Ok(this)
    }

    /// What COMMAND sees beside our own environment.
    pub(crate) fn variables(&self) -> Result<BTreeMap<&'static str, OsString>> {
        let file = |name: &str| self.workspace.path().join(name).into_os_string();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([PathBuf::from(file("bin"))].into_iter().chain(env::split_paths(&path)))?;
        Ok(BTreeMap::from([
            ("KUBECONFIG", file("kubeconfig")),
            ("KUBECACHEDIR", file("cache")),
            ("ROADSTEAD_DIRECT_KUBECONFIG", file("direct.kubeconfig")),
            ("ROADSTEAD_HUB", OsString::from(&self.url)),
            ("ROADSTEAD_DATA", file("hub")),
            ("ROADSTEAD_CONFIG", file("hub/admin.yaml")),
            ("ROADSTEAD_PIDS", file("pids")),
            ("PATH", path),
        ]))
    }

    /// Tells a person what to try.
    pub(crate) fn greet(&self) {
        let dir = self.workspace.path().display();
        let last = self.members.last().map_or("edge-1", |member| &member.name);
        let first = self.members.first().map_or("edge-1", |member| &member.name);
        let names: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
        let pods = self.members.iter().any(|member| member.plane.as_ref().is_some_and(ControlPlane::has_pods));
        println!("\nThe hub listens at {}; its clusters: {}.\nTry in another terminal:\n", self.url, names.join(", "));
        println!("  export PATH={dir}/bin:$PATH KUBECONFIG={dir}/kubeconfig ROADSTEAD_CONFIG={dir}/hub/admin.yaml");
        println!("  kubectl --context {first} get namespaces");
        if pods {
            println!("  kubectl --context {last} --namespace demo exec -it shell -- sh");
        } else {
            println!("  kubectl --context {last} auth whoami");
        }
        println!("  roadstead cluster list\n\nCtrl-C ends it and removes everything.");
    }

    /// Joins each cluster as an operator does, but for the Deployment: the agent runs beside the cluster, with the same rights.
    fn join_members(&mut self, way: Way<'_>) -> Result<()> {
        for member in &mut self.members {
            say(self.started, &format!("joining {}", member.name));
            let dir = self.workspace.path();
            let mut add = roadstead(&self.roadstead, &dir.join("hub/admin.yaml"));
            add.args([
                "cluster",
                "add",
                &member.name,
                "--label",
                "env=quickstart",
                "--output",
                "json",
                "--allow-group",
                ADMIN_GROUP,
            ]);
            let added = succeed(add.output()?, "roadstead cluster add")?;
            let added: Added = serde_json::from_str(&added).context("reading what roadstead cluster add printed")?;
            let kubeconfig = member.admit_agent(&added.manifest)?;
            let url = way(&member.name, &self.url)?;
            let agent = agent_command(&self.roadstead, dir, &member.name, &added, &url, &kubeconfig)?;
            let name = format!("agent-{}", member.name);
            self.agents.push(Process::spawn(&name, bound_to_us(&agent), dir)?);
            self.agent_commands.push(agent);
        }
        Ok(())
    }

    /// Writes the kubeconfigs (through the hub, and straight) and the list of processes.
    fn make_ways_in(&self) -> Result<()> {
        let dir = self.workspace.path();
        let admin = dir.join("hub/admin.yaml");
        let mut create = roadstead(&self.roadstead, &admin);
        create.args(["token", "create", "quickstart", "--group", "quickstart", "--ttl", "24h"]);
        let token = succeed(create.output()?, "roadstead token create")?;
        // The operator's file knows the hub and its CA; only the token is another.
        let mut client: Value =
            serde_saphyr::from_str(&fs::read_to_string(&admin)?).context("reading the hub's admin.yaml")?;
        client["token"] = json!(token);
        write_private(&dir.join("client.yaml"), client.to_string().as_bytes())?;
        let mut make = roadstead(&self.roadstead, &dir.join("client.yaml"));
        make.arg("kubeconfig").arg("--file").arg(dir.join("kubeconfig"));
        succeed(make.output()?, "roadstead kubeconfig")?;
        if let Some(first) = self.members.first() {
            let mut current = Command::new(dir.join("bin/kubectl"));
            current.arg("--kubeconfig").arg(dir.join("kubeconfig")).args(["config", "use-context", &first.name]);
            succeed(current.output()?, "kubectl config use-context")?;
        }
        self.write_direct(&dir.join("direct.kubeconfig"))?;
        let processes = [&self.hub].into_iter().chain(&self.agents);
        let mut pids: Vec<String> = processes.map(|one| format!("{} {}\n", one.name(), one.pid())).collect();
        for member in &self.members {
            let own = member.plane.iter().flat_map(ControlPlane::pids);
            pids.extend(own.map(|(name, pid)| format!("{name}-{} {pid}\n", member.name)));
        }
        fs::write(dir.join("pids"), pids.concat()).context("writing the process ids")
    }

    fn write_direct(&self, path: &Path) -> Result<()> {
        let mut all = json!({"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []});
        for member in &self.members {
            let one = member.direct()?;
            for list in ["clusters", "users", "contexts"] {
                if let (Some(all), Some(one)) = (all[list].as_array_mut(), one[list].as_array()) {
                    all.extend(one.iter().cloned());
                }
            }
        }
        all["current-context"] = json!(self.members.first().map(|member| member.name.as_str()));
        write_private(path, all.to_string().as_bytes())
    }

    /// Until each cluster answers through the hub: the only proof that counts.
    fn wait_connected(&mut self) -> Result<()> {
        let variables = self.variables()?;
        let kubectl = self.workspace.path().join("bin/kubectl");
        for member in &self.members {
            say(self.started, &format!("waiting for {} through the hub", member.name));
            let deadline = Instant::now() + READY_WITHIN;
            loop {
                let mut ask = Command::new(&kubectl);
                ask.args(["--context", &member.name, "--request-timeout", "10s", "get", "--raw", "/readyz"])
                    .envs(&variables);
                let answer = ask.output()?;
                if answer.status.success() {
                    break;
                }
                self.hub.check()?;
                self.agents.iter_mut().try_for_each(Process::check)?;
                ensure!(
                    Instant::now() < deadline,
                    "{} is not connected after {READY_WITHIN:?}: {}; hub: {}",
                    member.name,
                    String::from_utf8_lossy(&answer.stderr).trim(),
                    self.hub.log_tail()
                );
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        // In order: agents say goodbye, the hub drains, and only then the clusters go.
        std::thread::scope(|scope| {
            for agent in &mut self.agents {
                scope.spawn(|| agent.ask_to_end(DRAIN_WITHIN));
            }
        });
        self.hub.ask_to_end(DRAIN_WITHIN);
    }
}

/// Progress, with the seconds since the start.
fn say(started: Instant, what: &str) {
    eprintln!("quickstart: [{:>4.1} s] {what}", started.elapsed().as_secs_f32());
}

fn start_planes(arguments: &Arguments, dir: &Path, adapt: &(dyn Fn(Options) -> Options + Sync)) -> Result<Vec<Member>> {
    let started = Instant::now();
    let start = |number: u16| -> Result<Member> {
        let name = format!("edge-{number}");
        let home = dir.join("clusters").join(&name);
        let options = Options { pods: arguments.pods, dir: Some(home), ..Options::new(&name) };
        let plane = ControlPlane::start(adapt(options)).with_context(|| format!("starting {name}"))?;
        say(started, &format!("{name} is up: {}", plane.url()));
        Ok(Member::own(plane, dir))
    };
    say(started, &format!("starting {} control plane(s)", arguments.clusters));
    // Two at a time: more only wait for the same cores.
    let numbers: Vec<u16> = (1..=arguments.clusters).collect();
    let mut members = Vec::new();
    for pair in numbers.chunks(2) {
        let results: Vec<Result<Member>> = std::thread::scope(|scope| {
            let running: Vec<_> = pair.iter().map(|number| scope.spawn(|| start(*number))).collect();
            let panicked = || Err(anyhow::anyhow!("starting a control plane panicked"));
            running.into_iter().map(|one| one.join().unwrap_or_else(|_| panicked())).collect()
        });
        members.extend(results.into_iter().collect::<Result<Vec<_>>>()?);
    }
    Ok(members)
}

/// A directory with `roadstead` and every `kubectl` there is, for a `PATH`.
fn make_bin(bin: &Path, roadstead: &Path, kubectls: &Path) -> Result<()> {
    fs::create_dir_all(bin)?;
    let roadstead = roadstead.canonicalize().with_context(|| format!("looking for {}", roadstead.display()))?;
    symlink(roadstead, bin.join("roadstead"))?;
    for entry in fs::read_dir(kubectls)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("kubectl") {
            symlink(entry.path(), bin.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Starts the hub on ports that the system picks, with a grant that lets the group `quickstart` do everything as [`ADMIN_GROUP`].
fn start_hub(program: &Path, dir: &Path) -> Result<(Process, String)> {
    let data = dir.join("hub");
    fs::create_dir_all(&data)?;
    let grant = json!({
        "apiVersion": "roadstead.dev/v1", "kind": "Grant", "metadata": {"name": "quickstart"},
        "spec": {
            "subjects": [{"group": "token:quickstart"}],
            "clusters": {"all": true},
            "as": {"user": "roadstead:user", "groups": [ADMIN_GROUP]},
            "capabilities": ["*"],
            "impersonate": {"users": ["*"], "groups": ["*"]},
        },
    });
    fs::write(data.join("grants.yaml"), grant.to_string())?;
    let mut hub = Process::spawn("hub", hub_command(program, &data, "127.0.0.1:0"), dir)?;
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let files = (fs::read_to_string(data.join("endpoints.json")), data.join("admin.yaml").exists());
        if let (Ok(text), true) = files {
            let endpoints: Endpoints = serde_json::from_str(&text).context("reading the hub's endpoints.json")?;
            return Ok((hub, endpoints.url));
        }
        hub.check()?;
        ensure!(Instant::now() < deadline, "the hub does not listen after {READY_WITHIN:?}: {}", hub.log_tail());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn hub_command(program: &Path, data: &Path, listen: &str) -> Command {
    let mut command = roadstead(program, Path::new(""));
    command.args(["hub", "--listen", listen, "--admin-listen", "127.0.0.1:0", "--data"]).arg(data);
    command
}

/// An agent of a cluster that was just announced to the hub.
fn agent_command(
    program: &Path,
    dir: &Path,
    cluster: &str,
    added: &Added,
    url: &str,
    kubeconfig: &Path,
) -> Result<Command> {
    let token = dir.join(format!("agent-{cluster}.join-token"));
    write_private(&token, added.token.as_bytes())?;
    let mut agent = roadstead(program, Path::new(""));
    agent.args(["agent", "--hub", url, "--hub-ca-pin", &added.hub_ca_pin, "--admin-listen", "127.0.0.1:0"]);
    agent.arg("--join-token-file").arg(token).arg("--state").arg(dir.join(format!("agent-{cluster}")));
    agent.arg("--kubeconfig").arg(kubeconfig);
    Ok(agent)
}

/// A `roadstead` command that sees no setting but ours.
fn roadstead(program: &Path, config: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ROADSTEAD_")) {
        command.env_remove(name);
    }
    if !config.as_os_str().is_empty() {
        command.env("ROADSTEAD_CONFIG", config);
    }
    command
}
