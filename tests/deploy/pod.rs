//! An agent as its pod runs it, without an engine: the container's arguments from the object in the cluster, the files that the kubelet
//! would mount in their places (a mount namespace of its own), the account's own token, the API server's address in the environment.
#![allow(clippy::disallowed_methods, reason = "no runtime here: processes are waited for in real time")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cluster::{ControlPlane, Process, write_private};
use crate::hub::Hub;

const PROGRAM: &str = env!("CARGO_BIN_EXE_roadstead");
const WITHIN: Duration = Duration::from_secs(20);
const NAMESPACE: &str = "roadstead";

/// Makes the places of a pod out of a directory of ours, then becomes the agent.
const MOUNT: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount /run/roadstead/join && \
    mount --bind \"$1/api\" /run/secrets/kubernetes.io/serviceaccount && mount --bind \"$1/join\" /run/roadstead/join && shift && exec \"$@\"";

/// A cluster whose agent's manifest was applied, and the places of its pod.
pub(crate) struct Pod<'a> {
    plane: &'a ControlPlane,
    hub: &'a Hub,
    dir: tempfile::TempDir,
    agent: Option<Process>,
    starts: u32,
}

impl<'a> Pod<'a> {
    /// Announces the cluster and applies what is printed, as an operator does.
    pub(crate) fn new(plane: &'a ControlPlane, hub: &'a Hub) -> Result<Self> {
        let manifest = hub.roadstead(&["cluster", "add", "edge-1"])?;
        plane.apply(&manifest)?;
        let dir = tempfile::Builder::new().prefix("roadstead-pod-").tempdir()?;
        for place in ["api", "join"] {
            fs::create_dir(dir.path().join(place))?;
        }
        fs::copy(plane.admin_files().0, dir.path().join("api/ca.crt"))?;
        fs::write(dir.path().join("api/namespace"), NAMESPACE)?;
        let this = Self { plane, hub, dir, agent: None, starts: 0 };
        this.mount_token(&plane.token_request(NAMESPACE, "roadstead-agent")?)?;
        this.mount_join_token()?;
        Ok(this)
    }

    /// What the kubelet does with the Secret of the join token.
    pub(crate) fn mount_join_token(&self) -> Result<()> {
        let (this, plane) = (self, self.plane);
        let secret = this.get("secret/roadstead-agent-join", "{.data.token}")?;
        let decode = format!("{{{{\"{secret}\" | base64decode}}}}");
        let token = plane.kubectl_ok(&["get", "namespace", NAMESPACE, "--output", &format!("go-template={decode}")])?;
        write_private(&this.dir.path().join("join/token"), token.trim().as_bytes())
    }

    /// Ends the container.
    pub(crate) fn stop(&mut self) {
        self.agent = None;
    }

    /// What the kubelet does when it renews the account's token, or a wrong one.
    pub(crate) fn mount_token(&self, token: &str) -> Result<()> {
        write_private(&self.dir.path().join("api/token"), token.as_bytes())
    }

    /// The join token's Secret is gone; it is optional.
    pub(crate) fn unmount_join_token(&self) -> Result<()> {
        fs::remove_file(self.dir.path().join("join/token")).context("removing the join token")
    }

    /// Starts the container anew.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.agent = None;
        self.starts += 1;
        let args = self.get("deployment/roadstead-agent", "{.spec.template.spec.containers[0].args}")?;
        let args: Vec<String> = serde_json::from_str(&args)?;
        let url = self.plane.url();
        let (host, port) = url.trim_start_matches("https://").rsplit_once(':').context("a URL without a port")?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", MOUNT, "sh"]).arg(self.dir.path()).arg(PROGRAM);
        // Several tests share this machine: the health port is the one thing that a pod has for itself.
        command.args(args.iter().map(|arg| if arg == "0.0.0.0:8444" { "127.0.0.1:0" } else { arg }));
        command.env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port);
        self.agent = Some(Process::spawn(&format!("agent-{}", self.starts), command, self.dir.path())?);
        Ok(())
    }

    /// What the running container logged.
    pub(crate) fn log(&self) -> Result<String> {
        let path: PathBuf = self.dir.path().join(format!("logs/agent-{}.log", self.starts));
        fs::read_to_string(path).context("reading the agent's log")
    }

    /// A field of an object in the agent's namespace.
    pub(crate) fn get(&self, object: &str, path: &str) -> Result<String> {
        self.plane.kubectl_ok(&["--namespace", NAMESPACE, "get", object, "--output", &format!("jsonpath={path}")])
    }

    /// Waits until the agent logs `text`.
    pub(crate) fn wait_logged(&mut self, text: &str) -> Result<()> {
        self.wait(text, |this| Ok(this.log()?.contains(text).then_some(())))
    }

    /// Waits until `kubectl get --raw path` through the hub, as `token`, says `text`.
    pub(crate) fn wait_answer(&mut self, token: &str, path: &str, text: &str) -> Result<()> {
        let mut last = String::new();
        let waited = self.wait(text, |this| {
            let Output { stdout, stderr, .. } = this.ask(token, path)?;
            last = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
            Ok(last.contains(text).then_some(()))
        });
        waited.with_context(|| format!("the last answer was: {last}"))
    }

    fn ask(&self, token: &str, path: &str) -> Result<Output> {
        let mut command = Command::new(self.plane.bin_dir().join("kubectl"));
        let server = format!("{}/clusters/edge-1", self.hub.address()?);
        command.args(["--kubeconfig", "/dev/null", "--server", &server, "--token", token, "get", "--raw", path]);
        command.arg("--certificate-authority").arg(self.hub.ca()).env("KUBECACHEDIR", self.dir.path());
        Ok(command.output()?)
    }

    fn wait<T>(&mut self, what: &str, mut step: impl FnMut(&mut Self) -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Some(done) = step(self)? {
                return Ok(done);
            }
            ensure!(Instant::now() < deadline, "waited {WITHIN:?} for {what}; the agent: {}", self.log()?);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
