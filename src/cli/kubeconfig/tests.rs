//! Merging: nothing of the user's is lost, nothing is redirected, and twice is once.

use super::*;

fn ours_of(hub: &str, names: &[&str]) -> Ours {
    let cluster = |name: &&str| ((*name).to_owned(), json!({"server": format!("{hub}/clusters/{name}")}));
    Ours {
        hub: hub.to_owned(),
        user: (format!("roadstead@{}", &hub[8..]), json!({"exec": {"command": "roadstead"}})),
        clusters: names.iter().map(cluster).collect(),
    }
}

fn theirs() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "home", "preferences": {"colors": true},
        "clusters": [{"name": "home", "cluster": {"server": "https://10.0.0.1"}}],
        "contexts": [{"name": "home", "context": {"cluster": "home", "user": "me"}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
        "extensions": [{"name": "x", "extension": {"y": 1}}],
    })
}

const HUB: &str = "https://hub:8443";

fn merged(old: Value, ours: &Ours) -> Value {
    merge(old, ours, None, false).unwrap()
}

#[test]
fn everything_of_others_stays_and_the_current_context_too() {
    let found = merged(theirs(), &ours_of(HUB, &["a", "b"]));
    for list in ["clusters", "contexts", "users"] {
        assert_eq!(found[list][0], theirs()[list][0]);
    }
    for field in ["preferences", "extensions", "current-context"] {
        assert_eq!(found[field], theirs()[field]);
    }
    assert_eq!(found["clusters"][2]["cluster"]["server"], "https://hub:8443/clusters/b");
    assert_eq!(found["contexts"][2]["context"], json!({"cluster": "b", "user": "roadstead@hub:8443"}));
    assert_eq!(found["users"].as_array().unwrap().len(), 2);
}

#[test]
fn merging_twice_is_merging_once_and_a_chosen_namespace_stays() {
    let ours = ours_of(HUB, &["a"]);
    let mut once = merged(theirs(), &ours);
    assert_eq!(merged(once.clone(), &ours), once);
    once["contexts"][1]["context"]["namespace"] = json!("mine");
    assert_eq!(merged(once.clone(), &ours), once);
}

#[test]
fn names_that_lead_elsewhere_are_not_taken() {
    let of_other_hub = merged(theirs(), &ours_of("https://other:1", &["a"]));
    for (old, name) in [(theirs(), "home"), (of_other_hub, "a")] {
        let ours = ours_of(HUB, &[name]);
        let failure = merge(old.clone(), &ours, None, false).unwrap_err();
        assert_eq!(failure.code(), Code::Conflict, "{failure}");
        let found = merge(old, &ours, None, true).unwrap();
        assert!(found.to_string().contains(&format!("{HUB}/clusters/{name}")));
    }
}

#[test]
fn a_hub_whose_name_only_begins_alike_is_another() {
    let old = merged(theirs(), &ours_of("https://hub:84431", &["a"]));
    assert_eq!(merge(old, &ours_of(HUB, &["a"]), None, false).unwrap_err().code(), Code::Conflict);
}

#[test]
fn the_current_context_is_set_when_asked_or_when_there_is_no_choice() {
    let current = |old, names: &[&str], wanted| {
        merge(old, &ours_of(HUB, names), wanted, false).map(|config| config["current-context"].clone())
    };
    assert_eq!(current(Value::Null, &["a"], None).unwrap(), "a");
    assert_eq!(current(Value::Null, &["a", "b"], None).unwrap(), Value::Null);
    assert_eq!(current(theirs(), &["a"], None).unwrap(), "home");
    assert_eq!(current(theirs(), &["a"], Some("a")).unwrap(), "a");
    assert_eq!(current(theirs(), &["a"], Some("z")).unwrap_err().code(), Code::NotFound);
}

#[test]
fn what_is_no_kubeconfig_is_left_alone() {
    for odd in [json!([]), json!("x"), json!({"kind": "Pod"}), json!({"apiVersion": "v2"}), json!({"clusters": {}})] {
        let failure = merge(odd, &ours_of(HUB, &["a"]), None, false).unwrap_err();
        assert!(failure.to_string().contains("not a kubeconfig"), "{failure}");
    }
    assert!(merge(json!({"clusters": null}), &ours_of(HUB, &["a"]), None, false).is_ok());
}

#[test]
fn only_clusters_that_may_be_seen_can_be_chosen() {
    let item = |name: &str| json!({"name": name, "uid": "u", "state": "enrolled", "connected": true, "created": "2026-01-01T00:00:00Z"});
    let list: ClusterList = serde_json::from_value(json!({"items": [item("b"), item("a"), item("../x")]})).unwrap();
    assert_eq!(chosen(&list, &[]).unwrap(), ["a", "b"]);
    assert_eq!(chosen(&list, &["b".to_owned()]).unwrap(), ["b"]);
    assert_eq!(chosen(&list, &["c".to_owned()]).unwrap_err().code(), Code::NotFound);
}
