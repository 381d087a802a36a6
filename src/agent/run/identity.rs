//! How the agent comes to its identity: the one it keeps, or a new one by a proof. Knows neither links nor how it is asked for.

use time::OffsetDateTime;
use tokio::time::sleep;

use super::{Agent, RunError};
use crate::{
    agent::{
        enrol::{EnrolError, enrol},
        redial::{Redial, Shut, jitter, slowly},
        settings::JoinToken,
        state::{Enrolled, Identity, Kept},
    },
    defaults,
    identity::{Secret, Token, TokenId, TokenKind},
};

impl Agent {
    /// The stored identity, or a new one by the join token.
    pub(super) async fn identity(&self) -> Result<Identity, RunError> {
        let stored = self.state.load().await?;
        if let Some(kept) = stored.as_ref().filter(|kept| kept.is_valid(OffsetDateTime::now_utc())) {
            return match another_token(kept, self.join_token()) {
                Some(token) => Ok(self.rekeyed(&token).await.unwrap_or_else(|| kept.clone())),
                None => Ok(kept.clone()),
            };
        }
        let token = self.join_token()?;
        // A key that was sent to the hub before is sent again: the hub may have used up the token for it.
        let key = stored.filter(|identity| identity.enrolled.is_none());
        let identity = key.unwrap_or_else(Identity::fresh);
        let identity = match self.state.save(&identity).await? {
            Kept::Mine => identity,
            // Another agent with this place came first: both ask with its key, or have what it got.
            Kept::Theirs(theirs) if theirs.is_valid(OffsetDateTime::now_utc()) => return Ok(*theirs),
            Kept::Theirs(theirs) => *theirs,
        };
        self.joined(identity, &token).await
    }

    /// Asks until the hub says yes or no.
    async fn joined(&self, identity: Identity, token: &Secret) -> Result<Identity, RunError> {
        let mut redial = Redial::default();
        loop {
            match enrol(&self.settings, self.trust.pins(), token, &identity.key).await {
                Ok(enrolled) => return self.keep(identity, enrolled, token).await,
                Err(error) if error.is_permanent() => match self.state.load().await? {
                    // Another agent with the same place and the same token was faster.
                    Some(theirs) if theirs.is_valid(OffsetDateTime::now_utc()) => return Ok(theirs),
                    _ => return Err(error.into()),
                },
                Err(EnrolError::Locked(why)) => {
                    tracing::error!(why, "{}", Shut::Locked.as_str());
                    self.health.shut(Some(Shut::Locked));
                    sleep(slowly(jitter())).await;
                }
                Err(error) => tracing::warn!(%error, "cannot join yet"),
            }
            sleep(redial.wait(jitter())).await;
        }
    }

    /// A new identity in place of one that is good, because the operator gave another join token. `None` when there is none to be had:
    /// the old one serves on, and the next start asks again.
    async fn rekeyed(&self, token: &Secret) -> Option<Identity> {
        tracing::info!(
            "there is another join token than the one that this agent joined with: joining again with a new key"
        );
        let fresh = Identity::fresh();
        let mut redial = Redial::default();
        for _ in 0..defaults::REKEY_TRIES {
            sleep(redial.wait(jitter())).await;
            match enrol(&self.settings, self.trust.pins(), token, &fresh.key).await {
                Ok(enrolled) => match self.keep(fresh, enrolled, token).await {
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

    async fn keep(&self, mut identity: Identity, enrolled: Enrolled, token: &Secret) -> Result<Identity, RunError> {
        tracing::info!(cluster = enrolled.cluster, not_after = %enrolled.not_after(), "joined the hub");
        identity.enrolled = Some(enrolled);
        identity.joined_with = token_id(token);
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

    /// The join token, if it is still there: after enrolment its file may be gone.
    fn join_token(&self) -> Result<Secret, RunError> {
        let path = match self.settings.join_token.as_ref().ok_or(RunError::NoToken)? {
            JoinToken::Text(secret) => return Ok(secret.clone()),
            JoinToken::File(path) => path,
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Secret::new(text.trim())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(RunError::NoToken),
            Err(source) => Err(RunError::TokenFile { path: path.display().to_string(), source }),
        }
    }
}

/// The token that is there, if it is not the one that the identity was joined with. One that no token is known of is left alone.
fn another_token(kept: &Identity, token: Result<Secret, RunError>) -> Option<Secret> {
    let (known, token) = (kept.joined_with.as_ref()?, token.ok()?);
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
        let given = |token: &Token| Ok(token.reveal());
        let mut kept = Identity::fresh();
        assert!(another_token(&kept, given(&one)).is_none(), "an identity of an older agent is replaced");
        kept.joined_with = Some(one.id().clone());
        assert!(another_token(&kept, given(&one)).is_none());
        assert_eq!(another_token(&kept, given(&other)).unwrap().expose(), other.reveal().expose());
        assert!(another_token(&kept, Err(RunError::NoToken)).is_none());
        assert!(another_token(&kept, Ok(Secret::new("rsj_mistyped"))).is_none());
    }
}
