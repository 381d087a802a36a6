//! Locks, revocations and certificates on the command line.

use super::*;

fn acted(state: &str) -> Value {
    json!({"name": "edge-1", "uid": "01u", "labels": {}, "state": state, "connected": false, "created": "2026-01-02T03:04:05Z",
        "stateReason": "INC-4711 (locked by token:admin)", "stateSince": "2026-01-02T03:04:05Z",
        "nextStep": "`roadstead cluster unlock edge-1` serves it again", "linksClosed": 1})
}

fn certificate() -> Value {
    json!({"serial": "0a1b", "cluster": "edge-1", "clusterUid": "01u", "key": "sha256:00", "state": "superseded", "enrolment": 2,
        "generation": 7, "issued": "2026-01-02T03:04:05Z", "notAfter": "2026-01-03T03:04:05Z"})
}

#[test]
fn locking_says_what_it_did_and_scripts_get_the_cluster() {
    let (ran, asked) = against("cluster lock edge-1 --reason INC-4711", 200, acted("locked"));
    assert_eq!((ran.code, asked[0].line.as_str()), (0, "POST /api/v1/clusters/edge-1/lock"), "{}", ran.err);
    assert_eq!(serde_json::from_slice::<Value>(&asked[0].body).unwrap(), json!({"reason": "INC-4711"}));
    assert!(ran.out.is_empty() && ran.err.contains("its link is closed") && ran.err.contains("unlock"), "{}", ran.err);
    for verb in ["lock", "unlock", "revoke"] {
        let (ran, asked) = against(&format!("cluster {verb} edge-1 -o json"), 200, acted("locked"));
        assert_eq!((ran.code, asked[0].line.clone()), (0, format!("POST /api/v1/clusters/edge-1/{verb}")));
        assert_eq!(serde_json::from_slice::<Value>(&asked[0].body).unwrap(), json!({}));
        let value: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((&value["state"], &value["linksClosed"]), (&json!("locked"), &json!(1)));
    }
    let (ran, _) = against("cluster lock edge-1", 403, json!({"message": "token:bob may not manage the hub"}));
    assert_eq!(ran.code, 4);
    assert_eq!(roadstead("cluster lock ../tokens", &[]).code, 3);
}

#[test]
fn show_says_since_when_why_and_what_to_do() {
    let (ran, _) = against("cluster show edge-1", 200, acted("locked"));
    assert!(ran.out.contains(": INC-4711 (locked by token:admin)\n"), "{}", ran.out);
    assert!(ran.err.contains("# `roadstead cluster unlock edge-1`"), "{}", ran.err);
    let (ran, _) = against("cluster show edge-1 -o json", 200, acted("of-a-newer-hub"));
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["nextStep"], acted("")["nextStep"]);
}

#[test]
fn certificates_are_listed_shown_and_revoked_by_serial() {
    let (ran, asked) = against("cert list --cluster edge-1", 200, json!({"items": [certificate()]}));
    assert_eq!(asked[0].line, "GET /api/v1/certificates?cluster=edge-1");
    assert!(ran.out.contains("0a1b     edge-1    superseded   2.7          ended"), "{}", ran.out);
    let (ran, asked) = against("cert show 0A:1b", 200, certificate());
    assert_eq!((ran.code, asked.len()), (3, 0), "no serial, as it is written here");
    let (ran, asked) = against("cert show 0A1B", 200, certificate());
    assert_eq!((ran.code, asked[0].line.as_str()), (0, "GET /api/v1/certificates/0a1b"));
    assert!(ran.out.contains("generation:   2.7\n"), "{}", ran.out);
    let mut answer = certificate();
    answer["linksClosed"] = json!(1);
    let (ran, asked) = against("cert revoke 0a1b --reason INC-4711 -o json", 200, answer.clone());
    assert_eq!((ran.code, asked[0].line.as_str()), (0, "POST /api/v1/certificates/0a1b/revoke"));
    assert_eq!(serde_json::from_slice::<Value>(&asked[0].body).unwrap(), json!({"reason": "INC-4711"}));
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), answer);
    let said = [("revoked", "2026-01-02T04:05:06Z"), ("revokedBy", "token:admin"), ("revokedReason", "INC-4711")];
    said.into_iter().for_each(|(field, text)| answer[field] = json!(text));
    let (ran, _) = against("cert show 0a1b", 200, answer.clone());
    assert!(ran.out.contains(" by token:admin: INC-4711\n"), "{}", ran.out);
    let (ran, _) = against("cert list", 200, json!({"items": [answer]}));
    assert!(ran.out.ends_with("ended   INC-4711\n"), "{}", ran.out);
    assert_eq!(roadstead("cert revoke ../tokens", &[]).code, 3);
    assert_eq!(roadstead("cert list --cluster ../tokens", &[]).code, 3);
}
