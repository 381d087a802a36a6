//! Two agents with one Secret, as a Deployment has them for a moment: a real API server, and agents of the shortest certificates. What one
//! stored is never written over by the other, who goes on with it; nor by what else changes about the Secret.
#![allow(clippy::disallowed_methods, reason = "no runtime here: processes are waited for in real time")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cluster::{ControlPlane, Options, Process, signal, write_private};
use crate::hub::Hub;

/// The shortest that a hub takes.
const LIFE: Duration = Duration::from_secs(60);
const SECRET: &str = "agent-state";

struct Shared {
    plane: ControlPlane,
    hub: Hub,
    pin: String,
}

impl Shared {
    fn start() -> Result<Self> {
        let plane = ControlPlane::start(Options::new("shared"))?;
        let hub = Hub::start_with(&["--agent-cert-ttl", "60s"], &[], Some(""))?;
        plane.kubectl_ok(&["create", "secret", "generic", SECRET])?;
        let added: Value = serde_json::from_str(&hub.roadstead(&["cluster", "add", "edge-1", "-ojson"])?)?;
        let text = |name: &str| added[name].as_str().with_context(|| format!("no {name} in {added}"));
        let pin = text("hubCaPin")?.to_owned();
        write_private(&plane.dir().join("join"), text("token")?.as_bytes())?;
        Ok(Self { plane, hub, pin })
    }

    fn agent(&self, name: &str) -> Result<Process> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roadstead"));
        command.args(["agent", "--hub", &self.hub.address()?, "--hub-ca-pin", &self.pin]);
        command.arg("--join-token-file").arg(self.plane.dir().join("join"));
        command.args(["--state-secret", &format!("default/{SECRET}")]).arg("--kubeconfig").arg(self.plane.kubeconfig());
        Process::spawn(name, command, self.plane.dir())
    }

    fn said(&self, agent: &str) -> String {
        fs::read_to_string(log(self.plane.dir(), agent)).unwrap_or_default()
    }

    fn secret(&self) -> Result<Value> {
        let show = ["get", "secret", SECRET, "--show-managed-fields", "--output", "json"];
        Ok(serde_json::from_str(&self.plane.kubectl_ok(&show)?)?)
    }

    /// The key that the Secret holds, as text.
    fn key(&self) -> Result<String> {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let secret = self.secret()?;
        let document = secret["data"]["identity.json"].as_str().context("no document in the Secret")?;
        let document: Value = serde_json::from_slice(&BASE64_STANDARD.decode(document)?)?;
        Ok(document["key"].as_str().context("no key")?.to_owned())
    }

    fn until(&self, what: &str, within: Duration, mut holds: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + within;
        while !holds(self)? {
            ensure!(
                Instant::now() < deadline,
                "not in time: {what}\none: {}\nother: {}",
                self.said("one"),
                self.said("other")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

fn log(dir: &Path, name: &str) -> std::path::PathBuf {
    dir.join("logs").join(format!("{name}.log"))
}

#[test]
fn what_one_agent_stored_in_a_shared_secret_is_what_the_other_goes_on_with() -> Result<()> {
    let shared = Shared::start()?;
    let one = shared.agent("one")?;
    // A hub that thinks a link alive refuses another agent with its certificate until the link is found dead.
    let soon = Duration::from_secs(40);
    shared.until("the first agent is moored", soon, |s| Ok(s.said("one").contains("moored")))?;
    let first = shared.key()?;
    let secret = shared.secret()?;
    let fields = secret["metadata"]["managedFields"].as_array().context("no managed fields")?.clone();
    let ours = fields.iter().find(|f| f["manager"] == "roadstead-agent").context("the agent owns nothing")?;
    ensure!(ours["operation"] == "Apply" && ours["fieldsV1"]["f:data"]["f:identity.json"].is_object(), "{ours}");
    // Another resourceVersion, with the same document: no reason to give way.
    shared.plane.kubectl_ok(&["label", "secret", SECRET, "touched=yes"])?;

    // It sleeps; another one takes its place and renews.
    signal(one.pid(), "STOP")?;
    let other = shared.agent("other")?;
    shared.until("the other agent renewed", LIFE, |s| Ok(s.key()? != first))?;
    let second = shared.key()?;
    drop(other);

    // The first one wakes up, still with the certificate that it had.
    signal(one.pid(), "CONT")?;
    // A line of its own, not the module that a lost link is logged by.
    let moored = |s: &Shared| s.said("one").matches("moored hub=").count() > 1;
    shared.until("the first agent is moored again", soon, |s| Ok(moored(s)))?;
    ensure!(shared.key()? == second, "it wrote over what the other one stored");
    ensure!(shared.said("one").contains("with this identity renewed it"), "{}", shared.said("one"));
    ensure!(shared.secret()?["metadata"]["labels"]["touched"] == "yes", "the label is gone");
    Ok(())
}
