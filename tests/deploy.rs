//! What operators apply, against a real API server: the manifests of hub and agent are accepted where Pod Security `restricted` is
//! enforced, the agent's account may do exactly what it should, and hub and agent run as manifests and unit say.

#[path = "cluster/mod.rs"]
mod cluster;
#[path = "deploy/hub.rs"]
mod hub;
#[allow(dead_code, reason = "the recovery test uses more of it")]
#[path = "deploy/pod.rs"]
mod pod;
#[path = "deploy/shared.rs"]
mod shared;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use cluster::{ControlPlane, Options};
use serde_json::{Value, json};

const AGENT: &str = "system:serviceaccount:roadstead:roadstead-agent";

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn documents(manifest: &str) -> Result<Vec<Value>> {
    serde_saphyr::from_multiple(manifest).context("reading a manifest")
}

fn find<'a>(documents: &'a [Value], kind: &str) -> Result<&'a Value> {
    documents.iter().find(|document| document["kind"] == kind).with_context(|| format!("no {kind}"))
}

/// kubectl with a manifest as its input.
fn kubectl(plane: &ControlPlane, args: &[&str], input: &str) -> Result<Output> {
    let mut command = plane.kubectl_command();
    command.args(args).args(["--filename", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("kubectl has no stdin")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}

/// Accepted without even a warning.
fn accepted(plane: &ControlPlane, args: &[&str], input: &str) -> Result<()> {
    let output = kubectl(plane, args, input)?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && complaint.is_empty(), "kubectl {}: {complaint}", args.join(" "));
    Ok(())
}

/// The Pod that a Deployment's controller would make.
fn pod(deployment: &Value) -> Value {
    let (metadata, template) = (&deployment["metadata"], &deployment["spec"]["template"]);
    let labels = &template["metadata"]["labels"];
    let metadata = json!({"name": "one", "namespace": metadata["namespace"], "labels": labels});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

fn applies(plane: &ControlPlane, manifest: &str) -> Result<()> {
    let documents = documents(manifest)?;
    let namespace = find(&documents, "Namespace")?;
    ensure!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted", "{namespace}");
    // A dry run needs the namespace to be there.
    accepted(plane, &["apply", "--server-side"], &namespace.to_string())?;
    accepted(plane, &["apply", "--server-side", "--dry-run=server"], manifest)?;
    accepted(plane, &["apply", "--server-side"], manifest)?;
    // A second time changes nothing and needs no force.
    accepted(plane, &["apply", "--server-side"], manifest)?;
    let mut pod = pod(find(&documents, "Deployment")?);
    accepted(plane, &["create", "--dry-run=server"], &pod.to_string())?;
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let refused = kubectl(plane, &["create", "--dry-run=server"], &pod.to_string())?;
    let complaint = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success() && complaint.contains("violates PodSecurity"), "not enforced: {complaint}");
    Ok(())
}

/// Whether `kubectl auth can-i` says that the agent may.
fn can(plane: &ControlPlane, question: &[&str]) -> Result<bool> {
    let output = plane.kubectl_command().args(["auth", "can-i", "--as", AGENT]).args(question).output()?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => anyhow::bail!("can-i {question:?}: {other} {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// One line a question: the answer, and what follows `kubectl auth can-i`.
const RIGHTS: &str = "
yes impersonate users/roadstead:user
yes impersonate groups/roadstead:view
yes impersonate groups/roadstead:edit
yes get secrets/roadstead-agent-state --namespace roadstead
yes update secrets/roadstead-agent-state --namespace roadstead
no impersonate users/admin
no impersonate users/system:admin
no impersonate users
no impersonate groups/system:masters
no impersonate groups/system:authenticated
no impersonate groups
no impersonate serviceaccounts/default --namespace kube-system
no get secrets/roadstead-agent-join --namespace roadstead
no get secrets/roadstead-agent-state --namespace kube-system
no delete secrets/roadstead-agent-state --namespace roadstead
no create secrets --namespace roadstead
no list secrets --namespace roadstead
no list secrets --all-namespaces
no list pods --all-namespaces
no create pods --namespace roadstead
no create pods --subresource=exec --namespace roadstead
yes create serviceaccounts/roadstead-agent --subresource=token --namespace roadstead
yes get /openid/v1/jwks
no create serviceaccounts --subresource=token --namespace roadstead
no create serviceaccounts/default --subresource=token --namespace roadstead
no create serviceaccounts/roadstead-agent --subresource=token --namespace kube-system
no get /metrics
no update deployments.apps --namespace roadstead
no bind clusterroles.rbac.authorization.k8s.io
no escalate clusterroles.rbac.authorization.k8s.io
no create clusterrolebindings.rbac.authorization.k8s.io
no patch clusterroles.rbac.authorization.k8s.io/roadstead-agent
no approve certificatesigningrequests.certificates.k8s.io
no get nodes --subresource=proxy
no * *
";

/// The same about what no API serves, for which `can-i` would ask without the group.
fn may_impersonate(plane: &ControlPlane, resource: &str, subresource: &str) -> Result<bool> {
    let group = "authentication.k8s.io";
    let attributes = json!({"verb": "impersonate", "group": group, "resource": resource, "subresource": subresource});
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    });
    let args = ["create", "--as", AGENT, "--validate=false", "--output", "jsonpath={.status.allowed}"];
    let output = kubectl(plane, &args, &review.to_string())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout == b"true")
}

