//! The numbers and names that the commands assume when nothing else is said, each with its reason.

use std::time::Duration;

/// Where the hub listens: TCP for HTTPS, UDP for links.
pub(super) const HUB_LISTEN: &str = "0.0.0.0:8443";

/// Where the hub serves health and metrics, without TLS: loopback, for it has no authentication.
pub(super) const HUB_ADMIN_LISTEN: &str = "127.0.0.1:8444";

/// Where the agent serves health and metrics: any free port of loopback, so that several fit on one machine.
pub(super) const AGENT_ADMIN_LISTEN: &str = "127.0.0.1:0";

/// Time to reach the hub: name, TCP and TLS. Longer than three SYN retransmissions, shorter than a script's patience.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// Time from a request to the last byte of its answer. Hazard of less: a list of 10,000 clusters over a slow line.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// Largest answer that is read, in bytes: a list of 10,000 clusters is some 5 MB.
pub(super) const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// Time for a backup: the hub reads and seals its whole store first.
pub(super) const BACKUP_ANSWER: Duration = Duration::from_secs(600);

/// Largest backup that is taken, in bytes: the hub's own limit and its seals.
pub(super) const MAX_BACKUP: usize = 2 * crate::defaults::BACKUP;

/// Largest configuration, token or kubeconfig file that is read, in bytes. A kubeconfig of 10,000 clusters is some 25 MB.
pub(super) const MAX_FILE: u64 = 64 * 1024 * 1024;

/// How often `ca rotate --wait` looks whether clusters are ready.
pub(super) const ROTATE_POLL: Duration = Duration::from_millis(500);

/// Namespace of the agent in its cluster.
pub(super) const AGENT_NAMESPACE: &str = "roadstead";

/// Repository of the image; its tag is this program's version, so that an operator's command never deploys another version.
pub(super) const IMAGE_REPOSITORY: &str = "ghcr.io/roadstead/roadstead";

/// The groups that the agent may impersonate unless more are allowed, bound to Kubernetes' own `view` and `edit`.
pub(super) const AGENT_GROUPS: [&str; 2] = ["roadstead:view", "roadstead:edit"];

/// A token that is valid for less than this is about to fail somebody: `doctor` says so.
pub(super) const TOKEN_ENDS_SOON: time::Duration = time::Duration::minutes(15);
