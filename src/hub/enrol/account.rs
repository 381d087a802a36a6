//! Enrolment by a token of the agent's own ServiceAccount: no secret is carried, and an agent that lost everything comes back by itself.

use std::net::IpAddr;

use time::OffsetDateTime;

use super::{EnrolError, Enrolled, nonce::NonceError, sign};
use crate::{
    hub::{
        Hub,
        directory::{AttestError, Cluster, Seen},
        rotation,
    },
    identity::{
        ClusterUid, VerifiedCsr,
        service_account::{Expected, KeySet, ProofError, audience, verify},
    },
};

/// What the agent says of itself, none of it believed yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claimed<'a> {
    pub(super) cluster: &'a str,
    pub(super) nonce: &'a str,
    pub(super) jwt: &'a str,
}

/// A proof that is none. What is wrong with the token is told only to whoever has one that the cluster's key signed.
#[derive(Debug, thiserror::Error)]
pub(in crate::hub) enum AccountError {
    /// Get another.
    #[error("{0}; ask for another at /enrol/v1/nonce")]
    Nonce(#[from] NonceError),
    /// No such cluster, no keys, or none of them.
    #[error(
        "the hub cannot verify this ServiceAccount token: it knows no such cluster, or not the key that signed it; an administrator pins keys with `roadstead cluster jwks set`"
    )]
    Unverified(String),
    /// Signed by the cluster, and still no proof.
    #[error("the ServiceAccount token is refused: {0}")]
    Claims(ProofError),
}

/// A certificate for who proves to be the agent of a cluster.
pub(super) async fn by_account(
    hub: &Hub,
    csr: &VerifiedCsr,
    claimed: Claimed<'_>,
    from: IpAddr,
) -> Result<Enrolled, EnrolError> {
    let now = OffsetDateTime::now_utc();
    let nonce = hub.nonces.take(claimed.nonce, from, now).map_err(AccountError::Nonce)?;
    let unverified = |why: String| EnrolError::Account(AccountError::Unverified(why));
    let uid: ClusterUid = claimed.cluster.parse().map_err(|_| unverified("no uid".to_owned()))?;
    let cluster = hub.directory.cluster_by_uid(&uid).ok_or_else(|| unverified(format!("no cluster {uid}")))?;
    let attest = hub.directory.attest(&uid);
    let no_keys = || unverified(format!("no keys are pinned for cluster {:?}", cluster.name));
    let keys = &attest.pinned.as_ref().ok_or_else(no_keys)?.keys;
    let audience = audience(hub.pki.agents().trust_domain(), &csr.spki_der(), nonce.as_bytes());
    let expected = Expected { service_account: &attest.service_account, audience: &audience, now };
    let verified = verify(claimed.jwt, keys, &expected).map_err(|error| {
        if error.is_of_the_cluster() { AccountError::Claims(error).into() } else { unverified(error.to_string()) }
    })?;
    hub.nonces.spend(&nonce, now).map_err(AccountError::Nonce)?;
    let (issued, record, root) = sign(hub, csr, &cluster, now).map_err(EnrolError::Issue)?;
    let serial = record.serial;
    hub.directory.enrol_proven(record).await?;
    rotation::certified(hub, &cluster, root, true).await.map_err(EnrolError::Issue)?;
    let pod = verified.pod.map_or_else(|| "-".to_owned(), |pod| pod.name);
    tracing::info!(
        cluster = &*cluster.name, %serial, account = %attest.service_account, pod, %from,
        "agent enrolled by its service account"
    );
    Ok(Enrolled { cluster, issued })
}

/// Keys that an authenticated agent shows, in the words of its API server. Never a reason to refuse the agent.
pub(in crate::hub) async fn keys_shown(hub: &Hub, cluster: &Cluster, shown: &[u8], first: bool) {
    let name = &*cluster.name;
    let keys = match KeySet::parse(shown) {
        Ok(keys) => keys,
        Err(error) => return tracing::warn!(cluster = name, %error, "the keys that the agent shows cannot be used"),
    };
    match hub.directory.see_keys(cluster, keys, first, OffsetDateTime::now_utc()).await {
        Ok(Seen::Same) => {}
        Ok(Seen::Pinned) => tracing::info!(cluster = name, "the keys of the cluster's service accounts are pinned"),
        Ok(Seen::Pending) => tracing::warn!(
            cluster = name,
            "the agent shows service account keys of which none is pinned: look at `roadstead cluster jwks show`, then accept them or not"
        ),
        Err(error @ AttestError::Shared(_)) => tracing::warn!(cluster = name, %error, "keys are not pinned"),
        Err(error) => {
            tracing::error!(cluster = name, error = &error as &dyn std::error::Error, "keys are not pinned");
        }
    }
}
