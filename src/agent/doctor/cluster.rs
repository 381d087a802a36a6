//! The cluster around the agent: its API server, where the state is kept, and what the agent's account may do. Asks, and changes nothing.

use std::path::Path;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, api::PostParams};
use tokio::time::timeout;

use super::{Finding, PATIENCE, text};
use crate::agent::settings::StateAt;

/// As whom the agent must be able to act, by what the manifest gives it.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    /// Users.
    pub users: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// Keys of extras.
    pub extras: Vec<String>,
}

pub(super) async fn examine(client: &kube::Client, state: &StateAt, needed: &Needed, findings: &mut Vec<Finding>) {
    let asked = timeout(PATIENCE, client.apiserver_version()).await;
    let why = match asked {
        Ok(Ok(info)) => {
            findings.push(Finding::ok("api server", format!("Kubernetes {}", info.git_version)));
            None
        }
        Ok(Err(error)) => Some(text(&error)),
        Err(_) => Some("no answer in time".to_owned()),
    };
    if let Some(why) = why {
        let remedy = "see that the API server is up and allowed on the way (NetworkPolicies), and that the agent's credential is good";
        findings.push(Finding::failed("api server", format!("it does not answer: {why}"), remedy));
        findings.extend(["state", "rights"].map(|check| Finding::skipped(check, "no API server")));
        return;
    }
    findings.push(match state {
        StateAt::Directory(directory) => writable(directory),
        StateAt::Secret { namespace, name } => may_keep(client, namespace, name).await,
    });
    findings.push(may_impersonate(client, needed).await);
}

/// Whether a file can be made beside the identity.
fn writable(directory: &Path) -> Finding {
    const CHECK: &str = "state";
    let shown = directory.display();
    let probe = directory.join(format!(".doctor-{}", std::process::id()));
    match std::fs::File::create_new(&probe).and_then(|_| std::fs::remove_file(&probe)) {
        Ok(()) => Finding::ok(CHECK, format!("{shown} can be written")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !directory.exists() => {
            Finding::ok(CHECK, format!("{shown} is not there yet; the agent makes it"))
        }
        Err(error) => {
            let found = format!("{shown} cannot be written: {error}");
            Finding::failed(CHECK, found, "give the agent's user this directory, on a disk with room")
        }
    }
}

async fn may_keep(client: &kube::Client, namespace: &str, name: &str) -> Finding {
    const CHECK: &str = "state";
    let mut missing = Vec::new();
    for verb in ["get", "patch"] {
        let asked = ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            resource: Some("secrets".to_owned()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        match may(client, asked).await {
            Ok(true) => {}
            Ok(false) => missing.push(verb),
            Err(why) => return Finding::skipped(CHECK, why),
        }
    }
    if missing.is_empty() {
        return Finding::ok(CHECK, format!("secret {namespace}/{name} may be read and written"));
    }
    let found = format!("the agent may not {} secret {namespace}/{name}", missing.join(" and "));
    Finding::failed(
        CHECK,
        found,
        "apply the agent's manifest again (`roadstead cluster add` prints one): its Role allows this",
    )
}

async fn may_impersonate(client: &kube::Client, needed: &Needed) -> Finding {
    const CHECK: &str = "rights";
    let (mut missing, mut count) = (Vec::new(), 0);
    for (kind, group, names) in [
        ("users", None, &needed.users),
        ("groups", None, &needed.groups),
        ("userextras", Some("authentication.k8s.io"), &needed.extras),
    ] {
        for name in names {
            let extra = group.is_some();
            let asked = ResourceAttributes {
                verb: Some("impersonate".to_owned()),
                group: group.map(str::to_owned),
                resource: Some(kind.to_owned()),
                // An extra is named as a subresource (apiserver endpoints/filters/impersonation.go).
                subresource: extra.then(|| name.clone()),
                name: (!extra).then(|| name.clone()),
                ..ResourceAttributes::default()
            };
            count += 1;
            match may(client, asked).await {
                Ok(true) => {}
                Ok(false) => missing.push(format!("{kind}/{name}")),
                Err(why) => return Finding::skipped(CHECK, why),
            }
        }
    }
    if missing.is_empty() {
        return Finding::ok(CHECK, format!("the agent may act as each of {count} names"));
    }
    let found = format!("the agent may not act as {}", missing.join(", "));
    Finding::failed(
        CHECK,
        found,
        "apply the agent's manifest again (`roadstead cluster add` prints one): its ClusterRole allows this",
    )
}

async fn may(client: &kube::Client, asked: ResourceAttributes) -> Result<bool, String> {
    let spec =
        SelfSubjectAccessReviewSpec { resource_attributes: Some(asked), ..SelfSubjectAccessReviewSpec::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    match timeout(PATIENCE, api.create(&PostParams::default(), &review)).await {
        Ok(Ok(review)) => Ok(review.status.is_some_and(|status| status.allowed)),
        Ok(Err(error)) => Err(text(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}
