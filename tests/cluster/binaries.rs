//! Where the programs of a control plane are. Finding, downloading and building them is `scripts/lib/cluster-binaries`' business.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

/// How much is needed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Set {
    /// kubectl alone, for clusters that exist already.
    Kubectl,
    /// etcd, kube-apiserver, kubectl.
    ControlPlane,
    /// These, the managers, kwok and the test node.
    Pods,
    /// These, and a kubectl of another minor version (`kubectl-1.37`), if it can be had.
    All,
}

/// A directory that holds the programs.
#[derive(Clone, Debug)]
pub(crate) struct Binaries(PathBuf);

impl Binaries {
    /// Asks the script, once per set and process; what is missing is fetched or built now, with progress on stderr.
    ///
    /// # Errors
    /// When the script fails: its stderr has said why.
    pub(crate) fn find(set: Set) -> Result<Self> {
        static FOUND: Mutex<Vec<(Set, PathBuf)>> = Mutex::new(Vec::new());
        let mut found = FOUND.lock().map_err(|_| anyhow::anyhow!("an earlier search for the programs panicked"))?;
        if let Some((_, dir)) = found.iter().find(|(of, _)| *of == set) {
            return Ok(Self(dir.clone()));
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lib/cluster-binaries");
        let name = match set {
            Set::Kubectl => "kubectl",
            Set::ControlPlane => "control-plane",
            Set::Pods => "pods",
            Set::All => "all",
        };
        let mut command = Command::new("bash");
        command.arg(&script).arg(name).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output().with_context(|| format!("running {}", script.display()))?;
        ensure!(output.status.success(), "the programs of the test cluster are not to be had (see above)");
        let dir = PathBuf::from(String::from_utf8(output.stdout)?.trim_end());
        found.push((set, dir.clone()));
        Ok(Self(dir))
    }

    /// The directory, for a `PATH`.
    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    /// A command that runs one of the programs.
    pub(crate) fn command(&self, name: &str) -> Command {
        Command::new(self.0.join(name))
    }
}
