//! What is stored may be newer than what this process holds: another process with the same place, such as a pod that is to take its place,
//! may have renewed the certificate. To dial with one that is spent would look like a copy of the key.

use rustls_pki_types::CertificateDer;
use tokio::time::timeout;

use super::Agent;
use crate::{agent::state::Identity, defaults};

impl Agent {
    /// Takes what is stored, if it is a newer certificate of the same cluster; goes on with what it has if that cannot be read.
    pub(super) async fn reread(&self, identity: &mut Identity) {
        match timeout(defaults::STATE_READ, self.state.load()).await {
            Ok(Ok(Some(stored))) if is_newer(&stored, identity) => {
                tracing::info!("another process with this identity renewed its certificate: the new one is used");
                *identity = stored;
            }
            // The key that the next certificate is to be asked for with: all ask with the same.
            Ok(Ok(Some(stored))) if stored.key.spki_sha256() == identity.key.spki_sha256() => {
                identity.next = stored.next
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the stored identity cannot be read again: the one in memory is used");
            }
            Err(_) => tracing::warn!("the stored identity cannot be read again in time: the one in memory is used"),
        }
    }
}

fn is_newer(stored: &Identity, held: &Identity) -> bool {
    match (&stored.enrolled, &held.enrolled) {
        (Some(stored), Some(held)) => stored.own.cluster == held.own.cluster && stored.not_after() > held.not_after(),
        _ => false,
    }
}

/// The certificate that an identity is shown by.
pub(super) fn leaf(identity: &Identity) -> Option<CertificateDer<'static>> {
    identity.enrolled.as_ref().and_then(|enrolled| enrolled.chain.first()).cloned()
}
