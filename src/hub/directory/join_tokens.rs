//! Join tokens: make one for a cluster, list them with who used them, end one.

use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use super::{Cluster, Directory, DirectoryError, JoinRecord, list, put};
use crate::{
    access::Cidr,
    defaults,
    identity::{ClusterUid, Token, TokenId, TokenKind},
    store::{Expect, Op},
};

/// A join token that is wanted.
#[derive(Clone, Debug)]
pub(in crate::hub) struct JoinWish {
    /// How long it may be used.
    pub ttl: Duration,
    /// By how many keys.
    pub max_uses: u32,
    /// Whence; empty = from anywhere.
    pub sources: Vec<Cidr>,
    /// Who wants it.
    pub by: String,
}

impl JoinWish {
    pub(super) fn token_for(self, cluster: &ClusterUid, now: OffsetDateTime) -> (Token, JoinRecord) {
        let Self { ttl, max_uses, sources, by } = self;
        let token = Token::generate(TokenKind::Join);
        let record = JoinRecord {
            hash: token.hash(),
            cluster: cluster.clone(),
            expires: now + ttl,
            used: None,
            more: Vec::new(),
            max_uses,
            sources,
            created: Some(now),
            by: Some(by),
        };
        (token, record)
    }
}

impl Directory {
    /// Makes another join token for a cluster. Where [`defaults::JOIN_TOKENS`] are kept, it takes the place of the oldest that has ended.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`], [`DirectoryError::TooManyTokens`], or the store's.
    pub(in crate::hub) async fn create_join_token(
        &self,
        name: &str,
        wish: JoinWish,
        now: OffsetDateTime,
    ) -> Result<(Arc<Cluster>, Token, JoinRecord), DirectoryError> {
        let cluster = self.named(name)?;
        let kept = self.join_tokens_of(&cluster).await?;
        let (token, record) = wish.token_for(&cluster.uid, now);
        let mut ops = vec![
            put(format!("join/{}", token.id()), &record, Expect::Absent),
            // A cluster that is removed meanwhile leaves no token behind.
            Op::check(format!("names/{}", cluster.name), self.revision_of(&format!("names/{}", cluster.name)).await?),
        ];
        if kept.len() >= defaults::JOIN_TOKENS {
            let oldest = kept.iter().find(|(_, record)| !record.is_open(now));
            let (id, _) = oldest.ok_or_else(|| DirectoryError::TooManyTokens { name: name.to_owned() })?;
            ops.push(Op::delete(format!("join/{id}"), Expect::Any));
        }
        self.store.commit(ops).await.map_err(DirectoryError::Commit)?;
        Ok((cluster, token, record))
    }

    /// The join tokens of a cluster, the oldest first; used up and expired ones too, as long as there is room.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`], or the store's.
    pub(in crate::hub) async fn join_tokens(&self, name: &str) -> Result<Vec<(TokenId, JoinRecord)>, DirectoryError> {
        let cluster = self.named(name)?;
        self.join_tokens_of(&cluster).await
    }

    /// Ends a join token of a cluster. What was issued for it stays valid.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`], or the store's.
    pub(in crate::hub) async fn revoke_join_token(&self, name: &str, id: &str) -> Result<JoinRecord, DirectoryError> {
        let missing = || DirectoryError::Missing(format!("join token {id:?} of cluster {name:?}"));
        let id: TokenId = id.parse().map_err(|_| missing())?;
        let tokens = self.join_tokens(name).await?;
        let (_, record) = tokens.into_iter().find(|(known, _)| *known == id).ok_or_else(missing)?;
        let op = Op::delete(format!("join/{id}"), Expect::Any);
        self.store.commit(vec![op]).await.map_err(DirectoryError::Commit)?;
        Ok(record)
    }

    fn named(&self, name: &str) -> Result<Arc<Cluster>, DirectoryError> {
        self.cluster(name).ok_or_else(|| DirectoryError::Missing(format!("cluster {name:?}")))
    }

    async fn revision_of(&self, key: &str) -> Result<Expect, DirectoryError> {
        let entry = self.store.get(key.as_bytes()).await?;
        Ok(entry.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision)))
    }

    async fn join_tokens_of(&self, cluster: &Cluster) -> Result<Vec<(TokenId, JoinRecord)>, DirectoryError> {
        let all = list::<JoinRecord>(&*self.store, "join/").await?;
        let own = all.into_iter().filter(|(_, record)| record.cluster == cluster.uid);
        let id = |key: &str| key.trim_start_matches("join/").parse::<TokenId>().ok();
        let mut own: Vec<_> = own.filter_map(|(key, record)| Some((id(&key)?, record))).collect();
        own.sort_by_key(|(_, record)| record.created);
        Ok(own)
    }
}
