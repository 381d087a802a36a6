//! The hub: gateway, enrolment, router, links and the API. Never uses the agent.

mod admin;
mod api;
pub mod api_types;
mod backup;
mod directory;
mod enrol;
mod expiry;
mod external;
mod gateway;
mod links;
mod metrics;
mod pki;
mod proxy;
mod restore;
mod restored;
mod revocation;
mod root_file;
mod rotation;
mod said;
mod sealed;
mod serve;
mod session;
mod settings;
mod source;

use std::{
    path::PathBuf,
    sync::{Arc, RwLock},
};

use time::OffsetDateTime;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    backup::Keeper,
    directory::Directory,
    enrol::{Attempts, Nonces},
    links::Links,
    metrics::Metrics,
    pki::Pki,
    restored::Restored,
};
pub use self::{
    directory::DirectoryError,
    pki::{PkiError, RootError},
    restore::{Locking, RestoreError, RestoreReport, RestoreSettings, restore},
    root_file::{ImportRootError, import_root},
    sealed::SealedError,
    serve::{RunError, run},
    settings::{CertificateLife, CertificateLifeError, HttpsFiles, Settings},
};
use crate::{
    access::Grants,
    identity::{HubUrl, tls::HttpsSlots},
};

/// One hub and everything that its parts share.
struct Hub {
    public_url: HubUrl,
    /// The directory of [`Settings::data`].
    data: PathBuf,
    started: OffsetDateTime,
    directory: Directory,
    /// Whether its state came from a backup.
    restored: Restored,
    /// Makes backups.
    keeper: Keeper,
    grants: RwLock<Arc<Grants>>,
    links: Links,
    pki: Pki,
    /// What is shown on HTTPS.
    https: Arc<HttpsSlots>,
    /// Of the agents' certificates.
    certificate_life: CertificateLife,
    metrics: Metrics,
    /// Enrolments that failed lately.
    attempts: Attempts,
    /// What proofs are bound to.
    nonces: Nonces,
    /// Connections, links and requests: what a drain waits for.
    tasks: TaskTracker,
    /// Connections to the admin listener: nothing waits for them.
    admin_tasks: TaskTracker,
    /// No new work is taken.
    draining: CancellationToken,
}

impl Hub {
    /// The grants as of now.
    fn grants(&self) -> Arc<Grants> {
        self.grants.read().expect("no panic while it is held").clone()
    }

    fn set_grants(&self, grants: Grants) {
        *self.grants.write().expect("no panic while it is held") = Arc::new(grants);
    }
}

/// What the simulation of the rules uses.
#[cfg(test)]
pub(crate) mod rules {
    pub(crate) use super::{
        links::Moorings,
        proxy::rules::{Asked, Awaited, Failed, Next},
    };
}
