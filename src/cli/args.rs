//! The command line as typed. Its words are a contract with people and scripts; meaning is given elsewhere.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::output::Format;

mod ca;
mod doctor;
mod external;
mod hub;
mod join;
mod jwks;
mod revocation;

pub(super) use ca::{
    AcceptArgs, AuthorityArg, CaActivateArgs, CaCommand, CaRotateArgs, RootCommand, RootExportArgs, RootImportArgs,
    RootKeyArgs,
};
pub(super) use doctor::{DoctorAgentArgs, DoctorArgs, DoctorSide};
pub(super) use external::{ExternalCaAddArgs, ExternalCaCommand, NameMapArgs};
pub(super) use hub::{BackupArgs, HubCall, HubCommand, RestoreArgs};
pub(super) use join::{
    ClusterRekeyArgs, JoinArgs, JoinTokenCommand, JoinTokenCreateArgs, JoinTokenRevokeArgs, ManifestArgs,
};
pub(super) use jwks::{JwksCommand, JwksSetArgs};
pub(super) use revocation::{BecauseArgs, CertCommand, CertListArgs};

/// The command line of `roadstead`.
#[derive(Debug, Parser)]
#[command(
    name = "roadstead",
    version,
    about = "Joins many Kubernetes clusters to one hub over QUIC",
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the hub; or back it up and restore it
    Hub(Box<HubCall>),
    /// Run the agent of one cluster
    Agent(AgentArgs),
    /// Manage clusters
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Manage certificates of agents
    #[command(subcommand)]
    Cert(CertCommand),
    /// Manage tokens of people and programs
    #[command(subcommand)]
    Token(TokenCommand),
    /// Replace the certificate authorities of agents and hub while they serve
    #[command(subcommand)]
    Ca(CaCommand),
    /// Write a kubeconfig with one context per cluster
    Kubeconfig(KubeconfigArgs),
    /// Print the credential for kubectl (exec plugin)
    Credential(CredentialArgs),
    /// Show the hub's state
    Status(PlainArgs),
    /// Say what is wrong between here and the hub, and what to do: exit code 0 when nothing is, else 1
    Doctor(DoctorArgs),
    /// Print the version of this program
    Version(OutputArgs),
    /// Print a completion script
    Completion {
        /// Shell to complete for
        shell: Shell,
    },
}

