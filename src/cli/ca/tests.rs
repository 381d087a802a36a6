//! The commands of the authorities against a hub that answers as told.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::super::tests::{against, roadstead};
use crate::{
    hub::api_types::ROOT_KEY,
    identity::{
        KeyPair, Secret,
        seal::{self, PassphraseKey},
    },
};

fn status(phase: &str) -> Value {
    let authority = |generation: &str, used: bool| {
        json!({"authority": "hub", "generation": generation, "pin": format!("sha256:{generation}"), "trusted": true,
            "inUse": used, "rootNotAfter": "2036-01-02T03:04:05Z", "issuingNotAfter": "2027-01-02T03:04:05Z"})
    };
    json!({"phase": phase, "revision": 7, "since": "2026-01-02T03:04:05Z", "tainted": false, "revoked": false,
        "authorities": [authority("current", true), authority("next", false)],
        "counts": {"enrolled": 3, "connected": 2, "acknowledged": 1, "onCurrent": 3, "onNext": 0},
        "laggards": [{"name": "edge-\u{1b}[31m", "connected": false, "reason": "has not acknowledged"}],
        "acceptedLost": ["edge-9"], "pending": [], "hubCaPins": ["sha256:current", "sha256:next"], "hubCa": "PEM-A\nPEM-B\n",
        "distrusted": [], "newerField": 1})
}

fn not_ready() -> Value {
    json!({"kind": "Status", "reason": "Conflict", "message": "1 cluster is not ready to leave phase init: edge-1",
        "details": {"causes": [{"reason": "RotationNotReady", "message": "edge-1 (connected) …"}]}})
}

#[test]
fn status_shows_phase_authorities_and_laggards_and_json_is_the_answer() {
    let (ran, asked) = against("ca status", 200, status("init"));
    assert_eq!((ran.code, asked[0].line.as_str()), (0, "GET /api/v1/ca"), "{}", ran.err);
    for part in
        ["init, since 2026-01-02T03:04:05Z", "3 enrolled, 2 connected", "edge-9", "sha256:next", "LAGGARD", "edge-"]
    {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(!ran.out.contains('\u{1b}'), "{}", ran.out);
    let (ran, _) = against("ca status -o json", 200, status("init"));
    let printed: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&printed["phase"], &printed["counts"]["onCurrent"]), (&json!("init"), &json!(3)));
    let (ran, _) = against("ca bundle", 200, status("init"));
    assert_eq!(ran.out, "PEM-A\nPEM-B\n");
}

#[test]
fn a_step_is_taken_from_the_revision_that_was_seen_and_gives_up_whom_it_is_told_to() {
    let rows = [
        ("ca prepare", "prepare", json!({"revision": 7})),
        ("ca activate", "activate", json!({"revision": 7})),
        (
            "ca activate --accept-lost a --accept-lost b --accept-lost-count 2",
            "activate",
            json!({"revision": 7, "acceptLost": ["a", "b"], "acceptLostCount": 2}),
        ),
        ("ca revoke --accept-lost a", "revoke", json!({"revision": 7, "acceptLost": ["a"]})),
        ("ca rollback", "rollback", json!({"revision": 7})),
        ("ca taint", "taint", json!({"revision": 7})),
    ];
    for (line, step, body) in rows {
        let (ran, asked) = against(line, 200, status("init"));
        assert_eq!((ran.code, asked.len()), (0, 2), "{line}: {}", ran.err);
        assert_eq!(asked[1].line, format!("POST /api/v1/ca/{step}"));
        assert_eq!(serde_json::from_slice::<Value>(&asked[1].body).unwrap(), body, "{line}");
    }
}

