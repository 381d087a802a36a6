//! Merging our entries into a kubeconfig. Pure. Keeps everything that is not ours, and is idempotent.

use serde_json::{Map, Value, json};

use crate::cli::failure::{Code, Failure};

/// Our entries.
pub(super) struct Ours {
    /// URL of the hub, without a path.
    pub(super) hub: String,
    /// The one user: name and value.
    pub(super) user: (String, Value),
    /// Name, for cluster and context alike, and value of each cluster.
    pub(super) clusters: Vec<(String, Value)>,
}

/// `config` with our entries, replaced where they were and appended where not. The current context changes only when asked
/// for, or when the file is new and there is just one to choose.
///
/// # Errors
/// [`Code::Conflict`] when a name is taken by something that is not of this hub, unless `overwrite`; [`Code::NotFound`] when
/// `use_context` is not in the result; [`Code::Failed`] when `config` is no kubeconfig.
pub(super) fn merge(config: Value, ours: &Ours, use_context: Option<&str>, overwrite: bool) -> Result<Value, Failure> {
    let new = config.is_null();
    let mut config = match config {
        Value::Null => Map::new(),
        Value::Object(map) => map,
        _ => return Err(no_kubeconfig("it is not a map")),
    };
    for (field, value) in [("apiVersion", "v1"), ("kind", "Config")] {
        if config.entry(field).or_insert_with(|| json!(value)) != value {
            return Err(no_kubeconfig(&format!("its {field} is not {value}")));
        }
    }
    if !overwrite {
        check_ownership(&config, ours)?;
    }
    let user = &ours.user.0;
    for (name, cluster) in &ours.clusters {
        put(&mut config, "clusters", name, "cluster", cluster.clone())?;
        let mut context = json!({"cluster": name, "user": user});
        if let Some(namespace) = kept_namespace(&config, name) {
            context["namespace"] = namespace;
        }
        put(&mut config, "contexts", name, "context", context)?;
    }
    put(&mut config, "users", user, "user", ours.user.1.clone())?;
    match (use_context, &*ours.clusters) {
        (Some(wanted), _) => {
            if entry(&config, "contexts", wanted).is_none() {
                let text = format!("--use-context: there is no context {wanted:?}");
                return Err(Failure::new(Code::NotFound, text));
            }
            config.insert("current-context".to_owned(), json!(wanted));
        }
        (None, [(only, _)]) if new => {
            config.insert("current-context".to_owned(), json!(only));
        }
        _ => {}
    }
    Ok(Value::Object(config))
}

/// Refuses to touch a cluster or context of the same name that leads elsewhere: the user's other clusters are not ours to redirect.
fn check_ownership(config: &Map<String, Value>, ours: &Ours) -> Result<(), Failure> {
    let prefix = format!("{}/clusters/", ours.hub);
    let taken = |name: &str| {
        let cluster = entry(config, "clusters", name);
        let elsewhere = |entry: &Value| {
            let server = entry["cluster"]["server"].as_str();
            !server.is_some_and(|server| server.starts_with(&prefix))
        };
        let context = entry(config, "contexts", name);
        let foreign = |entry: &Value| entry["context"]["user"] != ours.user.0.as_str();
        cluster.is_some_and(elsewhere) || context.is_some_and(foreign)
    };
    let names: Vec<_> = ours.clusters.iter().map(|(name, _)| name.as_str()).filter(|name| taken(name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let text = format!(
        "names already lead elsewhere: {}; use --context-prefix to give other names, or --overwrite to replace them",
        names.join(", "),
    );
    Err(Failure::new(Code::Conflict, text))
}

fn entry<'a>(config: &'a Map<String, Value>, list: &str, name: &str) -> Option<&'a Value> {
    config.get(list)?.as_array()?.iter().find(|entry| entry["name"] == name)
}

/// The namespace that the user chose with `kubectl config set-context --namespace`.
fn kept_namespace(config: &Map<String, Value>, name: &str) -> Option<Value> {
    entry(config, "contexts", name)?["context"].get("namespace").cloned()
}

fn put(config: &mut Map<String, Value>, list: &str, name: &str, field: &str, value: Value) -> Result<(), Failure> {
    let entries = config.entry(list).or_insert(Value::Null);
    if entries.is_null() {
        *entries = json!([]);
    }
    let entries = entries.as_array_mut().ok_or_else(|| no_kubeconfig(&format!("its {list} are not a list")))?;
    let new = json!({"name": name, field: value});
    match entries.iter_mut().find(|entry| entry["name"] == name) {
        Some(old) => *old = new,
        None => entries.push(new),
    }
    Ok(())
}

fn no_kubeconfig(why: &str) -> Failure {
    Failure::new(Code::Failed, format!("not a kubeconfig: {why}"))
}
