//! `roadstead cluster token …` and `cluster rekey` as typed.

use clap::{Args, Subcommand};

use super::{NamedArgs, PlainArgs};

/// What may be said of a join token.
#[derive(Debug, Args)]
pub(in crate::cli) struct JoinArgs {
    /// How long the join token is valid, such as 30m or 1h
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub(in crate::cli) ttl: String,
    /// How many keys may use it
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub(in crate::cli) max_uses: u32,
    /// Whence it may be used, as the hub sees it, such as 192.0.2.0/24; repeat for more [default: from anywhere]
    #[arg(long = "source", value_name = "CIDR")]
    pub(in crate::cli) sources: Vec<String>,
}

/// What an agent's manifest may say.
#[derive(Debug, Args)]
pub(in crate::cli) struct ManifestArgs {
    /// In-cluster user that the agent may impersonate besides roadstead:user; repeat for more
    #[arg(long = "allow-user", value_name = "USER")]
    pub(in crate::cli) allow_users: Vec<String>,
    /// In-cluster group that the agent may impersonate besides roadstead:view and roadstead:edit; repeat for more
    #[arg(long = "allow-group", value_name = "GROUP")]
    pub(in crate::cli) allow_groups: Vec<String>,
    /// Key of an extra that the agent may impersonate, for `kubectl --as-user-extra`; repeat for more
    #[arg(long = "allow-extra", value_name = "KEY")]
    pub(in crate::cli) allow_extras: Vec<String>,
    /// Namespace of the agent
    #[arg(long, value_name = "NAMESPACE", default_value = crate::cli::defaults::AGENT_NAMESPACE)]
    pub(in crate::cli) namespace: String,
    /// Image of the agent [default: the release of this program's version]
    #[arg(long, value_name = "IMAGE")]
    pub(in crate::cli) image: Option<String>,
    /// Add a NetworkPolicy: nothing in, out only DNS, the hub and the API server
    #[arg(long)]
    pub(in crate::cli) network_policy: bool,
}

/// `roadstead cluster rekey`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ClusterRekeyArgs {
    /// Which cluster
    pub(in crate::cli) name: String,
    #[command(flatten)]
    pub(in crate::cli) join: JoinArgs,
    /// Write the role of whom the agent may impersonate, too, as any --allow-* flag does; else it stays as it is in the cluster
    #[arg(long)]
    pub(in crate::cli) rights: bool,
    #[command(flatten)]
    pub(in crate::cli) manifest: ManifestArgs,
    #[command(flatten)]
    pub(in crate::cli) plain: PlainArgs,
}

/// `roadstead cluster token …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum JoinTokenCommand {
    /// Create a join token for a cluster that was announced, and print it, once
    Create(JoinTokenCreateArgs),
    /// List a cluster's join tokens and who used them
    List(NamedArgs),
    /// End a join token now; certificates that were given for it stay valid
    Revoke(JoinTokenRevokeArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct JoinTokenCreateArgs {
    /// Which cluster
    pub(in crate::cli) name: String,
    #[command(flatten)]
    pub(in crate::cli) join: JoinArgs,
    #[command(flatten)]
    pub(in crate::cli) plain: PlainArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct JoinTokenRevokeArgs {
    /// Which cluster
    pub(in crate::cli) name: String,
    /// Id of the token, as `cluster token list` shows it
    pub(in crate::cli) id: String,
    #[command(flatten)]
    pub(in crate::cli) plain: PlainArgs,
}
