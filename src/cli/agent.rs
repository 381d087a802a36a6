//! `roadstead agent`: its settings, from flags, variables and file. Does not know what the agent does with them.

use std::path::PathBuf;

use serde::Deserialize;

use super::Context;
use super::args::AgentArgs;
use super::defaults::AGENT_ADMIN_LISTEN;
use super::failure::Failure;
use super::layers::{Given, Layers, Places, read_file};
use super::logging::{self, LogFormat};
use super::service;
use crate::access::is_dns_label;
use crate::agent::{self, ApiServerFrom, CertificateFiles, JoinToken, StateAt};
use crate::identity::{HubUrl, Secret, SpkiSha256, Token, TokenKind};

/// The configuration file as typed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AgentFile {
    hub: Option<String>,
    #[serde(default)]
    hub_ca_pins: Vec<String>,
    cluster_uid: Option<String>,
    join_token_file: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    state: Option<String>,
    state_secret: Option<String>,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    admin_listen: Option<String>,
    log_format: Option<String>,
}

pub(super) fn run(args: AgentArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let (settings, log_format) = settings(args, context)?;
    logging::init(log_format, context)?;
    service::run(|stop, _| agent::run(settings, stop)).map_err(Failure::from)
}

/// The settings as meant, and the form of log lines.
pub(super) fn settings(args: AgentArgs, context: &Context<'_>) -> Result<(agent::Settings, LogFormat), Failure> {
    let file: AgentFile = read_file(args.config.as_deref())?;
    let mut layers = Layers::new(context, args.config.clone());
    let place = |flag, given, env, field, filed| Places { flag: (flag, given), env, file: (field, filed) };
    let hub = layers.given(place("--hub", args.hub, "ROADSTEAD_HUB", "hub", file.hub));
    let hub: Option<HubUrl> = layers.required(hub, "no hub is set: use --hub or ROADSTEAD_HUB");
    let hub_ca_pins = pins(&mut layers, args.hub_ca_pin, file.hub_ca_pins);
    let uid = place("--cluster-uid", args.cluster_uid, "ROADSTEAD_CLUSTER_UID", "clusterUid", file.cluster_uid);
    let uid = layers.given(uid);
    let uid_given = uid.is_some();
    let cluster = layers.parse(uid);
    let join_token = join_token(&mut layers, context, args.join_token_file, file.join_token_file);
    let cert = layers.given(place("--cert", args.cert, "ROADSTEAD_CERT", "cert", file.cert));
    let key = layers.given(place("--key", args.key, "ROADSTEAD_KEY", "key", file.key));
    let certificate = certificate(&mut layers, cert, key, uid_given || join_token.is_some());
    let state = state(&mut layers, (args.state, args.state_secret), (file.state, file.state_secret));
    let kubeconfig = args.kubeconfig.or(file.kubeconfig);
    let chosen = args.context.or(file.context);
    if kubeconfig.is_none() && chosen.is_some() {
        layers.faults.push(format!("{}: means nothing without kubeconfig", layers.field("context")));
    }
    let api_server = match kubeconfig {
        Some(path) => ApiServerFrom::Kubeconfig { path, context: chosen },
        None => ApiServerFrom::InCluster,
    };
    let admin = place("--admin-listen", args.admin_listen, "ROADSTEAD_ADMIN_LISTEN", "adminListen", file.admin_listen);
    let admin = layers.given(admin);
    let admin_listen = layers.parse_or(admin, AGENT_ADMIN_LISTEN);
    let format = place("--log-format", args.log_format, "ROADSTEAD_LOG_FORMAT", "logFormat", file.log_format);
    let format = layers.given(format);
    let log_format = layers.parse(format).unwrap_or_default();
    let settings = hub.zip(state).zip(admin_listen).map(|((hub, state), admin_listen)| agent::Settings {
        hub,
        hub_ca_pins,
        cluster,
        join_token,
        certificate,
        state,
        api_server,
        admin_listen,
    });
    layers.finish(settings.map(|settings| (settings, log_format)))
}

