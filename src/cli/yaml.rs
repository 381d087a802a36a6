//! YAML of kubeconfigs: read without changing what scalars mean, written so that YAML 1.1 readers (kubectl's) agree.

use serde_json::Value;

use super::failure::{Code, Failure};

/// Reads one document as JSON.
pub(super) fn read(text: &str, place: &str) -> Result<Value, Failure> {
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| Failure::new(Code::Failed, format!("{place} is not YAML: {}", error.without_snippet())))
}

/// Writes one document. Text is quoted unless no reader could take it for anything else.
pub(super) fn write(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(value, 0, &mut text),
        Value::Array(list) if !list.is_empty() => block(value, 0, &mut text),
        _ => text.push_str(&(scalar(value) + "\n")),
    }
    text
}

fn block(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = text(key);
                match value {
                    Value::Object(inner) if !inner.is_empty() => {
                        out.push_str(&format!("{pad}{key}:\n"));
                        block(value, indent + 2, out);
                    }
                    Value::Array(inner) if !inner.is_empty() => {
                        out.push_str(&format!("{pad}{key}:\n"));
                        block(value, indent, out);
                    }
                    _ => out.push_str(&format!("{pad}{key}: {}\n", scalar(value))),
                }
            }
        }
        Value::Array(list) => {
            for item in list {
                let mut inner = String::new();
                match item {
                    Value::Object(map) if !map.is_empty() => block(item, indent + 2, &mut inner),
                    Value::Array(list) if !list.is_empty() => block(item, indent + 2, &mut inner),
                    _ => inner = format!("{pad}  {}\n", scalar(item)),
                }
                // The dash takes the place of the first line's indent.
                out.push_str(&format!("{pad}- {}", &inner[indent + 2..]));
            }
        }
        _ => out.push_str(&format!("{pad}{}\n", scalar(value))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        other => other.to_string(),
    }
}

fn text(string: &str) -> String {
    let words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let known = |b: u8| b.is_ascii_alphanumeric() || b"_./@+=:-".contains(&b);
    let plain = string.bytes().all(known)
        && string.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'/')
        && !string.ends_with(':')
        && !words.iter().any(|word| word.eq_ignore_ascii_case(string));
    if plain { string.to_owned() } else { Value::from(string).to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_shape_is_that_of_kubectl() {
        let value = json!({"a": [{"b": 1, "c": {"d": "x"}}, "y", [1, [2]], []], "e": {}, "f": null, "g": {"h": ["i"]}});
        let expected = "a:\n- b: 1\n  c:\n    d: x\n- \"y\"\n- - 1\n  - - 2\n- []\ne: {}\nf: null\ng:\n  h:\n  - i\n";
        assert_eq!(write(&value), expected);
    }

    #[test]
    fn what_another_reader_could_take_for_something_else_is_quoted() {
        for word in [
            "", "yes", "No", "ON", "null", "~", "0123", "1e3", "0x1f", "1_000", "-", "a b", "a: b", "a:", "#a",
            "\u{e9}",
        ] {
            assert!(write(&json!(word)).starts_with('"'), "{word}");
            assert_eq!(read(&write(&json!(word)), "").unwrap(), json!(word));
        }
        for word in ["edge-1", "https://h:1/clusters/a", "/bin/roadstead", "LS0tLS1=", "v1"] {
            assert_eq!(write(&json!(word)), format!("{word}\n"));
        }
    }

    #[test]
    fn scalars_that_people_write_bare_keep_their_text() {
        let value = read("token: 0123\nname: yes\nother: 1_000\n", "").unwrap();
        assert_eq!(value, json!({"token": "0123", "name": "yes", "other": "1_000"}));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ -~\u{e9}\n]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map("[ -~]{1,6}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in any_value()) {
            let text = write(&value);
            prop_assert_eq!(read(&text, "").map_err(|e| e.to_string()), Ok(value), "{}", text);
        }
    }
}
