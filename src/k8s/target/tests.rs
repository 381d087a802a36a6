//! Which targets pass the strict gate; the corpus beside it says what becomes of each form.

use proptest::prelude::*;

use super::TargetError as E;
use super::*;

fn refused(raw: &str) -> TargetError {
    ProxyTarget::parse(raw).expect_err(raw)
}

#[test]
fn a_target_splits_into_cluster_and_untouched_rest() {
    for rest in [
        "/",
        "/api",
        "/api/v1/pods?limit=500&continue=abc%3D%3D",
        "/api/v1/namespaces/kube-system/configmaps/",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
        "/openapi/v3/apis/apps/v1?hash=AB%2FCD",
    ] {
        let raw = format!("/clusters/edge-1{rest}");
        let target = ProxyTarget::parse(&raw).unwrap();
        assert_eq!((target.cluster(), target.api().unwrap().path_and_query()), ("edge-1", rest));
        assert_eq!(target.redirect(), None);
    }
}

#[test]
fn a_bare_cluster_redirects_with_its_prefix_and_query() {
    for (raw, to) in [("/clusters/a", "/clusters/a/"), ("/clusters/a?x=%2F", "/clusters/a/?x=%2F")] {
        let target = ProxyTarget::parse(raw).unwrap();
        assert_eq!(target.api(), None);
        assert_eq!(target.redirect().as_deref(), Some(to));
    }
}

#[test]
fn traffic_of_real_clients_passes() {
    for raw in include_str!("corpus.txt").lines() {
        let target = ApiTarget::parse(raw).unwrap_or_else(|e| panic!("{raw}: {e}"));
        assert_eq!(target.path_and_query(), raw);
    }
}

/// Security § 9 B: T035 to T038, each with where it went wrong.
#[test]
fn ambiguous_paths_are_refused_where_they_are_ambiguous() {
    for (path, error) in [
        ("/api/v1/namespaces/a/../b/pods", E::DotSegment { at: 21 }),
        ("/api/%2e%2e/v1", E::DotSegment { at: 5 }),
        ("/api/%2E./v1", E::DotSegment { at: 5 }),
        ("/api/.%2e", E::DotSegment { at: 5 }),
        ("/api/./", E::DotSegment { at: 5 }),
        ("/..", E::DotSegment { at: 1 }),
        ("//api/v1", E::EmptySegment { at: 1 }),
        ("/api//v1", E::EmptySegment { at: 5 }),
        ("/api/v1//", E::EmptySegment { at: 8 }),
        ("/api%2fv1", E::HiddenSlash { at: 4 }),
        ("/api/v1/pods%5Cx", E::HiddenSlash { at: 12 }),
        ("/api\\v1", E::HiddenSlash { at: 4 }),
        ("/api/%252fv1", E::DoubleEncoding { at: 5 }),
        ("/api/%25", E::DoubleEncoding { at: 5 }),
        ("/api/%2", E::BadEscape { at: 5 }),
        ("/api/%/2f", E::BadEscape { at: 5 }),
        ("/api/%zz", E::BadEscape { at: 5 }),
        ("/api/v1;x=1/pods", E::ForbiddenByte { at: 7, byte: b';' }),
        ("/api/v1%3bx", E::ForbiddenByte { at: 7, byte: b';' }),
        ("/api/v1/pods%00", E::ForbiddenByte { at: 12, byte: 0 }),
        ("/api/v1/pods#x", E::ForbiddenByte { at: 12, byte: b'#' }),
        ("/api/v1/p\u{7f}", E::ForbiddenByte { at: 9, byte: 0x7f }),
        ("/api/v1/p\u{e9}", E::ForbiddenByte { at: 9, byte: 0xc3 }),
        ("/api/v1/p q", E::ForbiddenByte { at: 9, byte: b' ' }),
        ("/api/v1/p%0d%0aq", E::ForbiddenByte { at: 9, byte: b'\r' }),
        ("/api/v1/%c0%af", E::NotUtf8 { at: 8 }),
        ("/api/v1/%e0%80%ae", E::NotUtf8 { at: 8 }),
        ("/api/v1/%c2%85", E::ForbiddenByte { at: 8, byte: 0x80 }),
    ] {
        assert_eq!(ApiTarget::parse(path), Err(error), "{path}");
        // The same path below a cluster fails at the same byte of the whole target.
        assert!(ProxyTarget::parse(&format!("/clusters/edge-1{path}")).is_err(), "{path}");
    }
}