/// `roadstead hub`. Each flag can also be a variable, or a field of the configuration file; the flag wins, then the variable.
#[derive(Debug, Default, Args)]
pub(super) struct HubArgs {
    /// Directory of everything that the hub keeps [env: ROADSTEAD_DATA]
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<String>,
    /// TCP and UDP address for clients and agents [env: ROADSTEAD_LISTEN] [default: 0.0.0.0:8443]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<String>,
    /// Address for health and metrics, plain HTTP [env: ROADSTEAD_ADMIN_LISTEN] [default: 127.0.0.1:8444]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) admin_listen: Option<String>,
    /// URL under which clients and agents reach the hub [env: ROADSTEAD_PUBLIC_URL]
    #[arg(long, value_name = "URL")]
    pub(super) public_url: Option<String>,
    /// File of grants [env: ROADSTEAD_GRANTS] [default: grants.yaml in the data directory]
    #[arg(long, value_name = "FILE")]
    pub(super) grants: Option<String>,
    /// Life of the certificates of agents, 1m to 30d [env: ROADSTEAD_AGENT_CERT_TTL] [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub(super) agent_cert_ttl: Option<String>,
    /// Certificate chain for HTTPS (PEM) from another CA, read again when it changes [env: ROADSTEAD_HTTPS_CERT]
    #[arg(long, value_name = "FILE")]
    pub(super) https_cert: Option<String>,
    /// Private key of that certificate (PEM) [env: ROADSTEAD_HTTPS_KEY]
    #[arg(long, value_name = "FILE")]
    pub(super) https_key: Option<String>,
    /// File of the passphrase that seals the private keys in the store [env: ROADSTEAD_SEAL_KEY]
    #[arg(long, value_name = "FILE")]
    pub(super) seal_key: Option<String>,
    /// File of the passphrase before, to change it: start once with both [env: ROADSTEAD_SEAL_KEY_OLD]
    #[arg(long, value_name = "FILE")]
    pub(super) seal_key_old: Option<String>,
    /// Configuration file (YAML: data, listen, adminListen, publicUrl, grants, agentCertTtl, httpsCert, httpsKey, sealKey, sealKeyOld, logFormat)
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Log lines as text or json [env: ROADSTEAD_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(super) log_format: Option<String>,
}

/// `roadstead agent`. The join token has no flag: other users of a machine can read command lines.
#[derive(Debug, Default, Args)]
pub(super) struct AgentArgs {
    /// URL of the hub [env: ROADSTEAD_HUB]
    #[arg(long, value_name = "URL")]
    pub(super) hub: Option<String>,
    /// Pin of the hub's CA, sha256:HEX; repeat during a rotation [env: ROADSTEAD_HUB_CA_PIN]
    #[arg(long, value_name = "PIN")]
    pub(super) hub_ca_pin: Vec<String>,
    /// Uid of the agent's cluster at the hub: lets it prove itself by its ServiceAccount [env: ROADSTEAD_CLUSTER_UID]
    #[arg(long, value_name = "UID")]
    pub(super) cluster_uid: Option<String>,
    /// File of the join token, needed once [env: ROADSTEAD_JOIN_TOKEN_FILE, or the token in ROADSTEAD_JOIN_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub(super) join_token_file: Option<String>,
    /// Certificate chain (PEM, leaf first) that another CA issues, read again when it changes: the agent neither joins nor renews then [env: ROADSTEAD_CERT]
    #[arg(long, value_name = "FILE")]
    pub(super) cert: Option<String>,
    /// Private key of that certificate (PEM) [env: ROADSTEAD_KEY]
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<String>,
    /// Directory for the agent's key and certificate, and for what the hub says of its CA [env: ROADSTEAD_STATE]
    #[arg(long, value_name = "DIR", conflicts_with = "state_secret")]
    pub(super) state: Option<String>,
    /// Secret for the agent's key and certificate [env: ROADSTEAD_STATE_SECRET]
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(super) state_secret: Option<String>,
    /// Reach the API server by this kubeconfig instead of from within the cluster
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", requires = "kubeconfig")]
    pub(super) context: Option<String>,
    /// Address for health and metrics, plain HTTP [env: ROADSTEAD_ADMIN_LISTEN] [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) admin_listen: Option<String>,
    /// Configuration file (YAML: hub, hubCaPins, clusterUid, joinTokenFile, cert, key, state, stateSecret, kubeconfig, context, adminListen, logFormat)
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Log lines as text or json [env: ROADSTEAD_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(super) log_format: Option<String>,
}

/// Which hub, and how to trust it.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ClientArgs {
    /// Client configuration [env: ROADSTEAD_CONFIG] [default: ~/.config/roadstead/client.yaml]
    #[arg(long, value_name = "FILE")]
    pub(super) client_config: Option<PathBuf>,
    /// URL of the hub [env: ROADSTEAD_HUB]
    #[arg(long, value_name = "URL")]
    pub(super) hub: Option<String>,
    /// PEM file of the hub's CA, or `system` for those of this system [env: ROADSTEAD_HUB_CA]
    #[arg(long, value_name = "FILE")]
    pub(super) hub_ca: Option<PathBuf>,
}

#[derive(Debug, Default, Args)]
pub(super) struct OutputArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub(super) output: Format,
}