fn rights_are_as_told(plane: &ControlPlane) -> Result<()> {
    let mut wrong = Vec::new();
    for line in RIGHTS.lines().filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        if can(plane, &words[1..])? != (words[0] == "yes") {
            wrong.push(line);
        }
    }
    let extras = [("userextras", "roadstead.dev/subject", true), ("userextras", "scopes", false), ("uids", "", false)];
    for (resource, subresource, expected) in extras {
        if may_impersonate(plane, resource, subresource)? != expected {
            wrong.push(resource);
        }
    }
    ensure!(wrong.is_empty(), "the API server says otherwise: {wrong:#?}");
    Ok(())
}

/// With the account's own token, as the agent uses it: it gets what the group that it acts for has, and nothing without it.
fn acts_for_a_viewer(plane: &ControlPlane) -> Result<()> {
    // Kubernetes' own `view` is filled by the controller manager, which does not run here.
    plane.kubectl_ok(&["create", "clusterrole", "reader", "--verb=list", "--resource=pods"])?;
    plane.kubectl_ok(&["create", "clusterrolebinding", "reader", "--clusterrole=reader", "--group=roadstead:view"])?;
    let token = plane.token_request("roadstead", "roadstead-agent")?;
    let server = plane.url();
    let list_pods = |acting: &[&str]| -> Result<String> {
        let mut command = std::process::Command::new(plane.bin_dir().join("kubectl"));
        command.args(["--kubeconfig", "/dev/null", "--server", &server, "--token", &token]);
        command.arg("--certificate-authority").arg(plane.admin_files().0).args(acting);
        command.args(["get", "--raw", "/api/v1/pods"]).env("KUBECACHEDIR", plane.dir().join("agent-cache"));
        let output = command.output()?;
        let text = if output.status.success() { output.stdout } else { output.stderr };
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let extra = ["--as-user-extra", "roadstead.dev/subject=token:alice"];
    let viewer = ["--as", "roadstead:user", "--as-group", "roadstead:view", extra[0], extra[1]];
    let master = ["--as", "roadstead:user", "--as-group", "system:masters"];
    for (acting, expected) in
        [(&viewer[..], "PodList"), (&master, "cannot impersonate"), (&[], "cannot list resource \"pods\"")]
    {
        let text = list_pods(acting)?;
        ensure!(text.contains(expected), "{acting:?}: {text}");
    }
    Ok(())
}

#[test]
fn the_api_server_accepts_the_manifests_and_gives_the_agent_exactly_its_rights() -> Result<()> {
    let plane = ControlPlane::start(Options::new("deploy"))?;
    applies(&plane, &file("hub.yaml")).context("hub.yaml")?;
    applies(&plane, &file("agent.example.yaml")).context("agent.example.yaml")?;
    rights_are_as_told(&plane)?;
    acts_for_a_viewer(&plane)
}

#[test]
fn the_example_of_an_agent_is_what_cluster_add_prints() -> Result<()> {
    let hub = hub::Hub::start_with(&["--public-url", "https://hub.example.com:8443"], &[], None)?;
    let added: Value =
        serde_json::from_str(&hub.roadstead(&["cluster", "add", "edge-1", "--network-policy", "-ojson"])?)?;
    let text = |name: &str| added[name].as_str().with_context(|| format!("no {name} in {added}"));
    let printed = text("manifest")?
        .replace(text("token")?, "rsj_… as printed by: roadstead cluster add edge-1")
        .replace(text("tokenId")?, "aaaaaaaaaa")
        .replace(text("uid")?, "01jdzzzzzzzzzzzzzzzzzzzzzz")
        .replace(text("hubCaPin")?, &format!("sha256:{}", "0".repeat(64)));
    let expires = printed.lines().find(|line| line.contains("roadstead.dev/token-expires")).context("no expiry")?;
    let printed = printed.replace(expires, "    roadstead.dev/token-expires: \"2026-01-01T00:00:00Z\"");
    let head = "# An example, of what this prints: roadstead cluster add edge-1 --network-policy\n\
                # Token and pin are not real ones: print your own. tests/deploy.rs compares (ROADSTEAD_REGENERATE=1 writes it anew).\n";
    let fresh = format!("{head}{printed}");
    if std::env::var_os("ROADSTEAD_REGENERATE").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/agent.example.yaml"), &fresh)?;
    }
    ensure!(file("agent.example.yaml") == fresh, "stale: run ROADSTEAD_REGENERATE=1 cargo test --test deploy");
    Ok(())
}

