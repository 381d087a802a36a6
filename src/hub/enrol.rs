//! `POST /enrol/v1`: a proof and a CSR become an identity. Plain HTTPS, so that the listener of links has no anonymous path.

mod account;
mod limit;
mod nonce;

use std::{net::IpAddr, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use time::OffsetDateTime;

use self::account::Claimed;
pub(super) use self::{
    account::{AccountError, keys_shown},
    limit::Attempts,
    nonce::{NonceError, Nonces},
};
use super::{
    Hub,
    api_types::{EnrolRequest, EnrolResponse},
    directory::{CertificateRecord, Cluster, DirectoryError, JoinError, Joining},
    rotation,
};
use crate::identity::{AgentRequest, AuthorityKind, Issued, Serial, SpkiSha256, Token, TokenKind, VerifiedCsr};

/// No certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnrolError {
    #[error("the certificate signing request is not valid: {0}")]
    Csr(String),
    #[error("an enrolment has either a token, or cluster, nonce and jwt")]
    Form,
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error("no certificate can be issued now")]
    Issue(#[source] DirectoryError),
}

/// A certificate that is recorded and may leave the hub.
struct Enrolled {
    cluster: Arc<Cluster>,
    issued: Issued,
}

/// Turns a request into a certificate chain.
///
/// # Errors
/// See [`EnrolError`]; every fault of a join token has the same text.
pub(super) async fn enrol(hub: &Hub, request: &EnrolRequest, from: IpAddr) -> Result<EnrolResponse, EnrolError> {
    let EnrolRequest { token, cluster, nonce, jwt, jwks, csr } = request;
    let der = BASE64_STANDARD.decode(csr).map_err(|_| EnrolError::Csr("not base64".to_owned()))?;
    let csr = VerifiedCsr::parse(&der).map_err(|error| EnrolError::Csr(error.to_string()))?;
    let (enrolled, first) = match (token, cluster, nonce, jwt) {
        (Some(token), None, None, None) => (by_token(hub, &csr, token.expose(), from).await?, true),
        (None, Some(cluster), Some(nonce), Some(jwt)) => {
            let claimed = Claimed { cluster, nonce, jwt: jwt.expose() };
            (account::by_account(hub, &csr, claimed, from).await?, false)
        }
        _ => return Err(EnrolError::Form),
    };
    let Enrolled { cluster, issued } = enrolled;
    if let Some(jwks) = jwks {
        keys_shown(hub, &cluster, jwks.as_bytes(), first).await;
    }
    Ok(EnrolResponse {
        uid: cluster.uid.to_string(),
        name: cluster.name.to_string(),
        trust_domain: hub.pki.agents().trust_domain().to_string(),
        chain: issued.chain.iter().map(|der| BASE64_STANDARD.encode(der)).collect(),
        hub_ca: hub.pki.keys().roots_pem(AuthorityKind::Hub),
        not_after: issued.not_after,
    })
}

async fn by_token(hub: &Hub, csr: &VerifiedCsr, token: &str, from: IpAddr) -> Result<Enrolled, EnrolError> {
    let token =
        Token::parse(TokenKind::Join, token).map_err(|_| EnrolError::Join(JoinError::Refused("not a join token")))?;
    let now = OffsetDateTime::now_utc();
    let mut issued: Option<(Issued, SpkiSha256)> = None;
    let joining = Joining { token: &token, spki: csr.spki_sha256(), from, now };
    let joined = hub.directory.join(&joining, |cluster| {
        let (signed, record, root) = sign(hub, csr, cluster, now)?;
        issued = Some((signed, root));
        Ok(record)
    });
    let cluster = joined.await?;
    let (issued, root) =
        issued.ok_or_else(|| EnrolError::Issue(DirectoryError::Missing("a certificate".to_owned())))?;
    rotation::certified(hub, &cluster, root, true).await.map_err(EnrolError::Issue)?;
    tracing::info!(cluster = &*cluster.name, token = %token.id(), %from, "agent enrolled");
    Ok(Enrolled { cluster, issued })
}

/// A certificate, the record of it that must be kept before it leaves the hub, and the key of the root above it.
fn sign(
    hub: &Hub,
    csr: &VerifiedCsr,
    cluster: &Cluster,
    now: OffsetDateTime,
) -> Result<(Issued, CertificateRecord, SpkiSha256), DirectoryError> {
    let (serial, authority) = (Serial::random(), hub.pki.agents());
    let request = AgentRequest { csr, cluster: &cluster.uid, now, ttl: hub.certificate_life.into(), serial };
    let signed = authority.issue_agent(&request);
    let signed = signed.map_err(|error| DirectoryError::Missing(format!("a usable agents' CA ({error})")))?;
    let record = CertificateRecord::of(&signed, &cluster.uid, now);
    Ok((signed, record, authority.pin()))
}
