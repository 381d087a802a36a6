//! One cluster of the quickstart: a control plane of our own, or one that existed. Either is asked through `kubectl` alone.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::cluster::{ControlPlane, write_private};

/// The group that the quickstart's people have in each cluster; a ClusterRoleBinding makes it cluster-admin.
pub(crate) const ADMIN_GROUP: &str = "roadstead:admin";

/// A cluster to join, with an administrator's way into it.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its name in the fleet.
    pub(crate) name: String,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    context: String,
    dir: PathBuf,
    /// Kept running for as long as the member lives.
    pub(crate) plane: Option<ControlPlane>,
    /// What was applied to a cluster that stays when we go.
    to_delete: Option<String>,
}

impl Member {
    /// A control plane that was just started.
    pub(crate) fn own(plane: ControlPlane, dir: &Path) -> Self {
        let (name, kubeconfig) = (plane.name().to_owned(), plane.kubeconfig());
        let kubectl = plane.bin_dir().join("kubectl");
        Self {
            context: name.clone(),
            name,
            kubectl,
            kubeconfig,
            dir: dir.to_owned(),
            plane: Some(plane),
            to_delete: None,
        }
    }

    /// Every context of a kubeconfig.
    pub(crate) fn existing(kubeconfig: &Path, kubectl: &Path, dir: &Path) -> Result<Vec<Self>> {
        let mut list = Command::new(kubectl);
        list.arg("--kubeconfig").arg(kubeconfig).args(["config", "get-contexts", "--output", "name"]);
        let contexts = succeed(list.output()?, "kubectl config get-contexts")?;
        ensure!(!contexts.is_empty(), "{} has no context", kubeconfig.display());
        let one = |context: &str| Self {
            name: fleet_name(context),
            kubectl: kubectl.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            context: context.to_owned(),
            dir: dir.to_owned(),
            plane: None,
            to_delete: None,
        };
        Ok(contexts.lines().map(one).collect())
    }

    /// Lets an agent work here: applies what of `manifest` is about rights (the Deployment needs an image and a node that pulls it),
    /// makes the quickstart's people administrators, and gives the kubeconfig that the agent will use.
    pub(crate) fn admit_agent(&mut self, manifest: &str) -> Result<PathBuf> {
        let (rights, namespace, account) = rights(manifest)?;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "roadstead-quickstart-admin"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": ADMIN_GROUP}],
        });
        let manifests = format!("{rights}\n---\n{binding}\n");
        if self.plane.is_none() {
            // What we apply we delete in the end: it must not be somebody's.
            let theirs =
                self.kubectl(&["get", "--ignore-not-found", "--output", "name", "--filename", "-"], &manifests)?;
            ensure!(
                theirs.is_empty(),
                "{} has an agent already (or what a killed quickstart left; then delete: {})",
                self.name,
                theirs.replace('\n', " ")
            );
            self.to_delete = Some(manifests.clone());
        }
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "--filename", "-"], &manifests)?;
        let token = self.kubectl(&["create", "token", &account, "--namespace", &namespace, "--duration", "24h"], "")?;
        let token_file = self.dir.join(format!("agent-{}.token", self.name));
        write_private(&token_file, token.as_bytes())?;
        let server = self.view()?["clusters"][0]["cluster"].clone();
        let config = kubeconfig(&self.name, &server, &json!({"tokenFile": token_file}));
        let path = self.dir.join(format!("agent-{}.kubeconfig", self.name));
        write_private(&path, config.to_string().as_bytes())?;
        Ok(path)
    }

    /// The way straight to the API server, as the same person that the hub would make of the quickstart's token.
    pub(crate) fn direct(&self) -> Result<Value> {
        let view = self.view()?;
        let mut user = view["users"][0]["user"].clone();
        user["as"] = json!("roadstead:user");
        user["as-groups"] = json!([ADMIN_GROUP]);
        user["as-user-extra"] = json!({"roadstead.dev/subject": ["token:quickstart"]});
        Ok(kubeconfig(&self.name, &view["clusters"][0]["cluster"], &user))
    }

    /// The administrator's kubeconfig of this one cluster, with files inlined.
    fn view(&self) -> Result<Value> {
        let text = self.kubectl(&["config", "view", "--raw", "--flatten", "--minify", "--output", "json"], "")?;
        serde_json::from_str(&text).context("reading what kubectl config view printed")
    }

    fn kubectl(&self, args: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).arg("--context").arg(&self.context).args(args);
        command.env("KUBECACHEDIR", self.dir.join("kubectl-cache"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("kubectl has no stdin")?.write_all(input.as_bytes())?;
        succeed(child.wait_with_output()?, &format!("{}: kubectl {}", self.name, args.join(" ")))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some(manifests) = self.to_delete.take() else { return };
        if let Err(error) =
            self.kubectl(&["delete", "--ignore-not-found", "--wait=false", "--filename", "-"], &manifests)
        {
            eprintln!("quickstart: something stays in cluster {}: {error:#}", self.name);
        }
    }
}

/// stdout of a command that succeeded, without the last newline.
pub(crate) fn succeed(output: Output, what: &str) -> Result<String> {
    ensure!(
        output.status.success(),
        "{what} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn kubeconfig(name: &str, cluster: &Value, user: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    })
}

/// The documents of an agent's manifest that say who it is and what it may do, and its ServiceAccount.
fn rights(manifest: &str) -> Result<(String, String, String)> {
    const KINDS: [&str; 6] =
        ["Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"];
    let (mut kept, mut account) = (Vec::new(), None);
    for document in format!("\n{manifest}").split("\n---") {
        let object: Value = serde_saphyr::from_str(document).context("reading the agent's manifest")?;
        let kind = object["kind"].as_str().unwrap_or_default();
        if kind == "ServiceAccount" {
            let field = |name: &str| object["metadata"][name].as_str().unwrap_or("default").to_owned();
            account = Some((field("namespace"), field("name")));
        }
        if KINDS.contains(&kind) {
            kept.push(object.to_string());
        }
    }
    let Some((namespace, account)) = account else { bail!("the agent's manifest has no ServiceAccount") };
    Ok((kept.join("\n---\n"), namespace, account))
}

/// A context's name as a cluster's name: a DNS label.
fn fleet_name(context: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = context.chars().map(letter).take(63).collect();
    name.trim_matches('-').to_owned()
}
