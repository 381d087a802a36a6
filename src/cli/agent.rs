//! `roadstead agent`: its settings, from flags, variables and file. Does not know what the agent does with them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use super::Context;
use super::args::AgentArgs;
use super::defaults::AGENT_ADMIN_LISTEN;
use super::failure::Failure;
use super::layers::{Given, Layers, Places, read_file};
use super::logging::{self, LogFormat};
use super::service;
use super::url::HubUrl;
use crate::access::is_dns_label;
use crate::identity::{Secret, SpkiSha256, Token, TokenKind};
use crate::{agent, hub};

/// What the agent needs to know to start, as meant.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// The hub.
    pub hub: HubUrl,
    /// Pins of the hub's CA; more than one during a rotation, never none.
    pub hub_ca_pins: Vec<SpkiSha256>,
    /// Needed for the first certificate only.
    pub join_token: Option<JoinToken>,
    /// Where key and certificate are kept.
    pub state: StatePlace,
    /// The one API server.
    pub api_server: ApiServer,
    /// Address of health and metrics: plain HTTP without authentication.
    pub admin_listen: SocketAddr,
    /// Shape of log lines.
    pub log_format: LogFormat,
}

/// Where the join token is.
#[derive(Clone, Debug)]
pub enum JoinToken {
    /// In this file, which is read when the token is needed: it may be gone after enrolment.
    File(PathBuf),
    /// It was in the environment.
    Text(Secret),
}

/// Where the agent keeps its key and certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StatePlace {
    /// In files of this directory.
    Directory(PathBuf),
    /// In a Secret of its own cluster.
    Secret {
        /// The Secret's namespace.
        namespace: String,
        /// The Secret's name.
        name: String,
    },
}

/// How the agent finds its API server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ApiServer {
    /// As every pod does: by its ServiceAccount and the cluster's own variables.
    InCluster,
    /// By a kubeconfig.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The context; absent = the file's current one.
        context: Option<String>,
    },
}

/// The configuration file as typed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AgentFile {
    hub: Option<String>,
    #[serde(default)]
    hub_ca_pins: Vec<String>,
    join_token_file: Option<String>,
    state: Option<String>,
    state_secret: Option<String>,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    admin_listen: Option<String>,
    log_format: Option<String>,
}

pub(super) fn run(args: AgentArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let settings = settings(args, context)?;
    logging::init(settings.log_format, context)?;
    serve(settings).map_err(Failure::from)
}

/// Starts the agent and stays until it has drained.
fn serve(settings: AgentSettings) -> anyhow::Result<()> {
    let url: hub::PublicUrl = settings.hub.to_string().parse()?;
    let settings = agent::Settings {
        hub_host: url.host,
        hub_port: url.port,
        hub_ca_pins: settings.hub_ca_pins,
        join_token: settings.join_token.map(read_token).transpose()?.flatten(),
        state: match settings.state {
            StatePlace::Directory(path) => agent::StateAt::Directory(path),
            StatePlace::Secret { namespace, name } => agent::StateAt::Secret { namespace, name },
        },
        api_server: match settings.api_server {
            ApiServer::InCluster => agent::ApiServerFrom::InCluster,
            ApiServer::Kubeconfig { path, context } => agent::ApiServerFrom::Kubeconfig { path, context },
        },
        admin_listen: Some(settings.admin_listen),
    };
    service::run(|stop, _| agent::run(settings, stop))
}

/// The token, if it is still there: after enrolment its file may be gone.
fn read_token(token: JoinToken) -> anyhow::Result<Option<Secret>> {
    let path = match token {
        JoinToken::Text(secret) => return Ok(Some(secret)),
        JoinToken::File(path) => path,
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(anyhow::Error::new(error).context(format!("cannot read {}", path.display()))),
    }
}

fn settings(args: AgentArgs, context: &Context<'_>) -> Result<AgentSettings, Failure> {
    let file: AgentFile = read_file(args.config.as_deref())?;
    let mut layers = Layers::new(context, args.config.clone());
    let place = |flag, given, env, field, filed| Places { flag: (flag, given), env, file: (field, filed) };
    let hub = layers.given(place("--hub", args.hub, "ROADSTEAD_HUB", "hub", file.hub));
    let hub: Option<HubUrl> = layers.required(hub, "no hub is set: use --hub or ROADSTEAD_HUB");
    let hub_ca_pins = pins(&mut layers, args.hub_ca_pin, file.hub_ca_pins);
    let join_token = join_token(&mut layers, context, args.join_token_file, file.join_token_file);
    let state = state(&mut layers, (args.state, args.state_secret), (file.state, file.state_secret));
    let kubeconfig = args.kubeconfig.or(file.kubeconfig);
    let chosen = args.context.or(file.context);
    if kubeconfig.is_none() && chosen.is_some() {
        layers.faults.push(format!("{}: means nothing without kubeconfig", layers.field("context")));
    }
    let api_server = match kubeconfig {
        Some(path) => ApiServer::Kubeconfig { path, context: chosen },
        None => ApiServer::InCluster,
    };
    let admin = place("--admin-listen", args.admin_listen, "ROADSTEAD_ADMIN_LISTEN", "adminListen", file.admin_listen);
    let admin = layers.given(admin);
    let admin_listen = layers.parse_or(admin, AGENT_ADMIN_LISTEN);
    let format = place("--log-format", args.log_format, "ROADSTEAD_LOG_FORMAT", "logFormat", file.log_format);
    let format = layers.given(format);
    let log_format = layers.parse(format).unwrap_or_default();
    let settings = hub.zip(state).zip(admin_listen).map(|((hub, state), admin_listen)| AgentSettings {
        hub,
        hub_ca_pins,
        join_token,
        state,
        api_server,
        admin_listen,
        log_format,
    });
    layers.finish(settings)
}

/// Flags replace the variable, which replaces the file: pins of several places are never mixed.
fn pins(layers: &mut Layers<'_>, flags: Vec<String>, filed: Vec<String>) -> Vec<SpkiSha256> {
    let env = layers.given(Places { flag: ("", None), env: "ROADSTEAD_HUB_CA_PIN", file: ("", None) });
    let list = |place: &str, pins: Vec<String>| -> Vec<Given> {
        pins.into_iter().map(|text| Given { text, place: place.to_owned() }).collect()
    };
    let split = |given: &Given| given.text.split(',').map(|pin| pin.trim().to_owned()).collect();
    let given = match env {
        _ if !flags.is_empty() => list("--hub-ca-pin", flags),
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

type Pair = (Option<String>, Option<String>);

/// Directory or Secret: the topmost layer that names either, and only one of them there.
fn state(layers: &mut Layers<'_>, flags: Pair, filed: Pair) -> Option<StatePlace> {
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
        Some((Some(directory), None)) => Some(StatePlace::Directory(directory.text.into())),
        Some((None, secret @ Some(_))) => layers.parse(secret),
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

impl FromStr for StatePlace {
    type Err = String;

    /// Reads `NAMESPACE/NAME`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if is_dns_label(namespace) && name.split('.').all(is_dns_label) => {
                Ok(Self::Secret { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("{text:?} is not NAMESPACE/NAME of a Secret")),
        }
    }
}

#[cfg(test)]
mod tests;
