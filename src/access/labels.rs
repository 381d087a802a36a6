//! The grammar of labels and names that clusters carry; the same as Kubernetes' own, so that habits carry over.

use std::collections::BTreeMap;

/// Labels of a cluster, or the labels that a selector asks for.
pub type Labels = BTreeMap<String, String>;

/// Why a label is not one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LabelError {
    /// No `=` in `key=value`.
    #[error("label {0:?} has no '='; write key=value")]
    NoValue(String),
    /// The key breaks the grammar.
    #[error(
        "label key {0:?} is not valid: up to 63 of a-z A-Z 0-9 - _ . that begin and end alphanumeric, after an optional DNS prefix and '/'"
    )]
    Key(String),
    /// The value breaks the grammar.
    #[error(
        "label value {0:?} is not valid: at most 63 of a-z A-Z 0-9 - _ . that begin and end alphanumeric, or nothing"
    )]
    Value(String),
}

/// Reads `key=value`.
///
/// # Errors
/// [`LabelError`] names the part that breaks the grammar.
pub fn parse_label(text: &str) -> Result<(String, String), LabelError> {
    let (key, value) = text.split_once('=').ok_or_else(|| LabelError::NoValue(text.to_owned()))?;
    check_label(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Checks a label against Kubernetes' grammar (`metav1` `IsQualifiedName`, `IsValidLabelValue`).
///
/// # Errors
/// [`LabelError`] names the part that breaks the grammar.
pub fn check_label(key: &str, value: &str) -> Result<(), LabelError> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_ok = prefix.is_none_or(|p| p.len() <= 253 && p.split('.').all(is_dns_label));
    if !prefix_ok || name.is_empty() || !is_label_text(name) {
        return Err(LabelError::Key(key.to_owned()));
    }
    if !value.is_empty() && !is_label_text(value) {
        return Err(LabelError::Value(value.to_owned()));
    }
    Ok(())
}

/// Whether `text` is a DNS label (RFC 1123): what names of clusters and namespaces are.
pub fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    bytes.len() <= 63
        && bytes.iter().all(inner)
        && bytes.first().is_some_and(|b| *b != b'-')
        && bytes.last() != Some(&b'-')
}

fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    bytes.len() <= 63
        && bytes.iter().all(inner)
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_kubernetes_grammar() {
        for good in ["env=prod", "a=", "example.com/team=pay-ments_1.2", "A9=Z"] {
            assert!(parse_label(good).is_ok(), "{good}");
        }
        let long = format!("{}=x", "k".repeat(64));
        for bad in ["env", "=x", "env=-x", "env=a b", "-env=x", "/x=y", "Ex.com/x=y", "a/b/c=d", "env=\u{e9}", &long] {
            assert!(parse_label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dns_labels_are_lower_case_and_bounded() {
        for good in ["a", "edge-1", "0", &"x".repeat(63)] {
            assert!(is_dns_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", &"x".repeat(64), "\u{e9}"] {
            assert!(!is_dns_label(bad), "{bad}");
        }
    }
}
