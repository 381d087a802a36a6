//! Hub tokens: make, end, list, check.

use std::sync::Arc;

use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;

use super::{Directory, DirectoryError, HubToken, put};
use crate::{
    access::TokenRecord,
    identity::{SecretHash, Token, TokenId, TokenKind},
    store::{Expect, Op},
};

impl Directory {
    /// Makes a hub token.
    ///
    /// # Errors
    /// The store's.
    pub(in crate::hub) async fn create_token(
        &self,
        user: String,
        groups: Vec<String>,
        admin: bool,
        ttl: Duration,
        now: OffsetDateTime,
    ) -> Result<(Arc<HubToken>, Token), DirectoryError> {
        let token = Token::generate(TokenKind::Hub);
        let record = HubToken {
            id: token.id().clone(),
            hash: token.hash(),
            record: TokenRecord { id: token.id().to_string(), user, groups, admin, expires: now + ttl },
            created: now,
            revoked: CancellationToken::new(),
        };
        let op = put(format!("tokens/{}", record.id), &record, Expect::Absent);
        self.store.commit(vec![op]).await.map_err(DirectoryError::Commit)?;
        let record = Arc::new(record);
        self.write().tokens.insert(record.id.clone(), record.clone());
        Ok((record, token))
    }

    /// Ends a hub token.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`], or the store's.
    pub(in crate::hub) async fn revoke_token(&self, id: &str) -> Result<Arc<HubToken>, DirectoryError> {
        let missing = || DirectoryError::Missing(format!("token {id:?}"));
        let id: TokenId = id.parse().map_err(|_| missing())?;
        let record = self.read().tokens.get(&id).cloned().ok_or_else(missing)?;
        let op = Op::delete(format!("tokens/{id}"), Expect::Any);
        self.store.commit(vec![op]).await.map_err(DirectoryError::Commit)?;
        self.write().tokens.remove(&id);
        record.revoked.cancel();
        Ok(record)
    }

    /// All hub tokens, oldest first.
    pub(in crate::hub) fn tokens(&self) -> Vec<Arc<HubToken>> {
        let mut tokens: Vec<_> = self.read().tokens.values().cloned().collect();
        tokens.sort_by_key(|t| (t.created, t.id.to_string()));
        tokens
    }

    /// The record of a token whose secret is right.
    pub(in crate::hub) fn verify_token(&self, token: &Token) -> Option<Arc<HubToken>> {
        let record = self.read().tokens.get(token.id()).cloned();
        if SecretHash::verify(record.as_deref().map(|r| &r.hash), token) { record } else { None }
    }
}
