//! Protocol switches: recognised strictly, on the few requests that may have one.

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{Method, Version};

use super::HeaderError;
use crate::k8s::{RequestInfo, Streaming};

const WS_PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const WS_EXTENSIONS: HeaderName = HeaderName::from_static("sec-websocket-extensions");

/// Subprotocol by which Kubernetes accepts a bearer token from browsers; never forwarded, never believed.
const BEARER_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// Subprotocols that tunnel SPDY streams inside a WebSocket (KEP-4006, port-forward).
const TUNNEL_PREFIX: &str = "SPDY/3.1+";

/// The protocol that a request switches to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Upgrade {
    /// `SPDY/3.1`.
    Spdy,
    /// `websocket`.
    WebSocket(WebSocketOffer),
}

/// What a WebSocket client offers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WebSocketOffer {
    /// The offer includes SPDY port-forwarding inside the WebSocket.
    pub port_forward: bool,
    /// Subprotocols in the client's order, without bearer tokens.
    pub protocols: Vec<String>,
}

impl Upgrade {
    /// The token of the `Upgrade` header.
    pub fn token(&self) -> &'static str {
        match self {
            Self::Spdy => "SPDY/3.1",
            Self::WebSocket(_) => "websocket",
        }
    }

    /// Writes `Connection` and `Upgrade`, which [`super::sanitise_request`] took away, for the next hop.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(self.token()));
    }

    /// Reads the switch that a request asks for. `tokens` are those of `Connection`.
    pub(super) fn read(
        headers: &HeaderMap,
        tokens: &[String],
        info: &RequestInfo,
        version: Version,
    ) -> Result<Option<Self>, HeaderError> {
        let mut values = headers.get_all(UPGRADE).iter();
        let value = match (values.next(), tokens.iter().any(|t| t == "upgrade")) {
            (None, false) => return Ok(None),
            (Some(value), true) => value,
            _ => return Err(HeaderError::HalfUpgrade),
        };
        if values.next().is_some() {
            return Err(HeaderError::UpgradeProtocol);
        }
        if version != Version::HTTP_11 {
            return Err(HeaderError::UpgradeVersion);
        }
        let upgrade = match value.as_bytes().trim_ascii() {
            v if v.eq_ignore_ascii_case(b"websocket") => Self::WebSocket(WebSocketOffer::read(headers)),
            v if v.eq_ignore_ascii_case(b"SPDY/3.1") => Self::Spdy,
            _ => return Err(HeaderError::UpgradeProtocol),
        };
        upgrade.check(headers, info)?;
        Ok(Some(upgrade))
    }

    fn check(&self, headers: &HeaderMap, info: &RequestInfo) -> Result<(), HeaderError> {
        let Some(streaming) = info.streaming() else { return Err(HeaderError::UpgradeNotHere) };
        match self {
            Self::Spdy if streaming == Streaming::Proxy => return Err(HeaderError::UpgradeNotHere),
            Self::Spdy if !matches!(*info.method(), Method::GET | Method::POST) => {
                return Err(HeaderError::UpgradeMethod);
            }
            Self::WebSocket(_) if *info.method() != Method::GET => return Err(HeaderError::UpgradeMethod),
            Self::Spdy | Self::WebSocket(_) => {}
        }
        let length = headers.get(CONTENT_LENGTH).is_some_and(|v| v.as_bytes() != b"0");
        if length || headers.contains_key(TRANSFER_ENCODING) {
            return Err(HeaderError::UpgradeWithBody);
        }
        Ok(())
    }
}

impl WebSocketOffer {
    fn read(headers: &HeaderMap) -> Self {
        let protocols: Vec<String> = subprotocols(headers).filter(|p| !is_bearer(p)).map(str::to_owned).collect();
        Self { port_forward: protocols.iter().any(|p| p.starts_with(TUNNEL_PREFIX)), protocols }
    }
}

/// Takes bearer tokens out of the subprotocols, and the offer of compression, under which channels cannot be seen.
pub(super) fn clean_websocket_headers(headers: &mut HeaderMap) -> Result<(), HeaderError> {
    headers.remove(WS_EXTENSIONS);
    if !headers.contains_key(WS_PROTOCOL) {
        return Ok(());
    }
    // A value that is not text could hide a token from this and not from the API server.
    if headers.get_all(WS_PROTOCOL).iter().any(|v| v.to_str().is_err()) {
        return Err(HeaderError::UpgradeProtocol);
    }
    let kept: Vec<&str> = subprotocols(headers).filter(|p| !is_bearer(p)).collect();
    if kept.is_empty() {
        return Err(HeaderError::BearerSubprotocolAlone);
    }
    if subprotocols(headers).any(is_bearer) {
        let kept = HeaderValue::from_str(&kept.join(", ")).map_err(|_| HeaderError::UpgradeProtocol)?;
        headers.insert(WS_PROTOCOL, kept);
    }
    Ok(())
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(WS_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(str::trim).filter(|p| !p.is_empty())
}

fn is_bearer(protocol: &str) -> bool {
    protocol.get(..BEARER_PREFIX.len()).is_some_and(|p| p.eq_ignore_ascii_case(BEARER_PREFIX))
}