#[test]
fn offsets_count_from_the_start_of_the_whole_target() {
    assert_eq!(refused("/clusters/a/api//v1"), E::EmptySegment { at: 16 });
    assert_eq!(refused("/clusters/a/api?x=;"), E::ForbiddenByte { at: 18, byte: b';' });
    assert_eq!(refused("/clusters/a?x=%z"), E::BadEscape { at: 14 });
}

/// T039, and every encoding in a name.
#[test]
fn a_cluster_name_is_exactly_a_dns_label() {
    let long = format!("/clusters/{}/api", "a".repeat(64));
    for raw in ["/clusters/", "/clusters//api", "/clusters/%70rod/api", "/clusters/PROD/", "/clusters/-a/", &long] {
        assert!(matches!(refused(raw), E::ClusterName { .. }), "{raw}");
    }
    for raw in ["/clusters/%2e%2e/api", "/clusters/..", "/clusters/a.b/", "/clusters/pr\u{43e}d/", "/clusters/a-/"] {
        assert!(matches!(refused(raw), E::ClusterName { .. }), "{raw}");
    }
    assert_eq!(ProxyTarget::parse("/clusters/prod-eu/api").unwrap().cluster(), "prod-eu");
    assert_eq!(ProxyTarget::parse(&format!("/clusters/{}/", "0".repeat(63))).unwrap().cluster().len(), 63);
}

#[test]
fn other_forms_are_not_proxied() {
    for raw in ["", "*", "http://evil/clusters/a/api", "evil:443"] {
        assert_eq!(refused(raw), E::NotOriginForm, "{raw}");
    }
    for raw in ["/", "/clusters", "/Clusters/a/api", "/%63lusters/a", "//clusters/a", "/api/v1/clusters/a"] {
        assert_eq!(refused(raw), E::NotProxied, "{raw}");
    }
}

#[test]
fn a_proxied_tail_is_opaque_but_cannot_climb() {
    let services = "/api/v1/namespaces/demo/services/https:web:443/proxy";
    for base in [services, "/api/v1/namespaces/demo/pods/web-0:8080/proxy", "/api/v1/nodes/n1:10250/proxy"] {
        for tail in ["", "/", "/a//b", "/a%2Fb", "/a%252Fb", "/x;v=1", "/{id}/[1]|\"", "/...", "/a..b", "/%zz", "/%25"]
        {
            assert!(ApiTarget::parse(&format!("{base}{tail}")).is_ok(), "{base}{tail}");
        }
        for tail in [
            "/..",
            "/a/../b",
            "/%2e%2e/",
            "/a%2f..%2fb",
            "/a%5c..",
            "/a\\..\\b",
            "/%252e%252e",
            "/..;x/",
            "/.",
            "/%00",
            "/%25252525252525252e",
            "/a#b",
            "/\u{e9}",
        ] {
            assert!(ApiTarget::parse(&format!("{base}{tail}")).is_err(), "{base}{tail}");
        }
    }
    // Not a tail: the word is encoded, or the resource is another one.
    assert!(ApiTarget::parse("/api/v1/nodes/n1/%70roxy/a//b").is_err());
    assert!(ApiTarget::parse("/api/v1/namespaces/a/secrets/x/proxy/a//b").is_err());
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(raw in "\\PC{0,80}") {
        let _ = ProxyTarget::parse(&raw);
        let _ = ApiTarget::parse(&raw);
    }

    #[test]
    fn nearly_valid_text_never_panics_and_is_never_altered(rest in "(/([a-z.%25fFcC;\\\\:]|%2[ef5]|proxy|api|v1|nodes){0,6}){0,9}(\\?[a-z=&%0-9+]{0,9})?") {
        let raw = format!("/clusters/edge-1{rest}");
        if let Ok(target) = ProxyTarget::parse(&raw) {
            prop_assert_eq!(target.api().map_or("", |a| a.path_and_query()).len() + 16, if target.api().is_some() { raw.len() } else { 16 });
        }
    }
}
