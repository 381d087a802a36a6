//! What makes pods run: controllers, scheduler, kwok's nodes for pods at scale, and the test node whose containers are processes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{ControlPlane, Process};

/// How long `demo/shell` may take to run.
const RUNNING_WITHIN: Duration = Duration::from_secs(60);

/// The processes; dropping them kills them. The test node's own children die with it.
#[derive(Debug)]
pub(crate) struct Pods(Vec<Process>);

impl Pods {
    /// Starts them, and waits until `demo/shell` and kwok's nodes are ready.
    pub(crate) fn start(of: &ControlPlane) -> Result<Self> {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/manifests");
        let apply = |name: &str| of.apply(&std::fs::read_to_string(manifests.join(name))?);
        let mut this = Self(vec![controller_manager(of)?, scheduler(of)?, kwok(of, &manifests)?, test_node(of)?]);
        of.kubectl_ok(&["create", "-f", &manifests.join("kwok-nodes.yaml").display().to_string()])?;
        apply("shell.yaml")?;
        let deadline = Instant::now() + RUNNING_WITHIN;
        let pod = [
            "get",
            "pod",
            "shell",
            "--namespace",
            "demo",
            "--output",
            "jsonpath={.status.conditions[?(@.type=='Ready')].status}",
        ];
        let nodes = ["get", "nodes", "--output", "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"];
        while of.kubectl_ok(&pod)? != "True" || of.kubectl_ok(&nodes)? != "True True True" {
            this.0.iter_mut().try_for_each(Process::check)?;
            if Instant::now() > deadline {
                bail!("pods do not run after {RUNNING_WITHIN:?}: {}", of.log_tail("testnode"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(this)
    }

    /// All of them.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.0.iter()
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        // The test node takes its containers with it; when it is killed, its reaper does.
        for node in self.0.iter_mut().filter(|one| one.name() == "testnode") {
            node.ask_to_end(Duration::from_secs(3));
        }
    }
}

fn controller_manager(of: &ControlPlane) -> Result<Process> {
    let mut command = of.binaries.command("kube-controller-manager");
    command.arg("--kubeconfig").arg(of.kubeconfig());
    command.arg("--root-ca-file").arg(of.certificates.path("ca.crt"));
    command.arg("--service-account-private-key-file").arg(of.certificates.path("service-accounts.key"));
    command.args(["--secure-port=0", "--leader-elect=false", "--use-service-account-credentials=false"]);
    Process::spawn("controller-manager", command, of.dir())
}

fn scheduler(of: &ControlPlane) -> Result<Process> {
    let mut command = of.binaries.command("kube-scheduler");
    command.arg("--kubeconfig").arg(of.kubeconfig());
    command.args(["--secure-port=0", "--leader-elect=false"]);
    Process::spawn("scheduler", command, of.dir())
}

/// kwok, for the nodes that say so by an annotation: the test node is not its business.
fn kwok(of: &ControlPlane, manifests: &Path) -> Result<Process> {
    let mut command = of.binaries.command("kwok");
    command.arg("--kubeconfig").arg(of.kubeconfig());
    command.arg("--config").arg(manifests.join("kwok-stages.yaml"));
    command.args(["--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"]);
    command.args(["--node-ip=127.0.0.1", "--node-lease-duration-seconds=40"]);
    Process::spawn("kwok", command, of.dir())
}

fn test_node(of: &ControlPlane) -> Result<Process> {
    let mut command = of.binaries.command("testnode");
    command.arg("--kubeconfig").arg(of.kubeconfig()).arg("--dir").arg(of.dir().join("testnode"));
    command.arg("--tls-cert").arg(of.certificates.path("kubelet.crt"));
    command.arg("--tls-key").arg(of.certificates.path("kubelet.key"));
    command.arg("--client-ca").arg(of.certificates.path("ca.crt"));
    Process::spawn("testnode", command, of.dir())
}
