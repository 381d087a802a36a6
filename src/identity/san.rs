//! One name of a certificate's subject alternative name: a URI or a DNS name, compared whole. Refuses to know patterns and whose it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest URI, in bytes (SPIFFE-ID § 2.3).
const MAX_URI: usize = 2048;
/// Longest DNS name, in bytes (RFC 1035 § 2.3.4), and longest label of one.
const MAX_DNS: usize = 253;
const MAX_LABEL: usize = 63;
/// So much of a name is printed.
const SHOWN: usize = 300;

/// A text that no name in a certificate is compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SanError {
    /// Not a whole URI.
    #[error(
        "not a whole URI: 1 to {MAX_URI} printable ASCII characters, with a scheme (`spiffe://…`); there are no patterns (`*`)"
    )]
    Uri,
    /// Not a whole DNS name.
    #[error(
        "not a whole DNS name: labels of a-z, 0-9, `-` and `_`, at most {MAX_DNS} characters, in lower case; there are no patterns (`*`)"
    )]
    Dns,
}

/// A name as certificates carry it. Two are the same if every byte is.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct SanName(Text);

#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
enum Text {
    Uri(String),
    Dns(String),
}

impl SanName {
    /// A URI that may be mapped.
    ///
    /// # Errors
    /// [`SanError::Uri`].
    pub fn uri(text: &str) -> Result<Self, SanError> {
        let scheme = text.split_once(':').filter(|(_, rest)| !rest.is_empty()).map(|(scheme, _)| scheme);
        let is_scheme = |scheme: &str| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-'))
        };
        let whole = text.len() <= MAX_URI && is_printable(text) && !text.contains('*');
        if whole && scheme.is_some_and(is_scheme) { Ok(Self(Text::Uri(text.to_owned()))) } else { Err(SanError::Uri) }
    }

    /// A DNS name that may be mapped.
    ///
    /// # Errors
    /// [`SanError::Dns`].
    pub fn dns(text: &str) -> Result<Self, SanError> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        let is_label = |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.chars().all(legal);
        if text.len() <= MAX_DNS && text.split('.').all(is_label) {
            Ok(Self(Text::Dns(text.to_owned())))
        } else {
            Err(SanError::Dns)
        }
    }

    /// A URI that a certificate carries, whatever its form; `None` if it is not printable ASCII.
    pub(super) fn shown_uri(text: &str) -> Option<Self> {
        is_printable(text).then(|| Self(Text::Uri(text.to_owned())))
    }

    /// A DNS name that a certificate carries, as [`SanName::shown_uri`].
    pub(super) fn shown_dns(text: &str) -> Option<Self> {
        is_printable(text).then(|| Self(Text::Dns(text.to_owned())))
    }

    /// The URI, if it is one.
    pub fn as_uri(&self) -> Option<&str> {
        if let Text::Uri(text) = &self.0 { Some(text) } else { None }
    }

    /// The DNS name, if it is one.
    pub fn as_dns(&self) -> Option<&str> {
        if let Text::Dns(text) = &self.0 { Some(text) } else { None }
    }
}

/// Printable ASCII without spaces, and not nothing: it can be logged as it is.
fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl fmt::Display for SanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text) = match &self.0 {
            Text::Uri(text) => ("URI", text),
            Text::Dns(text) => ("DNS", text),
        };
        let end = if text.len() > SHOWN { "…" } else { "" };
        write!(f, "{kind} {}{end}", text.get(..SHOWN).unwrap_or(text))
    }
}

impl TryFrom<Text> for SanName {
    type Error = SanError;

    fn try_from(text: Text) -> Result<Self, SanError> {
        match text {
            Text::Uri(text) => Self::uri(&text),
            Text::Dns(text) => Self::dns(&text),
        }
    }
}

impl From<SanName> for Text {
    fn from(name: SanName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_can_be_mapped() {
        let long = format!("spiffe://x/{}", "a".repeat(MAX_URI));
        for good in ["spiffe://corp.example/ns/fleet/sa/edge-1", "urn:uuid:1", "https://x/%20?a=b#c"] {
            assert!(SanName::uri(good).is_ok(), "{good}");
        }
        for bad in ["", "spiffe:", "spiffe//x", "spiffe://x/*", "spiffe://x/a b", "spiffe://x/é", "1x:y", ":y", &long]
        {
            assert_eq!(SanName::uri(bad), Err(SanError::Uri), "{bad}");
        }
        for good in ["edge-1.fleet.example", "a", "_x.y", &format!("{}.x", "a".repeat(63))] {
            assert!(SanName::dns(good).is_ok(), "{good}");
        }
        let long = "a.".repeat(200);
        for bad in ["", ".", "a..b", "a.", "*.example", "Edge.example", "a b", "é", &"a".repeat(64), &long] {
            assert_eq!(SanName::dns(bad), Err(SanError::Dns), "{bad}");
        }
    }

    #[test]
    fn a_name_survives_its_json_and_a_bad_one_is_not_read() {
        let name = SanName::uri("spiffe://x/y").unwrap();
        let json = serde_json::to_string(&name).unwrap();
        assert_eq!(json, r#"{"uri":"spiffe://x/y"}"#);
        assert_eq!(serde_json::from_str::<SanName>(&json).unwrap(), name);
        assert!(serde_json::from_str::<SanName>(r#"{"dns":"*.x"}"#).is_err());
        assert_ne!(SanName::uri("x:y").unwrap(), SanName::shown_dns("x:y").unwrap());
    }

    #[test]
    fn what_is_printed_of_a_name_is_one_bounded_line() {
        let name = SanName::shown_uri(&format!("a:{}", "b".repeat(5_000))).unwrap();
        assert_eq!(name.to_string().chars().count(), "URI ".len() + SHOWN + 1);
        assert!(SanName::shown_uri("a:\n").is_none() && SanName::shown_dns("a b").is_none());
        assert!(SanName::shown_dns("").is_none());
    }
}
