//! The decision, as a table over one file of grants.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use crate::k8s::Capability::{self, *};

const FILE: &str = r#"
apiVersion: roadstead.dev/v1
kind: Grant
metadata: {name: payments-deploy}
spec:
  subjects: [{user: "token:alice"}, {group: "token:sre"}]
  clusters: {matchLabels: {env: prod, team: payments}}
  as: {groups: ["roadstead:edit"]}
  capabilities: [read, write]
  namespaces: [payments, "payments-*"]
---
apiVersion: roadstead.dev/v1
kind: Grant
metadata: {name: fleet-view}
spec:
  subjects: [{group: "token:everyone"}]
  clusters: {all: true}
  as: {user: "viewer", groups: ["roadstead:view"]}
  capabilities: [read]
---
apiVersion: roadstead.dev/v1
kind: Grant
metadata: {name: edge-debug}
spec:
  subjects: [{user: "token:bob"}]
  clusters: {names: [edge-1]}
  as: {groups: ["roadstead:debug"]}
  capabilities: [exec, portforward]
  impersonate: {users: ["carol"], groups: ["dev"], extras: ["reason"]}
---
apiVersion: roadstead.dev/v1
kind: Grant
metadata: {name: root}
spec:
  subjects: [{group: "token:root"}]
  clusters: {all: true}
  as: {user: "root-user", groups: ["admins"]}
  capabilities: ["*"]
  impersonate: {users: ["*"], groups: ["*"], extras: ["*"]}
---
apiVersion: roadstead.dev/v1
kind: Grant
metadata: {name: b-prod}
spec:
  subjects: [{user: "token:dora"}]
  clusters: {matchLabels: {env: prod}}
  as: {user: "dora-b"}
  capabilities: [read]
---
apiVersion: roadstead.dev/v1
kind: Grant
metadata: {name: a-prod}
spec:
  subjects: [{user: "token:dora"}]
  clusters: {matchLabels: {env: prod}}
  as: {user: "dora-a"}
  capabilities: [read, secrets]
---
apiVersion: roadstead.dev/v1
kind: Grant
metadata: {name: z-uid}
spec:
  subjects: [{user: "token:dora"}]
  clusters: {uids: [01u2]}
  as: {user: "dora-uid"}
  capabilities: [write]
"#;

/// `name/group,group` as a subject of hub tokens.
fn subject(text: &str) -> Subject {
    let (name, groups) = text.split_once('/').unwrap_or((text, ""));
    let groups: Vec<_> = groups.split(',').filter(|g| !g.is_empty()).collect();
    Subject::new(TOKEN_ISSUER, name, &groups).unwrap()
}

fn labels(name: &str) -> Labels {
    let pairs: &[(&str, &str)] = match name {
        "pay-1" => &[("env", "prod"), ("team", "payments")],
        "prod-2" => &[("env", "prod"), ("team", "search")],
        _ => &[("env", "test")],
    };
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn uid(name: &str) -> &'static str {
    match name {
        "pay-1" => "01u1",
        "prod-2" => "01u2",
        _ => "01u3",
    }
}

/// `""` = whole cluster, `?` = discovery, `!` = other non-resource, else a namespace.
fn scope(text: &str) -> Scope<'_> {
    match text {
        "" => Scope::Cluster,
        "?" => Scope::Discovery,
        "!" => Scope::NonResource,
        name => Scope::Namespace(name),
    }
}

/// A decision as one line: `grant user groups`, or `- reason`.
fn line(decision: Decision) -> String {
    match decision {
        Decision::Allow { identity, grant } => format!("{grant} {} {}", identity.user, identity.groups.join(",")),
        Decision::Deny(Denial::Unseen) => "- unseen".into(),
        Decision::Deny(Denial::Capability { held, grants, .. }) => format!("- holds {held} by {}", grants.join(",")),
        Decision::Deny(Denial::Namespace { grants, .. }) => format!("- elsewhere by {}", grants.join(",")),
        Decision::Deny(Denial::Impersonation { refused, .. }) => format!("- as: {refused:?}"),
    }
}

type Row = (&'static str, &'static str, Capability, &'static str, &'static str);

