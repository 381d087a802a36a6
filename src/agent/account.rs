//! The agent's own ServiceAccount as a proof of its cluster: who it is, a token bound to a key and a nonce, and the keys by which the API
//! server signs. Asks the API server, and nobody else.

use http::Request;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, SelfSubjectReview, TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::timeout;

use crate::{
    defaults,
    identity::{Secret, service_account::ServiceAccountName},
};

/// What the API server says of who asks, when it is a pod's.
const POD: [&str; 2] = ["authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"];

/// The API server gives no proof.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It was not asked with a ServiceAccount's credential.
    #[error("the agent acts as {0:?} towards its API server, which is no ServiceAccount")]
    NoAccount(String),
    /// It does not answer, or refuses.
    #[error("the API server does not {what}")]
    Refused {
        /// What it was asked for.
        what: &'static str,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// It takes too long.
    #[error("the API server does not answer within {} s", defaults::ACCOUNT_TOKEN.as_secs())]
    Late,
    /// It answers without what was asked for.
    #[error("the API server's answer has no {0}")]
    Empty(&'static str),
}

/// A token of the agent's own ServiceAccount for `audience` alone, bound to its pod if it runs in one.
pub(super) async fn token(client: &Client, audience: &str) -> Result<Secret, AccountError> {
    timeout(defaults::ACCOUNT_TOKEN, asked(client, audience)).await.unwrap_or(Err(AccountError::Late))
}

async fn asked(client: &Client, audience: &str) -> Result<Secret, AccountError> {
    let (account, pod) = whoami(client).await?;
    let refused = |source| AccountError::Refused {
        what: "give a token of the agent's own ServiceAccount",
        source: Box::new(source),
    };
    let bound = pod.map(|(name, uid)| BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(name),
        uid: Some(uid),
    });
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(vec![audience.to_owned()]),
            bound_object_ref: bound,
            expiration_seconds: i64::try_from(defaults::ACCOUNT_TOKEN_LIFE.as_secs()).ok(),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), account.namespace());
    let made =
        accounts.create_token_request(account.name(), &PostParams::default(), &request).await.map_err(refused)?;
    made.status.and_then(|status| status.token).map(Secret::new).ok_or(AccountError::Empty("token"))
}

/// As which ServiceAccount the agent acts, and in which pod (name and uid).
async fn whoami(client: &Client) -> Result<(ServiceAccountName, Option<(String, String)>), AccountError> {
    let refused = |source| AccountError::Refused { what: "say who the agent is", source: Box::new(source) };
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.map_err(refused)?;
    let user = review.status.and_then(|status| status.user_info).ok_or(AccountError::Empty("user"))?;
    let name = user.username.unwrap_or_default();
    let account = ServiceAccountName::from_subject(&name).ok_or(AccountError::NoAccount(name))?;
    let extra = user.extra.unwrap_or_default();
    let [pod, uid] = POD.map(|key| extra.get(key).and_then(|values| values.first()).cloned());
    Ok((account, pod.zip(uid)))
}

/// The keys by which the API server signs ServiceAccount tokens, in its words; `None` where it does not show them.
pub(super) async fn keys(client: &Client) -> Option<String> {
    let request =
        Request::get("/openid/v1/jwks").header("accept", "application/jwk-set+json, application/json").body(Vec::new());
    match timeout(defaults::VERSION_PROBE, client.request_text(request.ok()?)).await {
        Ok(Ok(text)) if text.len() <= crate::identity::service_account::MAX_JWKS => Some(text),
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::debug!(%error, "the API server does not show its keys");
            None
        }
        Err(_) => None,
    }
}