/// A command that asks the hub and prints the answer.
#[derive(Debug, Default, Args)]
pub(super) struct PlainArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// Like [`PlainArgs`], about one thing.
#[derive(Debug, Args)]
pub(super) struct NamedArgs {
    /// Which one
    pub(super) name: String,
    #[command(flatten)]
    pub(super) plain: PlainArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Announce a cluster and print the manifest of its agent, for `| kubectl apply -f -`
    Add(ClusterAddArgs),
    /// List clusters
    List(PlainArgs),
    /// Show one cluster
    Show(NamedArgs),
    /// Serve nothing of a cluster and let nothing of it in, until it is unlocked
    Lock(BecauseArgs),
    /// Serve a locked cluster again
    Unlock(NamedArgs),
    /// Kill every certificate of a cluster so far; its agent may join anew with a new join token
    Revoke(BecauseArgs),
    /// Let agents in whose certificates of an external CA carry this name, as this cluster's
    Map(NameMapArgs),
    /// Take a name away from a cluster, and cut links that stand on it, now
    Unmap(NameMapArgs),
    /// List the names of external CAs' certificates that stand for clusters
    Names(PlainArgs),
    /// Remove a cluster; its agent is refused from then on
    Remove(NamedArgs),
    /// Print the manifest that gives an announced cluster's agent a new key, for `| kubectl apply -f -`
    Rekey(ClusterRekeyArgs),
    /// Manage the keys by which a cluster proves itself without a join token
    #[command(subcommand)]
    Jwks(JwksCommand),
    /// Manage join tokens of a cluster
    #[command(subcommand)]
    Token(JoinTokenCommand),
}

#[derive(Debug, Args)]
pub(super) struct ClusterAddArgs {
    /// Unique name: a-z, 0-9 and '-'
    pub(super) name: String,
    /// Label that grants can select by; repeat for more
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(super) labels: Vec<String>,
    #[command(flatten)]
    pub(super) join: JoinArgs,
    /// File of the keys by which the cluster proves itself, as `kubectl get --raw /openid/v1/jwks` prints them [default: those that its
    /// agent shows when it joins]
    #[arg(long, value_name = "FILE")]
    pub(super) service_account_jwks: Option<PathBuf>,
    /// ServiceAccount of the agent [default: roadstead-agent in --namespace]
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(super) service_account: Option<String>,
    #[command(flatten)]
    pub(super) manifest: ManifestArgs,
    #[command(flatten)]
    pub(super) plain: PlainArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Create a token and print it, once
    Create(TokenCreateArgs),
    /// List tokens
    List(PlainArgs),
    /// End a token now
    Revoke(NamedArgs),
}

#[derive(Debug, Args)]
pub(super) struct TokenCreateArgs {
    /// Whose it is; grants name it token:USER
    pub(super) user: String,
    /// Group; grants name it token:GROUP; repeat for more
    #[arg(long = "group", value_name = "GROUP")]
    pub(super) groups: Vec<String>,
    /// Let its holder manage clusters and tokens
    #[arg(long)]
    pub(super) admin: bool,
    /// How long it is valid, such as 8h or 7d
    #[arg(long, value_name = "DURATION", default_value = "8h")]
    pub(super) ttl: String,
    #[command(flatten)]
    pub(super) plain: PlainArgs,
}

#[derive(Debug, Default, Args)]
pub(super) struct KubeconfigArgs {
    /// Only this cluster; repeat for more [default: all that you may see]
    #[arg(long = "cluster", value_name = "NAME")]
    pub(super) clusters: Vec<String>,
    /// Merge into this file instead of printing
    #[arg(long, value_name = "PATH")]
    pub(super) file: Option<PathBuf>,
    /// Put this before the name of each context
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub(super) context_prefix: String,
    /// Make this the current context
    #[arg(long, value_name = "CONTEXT")]
    pub(super) use_context: Option<String>,
    /// Replace contexts of the same name that are not of this hub
    #[arg(long, requires = "file")]
    pub(super) overwrite: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Default, Args)]
pub(super) struct CredentialArgs {
    /// Client configuration [env: ROADSTEAD_CONFIG] [default: ~/.config/roadstead/client.yaml]
    #[arg(long, value_name = "FILE")]
    pub(super) client_config: Option<PathBuf>,
}