/// who, cluster, what, where, expected.
const ROWS: &[Row] = &[
    // Nobody, and nothing that is not granted.
    ("mallory", "pay-1", Read, "payments", "- unseen"),
    ("mallory", "edge-1", Read, "?", "- unseen"),
    ("mallory/unknown", "edge-1", Read, "", "- unseen"),
    ("sre", "pay-1", Read, "payments", "- unseen"),
    ("Alice", "pay-1", Read, "payments", "- unseen"),
    ("alic", "pay-1", Read, "payments", "- unseen"),
    ("alicee", "pay-1", Read, "payments", "- unseen"),
    ("x/alice", "pay-1", Read, "payments", "- unseen"),
    ("x/token:sre", "pay-1", Read, "payments", "- unseen"),
    // By user and by group, in the cluster whose labels all match.
    ("alice", "pay-1", Read, "payments", "payments-deploy roadstead:user roadstead:edit"),
    ("alice", "pay-1", Write, "payments", "payments-deploy roadstead:user roadstead:edit"),
    ("x/sre", "pay-1", Write, "payments", "payments-deploy roadstead:user roadstead:edit"),
    ("alice/sre", "pay-1", Write, "payments", "payments-deploy roadstead:user roadstead:edit"),
    ("x/other,sre", "pay-1", Write, "payments", "payments-deploy roadstead:user roadstead:edit"),
    ("alice", "prod-2", Read, "payments", "- unseen"),
    ("alice", "edge-1", Read, "payments", "- unseen"),
    // Capabilities: each is its own.
    ("alice", "pay-1", Exec, "payments", "- holds read, write by payments-deploy"),
    ("alice", "pay-1", PortForward, "payments", "- holds read, write by payments-deploy"),
    ("alice", "pay-1", Proxy, "payments", "- holds read, write by payments-deploy"),
    ("alice", "pay-1", NodesProxy, "", "- holds read, write by payments-deploy"),
    ("alice", "pay-1", Secrets, "payments", "- holds read, write by payments-deploy"),
    ("bob", "edge-1", Exec, "default", "edge-debug roadstead:user roadstead:debug"),
    ("bob", "edge-1", PortForward, "default", "edge-debug roadstead:user roadstead:debug"),
    ("bob", "edge-1", Read, "default", "- holds exec, portforward by edge-debug"),
    ("bob", "edge-1", Write, "default", "- holds exec, portforward by edge-debug"),
    ("bob", "edge-1", Secrets, "default", "- holds exec, portforward by edge-debug"),
    ("x/everyone", "edge-1", Read, "", "fleet-view viewer roadstead:view"),
    ("x/everyone", "edge-1", Write, "", "- holds read by fleet-view"),
    ("x/everyone", "edge-1", Secrets, "kube-system", "- holds read by fleet-view"),
    ("x/root", "edge-1", Read, "", "root root-user admins"),
    ("x/root", "edge-1", Write, "", "root root-user admins"),
    ("x/root", "edge-1", Exec, "a", "root root-user admins"),
    ("x/root", "edge-1", PortForward, "a", "root root-user admins"),
    ("x/root", "edge-1", Proxy, "a", "root root-user admins"),
    ("x/root", "edge-1", NodesProxy, "", "root root-user admins"),
    ("x/root", "edge-1", Secrets, "a", "root root-user admins"),
    // Namespaces: exact, prefix, and nothing beyond.
    ("alice", "pay-1", Read, "payments-eu", "payments-deploy roadstead:user roadstead:edit"),
    ("alice", "pay-1", Read, "payments-", "payments-deploy roadstead:user roadstead:edit"),
    ("alice", "pay-1", Read, "paymentsx", "- elsewhere by payments-deploy"),
    ("alice", "pay-1", Read, "payment", "- elsewhere by payments-deploy"),
    ("alice", "pay-1", Read, "Payments", "- elsewhere by payments-deploy"),
    ("alice", "pay-1", Read, "x-payments", "- elsewhere by payments-deploy"),
    ("alice", "pay-1", Read, "x-payments-eu", "- elsewhere by payments-deploy"),
    ("alice", "pay-1", Read, "kube-system", "- elsewhere by payments-deploy"),
    ("alice", "pay-1", Read, "", "- elsewhere by payments-deploy"),
    ("alice", "pay-1", Write, "", "- elsewhere by payments-deploy"),
    ("alice", "pay-1", Read, "!", "- elsewhere by payments-deploy"),
    ("alice", "pay-1", Exec, "kube-system", "- holds read, write by payments-deploy"),
    // Discovery comes with any grant for the cluster, whatever else it gives.
    ("alice", "pay-1", Read, "?", "payments-deploy roadstead:user roadstead:edit"),
    ("bob", "edge-1", Read, "?", "edge-debug roadstead:user roadstead:debug"),
    ("bob", "pay-1", Read, "?", "- unseen"),
    ("x/everyone", "pay-1", Read, "!", "fleet-view viewer roadstead:view"),
    // Union: one grant suffices; what one gives and another restricts do not mix.
    ("alice/everyone", "pay-1", Read, "payments", "payments-deploy roadstead:user roadstead:edit"),
    ("alice/everyone", "pay-1", Read, "kube-system", "fleet-view viewer roadstead:view"),
    ("alice/everyone", "pay-1", Read, "", "fleet-view viewer roadstead:view"),
    ("alice/everyone", "pay-1", Write, "kube-system", "- elsewhere by payments-deploy"),
    ("alice/everyone", "pay-1", Exec, "payments", "- holds read, write by payments-deploy,fleet-view"),
    ("alice/everyone", "prod-2", Write, "payments", "- holds read by fleet-view"),
    ("bob/everyone", "edge-1", Read, "default", "fleet-view viewer roadstead:view"),
    ("bob/everyone,root", "edge-1", Exec, "default", "edge-debug roadstead:user roadstead:debug"),
    ("alice/root", "pay-1", Write, "kube-system", "root root-user admins"),
    // Which grant names the identity: uid, name, more labels, fewer labels, all; then by name.
    ("dora", "prod-2", Read, "a", "a-prod dora-a "),
    ("dora", "prod-2", Secrets, "a", "a-prod dora-a "),
    ("dora", "prod-2", Write, "a", "z-uid dora-uid "),
    ("dora", "prod-2", Read, "?", "z-uid dora-uid "),
    ("dora", "pay-1", Read, "?", "a-prod dora-a "),
    ("dora", "pay-1", Write, "a", "- holds read, secrets by a-prod,b-prod"),
    ("dora/sre", "pay-1", Read, "payments", "payments-deploy roadstead:user roadstead:edit"),
    ("dora/everyone", "pay-1", Read, "a", "a-prod dora-a "),
];

