//! `roadstead cluster …`: announces, lists, shows and removes clusters.

pub(super) mod join;
pub(super) mod jwks;

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;

use super::Context;
use super::args::{ClusterAddArgs, ManifestArgs, NamedArgs, PlainArgs};
use super::client::block_on;
use super::client_config;
use super::defaults::{AGENT_NAMESPACE, IMAGE_REPOSITORY};
use super::external;
use super::failure::{Code, Failure};
use super::manifest::{self, AgentManifest};
use super::output::{self, Format};
use super::units::{rough, timestamp};
use crate::access::{check_name, is_dns_label, is_reserved, parse_label};
use crate::hub::api_types::{ClusterCreate, ClusterCreated, ClusterList, ClusterView, JoinTokenCreate};

/// What `cluster add` and `cluster rekey` print with `--output json`.
#[derive(Serialize)]
struct Added<'a> {
    #[serde(flatten)]
    created: &'a ClusterCreated,
    manifest: &'a str,
}

pub(super) fn add(args: &ClusterAddArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let request = meant(args)?;
    let settings = client_config::settings(&args.plain.client, context)?;
    let created: ClusterCreated = block_on(&settings, async |client| client.post("/api/v1/clusters", &request).await)?;
    let printed = Printed { created: &created, args: &args.manifest, rights: true };
    if print_manifest(&printed, args.plain.output.output, context)? == Format::Json {
        return Ok(());
    }
    let expires = timestamp(created.token_expires);
    let (name, uses) = (&created.name, join::uses(created.token_max_uses));
    output::hint(context, &format!("# cluster {name} is announced; its join token is valid {uses}, until {expires}"));
    output::hint(context, "# apply the manifest in that cluster with: kubectl apply -f -");
    output::hint(context, &format!("# then see it connect with: roadstead cluster show {name}"));
    Ok(())
}

/// What a manifest is made from.
struct Printed<'a> {
    created: &'a ClusterCreated,
    args: &'a ManifestArgs,
    /// See [`AgentManifest::rights`].
    rights: bool,
}

/// Prints the manifest of an agent with its new join token, and says how that was done.
fn print_manifest(printed: &Printed<'_>, format: Format, context: &mut Context<'_>) -> Result<Format, Failure> {
    let Printed { created, args, rights } = *printed;
    let image = args.image.clone().unwrap_or_else(|| format!("{IMAGE_REPOSITORY}:{}", env!("CARGO_PKG_VERSION")));
    let manifest = manifest::render(&AgentManifest {
        created,
        namespace: &args.namespace,
        image: &image,
        allow_users: &args.allow_users,
        allow_groups: &args.allow_groups,
        allow_extras: &args.allow_extras,
        network_policy: args.network_policy,
        rights,
    })?;
    match format {
        Format::Json => output::json(context, &Added { created, manifest: &manifest })?,
        Format::Text => output::bytes(context, manifest.as_bytes())?,
    }
    Ok(format)
}

/// The request as meant; every fault of the command line at once.
fn meant(args: &ClusterAddArgs) -> Result<ClusterCreate, Failure> {
    let mut faults = Vec::new();
    if !is_dns_label(&args.name) {
        faults.push(format!("NAME: {:?} is not a name: at most 63 of a-z, 0-9 and '-'", args.name));
    }
    let JoinTokenCreate { ttl_seconds, max_uses, sources } = join::meant(&args.join, &mut faults);
    let mut labels = BTreeMap::new();
    for text in &args.labels {
        match parse_label(text) {
            Ok((key, value)) => {
                if labels.insert(key, value).is_some() {
                    faults.push(format!("--label: the key of {text:?} is given twice"));
                }
            }
            Err(error) => faults.push(format!("--label: {error}")),
        }
    }
    let jwks = args.service_account_jwks.as_deref();
    let jwks = jwks.and_then(|file| jwks::key_set(file, "--service-account-jwks", &mut faults));
    let service_account = args.service_account.clone().filter(|name| jwks::is_account(name, &mut faults));
    // What the hub takes for granted need not be said: an older one would refuse it.
    let elsewhere = args.manifest.namespace != AGENT_NAMESPACE;
    let service_account =
        service_account.or_else(|| elsewhere.then(|| format!("{}/roadstead-agent", args.manifest.namespace)));
    check_manifest(&args.manifest, &mut faults);
    if faults.is_empty() {
        let name = args.name.clone();
        return Ok(ClusterCreate { name, labels, ttl_seconds, max_uses, sources, jwks, service_account });
    }
    Err(Failure::usage(&faults))
}

fn check_manifest(args: &ManifestArgs, faults: &mut Vec<String>) {
    if !is_dns_label(&args.namespace) {
        faults.push(format!("--namespace: {:?} is not a namespace", args.namespace));
    }
    let allowed = [
        ("--allow-user", &args.allow_users),
        ("--allow-group", &args.allow_groups),
        ("--allow-extra", &args.allow_extras),
    ];
    for (flag, name) in allowed.iter().flat_map(|(flag, names)| names.iter().map(move |name| (flag, name))) {
        match check_name(name) {
            Err(error) => faults.push(format!("{flag}: {error}")),
            Ok(()) if is_reserved(name) => {
                faults.push(format!("{flag}: {name:?} begins with \"system:\", which no agent may impersonate"));
            }
            Ok(()) if name == "*" => faults.push(format!("{flag}: name each one; \"*\" would make the agent an admin")),
            Ok(()) => {}
        }
    }
}

