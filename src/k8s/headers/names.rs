//! Which header names never pass, on their way to a cluster and back.

use std::borrow::Cow;

use http::header::{CONNECTION, HeaderMap, HeaderName};

/// Prefixes, in canonical form, that only the hub and the agent may write or that steer proxies.
const REQUEST_PREFIXES: [&str; 7] =
    ["impersonate", "x-remote-", "x-forwarded", "x-original-", "x-roadstead-", "roadstead-", "proxy-"];

/// Whole names, in canonical form, that never pass to a cluster.
const REQUEST_NAMES: [&str; 24] = [
    "authorization",
    "cookie",
    "cookie2",
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-rewrite-url",
    "audit-id",
    "expect",
    "host",
    "http2-settings",
    "early-data",
    "alt-used",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
];

/// Connection-level names in both directions (RFC 9110 § 7.6.1), beside what `Connection` itself names.
const HOP_BY_HOP: [&str; 8] =
    ["connection", "keep-alive", "te", "trailer", "trailers", "transfer-encoding", "upgrade", "http2-settings"];

/// Names by which a response would reach past its own body into the browser or a proxy before the hub.
const RESPONSE_NAMES: [&str; 18] = [
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "service-worker-allowed",
    "alt-svc",
    "clear-site-data",
    "public-key-pins",
    "public-key-pins-report-only",
    "refresh",
    "nel",
    "report-to",
    "reporting-endpoints",
    "origin-agent-cluster",
    "www-authenticate",
    "content-location",
    "x-sendfile",
    "content-security-policy",
    "content-security-policy-report-only",
];

/// Prefixes of the same kind.
const RESPONSE_PREFIXES: [&str; 5] = ["access-control-", "proxy-", "x-accel-", "x-roadstead-", "roadstead-"];

/// The name with `_` as `-`: CGI-like servers read both as one. Header names are lower-case already.
pub(super) fn canonical(name: &HeaderName) -> Cow<'_, str> {
    let name = name.as_str();
    if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) }
}

/// Whether a request header must not pass to a cluster; the agent refuses to see one.
pub(super) fn stripped_from_request(name: &HeaderName) -> bool {
    let name = canonical(name);
    REQUEST_NAMES.contains(&&*name)
        || HOP_BY_HOP.contains(&&*name)
        || REQUEST_PREFIXES.iter().any(|p| name.starts_with(p))
}

/// Whether a response header must not pass to the client.
pub(super) fn stripped_from_response(name: &HeaderName) -> bool {
    let name = canonical(name);
    RESPONSE_NAMES.contains(&&*name)
        || HOP_BY_HOP.contains(&&*name)
        || RESPONSE_PREFIXES.iter().any(|p| name.starts_with(p))
}

/// The tokens of every `Connection` header, in lower case; `None` if a value is not a list of tokens.
pub(super) fn connection_tokens(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for token in value.to_str().ok()?.split(',').map(str::trim).filter(|t| !t.is_empty()) {
            HeaderName::from_bytes(token.as_bytes()).ok()?;
            tokens.push(token.to_ascii_lowercase());
        }
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_are_stripped_like_what_they_look_like() {
        for name in [
            "impersonate-user",
            "impersonate_user",
            "impersonate-extra-x",
            "impersonateuser",
            "x-remote-user",
            "x_remote_group",
            "x-remote-extra-a",
            "authorization",
            "cookie",
            "x-forwarded-for",
            "x_forwarded_proto",
            "forwarded",
            "x-real-ip",
            "x_real_ip",
            "x-original-url",
            "x-http-method-override",
            "audit-id",
            "audit_id",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "trailer",
            "expect",
            "connection",
            "upgrade",
            "host",
        ] {
            assert!(stripped_from_request(&HeaderName::from_static(name)), "{name}");
        }
        for name in [
            "accept",
            "accept-encoding",
            "content-type",
            "content-length",
            "user-agent",
            "kubectl-command",
            "kubectl-session",
            "if-none-match",
            "x-stream-protocol-version",
            "sec-websocket-key",
            "range",
        ] {
            assert!(!stripped_from_request(&HeaderName::from_static(name)), "{name}");
        }
    }

    #[test]
    fn response_names_pass_or_not() {
        for name in ["set-cookie", "access-control-allow-origin", "alt-svc", "connection", "proxy-authenticate"] {
            assert!(stripped_from_response(&HeaderName::from_static(name)), "{name}");
        }
        for name in [
            "warning",
            "audit-id",
            "retry-after",
            "x-kubernetes-pf-flowschema-uid",
            "etag",
            "cache-control",
            "vary",
            "content-type",
            "content-length",
            "content-encoding",
            "date",
            "x-stream-protocol-version",
        ] {
            assert!(!stripped_from_response(&HeaderName::from_static(name)), "{name}");
        }
    }
}