fn decide(who: &str, cluster: &str, capability: Capability, place: &str, wish: Option<&Impersonation<'_>>) -> Decision {
    let grants: Grants = FILE.parse().unwrap();
    let labels = labels(cluster);
    let cluster = ClusterRef { uid: uid(cluster), name: cluster, labels: &labels };
    let request = Request { capability, also: None, verb: "do", scope: scope(place) };
    let decision = grants.decide(&subject(who), &cluster, &request, wish);
    let seen = grants.can_see(&subject(who), &cluster);
    assert_eq!(seen, decision != Decision::Deny(Denial::Unseen), "unseen is the answer just when nothing is granted");
    let explained = grants.explain(&subject(who), &cluster, &request, wish);
    let first = explained.iter().find(|line| line.verdict == Verdict::Allows).map(|line| line.grant.clone());
    let decided = if let Decision::Allow { grant, .. } = &decision { Some(grant.clone()) } else { None };
    assert_eq!(first, decided, "the explanation tells what was decided");
    decision
}

#[test]
fn grants_decide_as_the_table_says() {
    assert!(ROWS.len() >= 60);
    for (who, cluster, capability, place, expected) in ROWS {
        let found = line(decide(who, cluster, *capability, place, None));
        assert_eq!(found, *expected, "{who} {cluster} {capability:?} {place:?}");
    }
}

