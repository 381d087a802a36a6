//! The commands of the authorities against a hub that answers as told.

use serde_json::{Value, json};

use super::super::tests::{against, roadstead};

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
