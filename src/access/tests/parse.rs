//! What a grants file may and may not say.

use proptest::prelude::*;

use super::super::*;

const GOOD: &str = r#"apiVersion: roadstead.dev/v1
kind: Grant
metadata: {name: payments}
spec:
  subjects: [{user: "token:alice"}]
  clusters: {all: true}
  as: {user: "roadstead:user", groups: ["roadstead:edit"]}
  capabilities: [read]
  namespaces: [payments]
  impersonate: {users: ["bob"], groups: ["dev"]}
"#;

/// What to replace in `GOOD`, by what, and the first fault that results.
const FAULTS: &[(&str, &str, &str)] = &[
    ("roadstead.dev/v1", "v1", "line 1: apiVersion: expected \"roadstead.dev/v1\", found \"v1\""),
    ("kind: Grant", "kind: Grants", "line 2: kind: expected \"Grant\", found \"Grants\""),
    ("kind: Grant\n", "", "line 1: kind: field is missing"),
    ("{name: payments}", "{}", "line 3: metadata.name: field is missing"),
    ("{name: payments}", "{name: 5}", "line 3: metadata.name: expected text, found a number"),
    ("{name: payments}", "{name: \"Pay ments\"}", "line 3: metadata.name: \"Pay ments\" is not a name"),
    ("{name: payments}", "{name: a, uid: b}", "line 3: metadata: unknown field \"uid\""),
    ("spec:", "spec:\n  condition: x", "line 5: spec: unknown field \"condition\"; known fields are subjects"),
    ("spec:", "other: 1\nspec:", "line 4: unknown field \"other\""),
    ("  clusters: {all: true}\n", "", "line 5: spec.clusters: field is missing"),
    (
        "  capabilities: [read]",
        "  capabilities: [read]\n  capabilities: [exec]",
        "line 9: spec: field \"capabilities\" is given twice",
    ),
    ("[{user: \"token:alice\"}]", "[]", "line 5: spec.subjects: list is empty"),
    ("[{user: \"token:alice\"}]", "token:alice", "line 5: spec.subjects: expected a list, found text"),
    ("[{user: \"token:alice\"}]", "", "line 5: spec.subjects: expected a list, found nothing"),
    ("{user: \"token:alice\"}", "{}", "line 5: spec.subjects[0]: exactly one of user and group"),
    ("{user: \"token:alice\"}", "{user: a:b, group: a:c}", "line 5: spec.subjects[0]: exactly one of user and group"),
    ("\"token:alice\"", "alice", "line 5: spec.subjects[0].user: \"alice\" names no issuer"),
    ("\"token:alice\"", "\"token:\"", "line 5: spec.subjects[0].user: \"token:\" names no issuer"),
    ("\"token:alice\"", "\":alice\"", "line 5: spec.subjects[0].user: \":alice\" names no issuer"),
    ("\"token:alice\"", "\"\"", "line 5: spec.subjects[0].user: name \"\" is empty"),
    ("\"token:alice\"", "yes: 1", "not valid YAML"),
    ("{all: true}", "{}", "line 6: spec.clusters: exactly one of matchLabels, names, uids and all"),
    ("{all: true}", "{all: true, names: [a]}", "line 6: spec.clusters: exactly one of"),
    ("{all: true}", "{all: false}", "line 6: spec.clusters.all: can only be true"),
    ("{all: true}", "{all: \"true\"}", "line 6: spec.clusters.all: expected true or false, found text"),
    ("{all: true}", "{matchLabels: {}}", "line 6: spec.clusters.matchLabels: no label is given"),
    (
        "{all: true}",
        "{matchLabels: {env: true}}",
        "line 6: spec.clusters.matchLabels[\"env\"]: expected text, found a boolean",
    ),
    (
        "{all: true}",
        "{matchLabels: {env: 1.0}}",
        "line 6: spec.clusters.matchLabels[\"env\"]: expected text, found a number",
    ),
    ("{all: true}", "{matchLabels: {e: a, e: b}}", "line 6: spec.clusters.matchLabels: field \"e\" is given twice"),
    ("{all: true}", "{matchLabels: {env: \"*\"}}", "line 6: spec.clusters.matchLabels[\"env\"]: label value \"*\""),
    ("{all: true}", "{names: []}", "line 6: spec.clusters.names: list is empty"),
    ("{all: true}", "{names: [\"edge-*\"]}", "line 6: spec.clusters.names[0]: \"edge-*\" is not the name of a cluster"),
    (
        "user: \"roadstead:user\"",
        "user: \"system:admin\"",
        "line 7: spec.as.user: \"system:admin\" begins with \"system:\"",
    ),
    ("[\"roadstead:edit\"]", "[a, \"System:masters\"]", "line 7: spec.as.groups[1]: \"System:masters\" begins with"),
    ("[\"roadstead:edit\"]", "[\" a\"]", "line 7: spec.as.groups[0]: name \" a\" is empty or begins or ends"),
    ("[\"roadstead:edit\"]", "[\"a\\nb\"]", "line 7: spec.as.groups[0]: name \"a\\nb\" has characters"),
    ("[read]", "[]", "line 8: spec.capabilities: list is empty"),
    ("[read]", "[admin]", "line 8: spec.capabilities[0]: unknown capability \"admin\"; known are read, write, exec"),
    ("[read]", "[Read]", "line 8: spec.capabilities[0]: unknown capability \"Read\""),
    ("[read]", "[\"*\", read]", "line 8: spec.capabilities[0]: \"*\" is all capabilities; it stands alone"),
    ("namespaces: [payments]", "namespaces: [\"*\"]", "line 9: spec.namespaces[0]: \"*\" restricts nothing"),
    ("namespaces: [payments]", "namespaces: []", "line 9: spec.namespaces: list is empty"),
    ("namespaces: [payments]", "namespaces: [\"a*b\"]", "line 9: spec.namespaces[0]: \"a*b\" is not a namespace"),
    ("namespaces: [payments]", "namespaces: [\"-*\"]", "line 9: spec.namespaces[0]: \"-*\" is not a namespace"),
    ("namespaces: [payments]", "namespaces:", "line 9: spec.namespaces: expected a list, found nothing"),
    ("users: [\"bob\"]", "users: [\"system:x\"]", "line 10: spec.impersonate.users[0]: \"system:x\" begins with"),
    (
        "users: [\"bob\"]",
        "users: [\"*\", bob]",
        "line 10: spec.impersonate.users[0]: \"*\" is anybody; it stands alone",
    ),
    (
        "users: [\"bob\"]",
        "extras: [\"roadstead.dev/subject\"]",
        "line 10: spec.impersonate.extras[0]: \"roadstead.dev/subject\"",
    ),
    ("{users: [\"bob\"], groups: [\"dev\"]}", "{}", "line 10: spec.impersonate: is empty"),
    ("{users: [\"bob\"], groups: [\"dev\"]}", "{user: bob}", "line 10: spec.impersonate: unknown field \"user\""),
];

