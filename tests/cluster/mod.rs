//! Real Kubernetes control planes for tests, the quickstart and benchmarks: etcd and kube-apiserver as child processes on loopback,
//! ready in about 3 s; with [`Options::pods`] also controllers, scheduler, kwok and a node that runs real processes (`demo/shell`).
//!
//! Blocking on purpose, and knows nothing of Roadstead: it can judge it. Nothing outlives the process that started it, however it ends.
//!
//! ```ignore
//! #[path = "cluster/mod.rs"]
//! mod cluster;
//! let one = cluster::ControlPlane::start(cluster::Options::new("edge-1"))?;
//! assert!(one.kubectl(&["get", "ns"])?.status.success());
//! ```
#![allow(dead_code, unused_imports, reason = "each program that includes this module uses a part of it")]
#![allow(
    clippy::disallowed_methods,
    reason = "no runtime here: processes are waited for in real time, on threads of their own"
)]

mod binaries;
mod certificates;
mod pods;
mod port;
mod process;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub(crate) use binaries::{Binaries, Set};
use certificates::Certificates;
pub(crate) use port::ReservedPort;
pub(crate) use process::{Process, bound_to_us, signal, stop_all, write_private};

/// How long a control plane may take to be ready: 3 s on an idle machine, far more beside a compiler on 2 cores.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Only a label, for messages and directory names.
    pub(crate) name: String,
    /// Also kube-controller-manager, kube-scheduler, kwok and the test node with the pod `demo/shell`.
    /// Without them no pod runs, no `default` ServiceAccount appears and a deleted namespace never goes away.
    pub(crate) pods: bool,
    /// Where all files go; a fresh temporary directory, removed at the end, when absent.
    pub(crate) dir: Option<PathBuf>,
    /// Writes an audit event at level `Metadata` for every stage of every request to [`ControlPlane::audit_log`].
    pub(crate) audit_log: bool,
    /// The API server's key is RSA of 2048 bits, as kubeadm makes it, instead of P-256: its handshakes cost what they cost there.
    pub(crate) rsa: bool,
    /// More flags for kube-apiserver.
    pub(crate) extra_args: Vec<String>,
}

impl Options {
    /// A bare control plane: no pods, no audit log, a temporary directory.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), pods: false, dir: None, audit_log: false, rsa: false, extra_args: Vec::new() }
    }

    /// The same with pods.
    pub(crate) fn with_pods(mut self) -> Self {
        self.pods = true;
        self
    }

    /// The same with an audit log.
    pub(crate) fn with_audit_log(mut self) -> Self {
        self.audit_log = true;
        self
    }
}