#[test]
fn impersonation_needs_a_grant_that_lists_it() {
    // who, --as, --as-group, --as-user-extra key, expected
    let rows: &[(&str, &str, &[&str], &str, &str)] = &[
        ("bob", "carol", &[], "", "edge-debug carol "),
        ("bob", "carol", &["dev"], "", "edge-debug carol dev"),
        ("bob", "carol", &["dev"], "reason", "edge-debug carol dev"),
        ("bob", "dave", &[], "", "- as: User(\"dave\")"),
        ("bob", "Carol", &[], "", "- as: User(\"Carol\")"),
        ("bob", "carol", &["dev", "ops"], "", "- as: Group(\"ops\")"),
        ("bob", "carol", &[], "other", "- as: Extra(\"other\")"),
        ("bob", "", &[], "", "- as: Malformed(\"\")"),
        ("bob", "*", &[], "", "- as: User(\"*\")"),
        ("x/everyone", "carol", &[], "", "- holds read by fleet-view"),
        ("mallory", "carol", &[], "", "- unseen"),
        ("x/root", "anyone", &["any", "other"], "some", "root anyone any,other"),
        ("x/root", "system:admin", &[], "", "- as: Reserved(\"system:admin\")"),
        ("x/root", "SYSTEM:admin", &[], "", "- as: Reserved(\"SYSTEM:admin\")"),
        ("x/root", "a", &["system:masters"], "", "- as: Reserved(\"system:masters\")"),
        ("x/root", "a", &[], "roadstead.dev/subject", "- as: Reserved(\"roadstead.dev/subject\")"),
        ("x/root", "a", &[], "Roadstead.dev/subject", "- as: Reserved(\"Roadstead.dev/subject\")"),
        ("x/root", "a\r\nb", &[], "", "- as: Malformed(\"a\\r\\nb\")"),
        ("bob/root", "zed", &[], "", "root zed "),
    ];
    for (who, user, groups, key, expected) in rows {
        let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        let keys = (!key.is_empty()).then(|| ((*key).to_owned(), vec!["v".to_owned()]));
        let extras = keys.into_iter().collect();
        let wish = Impersonation { user, uid: None, groups: &groups, extras: &extras };
        let found = line(decide(who, "edge-1", Exec, "default", Some(&wish)));
        assert_eq!(found, *expected, "{who} as {user} {groups:?} {key}");
    }
}

#[test]
fn a_wished_uid_is_refused_even_to_those_who_may_be_anybody() {
    let extras = BTreeMap::new();
    let wish = Impersonation { user: "anyone", uid: Some("1"), groups: &[], extras: &extras };
    assert_eq!(line(decide("x/root", "edge-1", Read, "", Some(&wish))), "- as: Uid");
}

#[test]
fn the_cluster_always_learns_who_is_behind_a_request() {
    let extras = BTreeMap::from([("reason".to_owned(), vec!["why".to_owned()])]);
    let wish = Impersonation { user: "carol", uid: None, groups: &[], extras: &extras };
    for wish in [None, Some(&wish)] {
        let Decision::Allow { identity, .. } = decide("bob", "edge-1", Exec, "default", wish) else { panic!() };
        assert_eq!(identity.extras[SUBJECT_EXTRA], ["token:bob"]);
        assert_eq!(identity.extras.contains_key("reason"), wish.is_some());
    }
}

#[test]
fn messages_say_what_is_missing_and_never_whether_an_unseen_cluster_exists() {
    let request = Request { capability: Exec, also: None, verb: "create", scope: Scope::Namespace("payments") };
    let Decision::Deny(denial) = decide("alice", "pay-1", Exec, "payments", None) else { panic!() };
    let text = denial.message(&subject("alice"), "pay-1", &request);
    assert_eq!(
        text,
        "token:alice may not create here: it needs the capability exec, and in cluster \"pay-1\" the grants \
         (payments-deploy) give read, write"
    );
    let unseen = |name: &str| Denial::Unseen.message(&subject("mallory"), name, &request).replace(name, "X");
    assert_eq!(unseen("edge-1"), unseen("nowhere"));
}

