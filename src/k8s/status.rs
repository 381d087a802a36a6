//! Kubernetes `Status` errors that the hub and the agent answer with, in the shape that kubectl prints.
//!
//! Owns the map from reason to HTTP code and the wording of each failure. Refuses to know when one is due.

mod catalog;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WARNING, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

/// Longest `Warning` text before quoting, in bytes: it is one header line among 8 KiB of them in strict clients.
const MAX_WARNING: usize = 1024;

/// Why a request failed, as machines read it; each has one HTTP code ([`Reason::code`]).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// The request is malformed or ambiguous.
    BadRequest,
    /// No valid credential came with the request.
    Unauthorized,
    /// The caller may not do this, or nobody says whether the cluster exists.
    Forbidden,
    /// No such path on the hub itself. Never for a cluster: a 404 would tell names apart.
    NotFound,
    /// Something of that name is there already.
    AlreadyExists,
    /// Things are not as the request needs them; looking again shows how they are.
    Conflict,
    /// A field of the request's body is not valid.
    Invalid,
    /// The method has no meaning here.
    MethodNotAllowed,
    /// The request body is above the limit.
    RequestEntityTooLarge,
    /// The request was meant for another host name (TLS name and `Host` differ).
    Misdirected,
    /// The request head is above the limit.
    HeadTooLarge,
    /// A limit of streams or requests is reached; nothing was done.
    TooManyRequests,
    /// The hub or the agent failed.
    InternalError,
    /// What lies behind failed after it got the request, or answered with something that may not pass.
    BadGateway,
    /// Nothing that could answer is reachable now; nothing was done.
    ServiceUnavailable,
    /// What lies behind did not answer in time; the outcome is unknown.
    Timeout,
}

/// One machine-readable cause in `details.causes`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Cause {
    /// A constant word, such as `AgentNotConnected`.
    pub reason: &'static str,
    /// What happened, for people.
    pub message: String,
}

/// A failure as Kubernetes clients understand it. Made by the constructors that name each failure.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    reason: Reason,
    message: String,
    causes: Vec<Cause>,
    retry_after: Option<u32>,
}

/// A [`Status`] as an HTTP response.
#[derive(Clone, Debug)]
pub struct ResponseParts {
    /// The HTTP code, equal to `code` in the body.
    pub status: StatusCode,
    /// `Content-Type`, `Warning`, and where due `Retry-After` and `WWW-Authenticate`.
    pub headers: HeaderMap,
    /// The `Status` as JSON.
    pub body: Bytes,
}

impl Reason {
    /// The HTTP code that goes with the reason.
    pub fn code(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::AlreadyExists | Self::Conflict => StatusCode::CONFLICT,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestEntityTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The word in the body, one of `metav1.StatusReason`, so that client-go knows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest | Self::Misdirected | Self::HeadTooLarge => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Invalid => "Invalid",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError | Self::BadGateway => "InternalError",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Timeout => "Timeout",
        }
    }
}

impl Status {
    /// A failure in words of the caller's.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), causes: Vec::new(), retry_after: None }
    }

    /// The same with an invitation to send it again after so many seconds; `None` = none. It is a promise: the request
    /// was not executed, or can be executed twice without harm.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: Option<u32>) -> Self {
        self.retry_after = seconds;
        self
    }

    /// The same with a cause for machines.
    #[must_use]
    pub fn with_cause(mut self, reason: &'static str, message: impl Into<String>) -> Self {
        self.causes.push(Cause { reason, message: message.into() });
        self
    }

    /// Why it failed.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The HTTP code.
    pub fn code(&self) -> StatusCode {
        self.reason.code()
    }

    /// What people read.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What machines read beside the reason.
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }

    /// Seconds after which the same request may be sent again. Present only if it was certainly not executed: client-go
    /// repeats any verb, POST included, up to ten times on it.
    pub fn retry_after(&self) -> Option<u32> {
        self.retry_after
    }

    /// The same with a request id at the end of the message, for finding it in logs.
    #[must_use]
    pub fn with_request_id(mut self, id: &str) -> Self {
        self.message = format!("{} (request {id})", self.message);
        self
    }

    /// The body: a `Status` as JSON, without a line end.
    pub fn to_json(&self) -> Bytes {
        let details = (!self.causes.is_empty() || self.retry_after.is_some())
            .then_some(Details { causes: &self.causes, retry_after_seconds: self.retry_after });
        let body = Body {
            kind: "Status",
            api_version: "v1",
            metadata: Metadata {},
            status: "Failure",
            message: &self.message,
            reason: self.reason.as_str(),
            details,
            code: self.code().as_u16(),
        };
        serde_json::to_vec(&body).expect("a struct of strings and numbers always serialises").into()
    }

    /// Code, headers and body of the response.
    ///
    /// `Warning` repeats the message, because kubectl drops the body of a failed discovery request but prints warnings.
    pub fn response_parts(&self) -> ResponseParts {
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.reason == Reason::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"roadstead\""));
        }
        headers.insert(WARNING, warning(&self.message));
        ResponseParts { status: self.code(), headers, body: self.to_json() }
    }
}

/// The value of a `Warning` header, `299 roadstead "<text>"` (RFC 7234 § 5.5): printable ASCII only, quotes and backslashes
/// escaped, length capped.
pub fn warning(text: &str) -> HeaderValue {
    let mut value = String::from("299 roadstead \"");
    for c in text.chars().take(MAX_WARNING) {
        match c {
            '"' | '\\' => value.extend(['\\', c]),
            ' '..='~' => value.push(c),
            _ => value.push('?'),
        }
    }
    value.push('"');
    HeaderValue::from_str(&value).expect("only printable ascii was pushed")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata,
    status: &'static str,
    message: &'a str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
    code: u16,
}

#[derive(Serialize)]
struct Metadata {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    #[serde(skip_serializing_if = "<[Cause]>::is_empty")]
    causes: &'a [Cause],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u32>,
}

#[cfg(test)]
mod tests;