pub(super) fn list(args: &PlainArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let settings = client_config::settings(&args.client, context)?;
    let list: ClusterList = block_on(&settings, async |client| client.get("/api/v1/clusters").await)?;
    if args.output.output == Format::Json {
        return output::json(context, &list);
    }
    let now = OffsetDateTime::now_utc();
    let row = |c: &ClusterView| {
        [c.name.clone(), c.state.as_str().to_owned(), link(c, now), labels(&c.labels), rough(now - c.created)]
    };
    let rows: Vec<_> = list.items.iter().map(row).collect();
    if rows.is_empty() {
        output::hint(context, "no cluster is yours to see; an admin adds one with `roadstead cluster add NAME`");
        return Ok(());
    }
    output::table(context, ["NAME", "STATE", "LINK", "LABELS", "AGE"], &rows)
}

pub(super) fn show(args: &NamedArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let path = cluster_path(&args.name)?;
    let settings = client_config::settings(&args.plain.client, context)?;
    let view: ClusterView = block_on(&settings, async |client| client.get(&path).await)?;
    if args.plain.output.output == Format::Json {
        return output::json(context, &view);
    }
    let now = OffsetDateTime::now_utc();
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let at = |at: Option<OffsetDateTime>| at.map_or_else(|| "-".to_owned(), timestamp);
    let pairs = [
        ("name", view.name.clone()),
        ("uid", view.uid.clone()),
        ("labels", labels(&view.labels)),
        ("state", state(&view, now)),
        ("link", link(&view, now)),
        ("last seen", at(view.last_seen)),
        ("created", timestamp(view.created)),
        ("certificate until", at(view.certificate_expires)),
        ("proof", proof(&view)),
        ("clock", view.clock_ahead_seconds.map_or_else(|| "-".to_owned(), clock)),
        ("names", names(&view)),
        ("agent", or_none(&view.agent_version)),
        ("kubernetes", or_none(&view.kubernetes_version)),
    ];
    output::pairs(context, &pairs)?;
    if let Some(next) = &view.next_step {
        output::hint(context, &format!("# {}", output::shown(next)));
    }
    Ok(())
}

/// The state, since when and why.
fn state(view: &ClusterView, now: OffsetDateTime) -> String {
    let since = view.state_since.map_or(String::new(), |at| format!(", for {}", rough(now - at)));
    let why = view.state_reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
    format!("{}{since}{why}", view.state.as_str())
}

pub(super) fn remove(args: &NamedArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let path = cluster_path(&args.name)?;
    let settings = client_config::settings(&args.plain.client, context)?;
    block_on(&settings, async |client| client.delete(&path).await)?;
    if args.plain.output.output == Format::Json {
        return output::json(context, &serde_json::json!({"name": args.name, "removed": true}));
    }
    output::hint(context, &format!("cluster {} is removed; its agent is refused from now on", args.name));
    Ok(())
}

/// The path of a cluster. A name that none can have is "not found" without asking: it could change the path otherwise.
pub(super) fn cluster_path(name: &str) -> Result<String, Failure> {
    if is_dns_label(name) {
        return Ok(format!("/api/v1/clusters/{name}"));
    }
    Err(Failure::new(Code::NotFound, format!("no cluster can be named {name:?}; see `roadstead cluster list`")))
}

fn link(cluster: &ClusterView, now: OffsetDateTime) -> String {
    match (cluster.connected, cluster.last_seen) {
        (true, _) => "connected".to_owned(),
        (false, Some(at)) => format!("away since {}", rough(now - at)),
        (false, None) => "never connected".to_owned(),
    }
}

/// How the clock of a cluster's agent stands to the hub's.
pub(super) fn clock(ahead: i64) -> String {
    match ahead {
        -1..=1 => "as the hub's".to_owned(),
        2.. => format!("{ahead} s ahead of the hub's"),
        _ => format!("{} s behind the hub's", ahead.unsigned_abs()),
    }
}

/// How the agent may come back when its certificate has ended or is lost.
fn proof(cluster: &ClusterView) -> String {
    let pinned = match cluster.pinned_keys {
        0 => "join token only".to_owned(),
        keys => format!("ServiceAccount ({keys} keys pinned) or join token"),
    };
    match cluster.pending_keys {
        0 => pinned,
        keys => format!("{pinned}; {keys} keys wait: roadstead cluster jwks show {}", cluster.name),
    }
}

/// The names of external CAs' certificates that stand for it.
fn names(cluster: &ClusterView) -> String {
    let names: Vec<_> =
        cluster.mapped.iter().map(|mapped| format!("{} ({})", external::text(mapped), mapped.ca)).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return "-".to_owned();
    }
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
