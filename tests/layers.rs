//! The architecture as tests: which folder of `src/` may use which, who may name which crate, and what no file may contain.
//! A rule that hurts is changed here in the open, with its reason; it is never worked around.

#[path = "layers/rows.rs"]
mod rows;
#[path = "layers/source.rs"]
mod source;

use std::fs;
use std::path::Path;

use source::{Source, all};

/// The folders of `src/` from the ground up: each uses only what stands before it (`ARCHITECTURE.md`). The last column: whether it
/// may read `defaults.rs`. Rules without I/O may not: they take numbers as arguments, so that tests choose them.
const LAYERS: [(&str, bool); 11] = [
    ("wire", false),
    ("identity", false),
    ("k8s", false),
    ("access", false),
    ("store", false),
    ("transport", true),
    ("audit", true),
    ("gitops", false),
    ("hub", true),
    ("agent", true),
    ("cli", true),
];

/// A path or word, and the only folders that may name it.
const ONLY: [(&str, &[&str]); 9] = [
    ("quinn::", &["transport"]),
    ("quinn_proto::", &["transport"]),
    ("kube::", &["agent"]),
    ("k8s_openapi::", &["agent"]),
    ("redb::", &["store"]),
    ("rcgen::", &["identity"]),
    ("jsonwebtoken::", &["identity"]),
    ("anyhow::", &["cli", "main"]),
    ("clap::", &["cli"]),
];

/// A folder, and what it refuses to know: I/O, tasks, the clock.
const NEVER: [(&str, &[&str]); 4] = [
    ("wire", &["tokio::", "hyper::", "rustls::", "Instant", "SystemTime", "now_utc"]),
    ("k8s", &["tokio::", "hyper::", "rustls::", "Instant", "SystemTime", "now_utc"]),
    ("access", &["tokio::", "hyper::", "rustls::", "Instant", "SystemTime", "now_utc"]),
    ("identity", &["tokio::", "hyper::", "SystemTime", "now_utc"]),
];

/// No more lines of product code in a file than this; aim at 400.
const MAX_LINES: usize = 600;

/// Says everything that is wrong at once.
fn none(faults: impl IntoIterator<Item = String>) {
    let faults: Vec<_> = faults.into_iter().collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn product() -> Vec<Source> {
    all().into_iter().filter(|source| !source.test_only).collect()
}

/// What `layer` may use of this crate, or nothing when it is no layer.
fn allowed(layer: &str) -> Option<Vec<&'static str>> {
    let at = LAYERS.iter().position(|(name, _)| *name == layer)?;
    // Hub and agent meet on the wire only.
    let below = LAYERS[..=at].iter().map(|(name, _)| *name).filter(|name| (layer, *name) != ("agent", "hub"));
    let defaults = LAYERS[at].1.then_some("defaults");
    Some(below.chain(defaults).collect())
}

#[test]
fn each_folder_uses_only_what_stands_above_it() {
    let mut faults = Vec::new();
    for source in product() {
        let allowed = match source.layer() {
            "lib" | "defaults" => Vec::new(),
            "main" => vec!["cli"],
            layer => allowed(layer).unwrap_or_else(|| panic!("{layer} is no layer: add it to the table")),
        };
        let path = &source.path;
        let wrong = source.uses().into_iter().filter(|used| !allowed.contains(&used.as_str()));
        faults.extend(wrong.map(|used| format!("{path} uses {used}")));
    }
    none(faults);
}

#[test]
fn only_one_folder_names_each_of_these_crates() {
    none(product().iter().flat_map(|source| {
        let wrong = ONLY.iter().filter(|(name, of)| !of.contains(&source.layer()) && source.names(name));
        wrong.map(|(name, of)| format!("{} names {name}, which is for {of:?}", source.path)).collect::<Vec<_>>()
    }));
}

#[test]
fn rules_do_no_io_and_read_no_clock() {
    none(product().iter().flat_map(|source| {
        let never = NEVER.iter().filter(|(layer, _)| *layer == source.layer()).flat_map(|(_, never)| *never);
        let found = never.filter(|name| source.names(name));
        found.map(|name| format!("{} names {name}", source.path)).collect::<Vec<_>>()
    }));
}

#[test]
fn no_file_is_too_long_to_read() {
    let sizes = all().into_iter().map(|source| (source.lines(), source.path));
    none(sizes.filter(|(lines, _)| *lines > MAX_LINES).map(|(lines, path)| format!("{path} has {lines} lines")));
}

#[test]
fn every_file_says_first_what_it_owns() {
    let silent = all().into_iter().filter(|source| !source.text.starts_with("//! "));
    none(silent.map(|source| format!("{} does not begin with //!", source.path)));
}

#[test]
fn product_code_has_no_unwrap_and_nothing_unfinished() {
    const BANNED: [&str; 5] = [".unwrap()", "todo!", "dbg!", "unimplemented!", "std::process::exit"];
    none(product().iter().flat_map(|source| {
        let found = BANNED.iter().filter(|banned| source.code.contains(*banned));
        found.map(|banned| format!("{} contains {banned}", source.path)).collect::<Vec<_>>()
    }));
}

#[test]
fn every_direct_dependency_is_justified_in_contributing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let [manifest, page] = ["Cargo.toml", "CONTRIBUTING.md"].map(|file| fs::read_to_string(root.join(file)).unwrap());
    let sections = manifest.split("\n[").filter(|part| part.split(']').next().unwrap().ends_with("dependencies"));
    let lines = sections.flat_map(|section| section.lines().skip(1)).filter_map(|line| line.split_once(" = "));
    let names: Vec<_> = lines.map(|(name, _)| name.trim()).collect();
    assert!(names.contains(&"quinn") && names.contains(&"proptest"), "the manifest is read wrongly: {names:?}");
    none(
        names
            .iter()
            .filter(|name| !page.contains(&format!("\n| `{name}` | ")))
            .map(|name| format!("CONTRIBUTING.md does not say why {name} is a dependency")),
    );
}

#[test]
fn the_scanner_sees_uses_and_not_comments_literals_or_tests() {
    let text = r##"//! crate::comment
use crate::{defaults, wire::{Frame, Rules},
    store};
use crate::identity::Token;
const A: &str = "crate::string \" crate::string"; const B: &str = r#"crate::"raw"#; const C: char = '"';
fn f<'a>(x: &'a str) { xcrate::no(); quinn::go(); super::super::agent() }
#[cfg(test)]
mod tests { use crate::test; fn g() { a.unwrap() } }
#[cfg(test)]
pub(crate) mod testing;
use crate::k8s;"##;
    let source = source::read("src/hub/x.rs", text);
    let uses: Vec<_> = source.uses().into_iter().collect();
    assert_eq!(uses, ["defaults", "identity", "k8s", "store", "super::super::", "wire"]);
    assert!(source.names("quinn::") && !source.names("uinn::") && !source.code.contains(".unwrap()"));
    assert_eq!((source.layer(), source.lines()), ("hub", 7));
}
