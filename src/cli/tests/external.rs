//! External CAs and names against a hub.

use super::*;

const PIN: &str = "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn ca() -> Value {
    json!({"ca": PIN, "subject": "CN=corp root", "notAfter": "2999-01-02T03:04:05Z", "added": "2026-01-02T03:04:05Z",
        "by": "token:admin", "names": 3, "linksClosed": 2})
}

fn acted() -> Value {
    json!({"name": "edge-1", "uid": "01u", "state": "enrolled", "connected": false, "created": "2026-01-02T03:04:05Z",
        "mapped": [{"ca": PIN, "uri": "spiffe://x/y"}, {"ca": PIN, "dns": "a.example"}], "linksClosed": 1})
}

#[test]
fn external_cas_are_added_listed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("root.pem");
    let pem = crate::identity::ca::to_pem(&crate::identity::testing::external::ExternalWorld::new().root);
    std::fs::write(&file, &pem).unwrap();
    let (ran, asked) = against(&format!("ca external add {}", file.display()), 201, ca());
    assert_eq!((ran.code, asked[0].line.as_str()), (0, "POST /api/v1/ca/external"), "{}", ran.err);
    assert_eq!(serde_json::from_slice::<Value>(&asked[0].body).unwrap(), json!({"certificate": pem}));
    assert_eq!(ran.out, format!("{PIN}\n"), "what a script keeps");
    let (ran, asked) = against("ca external list", 200, json!({"items": [ca()]}));
    assert_eq!(asked[0].line, "GET /api/v1/ca/external");
    assert!(ran.out.contains("CN=corp root   3       in "), "{}", ran.out);
    let (ran, asked) = against(&format!("ca external remove {PIN}"), 200, ca());
    assert_eq!((ran.code, asked[0].line.clone()), (0, format!("DELETE /api/v1/ca/external/{PIN}")));
    assert!(ran.err.contains("3 of its names are forgotten, 2 live links are closed"), "{}", ran.err);
    let (ran, _) = against(&format!("ca external remove {PIN} -o json"), 200, ca());
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), ca());
    std::fs::write(&file, pem.repeat(2)).unwrap();
    let ran = roadstead(&format!("ca external add {}", file.display()), &[]);
    assert!(ran.code == 2 && ran.err.contains("2 certificates"), "{}", ran.err);
    assert_eq!(roadstead("ca external remove ../status", &[]).code, 3);
}

#[test]
fn names_are_mapped_unmapped_listed_and_shown() {
    for (verb, words) in [("map", "now stands for cluster edge-1"), ("unmap", "no longer stands for cluster edge-1")] {
        let (ran, asked) = against(&format!("cluster {verb} edge-1 --ca {PIN} --uri spiffe://x/y"), 200, acted());
        assert_eq!(
            (ran.code, asked[0].line.clone()),
            (0, format!("POST /api/v1/clusters/edge-1/{verb}")),
            "{}",
            ran.err
        );
        let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
        assert_eq!(body, json!({"ca": PIN, "uri": "spiffe://x/y"}));
        assert!(ran.err.contains(&format!("URI spiffe://x/y {words}; 1 live links")), "{}", ran.err);
    }
    let (ran, _) = against("cluster show edge-1", 200, acted());
    assert!(ran.out.contains(&format!("URI spiffe://x/y ({PIN}), DNS a.example ({PIN})")), "{}", ran.out);
    let names = json!({"items": [{"ca": PIN, "dns": "a.example", "cluster": "edge-1", "by": "token:admin"}]});
    let (ran, asked) = against("cluster names", 200, names);
    assert_eq!(asked[0].line, "GET /api/v1/names");
    assert!(ran.out.contains("edge-1    DNS a.example"), "{}", ran.out);
    let bad = [
        (format!("cluster map edge-1 --ca {PIN}"), 2, "--uri"),
        (format!("cluster map edge-1 --ca {PIN} --uri a:b --dns c"), 2, "cannot be used with"),
        (format!("cluster map edge-1 --ca {PIN} --uri spiffe://x/*"), 2, "no patterns"),
        ("cluster map edge-1 --ca corp --dns X".to_owned(), 2, "--ca: a pin"),
        ("cluster map edge-1 --ca corp --dns X".to_owned(), 2, "--dns: not a whole DNS name"),
        (format!("cluster map ../x --ca {PIN} --uri a:b"), 3, "no cluster can be named"),
    ];
    for (line, code, why) in bad {
        let ran = roadstead(&line, &[]);
        assert!(ran.code == code && ran.err.contains(why), "{line}: {} {}", ran.code, ran.err);
    }
}

#[test]
fn a_certificate_of_an_external_ca_is_named_by_its_key() {
    let certificate = json!({"serial": "01", "externalCa": PIN, "names": ["URI spiffe://x/y"], "cluster": "edge-1", "clusterUid": "01u",
        "key": PIN, "state": "current", "notAfter": "2999-01-03T03:04:05Z", "linksClosed": 1});
    let (ran, _) = against("cert list", 200, json!({"items": [certificate]}));
    assert!(ran.out.contains(&format!("{PIN}   edge-1    current   external     in ")), "{}", ran.out);
    let (ran, asked) = against(&format!("cert show {PIN}"), 200, certificate.clone());
    assert_eq!(asked[0].line, format!("GET /api/v1/certificates/{PIN}"));
    assert!(ran.out.contains(&format!("external CA {PIN}")) && ran.out.contains("URI spiffe://x/y"), "{}", ran.out);
    let (ran, asked) = against(&format!("cert revoke {PIN}"), 200, certificate);
    assert_eq!(asked[0].line, format!("POST /api/v1/certificates/{PIN}/revoke"));
    assert!(ran.err.contains(PIN) && ran.err.contains("its link is closed"), "{}", ran.err);
}
