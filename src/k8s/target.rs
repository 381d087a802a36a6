//! The raw request target: which cluster it names and which bytes are forwarded.
//!
//! Owns the strict gate: a path that two parsers could read differently is refused, never normalised, and what passes
//! is kept byte for byte. Refuses to know what the path means ([`super::RequestInfo`]) and who sends it.

mod escape;
mod gate;

use gate::Gate;

pub(super) use escape::{decode, decode_query};

/// First bytes of every proxied request target.
const PREFIX: &str = "/clusters/";

/// Longest DNS label, in bytes (RFC 1123).
const MAX_LABEL: usize = 63;

/// `/clusters/<name>/rest?query`, split on the raw bytes and proved to be unambiguous.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProxyTarget<'a> {
    cluster: &'a str,
    rest: Rest<'a>,
}

/// What follows the cluster's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rest<'a> {
    /// Nothing, not even a `/`; only a redirect answers it.
    Bare {
        query: Option<&'a str>,
    },
    Api(ApiTarget<'a>),
}

/// A path and query for an API server that passed the gate; the agent parses the same bytes again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ApiTarget<'a> {
    raw: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

/// Why a target was refused. Offsets count bytes from the start of the text that was given to `parse`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TargetError {
    /// The target does not begin with `/` (absolute-form, authority-form or `*`).
    #[error("request target must begin with \"/\"")]
    NotOriginForm,
    /// The path is not below `/clusters/`.
    #[error("path is not below /clusters/<name>")]
    NotProxied,
    /// The name is empty, longer than 63 bytes, or has a byte that no DNS label has (upper case and `%` included).
    #[error("cluster name at byte {at} is not a lower-case DNS label")]
    ClusterName {
        /// Where the name, or the byte at fault, is.
        at: usize,
    },
    /// A segment is `.` or `..`, in any encoding.
    #[error("path has a \".\" or \"..\" segment at byte {at}")]
    DotSegment {
        /// Where the segment begins.
        at: usize,
    },
    /// Two slashes follow each other.
    #[error("path has an empty segment at byte {at}")]
    EmptySegment {
        /// Where the second slash is.
        at: usize,
    },
    /// A slash or backslash is hidden in an escape, or a backslash is written out.
    #[error("path has an encoded slash or a backslash at byte {at}")]
    HiddenSlash {
        /// Where the escape or the backslash is.
        at: usize,
    },
    /// `%25`: decoding once would yield another escape.
    #[error("path is encoded twice at byte {at}")]
    DoubleEncoding {
        /// Where the escape is.
        at: usize,
    },
    /// `%` without two hexadecimal digits.
    #[error("escape at byte {at} is not \"%\" and two hexadecimal digits")]
    BadEscape {
        /// Where the `%` is.
        at: usize,
    },
    /// A byte, raw or decoded, that has no place here: control, non-ASCII, `;`, `#`, `?`, a quote or a bracket.
    #[error("byte {byte:#04x} at byte {at} is not allowed here")]
    ForbiddenByte {
        /// Where the byte or its escape is.
        at: usize,
        /// The byte itself, decoded.
        byte: u8,
    },
    /// The escapes of a segment do not decode to UTF-8 (overlong forms included).
    #[error("segment at byte {at} does not decode to utf-8")]
    NotUtf8 {
        /// Where the segment begins.
        at: usize,
    },
}

impl<'a> ProxyTarget<'a> {
    /// Splits and checks a raw `path?query` as it arrived, before anything decoded or normalised it.
    ///
    /// # Errors
    /// [`TargetError`] names the first fault and where it is; the answer to it is 400.
    pub fn parse(raw: &'a str) -> Result<Self, TargetError> {
        if !raw.starts_with('/') {
            return Err(TargetError::NotOriginForm);
        }
        let after = raw.strip_prefix(PREFIX).ok_or(TargetError::NotProxied)?;
        let end = after.find(['/', '?']).unwrap_or(after.len());
        let (cluster, rest) = after.split_at(end);
        check_label(cluster)?;
        let rest = match rest.strip_prefix('?') {
            Some(query) => Rest::Bare { query: Some(query) },
            None if rest.is_empty() => Rest::Bare { query: None },
            None => Rest::Api(ApiTarget::parse_at(rest, PREFIX.len() + end)?),
        };
        if let Rest::Bare { query: Some(query) } = rest {
            gate::check_query(query, PREFIX.len() + end + 1)?;
        }
        Ok(Self { cluster, rest })
    }

    /// The cluster's name, a DNS label. To be compared whole: `prod` is not `prod-eu`.
    pub fn cluster(&self) -> &'a str {
        self.cluster
    }

    /// What is authorised and forwarded; `None` when nothing follows the name (see [`ProxyTarget::redirect`]).
    pub fn api(&self) -> Option<ApiTarget<'a>> {
        match self.rest {
            Rest::Api(api) => Some(api),
            Rest::Bare { .. } => None,
        }
    }

    /// Where `/clusters/<name>` without a path is sent: the same with `/` before the query.
    pub fn redirect(&self) -> Option<String> {
        match self.rest {
            Rest::Api(_) => None,
            Rest::Bare { query: None } => Some(format!("{PREFIX}{}/", self.cluster)),
            Rest::Bare { query: Some(query) } => Some(format!("{PREFIX}{}/?{query}", self.cluster)),
        }
    }
}

impl<'a> ApiTarget<'a> {
    /// Checks a raw `path?query` that has no cluster prefix.
    ///
    /// # Errors
    /// [`TargetError`] as for [`ProxyTarget::parse`].
    pub fn parse(raw: &'a str) -> Result<Self, TargetError> {
        if !raw.starts_with('/') {
            return Err(TargetError::NotOriginForm);
        }
        Self::parse_at(raw, 0)
    }

    /// The bytes to forward, as they arrived.
    pub fn path_and_query(&self) -> &'a str {
        self.raw
    }

    /// The raw path, still encoded.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The raw query without `?`.
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// `base` is the offset of `raw` in what the caller was given; errors count from there.
    fn parse_at(raw: &'a str, base: usize) -> Result<Self, TargetError> {
        let (path, query) = match raw.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (raw, None),
        };
        Gate::check(path, query, base)?;
        Ok(Self { raw, path, query })
    }
}

fn check_label(label: &str) -> Result<(), TargetError> {
    let bytes = label.as_bytes();
    let at = |i: usize| TargetError::ClusterName { at: PREFIX.len() + i };
    if bytes.is_empty() || bytes.len() > MAX_LABEL {
        return Err(at(0));
    }
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if let Some(i) = bytes.iter().position(|b| !alphanumeric(b) && *b != b'-') {
        return Err(at(i));
    }
    if bytes[0] == b'-' {
        return Err(at(0));
    }
    if bytes[bytes.len() - 1] == b'-' {
        return Err(at(bytes.len() - 1));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