/// A running control plane; dropping it kills its processes.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    options: Options,
    binaries: Binaries,
    certificates: Certificates,
    // Dropped in this order: first who writes, then what is written to, the directory last.
    pods: Option<pods::Pods>,
    apiserver: Option<Process>,
    etcd: Process,
    etcd_port: ReservedPort,
    api_port: ReservedPort,
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl ControlPlane {
    /// Starts a control plane and waits until it serves (and `demo/shell` runs, with pods). Fetches or builds the programs first
    /// when this machine never did: minutes, once.
    ///
    /// # Errors
    /// When programs cannot be had or do not become ready; the message holds the end of the log of what failed.
    pub(crate) fn start(options: Options) -> Result<Self> {
        let binaries = Binaries::find(if options.pods { Set::Pods } else { Set::ControlPlane })?;
        let temporary = match options.dir {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("roadstead-cluster-").tempdir()?),
        };
        let dir = match (&options.dir, &temporary) {
            (Some(dir), _) => dir.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => unreachable!("one of them was just made"),
        };
        fs::create_dir_all(dir.join("logs")).with_context(|| format!("making {}", dir.display()))?;
        let certificates = Certificates::make(&dir.join("pki"), options.rsa)?;
        let (etcd_port, api_port) = (ReservedPort::new()?, ReservedPort::new()?);
        let etcd = start_etcd(&binaries, &dir, &etcd_port)?;
        let mut this = Self {
            options,
            binaries,
            certificates,
            pods: None,
            apiserver: None,
            etcd,
            etcd_port,
            api_port,
            dir,
            _temporary: temporary,
        };
        this.write_kubeconfig()?;
        if this.options.audit_log {
            fs::write(this.dir.join("audit-policy.yaml"), AUDIT_POLICY)?;
        }
        this.start_apiserver()?;
        if this.options.pods {
            this.pods = Some(pods::Pods::start(&this)?);
        }
        Ok(this)
    }

    /// The name it was given.
    pub(crate) fn name(&self) -> &str {
        &self.options.name
    }

    /// Whether it was started with [`Options::pods`].
    pub(crate) fn has_pods(&self) -> bool {
        self.options.pods
    }

    /// Where its files are: `logs/`, `pki/`, kubeconfigs.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A kubeconfig of a cluster administrator (client certificate, group `system:masters`); context = [`Self::name`].
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// `https://127.0.0.1:PORT`, the same after a restart.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port.number())
    }

    /// The CA of the API server's certificate, PEM.
    pub(crate) fn ca_pem(&self) -> &str {
        self.certificates.ca_pem()
    }

    /// Files of the CA, and of the administrator's certificate and key.
    pub(crate) fn admin_files(&self) -> (PathBuf, PathBuf, PathBuf) {
        (self.certificates.path("ca.crt"), self.certificates.path("admin.crt"), self.certificates.path("admin.key"))
    }

    /// The process id of kube-apiserver, unless it was killed.
    pub(crate) fn apiserver_pid(&self) -> Option<u32> {
        self.apiserver.as_ref().map(Process::pid)
    }

    /// The process id of etcd.
    pub(crate) fn etcd_pid(&self) -> u32 {
        self.etcd.pid()
    }

    /// All processes, by name: `apiserver`, `etcd`, and with pods `controller-manager`, `scheduler`, `kwok`, `testnode`.
    pub(crate) fn pids(&self) -> Vec<(&str, u32)> {
        let pods = self.pods.iter().flat_map(pods::Pods::processes);
        self.apiserver.iter().chain([&self.etcd]).chain(pods).map(|one| (one.name(), one.pid())).collect()
    }

    /// The directory with `kubectl` and the other programs, for a `PATH`.
    pub(crate) fn bin_dir(&self) -> &Path {
        self.binaries.dir()
    }

    /// Where audit events go, one JSON object a line, with [`Options::audit_log`].
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.dir.join("logs/audit.jsonl")
    }

    /// A `kubectl` command of the pinned version against this API server as administrator, to add arguments to.
    pub(crate) fn kubectl_command(&self) -> Command {
        let mut command = Command::new(self.binaries.dir().join("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig()).env("KUBECACHEDIR", self.dir.join("kubectl-cache"));
        command
    }

    /// Runs kubectl to its end.
    ///
    /// # Errors
    /// Only when it cannot be run; its own failure is in the output.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<Output> {
        self.kubectl_command().args(args).stdin(Stdio::null()).output().context("running kubectl")
    }

    /// Runs kubectl, which must succeed, and gives its stdout without the last newline.
    ///
    /// # Errors
    /// When it fails, with its stderr.
    pub(crate) fn kubectl_ok(&self, args: &[&str]) -> Result<String> {
        let output = self.kubectl(args)?;
        ensure!(
            output.status.success(),
            "kubectl {} failed: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// `kubectl apply -f -` of these manifests, server-side, whoever wrote to their objects since the last time.
    ///
    /// # Errors
    /// When the API server refuses one of them.
    pub(crate) fn apply(&self, manifests: &str) -> Result<()> {
        let mut command = self.kubectl_command();
        command.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("kubectl has no stdin")?.write_all(manifests.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "kubectl apply failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// A token of a ServiceAccount by the TokenRequest API, valid for 24 h.
    ///
    /// # Errors
    /// When the ServiceAccount does not exist.
    pub(crate) fn token_request(&self, namespace: &str, service_account: &str) -> Result<String> {
        self.kubectl_ok(&["create", "token", service_account, "--namespace", namespace, "--duration", "24h"])
    }

    /// Kills kube-apiserver with SIGKILL: connections break at once, etcd and nodes go on.
    pub(crate) fn kill_apiserver(&mut self) {
        self.apiserver = None;
    }

    /// Starts kube-apiserver again on the same port (kills it first if it runs) and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub(crate) fn restart_apiserver(&mut self) -> Result<()> {
        self.kill_apiserver();
        self.start_apiserver()
    }

    /// The end of the log of one of [`Self::pids`], for messages.
    pub(crate) fn log_tail(&self, process: &str) -> String {
        process::tail(&self.dir.join(format!("logs/{process}.log")))
    }

    fn write_kubeconfig(&self) -> Result<()> {
        let (ca, certificate, key) = self.admin_files();
        let name = self.name();
        let text = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": self.url(), "certificate-authority": ca}}],
            "users": [{"name": name, "user": {"client-certificate": certificate, "client-key": key}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        });
        process::write_private(&self.kubeconfig(), text.to_string().as_bytes())
    }

    fn start_apiserver(&mut self) -> Result<()> {
        let mut command = self.binaries.command("kube-apiserver");
        command.args(self.apiserver_args()).args(&self.options.extra_args);
        let mut process = Process::spawn("apiserver", command, &self.dir)?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            process.check()?;
            if self.is_ready() {
                break;
            }
            if Instant::now() > deadline {
                bail!("kube-apiserver of {} is not ready after {READY_WITHIN:?}: {}", self.name(), process.log_tail());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.apiserver = Some(process);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        // A connection first: it costs nothing, a kubectl costs 60 ms of a core that the API server wants.
        std::net::TcpStream::connect(("127.0.0.1", self.api_port.number())).is_ok()
            && self.kubectl(&["get", "--raw", "/readyz"]).is_ok_and(|output| output.status.success())
    }

    fn apiserver_args(&self) -> Vec<String> {
        let file = |name: &str| self.certificates.path(name).display().to_string();
        let mut args = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port.number()),
            format!("--secure-port={}", self.api_port.number()),
            format!("--cert-dir={}", self.dir.join("pki").display()),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--kubelet-certificate-authority={}", file("ca.crt")),
            format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
            format!("--kubelet-client-key={}", file("kubelet-client.key")),
            format!("--service-account-key-file={}", file("service-accounts.pub")),
            format!("--service-account-signing-key-file={}", file("service-accounts.key")),
        ];
        let fixed = [
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--permit-port-sharing=true", // our reservation keeps the port while the server is down
            "--endpoint-reconciler-type=none", // a loopback address is no endpoint
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=Node,RBAC",
            "--kubelet-preferred-address-types=InternalIP",
        ];
        args.extend(fixed.map(str::to_owned));
        if self.options.audit_log {
            args.push(format!("--audit-policy-file={}", self.dir.join("audit-policy.yaml").display()));
            args.push(format!("--audit-log-path={}", self.audit_log().display()));
        }
        args
    }
}

/// Every stage of every request, by its metadata: the `ResponseComplete` of a watch or an exec is where its end is seen.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";

fn start_etcd(binaries: &Binaries, dir: &Path, port: &ReservedPort) -> Result<Process> {
    let peers = ReservedPort::new()?;
    let (client, peer) =
        (format!("http://127.0.0.1:{}", port.number()), format!("http://127.0.0.1:{}", peers.number()));
    let mut command = binaries.command("etcd");
    command.arg("--data-dir").arg(dir.join("etcd"));
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client, "--listen-peer-urls", &peer]);
    command.args(["--initial-advertise-peer-urls", &peer, "--initial-cluster", &format!("default={peer}")]);
    // A test's data may be lost with the machine; what it must not do is wait for a disk.
    command.args(["--unsafe-no-fsync", "--socket-reuse-port", "--log-level", "warn"]);
    Process::spawn("etcd", command, dir)
}
