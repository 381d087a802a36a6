//! The list options that change what a request is: `watch` and `fieldSelector=metadata.name=…`.

use crate::k8s::target::decode_query;

/// What the query of a list says about its verb and its object.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct ListOptions {
    /// Any `watch` value asks to watch; the API server reads the first only, but the union cannot be fooled.
    pub(super) watch: bool,
    /// The one name that the selector allows, if exactly one selector was sent and it parses.
    pub(super) name: Option<String>,
}

impl ListOptions {
    pub(super) fn parse(query: &str) -> Self {
        let mut watch = false;
        let mut readable = true;
        let mut selectors = Vec::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode_query(value);
            match &*decode_query(key) {
                // Whether it parses is not worth its grammar here: beside one, no name is the careful answer.
                "labelSelector" => readable &= value.is_empty(),
                "watch" => watch |= !(value.eq_ignore_ascii_case("false") || value == "0"),
                "fieldSelector" => selectors.push(value),
                // One option that does not decode makes the API server forget the name.
                "limit" | "timeoutSeconds" => readable &= value.parse::<i64>().is_ok(),
                _ => {}
            }
        }
        let name = match selectors.as_slice() {
            [selector] if readable => exact_name(selector),
            _ => None,
        };
        Self { watch, name }
    }
}

/// The value that `metadata.name` must equal, by the grammar of `apimachinery/pkg/fields`; `None` if there is none, if
/// any term is malformed, or if the value could not be a path segment.
fn exact_name(selector: &str) -> Option<String> {
    let mut name = None;
    for term in split_terms(selector).into_iter().filter(|t| !t.is_empty()) {
        let (field, operator, value) = split_term(term)?;
        let value = unescape(value)?;
        if name.is_none() && field == "metadata.name" && operator != "!=" {
            name = Some(value);
        }
    }
    name.filter(|n| !n.is_empty() && !matches!(n.as_str(), "." | "..") && !n.contains(['/', '%']))
}

fn split_terms(selector: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in selector.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&selector[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, &'static str, &str)> {
    let (i, _) = term.char_indices().find(|(i, _)| term[*i..].starts_with("!=") || term[*i..].starts_with('='))?;
    let operator = ["!=", "==", "="].into_iter().find(|o| term[i..].starts_with(o))?;
    Some((&term[..i], operator, &term[i + operator.len()..]))
}

fn unescape(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watch_is_the_union_of_its_values() {
        for (query, watch) in [
            ("", false),
            ("watch", true),
            ("watch=", true),
            ("watch=true", true),
            ("watch=False", false),
            ("watch=0", false),
            ("watch=no", true),
            ("%77atch=1", true),
            ("Watch=1", false),
            ("watch=false&watch=true", true),
            ("watch=true&watch=false", true),
            ("watch=false&watch=0", false),
            ("limit=x&watch=1", true),
        ] {
            assert_eq!(ListOptions::parse(query).watch, watch, "{query}");
        }
    }

    #[test]
    fn a_name_comes_only_from_one_exact_selector() {
        for (query, name) in [
            ("fieldSelector=metadata.name%3Dweb", Some("web")),
            ("fieldSelector=metadata.name==web", Some("web")),
            ("fieldSelector=metadata.name==web&labelSelector=%3D%3D", None),
            ("fieldSelector=spec.nodeName%3Da%2Cmetadata.name%3Dweb", Some("web")),
            ("fieldSelector=metadata.name%3Da%5C%2Cb", Some("a,b")),
            ("fieldSelector=metadata.name!%3Dweb", None),
            ("fieldSelector=metadata.name%3D", None),
            ("fieldSelector=metadata.name%3Da/b", None),
            ("fieldSelector=metadata.name%3D..", None),
            ("fieldSelector=metadata.name%3Da%3Db", None),
            ("fieldSelector=metadata.name%3Dweb,junk", None),
            ("fieldSelector=metadata.name%3Da&fieldSelector=metadata.name%3Da", None),
            ("fieldSelector=metadata.name%3Da&limit=5", Some("a")),
            ("fieldSelector=metadata.name%3Da&limit=x", None),
            ("fieldSelector=metadata.name%3Da&limit=", None),
            ("fieldselector=metadata.name%3Da", None),
        ] {
            assert_eq!(ListOptions::parse(query).name.as_deref(), name, "{query}");
        }
    }
}
