//! The manifest of an agent, from the one template in `deploy/`. Knows where values go, not what they mean to Kubernetes.

use serde_json::{Value, json};

use super::defaults::AGENT_GROUPS;
use super::failure::{Code, Failure};
use super::units::timestamp;
use crate::access::{DEFAULT_USER, SUBJECT_EXTRA, check_name};
use crate::hub::api_types::ClusterCreated;
use crate::identity::HubUrl;

const AGENT: &str = include_str!("../../deploy/agent.yaml.in");
const NETWORK_POLICY: &str = include_str!("../../deploy/agent-network-policy.yaml.in");

/// Name of the Secret that the agent keeps its key in; the template makes it.
const STATE_SECRET: &str = "roadstead-agent-state";

/// What distinguishes one agent's manifest from another's.
#[derive(Debug)]
pub(super) struct AgentManifest<'a> {
    pub(super) created: &'a ClusterCreated,
    pub(super) namespace: &'a str,
    pub(super) image: &'a str,
    /// In-cluster users that may be impersonated besides [`DEFAULT_USER`].
    pub(super) allow_users: &'a [String],
    /// In-cluster groups that may be impersonated besides [`AGENT_GROUPS`].
    pub(super) allow_groups: &'a [String],
    /// Extras that may be impersonated besides [`SUBJECT_EXTRA`].
    pub(super) allow_extras: &'a [String],
    pub(super) network_policy: bool,
    /// With the ClusterRole that says whom the agent may impersonate; without it the one of the cluster stays as it is.
    pub(super) rights: bool,
}

/// Fills in the template.
///
/// # Errors
/// An image that is no name (usage), or an address of the hub that is no URL.
pub(super) fn render(agent: &AgentManifest<'_>) -> Result<String, Failure> {
    check_name(agent.image).map_err(|error| Failure::because(Code::Usage, error, "--image"))?;
    let created = agent.created;
    let hub: HubUrl = created.hub.parse().map_err(|error| {
        Failure::because(Code::Failed, error, "the hub gives no usable address; set its --public-url")
    })?;
    // RBAC names an extra as a subresource, by its decoded lower-case key (apiserver endpoints/filters/impersonation.go).
    let extras = std::iter::once(SUBJECT_EXTRA).chain(agent.allow_extras.iter().map(String::as_str));
    let extras: Vec<_> = extras.map(|key| format!("userextras/{}", key.to_ascii_lowercase())).collect();
    let values = json!({
        "namespace": agent.namespace,
        "cluster": created.name,
        "uid": created.uid,
        "users": union(&[DEFAULT_USER], agent.allow_users),
        "groups": union(&AGENT_GROUPS, agent.allow_groups),
        "extras": extras,
        "expires": timestamp(created.token_expires),
        "token": created.token.expose(),
        "tokenId": created.token_id,
        "image": agent.image,
        "hub": hub.to_string(),
        "pin": pins(created),
        "stateSecret": format!("{}/{STATE_SECRET}", agent.namespace),
        "hubPort": hub.port(),
    });
    let parts = AGENT.split("---\n").filter(|part| agent.rights || !part.contains("\nkind: ClusterRole\n"));
    let mut text = fill(&parts.collect::<Vec<_>>().join("---\n"), &values);
    if agent.network_policy {
        text.push_str(&fill(NETWORK_POLICY, &values));
    }
    Ok(text)
}

/// The pins that the agent starts with: during a rotation of the authorities more than one, so that it may join in any phase.
fn pins(created: &ClusterCreated) -> String {
    if created.hub_ca_pins.is_empty() { created.hub_ca_pin.clone() } else { created.hub_ca_pins.join(",") }
}

fn union<'a>(always: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
    let mut all = always.to_vec();
    for name in more {
        if !all.contains(&name.as_str()) {
            all.push(name);
        }
    }
    all
}