/// Flags replace the variable, which replaces the file: pins of several places are never mixed.
fn pins(layers: &mut Layers<'_>, flags: Vec<String>, filed: Vec<String>) -> Vec<SpkiSha256> {
    let env = layers.given(Places { flag: ("", None), env: "ROADSTEAD_HUB_CA_PIN", file: ("", None) });
    let list = |place: &str, pins: Vec<String>| -> Vec<Given> {
        pins.into_iter().map(|text| Given { text, place: place.to_owned() }).collect()
    };
    let split = |given: &Given| given.text.split(',').map(|pin| pin.trim().to_owned()).collect();
    let given = match env {
        _ if !flags.is_empty() => {
            let flags = flags.iter().flat_map(|text| text.split(','));
            list("--hub-ca-pin", flags.map(|pin| pin.trim().to_owned()).collect())
        }
        Some(given) => list("ROADSTEAD_HUB_CA_PIN", split(&given)),
        None => list(&layers.field("hubCaPins"), filed),
    };
    if given.is_empty() {
        let how =
            "the hub's CA is not pinned: use --hub-ca-pin or ROADSTEAD_HUB_CA_PIN (`roadstead cluster add` prints it)";
        layers.faults.push(how.to_owned());
    }
    given.into_iter().filter_map(|pin| layers.parse(Some(pin))).collect()
}

fn join_token(
    layers: &mut Layers<'_>,
    context: &Context<'_>,
    flag: Option<String>,
    filed: Option<String>,
) -> Option<JoinToken> {
    let path =
        Places { flag: ("--join-token-file", flag), env: "ROADSTEAD_JOIN_TOKEN_FILE", file: ("joinTokenFile", filed) };
    if let Some(given) = layers.given(path) {
        return Some(JoinToken::File(given.text.into()));
    }
    let text = Secret::new((context.env)("ROADSTEAD_JOIN_TOKEN")?.trim());
    if let Err(error) = Token::parse(TokenKind::Join, text.expose()) {
        layers.faults.push(format!("ROADSTEAD_JOIN_TOKEN: {error}"));
    }
    Some(JoinToken::Text(text))
}

/// Both files or neither, and no other proof beside them.
fn certificate(
    layers: &mut Layers<'_>,
    cert: Option<Given>,
    key: Option<Given>,
    other_proof: bool,
) -> Option<CertificateFiles> {
    match (cert, key) {
        (None, None) => None,
        (Some(cert), Some(key)) => {
            if other_proof {
                layers.faults.push(format!(
                    "{}: an agent with a certificate of another CA does not join: leave the join token and the cluster's uid out",
                    cert.place
                ));
            }
            Some(CertificateFiles { cert: cert.text.into(), key: key.text.into() })
        }
        (Some(one), None) | (None, Some(one)) => {
            layers
                .faults
                .push(format!("{}: the certificate and its key are given together: --cert and --key", one.place));
            None
        }
    }
}

type Pair = (Option<String>, Option<String>);

/// Directory or Secret: the topmost layer that names either, and only one of them there.
fn state(layers: &mut Layers<'_>, flags: Pair, filed: Pair) -> Option<StateAt> {
    let one = |layers: &Layers<'_>, flag: Pair, env, file: Pair| {
        let place = |flag, text, env, field, filed| Places { flag: (flag, text), env, file: (field, filed) };
        let (directory_env, secret_env) = if env { ("ROADSTEAD_STATE", "ROADSTEAD_STATE_SECRET") } else { ("", "") };
        let directory = layers.given(place("--state", flag.0, directory_env, "state", file.0));
        let secret = layers.given(place("--state-secret", flag.1, secret_env, "stateSecret", file.1));
        (directory.is_some() || secret.is_some()).then_some((directory, secret))
    };
    let nothing = (None, None);
    let found = one(layers, flags, false, nothing.clone())
        .or_else(|| one(layers, nothing.clone(), true, nothing.clone()))
        .or_else(|| one(layers, nothing.clone(), false, filed));
    match found {
        Some((Some(directory), None)) => Some(StateAt::Directory(directory.text.into())),
        Some((None, secret @ Some(_))) => layers.parse_by(secret, state_secret),
        Some((Some(directory), Some(secret))) => {
            layers.faults.push(format!("{} and {} are both set; keep one", directory.place, secret.place));
            None
        }
        _ => {
            let how = "no place for the agent's key is set: use --state DIR or --state-secret NAMESPACE/NAME";
            layers.faults.push(how.to_owned());
            None
        }
    }
}

/// Reads `NAMESPACE/NAME`.
fn state_secret(text: &str) -> Result<StateAt, String> {
    match text.split_once('/') {
        Some((namespace, name)) if is_dns_label(namespace) && name.split('.').all(is_dns_label) => {
            Ok(StateAt::Secret { namespace: namespace.to_owned(), name: name.to_owned() })
        }
        _ => Err(format!("{text:?} is not NAMESPACE/NAME of a Secret")),
    }
}

#[cfg(test)]
mod tests;
