//! YAML documents as trees that remember their lines, and a reader that collects every fault instead of stopping at the first.
//! Knows no schema: `parse` does.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_saphyr::{Budget, DuplicateKeyPolicy, MergeKeyPolicy, Options, Spanned};

/// Largest grants file, in bytes: a fleet's grants are some 300 bytes each, so this is thousands of them.
/// Hazard of more: the file is re-read whenever it changes, on the hub's own thread.
pub(super) const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Deepest nesting of a document; a grant needs 5. Bounds the recursion of parsing.
const MAX_DEPTH: usize = 32;

/// Most documents in one file.
const MAX_DOCUMENTS: usize = 10_000;

/// One thing wrong in a grants file, with its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// Document within the file, from 1; 0 when the file as a whole is meant.
    pub document: usize,
    /// Line within the file, from 1; 0 when there is none.
    pub line: u64,
    /// Path of the field, such as `spec.subjects[0].user`; empty for the document itself.
    pub path: String,
    /// What is wrong, and what is expected instead.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.document > 0 {
            write!(f, "document {}, ", self.document)?;
        }
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.text)
    }
}

/// A value with the line on which it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) value: Value,
}

/// What a YAML value is. Numbers keep no digits: no field of a grant is a number.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl Value {
    /// The words for messages: "found …".
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean (quote it if it is meant as text)",
            Self::Number => "a number (quote it if it is meant as text)",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Splits a file into documents; a file that is not YAML is one fault, for what follows it cannot be trusted.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, Fault> {
    let whole = |text: String| Fault { document: 0, line: 0, path: String::new(), text };
    if text.len() > MAX_BYTES {
        return Err(whole(format!("file has {} bytes, at most {MAX_BYTES} are read", text.len())));
    }
    let mut budget = Budget::default();
    budget.max_depth = MAX_DEPTH;
    budget.max_documents = MAX_DOCUMENTS;
    let mut options = Options::default();
    options.budget = Some(budget);
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.merge_keys = MergeKeyPolicy::AsOrdinary;
    options.strict_booleans = true;
    options.with_snippet = false;
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |at| at.line());
        Fault { line, ..whole(format!("not valid YAML: {}", error.without_snippet())) }
    })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> de::Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

/// Collects the faults of one document.
pub(super) struct Reader<'f> {
    pub(super) document: usize,
    pub(super) faults: &'f mut Vec<Fault>,
}

impl Reader<'_> {
    pub(super) fn fault(&mut self, line: u64, path: &str, text: impl Into<String>) {
        self.faults.push(Fault { document: self.document, line, path: path.to_owned(), text: text.into() });
    }

    /// Reports that `node` is not what was expected.
    fn mismatch(&mut self, node: &Node, path: &str, expected: &str) {
        self.fault(node.line, path, format!("expected {expected}, found {}", node.value.kind()));
    }

    /// The fields of a map of which only `allowed` may occur, each once. An unknown field is a fault, never ignored:
    /// a misspelt restriction would otherwise widen a grant.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, path: &str, allowed: &[&'static str]) -> Option<Fields<'n>> {
        let entries = self.entries(node, path)?;
        let fields: Vec<_> = entries.iter().map(|(key, value)| (key.value.as_str(), value)).collect();
        for (key, _) in entries.iter().filter(|(key, _)| !allowed.contains(&key.value.as_str())) {
            let known = allowed.join(", ");
            let text = format!("unknown field {:?}; known fields are {known}", key.value);
            self.fault(key.referenced.line(), path, text);
        }
        Some(Fields { line: node.line, fields })
    }

    /// The entries of a map with free keys; a repeated key is a fault.
    pub(super) fn entries<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n [(Spanned<String>, Node)]> {
        let Value::Map(entries) = &node.value else {
            self.mismatch(node, path, "a map");
            return None;
        };
        let mut seen = std::collections::BTreeSet::new();
        for (key, _) in entries {
            if !seen.insert(key.value.as_str()) {
                self.fault(key.referenced.line(), path, format!("field {:?} is given twice", key.value));
            }
        }
        Some(entries)
    }

    pub(super) fn text<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.mismatch(node, path, "text");
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, node: &Node, path: &str) -> Option<bool> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.mismatch(node, path, "true or false");
                None
            }
        }
    }

    /// The items of a list that must not be empty: an empty list reads as "nothing" to one person and "anything" to another.
    pub(super) fn items<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Node] {
        let Value::List(items) = &node.value else {
            self.mismatch(node, path, "a list");
            return &[];
        };
        if items.is_empty() {
            self.fault(node.line, path, "list is empty; name at least one item or leave the field out");
        }
        items
    }
}

/// The fields of one map.
pub(super) struct Fields<'n> {
    pub(super) line: u64,
    fields: Vec<(&'n str, &'n Node)>,
}

impl<'n> Fields<'n> {
    pub(super) fn optional(&self, name: &str) -> Option<&'n Node> {
        self.fields.iter().find(|(key, _)| *key == name).map(|(_, node)| *node)
    }

    /// A field that must be there; its absence is a fault on the line of the map.
    pub(super) fn required(&self, name: &str, path: &str, reader: &mut Reader<'_>) -> Option<&'n Node> {
        let node = self.optional(name);
        if node.is_none() {
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            reader.fault(self.line, &path, "field is missing");
        }
        node
    }
}