/// Replaces each `{{name}}` by its value as JSON. One pass, so that a value is never taken for a place.
fn fill(template: &str, values: &Value) -> String {
    let mut pieces = template.split("{{");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once("}}") {
            Some((name, rest)) => {
                text.push_str(&values[name].to_string());
                text.push_str(rest);
            }
            None => text.push_str(piece),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use time::macros::datetime;

    use super::*;
    use crate::hub::api_types::SecretText;

    fn documents(change: impl Fn(&mut AgentManifest<'_>)) -> Vec<Value> {
        let created = ClusterCreated {
            name: "edge-1".into(),
            uid: "u".into(),
            labels: BTreeMap::new(),
            token: SecretText::from("rsj_a\": {{hub}}".to_owned()),
            token_id: "abcdefghij".into(),
            token_expires: datetime!(2026-11-22 20:00 UTC),
            token_max_uses: 1,
            hub: "https://hub.example.com:8443".into(),
            hub_ca_pin: "sha256:00".into(),
            hub_ca_pins: Vec::new(),
        };
        let mut agent = AgentManifest {
            created: &created,
            namespace: "roadstead",
            image: "img:1",
            allow_users: &[],
            allow_groups: &[],
            allow_extras: &[],
            network_policy: false,
            rights: true,
        };
        change(&mut agent);
        let text = render(&agent).unwrap();
        serde_saphyr::from_multiple(&text).unwrap()
    }

    fn find<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
        let is = |d: &&Value| d["kind"] == kind && d["metadata"]["name"] == name;
        documents.iter().find(is).unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    #[test]
    fn the_agent_may_impersonate_the_default_names_and_nothing_else() {
        let documents = documents(|_| ());
        let rules = &find(&documents, "ClusterRole", "roadstead-agent")["rules"];
        assert_eq!(rules[0]["resourceNames"], json!(["roadstead:user"]));
        assert_eq!(rules[1]["resourceNames"], json!(["roadstead:view", "roadstead:edit"]));
        assert_eq!(rules[2]["resources"], json!(["userextras/roadstead.dev/subject"]));
        assert_eq!(rules[3], json!({"nonResourceURLs": ["/openid/v1/jwks"], "verbs": ["get"]}));
        let rest = rules.as_array().unwrap().iter().filter(|rule| rule.get("resources").is_some());
        assert!(rest.clone().count() == 3 && rest.into_iter().all(|rule| rule["verbs"] == json!(["impersonate"])));
        assert!(!format!("{documents:?}").contains("cluster-admin"));
    }

    #[test]
    fn allowed_names_are_added_once() {
        let (user, group) = (["bob".to_owned()], ["roadstead:edit".to_owned(), "dev".to_owned()]);
        let key = ["Scopes".to_owned()];
        let documents = documents(|agent| {
            (agent.allow_users, agent.allow_groups, agent.allow_extras) = (leak(&user), leak(&group), leak(&key));
        });
        let rules = &find(&documents, "ClusterRole", "roadstead-agent")["rules"];
        assert_eq!(rules[0]["resourceNames"], json!(["roadstead:user", "bob"]));
        assert_eq!(rules[1]["resourceNames"], json!(["roadstead:view", "roadstead:edit", "dev"]));
        assert_eq!(rules[2]["resources"], json!(["userextras/roadstead.dev/subject", "userextras/scopes"]));
    }

    #[test]
    fn without_rights_everything_is_there_but_the_role_of_whom_it_may_impersonate() {
        let (all, most) = (documents(|_| ()), documents(|agent| agent.rights = false));
        let role = find(&all, "ClusterRole", "roadstead-agent");
        assert_eq!(
            all.iter().filter(|document| *document != role).collect::<Vec<_>>(),
            most.iter().collect::<Vec<_>>()
        );
    }

    fn leak(names: &[String]) -> &'static [String] {
        names.to_vec().leak()
    }

    #[test]
    fn values_cannot_break_out_of_their_place() {
        let documents = documents(|_| ());
        let secret = find(&documents, "Secret", "roadstead-agent-join");
        assert_eq!(secret["stringData"], json!({"token": "rsj_a\": {{hub}}"}));
    }

    #[test]
    fn the_pod_is_restricted_and_knows_hub_pin_and_state() {
        let documents = documents(|agent| agent.namespace = "fleet");
        let pod = &find(&documents, "Deployment", "roadstead-agent")["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        let args: Vec<_> = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
        let args = args.join(" ");
        for part in ["--hub https://hub.example.com:8443 ", "--hub-ca-pin sha256:00", "fleet/roadstead-agent-state"] {
            assert!(args.contains(part), "{part}: {args}");
        }
        assert!(!args.contains("rsj_"), "a token is never an argument");
        use clap::Parser;
        assert!(super::super::Cli::try_parse_from(std::iter::once("roadstead").chain(args.split(' '))).is_ok());
    }

    #[test]
    fn every_place_is_filled_and_every_namespaced_object_is_in_the_namespace() {
        let documents = documents(|agent| (agent.namespace, agent.network_policy) = ("fleet", true));
        assert_eq!(documents.len(), 12);
        let policy = find(&documents, "NetworkPolicy", "roadstead-agent");
        assert_eq!(policy["spec"]["egress"][1]["ports"][0], json!({"protocol": "UDP", "port": 8443}));
        for document in &documents {
            let wide = ["Namespace", "ClusterRole", "ClusterRoleBinding"].iter().any(|kind| document["kind"] == *kind);
            assert_eq!(document["metadata"].get("namespace").is_none(), wide, "{document}");
            assert!(!document.to_string().replace("rsj_a\\\": {{hub}}", "").contains("{{"), "{document}");
        }
    }
}