fn faults(text: &str) -> Vec<String> {
    let found = text.parse::<Grants>();
    found.err().map(|error| error.faults.iter().map(Fault::to_string).collect()).unwrap_or_default()
}

#[test]
fn the_example_is_accepted_and_defaults_are_filled_in() {
    assert_eq!(faults(GOOD), [""; 0]);
    let grants: Grants =
        GOOD.replace("  as: {user: \"roadstead:user\", groups: [\"roadstead:edit\"]}\n", "").parse().unwrap();
    let grant = grants.iter().next().unwrap();
    assert_eq!((grant.user.as_str(), grant.groups.len()), (DEFAULT_USER, 0));
}

#[test]
fn no_document_is_no_grant() {
    for empty in ["", "\n", "---\n", "# nothing yet\n", "---\n---\n"] {
        let grants: Grants = empty.parse().unwrap();
        assert_eq!(grants.iter().count(), 0, "{empty:?}");
    }
}

#[test]
fn each_fault_is_found_with_its_place() {
    for (from, to, expected) in FAULTS {
        assert!(GOOD.contains(*from), "{from}");
        let found = faults(&GOOD.replacen(from, to, 1));
        assert!(found.first().is_some_and(|fault| fault.contains(*expected)), "{from} -> {to}: {found:#?}");
    }
}

#[test]
fn all_faults_of_all_documents_are_reported_at_once() {
    let second = GOOD.replace("system", "x").replace("[read]", "[fly]").replace("{all: true}", "{all: 1}");
    let text = format!("{GOOD}---\n{second}---\n[1]\n");
    let found = faults(&text);
    let places: Vec<_> = found.iter().map(|fault| fault.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        places,
        [
            "document 2, line 17 spec.clusters.all",
            "document 2, line 19 spec.capabilities[0]",
            "document 3, line 23 expected a map, found a list",
        ]
    );
}

#[test]
fn a_name_is_given_once() {
    let found = faults(&format!("{GOOD}---\n{GOOD}"));
    assert_eq!(
        found,
        ["document 2, line 12: metadata.name: grant \"payments\" is already in document 1; names are unique"]
    );
}

#[test]
fn what_is_not_yaml_is_one_fault_with_its_line() {
    let found = faults("apiVersion: roadstead.dev/v1\nkind: [\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("line ") && found[0].contains("not valid YAML"), "{found:?}");
}

#[test]
fn hostile_files_end_in_a_fault() {
    let deep = "[".repeat(100_000);
    let long = "a".repeat(5 * 1024 * 1024);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n";
    for hostile in [&*deep, &*long, bomb, "<<: {a: b}", "? [a]\n: b", "!!binary aGk=", "\u{0}"] {
        assert!(!faults(hostile).is_empty(), "{:.40}", hostile);
    }
}

proptest! {
    #[test]
    fn no_text_makes_parsing_panic(text in "\\PC{0,200}") {
        let _ = text.parse::<Grants>();
    }

    #[test]
    fn no_damage_to_a_good_file_makes_parsing_panic(at in 0..GOOD.len(), len in 0..20_usize, with in "[\\[\\]{}:,&*!|>'\"%@\\-\n\ta0]{0,6}") {
        let end = (at + len).min(GOOD.len());
        let _ = format!("{}{with}{}", &GOOD[..at], &GOOD[end..]).parse::<Grants>();
    }
}
