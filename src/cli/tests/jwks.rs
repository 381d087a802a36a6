//! The keys of a cluster against a hub.

use super::*;

const KEYS: &str = r#"{"keys":[{"use":"sig","kty":"EC","kid":"a","crv":"P-256","alg":"ES256",
    "x":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE","y":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI"}]}"#;

fn view() -> Value {
    let shown = |kid: &str, by: &str| json!({"keys": [{"kid": kid, "alg": "ES256", "thumbprint": "sha256:00"}], "at": "2026-01-02T03:04:05Z", "by": by});
    json!({"cluster": "edge-1", "serviceAccount": "roadstead/roadstead-agent", "pinned": shown("a", "agent"), "pending": shown("b", "agent")})
}

#[test]
fn keys_are_shown_set_and_accepted() {
    let (ran, asked) = against("cluster jwks show edge-1", 200, view());
    assert_eq!(asked[0].line, "GET /api/v1/clusters/edge-1/jwks");
    let lines: Vec<_> = ran.out.lines().collect();
    assert!(lines[1].starts_with("pinned   a") && lines[2].starts_with("waits    b"), "{}", ran.out);
    assert!(ran.err.contains("jwks accept edge-1"), "{}", ran.err);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, KEYS).unwrap();
    let line = format!("cluster jwks set edge-1 {} --service-account fleet/agent -o json", file.display());
    let (ran, asked) = against(&line, 200, view());
    assert_eq!((ran.code, asked[0].line.as_str()), (0, "POST /api/v1/clusters/edge-1/jwks"), "{}", ran.err);
    let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(body, json!({"jwks": KEYS, "serviceAccount": "fleet/agent"}));
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), view());
    let (_, asked) = against("cluster jwks accept edge-1", 200, view());
    assert_eq!(asked[0].line, "POST /api/v1/clusters/edge-1/jwks/accept");
    let line = format!("cluster add edge-1 --namespace fleet --service-account-jwks {}", file.display());
    let created = json!({"name": "edge-1", "uid": "01u", "token": "rsj_x", "tokenExpires": "2026-11-22T20:00:00Z",
        "hub": "https://hub:8443", "hubCaPin": "sha256:00"});
    let (ran, asked) = against(&line, 201, created);
    let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(
        (&body["jwks"], &body["serviceAccount"]),
        (&json!(KEYS), &json!("fleet/roadstead-agent")),
        "{}",
        ran.err
    );
}

#[test]
fn a_file_that_is_no_key_set_is_told_before_the_hub_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, KEYS.replace("\"x\"", "\"d\":\"AA\",\"x\"")).unwrap();
    let rows = [
        (format!("cluster jwks set edge-1 {}", file.display()), "private key"),
        ("cluster jwks set edge-1 /does/not/exist".to_owned(), "cannot read"),
        (format!("cluster add edge-1 --service-account-jwks {}", file.display()), "private key"),
        ("cluster add edge-1 --service-account nobody".to_owned(), "NAMESPACE/NAME"),
    ];
    for (line, why) in rows {
        let ran = roadstead(&line, &[]);
        assert!(ran.code == 2 && ran.err.contains(why), "{line}: {}", ran.err);
    }
}
