//! Identity as `Impersonate-*` headers: read from a client that asks, written for an API server, re-checked by the agent.

use std::fmt::Write as _;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{HeaderError, Impersonation, MAX_IDENTITY_VALUE, MAX_IDENTITY_VALUES, names};

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// Names that Kubernetes keeps for itself; an outside caller must not become one.
const RESERVED_PREFIX: &str = "system:";

/// Why an identity cannot be written as headers.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentityError {
    /// Empty, longer than 4 KiB, padded with white space, or with control characters. Encoding it instead would make it
    /// another identity.
    #[error("{part} of the identity is not a plain header value")]
    Value {
        /// `user`, `uid`, `group` or `extra`.
        part: &'static str,
    },
    /// An extra key is empty or does not fit in a header name.
    #[error("extra key {key:?} cannot be a header name")]
    Key {
        /// The key.
        key: String,
    },
    /// More than 512 groups and extra values.
    #[error("identity has more than {MAX_IDENTITY_VALUES} groups and extra values")]
    TooMany,
}

/// Why the agent refuses a request that the hub sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GuardError {
    /// A header arrived that no honest hub sends on: one that carries or fakes identity, or one of the connection, by which a
    /// proxy before the API server could be made to drop the identity (CVE-2021-31999).
    #[error("header {name:?} must not arrive from the hub")]
    IdentityHeader {
        /// The header.
        name: String,
    },
    /// No user: the request would run as the agent itself.
    #[error("request has no identity")]
    NoUser,
    /// A user or group of the cluster's own, which this agent does not allow.
    #[error("name {name:?} is reserved to the cluster")]
    Reserved {
        /// The user or group.
        name: String,
    },
}

/// The `Impersonate-*` headers of an identity. Extra keys are lower-cased and percent-encoded as client-go does.
///
/// # Errors
/// [`IdentityError`] when a value would not arrive at the API server exactly as it is here.
pub fn identity_headers(identity: &Impersonation) -> Result<HeaderMap, IdentityError> {
    if identity.groups.len() + identity.extras.values().map(Vec::len).sum::<usize>() > MAX_IDENTITY_VALUES {
        return Err(IdentityError::TooMany);
    }
    let mut headers = HeaderMap::new();
    headers.insert(USER, write_value(&identity.user, "user")?);
    if let Some(uid) = &identity.uid {
        headers.insert(UID, write_value(uid, "uid")?);
    }
    for group in &identity.groups {
        headers.append(GROUP, write_value(group, "group")?);
    }
    for (key, values) in &identity.extras {
        let name = extra_name(key).ok_or_else(|| IdentityError::Key { key: key.clone() })?;
        for value in values {
            headers.append(&name, write_value(value, "extra")?);
        }
    }
    Ok(headers)
}

/// The agent's own check, whatever the hub did: nothing arrives that [`super::sanitise_request`] takes away, there is a user, and
/// no name is reserved to the cluster unless `allowed` lists it.
///
/// # Errors
/// [`GuardError`]; the agent answers 403 itself, and nothing reaches the API server.
pub fn agent_guard(headers: &HeaderMap, identity: &Impersonation, allowed: &[String]) -> Result<(), GuardError> {
    if let Some(name) = headers.keys().find(|n| names::stripped_from_request(n)) {
        return Err(GuardError::IdentityHeader { name: name.as_str().to_owned() });
    }
    if identity.user.trim().is_empty() {
        return Err(GuardError::NoUser);
    }
    let reserved = |name: &&String| {
        let start = name.trim_start().get(..RESERVED_PREFIX.len());
        start.is_some_and(|p| p.eq_ignore_ascii_case(RESERVED_PREFIX)) && !allowed.contains(*name)
    };
    match std::iter::once(&identity.user).chain(&identity.groups).find(reserved) {
        Some(name) => Err(GuardError::Reserved { name: name.clone() }),
        None => Ok(()),
    }
}

/// What a client asks to be, from its own `Impersonate-*` headers; `None` if it sends none.
pub(super) fn read_requested(headers: &HeaderMap) -> Result<Option<Impersonation>, HeaderError> {
    let mut found = Impersonation::default();
    let mut any = false;
    for name in headers.keys().filter(|n| names::canonical(n).starts_with("impersonate")) {
        any = true;
        let values = read_values(headers, name)?;
        match name.as_str() {
            "impersonate-user" => found.user = single(values, "impersonate-user")?,
            "impersonate-uid" => found.uid = Some(single(values, "impersonate-uid")?),
            "impersonate-group" => found.groups = values,
            other => {
                let unknown = || HeaderError::UnknownImpersonation { name: other.to_owned() };
                let key = read_extra_key(other.strip_prefix(EXTRA_PREFIX).ok_or_else(unknown)?)?;
                found.extras.entry(key).or_default().extend(values);
            }
        }
    }
    if any && found.user.is_empty() {
        return Err(HeaderError::ImpersonationWithoutUser);
    }
    if found.groups.len() + found.extras.values().map(Vec::len).sum::<usize>() > MAX_IDENTITY_VALUES {
        return Err(HeaderError::ImpersonationValue { name: "impersonate-*".to_owned() });
    }
    Ok(any.then_some(found))
}

fn read_values(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<String>, HeaderError> {
    let read = |value: &HeaderValue| {
        let text = std::str::from_utf8(value.as_bytes()).ok().filter(|t| is_plain(t));
        text.map(str::to_owned).ok_or_else(|| HeaderError::ImpersonationValue { name: name.as_str().to_owned() })
    };
    headers.get_all(name).iter().map(read).collect()
}

fn single(values: Vec<String>, name: &'static str) -> Result<String, HeaderError> {
    <[String; 1]>::try_from(values).map(|[value]| value).map_err(|_| HeaderError::RepeatedImpersonation { name })
}

fn read_extra_key(raw: &str) -> Result<String, HeaderError> {
    let fail = || HeaderError::ExtraKey { key: raw.to_owned() };
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digits = after.get(..2).filter(|d| d.iter().all(u8::is_ascii_hexdigit)).ok_or_else(fail)?;
        let digits = std::str::from_utf8(digits).map_err(|_| fail())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| fail())?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).ok().filter(|k| is_plain(k)).ok_or_else(fail)
}

/// `client-go` escapes what is not an HTTP token character, and `%` itself; the server lower-cases before it decodes.
fn extra_name(key: &str) -> Option<HeaderName> {
    if !is_plain(key) {
        return None;
    }
    let mut name = String::from(EXTRA_PREFIX);
    for byte in key.to_ascii_lowercase().bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02x}").ok()?;
        }
    }
    HeaderName::from_bytes(name.as_bytes()).ok()
}

fn write_value(text: &str, part: &'static str) -> Result<HeaderValue, IdentityError> {
    let value = HeaderValue::from_bytes(text.as_bytes()).ok().filter(|_| is_plain(text));
    value.ok_or(IdentityError::Value { part })
}

/// Text that every HTTP parser hands on unchanged: not empty, bounded, nothing to trim, no control characters.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_IDENTITY_VALUE
        && text.trim().len() == text.len()
        && !text.chars().any(char::is_control)
}
