//! `POST /enrol/v1`: a join token and a CSR become an identity. Plain HTTPS, so that the listener of links has no
//! anonymous path.

mod limit;

use std::net::IpAddr;

use base64::{Engine, prelude::BASE64_STANDARD};
use time::OffsetDateTime;

pub(super) use self::limit::{Attempts, Source};
use super::{
    Hub,
    api_types::{EnrolRequest, EnrolResponse},
    directory::{CertificateRecord, DirectoryError, JoinError, Joining},
    rotation,
};
use crate::identity::{AgentRequest, AuthorityKind, Issued, Serial, Token, TokenKind, VerifiedCsr};

/// No certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnrolError {
    #[error("the certificate signing request is not valid: {0}")]
    Csr(String),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("no certificate can be issued now")]
    Issue(#[source] DirectoryError),
}

/// Turns a request into a certificate chain.
///
/// # Errors
/// See [`EnrolError`]; every fault of the token has the same text.
pub(super) async fn enrol(hub: &Hub, request: &EnrolRequest, from: IpAddr) -> Result<EnrolResponse, EnrolError> {
    let der = BASE64_STANDARD.decode(&request.csr).map_err(|_| EnrolError::Csr("not base64".to_owned()))?;
    let csr = VerifiedCsr::parse(&der).map_err(|error| EnrolError::Csr(error.to_string()))?;
    let token = Token::parse(TokenKind::Join, request.token.expose())
        .map_err(|_| EnrolError::Join(JoinError::Refused("not a join token")))?;
    let now = OffsetDateTime::now_utc();
    let serial = Serial::random();
    let authority = hub.pki.agents();
    let mut issued: Option<Issued> = None;
    let joining = Joining { token: &token, spki: csr.spki_sha256(), from, now };
    let joined = hub.directory.join(&joining, |cluster| {
        let ttl = hub.certificate_life.into();
        let request = AgentRequest { csr: &csr, cluster: &cluster.uid, now, ttl, serial };
        let signed = authority
            .issue_agent(&request)
            .map_err(|error| DirectoryError::Missing(format!("a usable agents' CA ({error})")))?;
        let record = CertificateRecord::of(&signed, &cluster.uid, now);
        issued = Some(signed);
        Ok(record)
    });
    let cluster = joined.await?;
    let issued = issued.ok_or_else(|| EnrolError::Issue(DirectoryError::Missing("a certificate".to_owned())))?;
    rotation::certified(hub, &cluster, authority.pin(), true).await.map_err(EnrolError::Issue)?;
    tracing::info!(cluster = &*cluster.name, %serial, token = %token.id(), %from, "agent enrolled");
    Ok(EnrolResponse {
        uid: cluster.uid.to_string(),
        name: cluster.name.to_string(),
        trust_domain: hub.pki.agents().trust_domain().to_string(),
        chain: issued.chain.iter().map(|der| BASE64_STANDARD.encode(der)).collect(),
        hub_ca: hub.pki.keys().roots_pem(AuthorityKind::Hub),
        not_after: issued.not_after,
    })
}
