//! The next certificate: its key is kept, then asked for; its answer is judged; and what another agent with the same identity stored
//! meanwhile is taken over. Knows neither links nor when any of this is due.

use std::{sync::Arc, time::Duration};

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::{
    agent::{
        redial::jitter,
        state::{Enrolled, Identity, Kept, State},
    },
    defaults,
    identity::KeyPair,
    wire::generated::RenewResponse,
};

/// What is to be done after something was to be kept.
pub(super) enum Outcome {
    /// It is kept, and `identity` says so.
    Kept,
    /// Another agent stored a newer certificate, and `identity` is that now: a link with it is wanted.
    Overtaken,
    /// It is not; the agent goes on with what it has.
    Failed,
}

/// Makes sure that the key of the next certificate is kept.
pub(super) async fn prepare(state: &State, identity: &mut Identity) -> Outcome {
    if identity.next.is_some() {
        return Outcome::Kept;
    }
    let with_next = Identity { next: Some(Arc::new(KeyPair::generate())), ..identity.clone() };
    keep(state, identity, with_next).await
}

/// Keeps `wanted` in the place of `identity`.
pub(super) async fn keep(state: &State, identity: &mut Identity, wanted: Identity) -> Outcome {
    match state.save(&wanted).await {
        Ok(Kept::Mine) => {
            *identity = wanted;
            Outcome::Kept
        }
        Ok(Kept::Theirs(theirs)) => adopt(identity, *theirs),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the renewed identity cannot be kept; the old one serves, and this is tried again");
            Outcome::Failed
        }
    }
}

/// Goes on with what another agent stored, if this agent can.
fn adopt(identity: &mut Identity, theirs: Identity) -> Outcome {
    let same_key = theirs.key.spki_sha256() == identity.key.spki_sha256();
    if same_key {
        // They are about to renew as well: both ask with the same key, and whoever stores the certificate first serves both.
        identity.next = theirs.next;
        return Outcome::Failed;
    }
    if !theirs.is_valid(OffsetDateTime::now_utc()) || !is_same_agent(identity, &theirs) {
        tracing::error!(
            "somebody stored an identity that this agent cannot use; it goes on with its own until it is renewed"
        );
        return Outcome::Failed;
    }
    tracing::info!("another agent with this identity renewed it first; its certificate is used");
    *identity = theirs;
    Outcome::Overtaken
}

fn is_same_agent(one: &Identity, other: &Identity) -> bool {
    let who =
        |identity: &Identity| identity.enrolled.as_ref().map(|e| (e.own.cluster.clone(), e.own.trust_domain.clone()));
    who(one) == who(other)
}

/// The identity with the certificate of the hub's answer, which came at `now`, if it is one for the key that was asked with and for who this agent is.
/// After a refusal that key is not asked with again.
pub(super) fn answered(response: RenewResponse, identity: &mut Identity, now: OffsetDateTime) -> Option<Identity> {
    if !response.refusal.is_empty() {
        tracing::error!(refusal = response.refusal, "the hub refuses to renew the certificate");
        identity.next = None;
        return None;
    }
    let (key, old) = (identity.next.clone()?, identity.enrolled.as_ref()?);
    let chain = response.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    match Enrolled::new(old.cluster.clone(), chain, &key, now) {
        Ok(enrolled) => {
            let next =
                Identity { key, enrolled: Some(enrolled), next: None, joined_with: identity.joined_with.clone() };
            if is_same_agent(identity, &next) {
                return Some(next);
            }
            tracing::error!("the renewed certificate is another cluster's");
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the renewed certificate cannot be used");
        }
    }
    None
}

/// Two thirds into its life, give or take a tenth of it: agents that started together renew apart.
pub(super) fn due(enrolled: &Enrolled) -> OffsetDateTime {
    let life = enrolled.not_after() - enrolled.since;
    enrolled.since + life * (2.0 / 3.0 + (jitter() - 0.5) * 0.2)
}

/// How much of the certificate's life is left at `now`.
pub(super) fn left(identity: &Identity, now: OffsetDateTime) -> Duration {
    let left = identity.enrolled.as_ref().map(|e| e.not_after() - now);
    left.and_then(|left| Duration::try_from(left).ok()).unwrap_or(Duration::ZERO)
}

/// When to ask again after `now`: several tries fit into what is left of the certificate's life.
pub(super) fn retry_at(identity: &Identity, now: OffsetDateTime) -> OffsetDateTime {
    now + (left(identity, now) / 4).clamp(defaults::RENEWAL_RETRY_FIRST, defaults::RENEWAL_RETRY)
}

#[cfg(test)]
mod tests;