#[test]
fn what_refuses_a_step_is_told_apart_by_the_exit_code() {
    let (ran, _) = against("ca activate", 409, not_ready());
    assert!(ran.code == 7 && ran.err.contains("edge-1"), "{}: {}", ran.code, ran.err);
    let stale = json!({"reason": "Conflict", "message": "the rotation has moved on"});
    let (ran, _) = against("ca activate", 409, stale);
    assert_eq!(ran.code, 5, "{}", ran.err);
    for line in
        ["ca rotate --timeout 5m", "ca rotate --wait --timeout never", "ca", "ca activate --accept-lost-count -1"]
    {
        assert_eq!(roadstead(line, &[]).code, 2, "{line}");
    }
}

#[test]
fn rotate_stops_where_somebody_else_took_it_back() {
    let (ran, asked) = against("ca rotate", 200, status("rollback"));
    assert!(ran.code == 5 && ran.err.contains("rollback is under way"), "{}", ran.err);
    assert_eq!(asked.len(), 1);
}

/// What the hub calls its root is checked against the key that comes; nothing is sent of a file that does not open.
#[test]
fn an_exported_key_is_sealed_for_its_own_passphrase_read_back_and_shown_to_the_hub_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (hubs, own, file) = (path("hub.key"), path("own.key"), path("root"));
    std::fs::write(&hubs, "passphrase of the hub\n").unwrap();
    std::fs::write(&own, "passphrase of the file\n").unwrap();
    let key = KeyPair::generate();
    let (pin, pem) = (key.spki_sha256().to_string(), key.to_pem());
    let keys = PassphraseKey::new(&Secret::new("passphrase of the hub")).unwrap();
    let sealed = STANDARD.encode(seal::seal(&keys, ROOT_KEY, pem.expose().as_bytes()).unwrap());
    let export = |to: &str| format!("ca root export --authority agents --to {to} --passphrase {own} --seal-key {hubs}");
    let (ran, asked) = against(&export(&file), 200, json!({"pin": pin, "sealed": sealed}));
    assert_eq!((ran.code, asked[0].line.as_str()), (0, "POST /api/v1/ca/root/export"), "{}", ran.err);
    assert!(ran.err.contains(&pin) && ran.err.contains("ca root remove"), "{}", ran.err);
    let (ran, _) = against(&export(&path("other")), 200, json!({"pin": "sha256:00", "sealed": sealed}));
    assert!(ran.code == 1 && ran.err.contains("another key"), "{}", ran.err);

    let (ran, asked) = against(&format!("ca root remove {file} --passphrase {hubs}"), 200, status("standby"));
    assert_eq!((ran.code, asked.len()), (4, 0), "{}", ran.err);
    for (line, action) in [("remove", "remove"), ("import", "import"), ("import --once", "use")] {
        let (ran, asked) = against(&format!("ca root {line} {file} --passphrase {own}"), 200, status("standby"));
        assert_eq!((ran.code, asked[0].line.clone()), (0, format!("POST /api/v1/ca/root/{action}")), "{}", ran.err);
        assert_eq!(serde_json::from_slice::<Value>(&asked[0].body).unwrap(), json!({"key": pem.expose()}));
        assert!(!ran.out.contains("PRIVATE") && !ran.err.contains("PRIVATE"));
    }
    let none = path("none");
    let import = roadstead(&format!("ca root import {file} --passphrase {own} --data {none}"), &[]);
    assert!(import.code == 1 && import.err.contains("no store"), "{}", import.err);
}

#[test]
fn status_says_where_each_roots_key_is_and_warns_in_time() {
    let mut answer = status("standby");
    let (ran, _) = against("ca status", 200, answer.clone());
    assert!(ran.out.contains("ROOT KEY") && !ran.err.contains("offline"), "{}{}", ran.out, ran.err);
    answer["authorities"][0]["rootKeyOffline"] = json!(true);
    for (due, warns) in [("2099-01-02T03:04:05Z", false), ("2026-01-02T03:04:05Z", true)] {
        answer["authorities"][0]["issuingDue"] = json!(due);
        let (ran, _) = against("ca status", 200, answer.clone());
        assert_eq!((ran.out.contains("offline"), ran.err.contains("ca root import")), (true, warns), "{}", ran.err);
    }
}