#[test]
fn the_decision_does_not_depend_on_the_order_of_the_file() {
    let mut documents: Vec<_> = FILE.split("---").collect();
    let expected: Grants = FILE.parse().unwrap();
    for _ in 0..documents.len() {
        documents.rotate_left(1);
        let rotated: Grants = documents.join("---").parse().unwrap();
        assert!(rotated.iter().eq(expected.iter()));
    }
}

#[test]
fn hundreds_of_grants_over_thousands_of_clusters_stay_in_microseconds() {
    let grant = |i: usize| {
        let head = format!("apiVersion: roadstead.dev/v1\nkind: Grant\nmetadata: {{name: g{i}}}\nspec:\n  subjects:\n");
        let who = format!("  - user: token:u{}\n  - group: token:g{}\n", i % 100, i % 10);
        head + &who + &format!("  clusters: {{matchLabels: {{env: e{i}}}}}\n  capabilities: [read]\n")
    };
    let file: Vec<_> = (0..500).map(grant).collect();
    let grants: Grants = file.join("---\n").parse().unwrap();
    let subject = subject("u7/g7,g3");
    let clusters: Vec<_> = (0..5000).map(|i| Labels::from([("env".into(), format!("e{}", i % 500))])).collect();
    let request = Request { capability: Read, also: None, verb: "get", scope: Scope::Cluster };
    let start = tokio::time::Instant::now();
    let allow = |labels: &&Labels| {
        let cluster = ClusterRef { uid: "u", name: "c", labels };
        matches!(grants.decide(&subject, &cluster, &request, None), Decision::Allow { .. })
    };
    let allowed = clusters.iter().filter(allow).count();
    let each = start.elapsed() / 5000;
    assert_eq!(allowed, 1000, "groups g7 and g3 hold a fifth of the grants");
    println!("{each:?} a decision");
    assert!(each.as_micros() < 500, "{each:?} a decision, even unoptimised and on a busy machine");
}

proptest! {
    #[test]
    fn a_decision_never_panics_and_a_reserved_identity_never_leaves(
        who in "[a-z:/]{1,8}", place in "\\PC{0,8}", user in "\\PC{0,16}", group in "(system:)?\\PC{0,8}",
    ) {
        let extras = BTreeMap::from([(group.clone(), vec![user.clone()])]);
        let groups = [group];
        let wish = Impersonation { user: &user, uid: None, groups: &groups, extras: &extras };
        let Ok(subject) = Subject::new(TOKEN_ISSUER, &who, &["root"]) else { return Ok(()) };
        let grants: Grants = FILE.parse().unwrap();
        let labels = Labels::new();
        let cluster = ClusterRef { uid: "u", name: "c", labels: &labels };
        let request = Request { capability: Read, also: None, verb: "get", scope: Scope::Namespace(&place) };
        if let Decision::Allow { identity, .. } = grants.decide(&subject, &cluster, &request, Some(&wish)) {
            prop_assert!(!identity.groups.iter().chain([&identity.user]).any(|name| is_reserved(name)));
        }
    }
}

#[test]
fn two_powers_must_come_from_one_grant() {
    let grant = |name: &str, powers: &str| {
        format!(
            "apiVersion: roadstead.dev/v1\nkind: Grant\nmetadata: {{name: {name}}}\nspec:\n  subjects: [{{user: 'token:a'}}]\n  \
             clusters: {{all: true}}\n  as: {{groups: [{name}]}}\n  capabilities: [{powers}]\n"
        )
    };
    let labels = Default::default();
    let cluster = ClusterRef { uid: "u", name: "c", labels: &labels };
    let subject = Subject::new("token", "a", &[] as &[&str]).unwrap();
    let request = Request { capability: Write, also: Some(Secrets), verb: "patch", scope: Scope::Namespace("n") };
    let apart: Grants = [grant("one", "write"), grant("two", "secrets")].join("---\n").parse().unwrap();
    assert!(matches!(apart.decide(&subject, &cluster, &request, None), Decision::Deny(_)));
    let one: Grants = [grant("one", "write"), grant("two", "write, secrets")].join("---\n").parse().unwrap();
    let Decision::Allow { identity, .. } = one.decide(&subject, &cluster, &request, None) else { panic!("denied") };
    assert_eq!(identity.groups, ["two"]);
}