#[test]
fn the_hub_starts_as_its_manifest_says() -> Result<()> {
    let documents = documents(&file("hub.yaml"))?;
    let container = &find(&documents, "Deployment")?["spec"]["template"]["spec"]["containers"][0];
    let image = format!("ghcr.io/roadstead/roadstead:{}", env!("CARGO_PKG_VERSION"));
    ensure!(container["image"] == image.as_str(), "{} is not this version", container["image"]);
    let args: Vec<&str> = container["args"].as_array().context("no args")?.iter().filter_map(Value::as_str).collect();
    ensure!(args[0] == "hub", "{args:?}");
    let grants = find(&documents, "ConfigMap")?["data"]["grants.yaml"].as_str().context("no grants")?;
    let hub = hub::Hub::start_with(&args[1..], &[], Some(grants))?;
    ensure!(hub.url() == "https://hub.example.com:8443", "{}", hub.url());
    ensure!(!hub.log()?.contains("no grants file"), "{}", hub.log()?);
    Ok(())
}

#[test]
fn the_hub_starts_as_its_unit_says() -> Result<()> {
    let unit = file("roadstead-hub.service");
    ensure!(unit.contains("\nExecStart=/usr/local/bin/roadstead hub\n"), "{unit}");
    let variables: Vec<(&str, &str)> =
        unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('=')).collect();
    ensure!(variables.iter().any(|(name, _)| *name == "ROADSTEAD_DATA"), "{variables:?}");
    let hub = hub::Hub::start_with(&[], &variables, Some(""))?;
    ensure!(hub.log()?.starts_with('{'), "logs are not JSON: {}", hub.log()?);
    Ok(())
}

const GRANTS: &str = "
{apiVersion: roadstead.dev/v1, kind: Grant, metadata: {name: viewers}, spec: {subjects: [{group: 'token:viewers'}],
  clusters: {all: true}, as: {groups: ['roadstead:view']}, capabilities: [read]}}
---
{apiVersion: roadstead.dev/v1, kind: Grant, metadata: {name: strangers}, spec: {subjects: [{group: 'token:strangers'}],
  clusters: {all: true}, as: {groups: ['roadstead:not-in-the-manifest']}, capabilities: [read]}}
";

#[test]
fn an_agent_runs_as_its_manifest_says_from_joining_to_removal() -> Result<()> {
    let plane = ControlPlane::start(Options::new("pod"))?;
    let hub = hub::Hub::start_with(&["--grants", "/etc/roadstead/grants/grants.yaml"], &[], Some(GRANTS))?;
    let token = hub.roadstead(&["token", "create", "alice", "--group", "viewers"])?;
    let (token, whoami) = (token.trim(), "/apis/authentication.k8s.io/v1");
    let mut pod = pod::Pod::new(&plane, &hub)?;
    pod.start()?;
    pod.wait_answer(token, whoami, "selfsubjectreviews").context("joining")?;
    // A grant may name what the agent may not act as; the cluster says so, and kubectl shows it even of discovery.
    let stranger = hub.roadstead(&["token", "create", "bob", "--group", "strangers"])?;
    pod.wait_answer(stranger.trim(), whoami, "Warning: cluster \"edge-1\": the API server refused this to user")?;
    let certificate = pod.get("secret/roadstead-agent-state", "{.data}")?;
    ensure!(!certificate.is_empty(), "the Secret is empty");

    // A new pod finds its key in the Secret; the join token is used up, and gone.
    pod.unmount_join_token()?;
    pod.start()?;
    pod.wait_logged("moored")?;
    pod.wait_answer(token, whoami, "selfsubjectreviews").context("a second pod")?;
    ensure!(pod.get("secret/roadstead-agent-state", "{.data}")? == certificate, "the second pod made a new key");

    // Not the caller's fault, and it must not look like it.
    plane.kubectl_ok(&["--namespace", "roadstead", "delete", "serviceaccount", "roadstead-agent"])?;
    plane.kubectl_ok(&["--namespace", "roadstead", "create", "serviceaccount", "roadstead-agent"])?;
    pod.wait_answer(token, whoami, "the api server rejected the agent's credential")?;
    pod.mount_token(&plane.token_request("roadstead", "roadstead-agent")?)?;
    pod.wait_answer(token, whoami, "selfsubjectreviews").context("a new token")?;

    hub.roadstead(&["cluster", "remove", "edge-1"])?;
    pod.wait_logged("join again with a new token")?;
    pod.wait_answer(token, whoami, "does not exist or no grant")
}
