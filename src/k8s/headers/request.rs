//! A client's headers on their way to a cluster.

use http::Version;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TRANSFER_ENCODING};

use super::switch::clean_websocket_headers;
use super::{HeaderError, Impersonation, Upgrade, identity, names};
use crate::k8s::{RequestInfo, Status};

/// A request's headers with nothing left in them that says who sends it.
#[derive(Clone, Debug)]
pub struct SanitisedRequest {
    /// End-to-end headers to forward. No `Host`, no identity, no hop-by-hop header, no `Connection`.
    pub headers: HeaderMap,
    /// Who the client asks to be (`kubectl --as`). To be granted or refused with a 403, never to be dropped: the request
    /// would run with the caller's own, wider rights.
    pub requested: Option<Impersonation>,
    /// The protocol switch asked for; [`Upgrade::write_to`] puts its headers back for the next hop.
    pub upgrade: Option<Upgrade>,
}

/// Cleans a client's headers in the order of kubernetes-proxying § 2.7: malformed, hop-by-hop, then strip by name.
/// Identity is written afterwards, by the agent, with [`super::identity_headers`].
///
/// What the client asks to be is read before `Connection` can remove it (CVE-2021-31999).
///
/// # Errors
/// [`HeaderError`]: malformed, ambiguous or contradictory headers; the answer is 400.
pub fn sanitise_request(
    headers: &HeaderMap,
    info: &RequestInfo,
    version: Version,
) -> Result<SanitisedRequest, HeaderError> {
    check_framing(headers, version)?;
    let tokens = names::connection_tokens(headers).ok_or(HeaderError::Connection)?;
    let requested = identity::read_requested(headers)?;
    let upgrade = Upgrade::read(headers, &tokens, info, version)?;
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !tokens.iter().any(|t| t == name.as_str()) && !names::stripped_from_request(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    clean_websocket_headers(&mut kept)?;
    if upgrade.is_none() {
        let websocket: Vec<HeaderName> =
            kept.keys().filter(|n| n.as_str().starts_with("sec-websocket-")).cloned().collect();
        websocket.iter().for_each(|name| drop(kept.remove(name)));
    }
    Ok(SanitisedRequest { headers: kept, requested, upgrade })
}

/// T022 to T025, as far as the HTTP parser before us lets them through.
fn check_framing(headers: &HeaderMap, version: Version) -> Result<(), HeaderError> {
    match headers.get_all(HOST).iter().count() {
        0 if version <= Version::HTTP_11 => return Err(HeaderError::MissingHost),
        0 | 1 => {}
        _ => return Err(HeaderError::RepeatedHost),
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    let plain = length.is_none_or(|v| !v.is_empty() && v.as_bytes().iter().all(u8::is_ascii_digit));
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let chunked = coding.is_none_or(|v| v.as_bytes().eq_ignore_ascii_case(b"chunked"));
    let single = lengths.next().is_none() && codings.next().is_none() && !(length.is_some() && coding.is_some());
    if plain && chunked && single { Ok(()) } else { Err(HeaderError::Framing) }
}

impl From<&HeaderError> for Status {
    fn from(error: &HeaderError) -> Self {
        Self::bad_request(&error.to_string())
    }
}
