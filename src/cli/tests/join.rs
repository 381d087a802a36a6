//! Join tokens and `cluster rekey` against a hub.

use super::*;

fn created(uses: u32) -> Value {
    json!({"name": "edge-1", "uid": "01u", "labels": {}, "token": "rsj_secret", "tokenId": "abcdefghij", "tokenMaxUses": uses,
        "tokenExpires": "2026-11-22T20:00:00Z", "hub": "https://hub:8443", "hubCaPin": "sha256:00"})
}

#[test]
fn a_join_token_is_printed_alone_and_asked_for_as_told() {
    let line = "cluster token create edge-1 --ttl 2h --max-uses 3 --source 192.0.2.0/24 --source 2001:db8::/32";
    let (ran, asked) = against(line, 201, created(3));
    assert_eq!((ran.code, ran.out.as_str()), (0, "rsj_secret\n"), "{}", ran.err);
    assert!(
        ran.err.contains("abcdefghij") && ran.err.contains("for 3 keys") && !ran.err.contains("rsj_"),
        "{}",
        ran.err
    );
    assert_eq!(asked[0].line, "POST /api/v1/clusters/edge-1/tokens");
    let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(body, json!({"ttlSeconds": 7200, "maxUses": 3, "sources": ["192.0.2.0/24", "2001:db8::/32"]}));
    let (ran, asked) = against("cluster token create edge-1 -o json", 201, created(1));
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), created(1));
    assert_eq!(asked[0].body, br#"{"ttlSeconds":3600}"#, "an older hub would refuse more");
}

#[test]
fn join_tokens_are_listed_with_who_used_them_and_revoked_by_id() {
    let list = json!({"items": [
        {"id": "abcdefghij", "open": false, "maxUses": 1, "sources": ["192.0.2.0/24"], "by": "token:admin",
         "uses": [{"key": "sha256:00", "at": "2026-01-02T03:04:05Z", "from": "192.0.2.7"}],
         "created": "2026-01-02T03:00:00Z", "expires": "2026-01-02T04:00:00Z"},
        {"id": "bbbbbbbbbb", "open": true, "maxUses": 2, "uses": [], "sources": [], "expires": "2999-01-02T04:00:00Z"},
    ]});
    let (ran, asked) = against("cluster token list edge-1", 200, list.clone());
    assert_eq!(asked[0].line, "GET /api/v1/clusters/edge-1/tokens");
    let lines: Vec<_> = ran.out.lines().collect();
    assert!(lines[1].starts_with("abcdefghij   1 of 1   ") && lines[1].contains(" ago from 192.0.2.7 "), "{}", ran.out);
    assert!(
        lines[1].ends_with("expired     192.0.2.0/24   token:admin") || lines[1].contains("192.0.2.0/24   token:admin")
    );
    assert!(lines[2].starts_with("bbbbbbbbbb   0 of 2   -") && lines[2].ends_with("any            -"), "{}", ran.out);
    let (ran, _) = against("cluster token list edge-1 -o json", 200, list.clone());
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["items"][0], list["items"][0]);
    let (ran, asked) = against("cluster token revoke edge-1 abcdefghij -o json", 200, json!({}));
    assert_eq!(asked[0].line, "DELETE /api/v1/clusters/edge-1/tokens/abcdefghij");
    assert_eq!(
        serde_json::from_str::<Value>(&ran.out).unwrap(),
        json!({"id": "abcdefghij", "cluster": "edge-1", "revoked": true})
    );
}

#[test]
fn rekey_prints_a_manifest_with_the_new_token_and_makes_a_new_pod() {
    let (ran, asked) = against("cluster rekey edge-1 --allow-group dev", 201, created(1));
    assert_eq!((ran.code, asked[0].line.as_str()), (0, "POST /api/v1/clusters/edge-1/tokens"), "{}", ran.err);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&ran.out).unwrap();
    let deployment = documents.iter().find(|d| d["kind"] == "Deployment").unwrap();
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["roadstead.dev/join-token"], "abcdefghij");
    assert!(ran.out.contains("rsj_secret") && !ran.err.contains("rsj_"), "{}", ran.err);
    let role = |out: &str| out.contains("\nkind: ClusterRole\n");
    assert!(role(&ran.out) && ran.out.contains("\"dev\""), "{}", ran.out);
    let (ran, _) = against("cluster rekey edge-1", 201, created(1));
    assert!(!role(&ran.out) && ran.err.contains("stays as it is"), "the rights of `cluster add` would be taken away");
    let (ran, _) = against("cluster rekey edge-1 --rights", 201, created(1));
    assert!(role(&ran.out), "{}", ran.out);
    let (ran, _) = against("cluster rekey edge-1 -o json", 201, created(1));
    assert!(serde_json::from_str::<Value>(&ran.out).unwrap()["manifest"].is_string());
}

#[test]
fn what_is_wrong_with_a_join_token_is_told_at_once() {
    let line = "cluster token create edge-1 --ttl 1x --max-uses 0 --source 192.0.2.1/24 --source here";
    let ran = roadstead(line, &[]);
    assert_eq!(ran.code, 2);
    for fault in ["--ttl", "--max-uses", "the range is 192.0.2.0/24", "\"here\" is no range"] {
        assert!(ran.err.contains(fault), "{fault}: {}", ran.err);
    }
    let rows = [
        ("cluster token create ../tokens", 3),
        ("cluster token list a/b", 3),
        ("cluster token revoke edge-1 rsj_whole-token", 3),
        ("cluster rekey edge-1 --allow-user *", 2),
        ("cluster token revoke edge-1", 2),
    ];
    for (line, code) in rows {
        let ran = roadstead(line, &[]);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{line}: {}", ran.err);
        assert!(!ran.err.contains("whole"), "{}", ran.err);
    }
}
