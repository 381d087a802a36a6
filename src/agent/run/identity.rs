//! How the agent comes to its identity: the one it keeps, or a new one by a proof. Knows neither links nor how a proof is sent.

use time::OffsetDateTime;
use tokio::time::sleep;

use super::{Agent, RunError};
use crate::{
    agent::{
        enrol::{EnrolError, by_account, by_token},
        redial::{Redial, Shut, jitter, slowly},
        settings::JoinToken,
        state::{Enrolled, Identity, Kept},
    },
    defaults,
    identity::{ClusterUid, Secret, Token, TokenId, TokenKind},
};

/// What one round over all proofs came to.
enum Round {
    /// The hub gave a certificate; with it goes the join token that is there, which is known from then on.
    Proven(Enrolled, Option<TokenId>),
    /// Another agent with the same place and the same proof was faster.
    Theirs(Box<Identity>),
    /// The hub was not reached: nothing is known.
    Unreachable(EnrolError),
    /// An operator locked the cluster; what the hub says of it.
    Locked(String),
    /// No proof holds; why, of each.
    Refused(Vec<String>),
}

impl Agent {
    /// The stored identity while it is good; else a new one by a proof: the cluster's ServiceAccount, then the join token.
    pub(super) async fn identity(&self) -> Result<Identity, RunError> {
        let stored = self.state.load().await?;
        if let Some(kept) = stored.as_ref().filter(|kept| self.is_good(kept)) {
            return match another_token(kept, self.join_token().ok().flatten()) {
                Some(token) => Ok(self.rekeyed(&token).await.unwrap_or_else(|| kept.clone())),
                None => Ok(kept.clone()),
            };
        }
        self.proven(stored).await
    }

    fn is_good(&self, kept: &Identity) -> bool {
        let Some(enrolled) = &kept.enrolled else { return false };
        if self.settings.cluster.as_ref().is_some_and(|told| *told != enrolled.own.cluster) {
            tracing::warn!(stored = %enrolled.own.cluster, "the stored identity is of another cluster than this agent is told to be");
            return false;
        }
        if !kept.is_valid(OffsetDateTime::now_utc()) {
            tracing::warn!(not_after = %enrolled.not_after(), "the stored certificate has ended");
            return false;
        }
        true
    }

    /// Tries every proof that there is until one holds.
    async fn proven(&self, stored: Option<Identity>) -> Result<Identity, RunError> {
        let old = stored.as_ref().and_then(|identity| identity.enrolled.as_ref());
        let cluster = self.settings.cluster.clone().or_else(|| old.map(|enrolled| enrolled.own.cluster.clone()));
        let used = stored.as_ref().filter(|_| old.is_some()).and_then(|identity| identity.joined_with.clone());
        // A key that was sent to the hub before is sent again: the hub may have used up the token for it.
        let identity = stored.filter(|identity| identity.enrolled.is_none()).unwrap_or_else(Identity::fresh);
        let identity = match self.state.save(&identity).await? {
            Kept::Mine => identity,
            // Another agent with this place came first: both ask with its key, or have what it got.
            Kept::Theirs(theirs) if theirs.is_valid(OffsetDateTime::now_utc()) => return Ok(*theirs),
            Kept::Theirs(theirs) => *theirs,
        };
        let mut redial = Redial::default();
        let mut told = String::new();
        loop {
            match self.round(&identity, cluster.as_ref(), used.as_ref()).await? {
                Round::Proven(enrolled, joined_with) => {
                    return self.keep(Identity { joined_with, ..identity }, enrolled).await;
                }
                Round::Theirs(theirs) => return Ok(*theirs),
                Round::Unreachable(error) => {
                    tracing::warn!(%error, "cannot join yet");
                    self.health.waiting(&error.to_string());
                    sleep(redial.wait(jitter())).await;
                }
                Round::Locked(why) => {
                    tracing::error!(why, "{}", Shut::Locked.as_str());
                    self.health.shut(Some(Shut::Locked));
                    sleep(slowly(jitter())).await;
                }
                Round::Refused(why) => {
                    self.health.shut(None);
                    let why = why.join("; ");
                    if told != why {
                        tracing::error!(
                            why,
                            "no proof of this cluster holds: waiting for another join token (`roadstead cluster rekey`) or for the hub to know the cluster's keys (`roadstead cluster jwks set`)"
                        );
                    }
                    self.health.waiting(&why);
                    told = why;
                    sleep(defaults::PROOF_WAIT.mul_f64(0.5 + jitter())).await;
                }
            }
        }
    }

    /// Tries each proof once. `used` is the token that an identity came from which has ended: it is not tried again.
    async fn round(
        &self,
        identity: &Identity,
        cluster: Option<&ClusterUid>,
        used: Option<&TokenId>,
    ) -> Result<Round, RunError> {
        let token = self.join_token()?;
        let mut why = Vec::new();
        match cluster {
            Some(cluster) => {
                match by_account(&self.settings, self.trust.pins(), &self.client, cluster, &identity.key).await {
                    // Whatever token is there was not needed; only another one says something.
                    Ok(enrolled) => return Ok(Round::Proven(enrolled, token.as_ref().and_then(token_id))),
                    Err(EnrolError::Locked(why)) => return Ok(Round::Locked(why)),
                    Err(error @ (EnrolError::Unreachable { .. } | EnrolError::Answer(_))) => {
                        return Ok(Round::Unreachable(error));
                    }
                    Err(error @ (EnrolError::Refused(_) | EnrolError::Account(_))) => {
                        why.push(format!("by ServiceAccount: {}", crate::agent::exchange::chain(&error)));
                    }
                }
            }
            None if token.is_none() => return Err(RunError::NoToken),
            None => {}
        }
        let Some(token) = token else {
            why.push("there is no join token".to_owned());
            return Ok(Round::Refused(why));
        };
        let id = token_id(&token);
        if id.is_some() && id.as_ref() == used {
            why.push("the join token is the one that this agent joined with before".to_owned());
            return Ok(Round::Refused(why));
        }
        match by_token(&self.settings, self.trust.pins(), &self.client, &token, &identity.key).await {
            Ok(enrolled) => Ok(Round::Proven(enrolled, id)),
            Err(EnrolError::Locked(why)) => Ok(Round::Locked(why)),
            Err(error) if error.is_permanent() => match self.state.load().await? {
                Some(theirs) if theirs.is_valid(OffsetDateTime::now_utc()) => Ok(Round::Theirs(Box::new(theirs))),
                // Nothing else is to come: a supervisor must see it.
                _ if cluster.is_none() => Err(error.into()),
                _ => {
                    why.push(format!("by join token: {error}"));
                    Ok(Round::Refused(why))
                }
            },
            Err(error) => Ok(Round::Unreachable(error)),
        }
    }

    /// A new identity in place of one that is good, because the operator gave another join token. `None` when there is none to be had:
    /// the old one serves on, and the next start asks again.
    async fn rekeyed(&self, token: &Secret) -> Option<Identity> {
        tracing::info!(
            "there is another join token than the one that this agent joined with: joining again with a new key"
        );
        let fresh = Identity { joined_with: token_id(token), ..Identity::fresh() };
        let mut redial = Redial::default();
        for _ in 0..defaults::REKEY_TRIES {
            sleep(redial.wait(jitter())).await;
            match by_token(&self.settings, self.trust.pins(), &self.client, token, &fresh.key).await {
                Ok(enrolled) => match self.keep(fresh, enrolled).await {
                    Ok(identity) => return Some(identity),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "the new identity cannot be kept: the agent keeps the one that it has");
                        return None;
                    }
                },
                Err(error @ EnrolError::Refused(_)) => {
                    tracing::error!(%error, "the other join token is refused: the agent keeps the identity that it has");
                    return None;
                }
                Err(error) => tracing::warn!(%error, "cannot join again yet"),
            }
        }
        tracing::error!("the agent keeps the identity that it has, and joins again at its next start");
        None
    }

    async fn keep(&self, mut identity: Identity, enrolled: Enrolled) -> Result<Identity, RunError> {
        tracing::info!(cluster = enrolled.cluster, not_after = %enrolled.not_after(), "joined the hub");
        identity.enrolled = Some(enrolled);
        self.health.waiting("");
        match self.state.save(&identity).await? {
            Kept::Mine => return Ok(identity),
            Kept::Theirs(theirs) if theirs.is_valid(OffsetDateTime::now_utc()) => return Ok(*theirs),
            // What has no certificate does not count against what has one.
            Kept::Theirs(_) => {}
        }
        match self.state.save(&identity).await? {
            Kept::Mine => Ok(identity),
            Kept::Theirs(theirs) => Ok(*theirs),
        }
    }

    /// The join token, if there is one: after enrolment its file may be gone.
    fn join_token(&self) -> Result<Option<Secret>, RunError> {
        let path = match self.settings.join_token.as_ref() {
            None => return Ok(None),
            Some(JoinToken::Text(secret)) => return Ok(Some(secret.clone())),
            Some(JoinToken::File(path)) => path,
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(Secret::new(text.trim()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RunError::TokenFile { path: path.display().to_string(), source }),
        }
    }
}

/// The token that is there, if it is not the one that the identity was joined with. One that no token is known of is left alone.
fn another_token(kept: &Identity, token: Option<Secret>) -> Option<Secret> {
    let (known, token) = (kept.joined_with.as_ref()?, token?);
    (token_id(&token)? != *known).then_some(token)
}

fn token_id(token: &Secret) -> Option<TokenId> {
    Token::parse(TokenKind::Join, token.expose()).ok().map(|token| token.id().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_token_is_told_from_the_one_that_was_used() {
        let [one, other] = [(); 2].map(|()| Token::generate(TokenKind::Join));
        let given = |token: &Token| Some(token.reveal());
        let mut kept = Identity::fresh();
        assert!(another_token(&kept, given(&one)).is_none(), "an identity of an older agent is replaced");
        kept.joined_with = Some(one.id().clone());
        assert!(another_token(&kept, given(&one)).is_none());
        assert_eq!(another_token(&kept, given(&other)).unwrap().expose(), other.reveal().expose());
        assert!(another_token(&kept, None).is_none());
        assert!(another_token(&kept, Some(Secret::new("rsj_mistyped"))).is_none());
    }
}
