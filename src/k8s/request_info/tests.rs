//! What requests mean to Kubernetes: as its own RequestInfo, form by form.

use proptest::prelude::*;

use super::*;

fn info(method: &str, raw: &str) -> RequestInfo {
    let target = ApiTarget::parse(raw).unwrap_or_else(|e| panic!("{raw}: {e}"));
    RequestInfo::new(&method.parse().unwrap(), &target).unwrap_or_else(|e| panic!("{method} {raw}: {e}"))
}

/// `verb group/version namespace resource/subresource name`, `-` for what is absent.
fn line(info: &RequestInfo) -> String {
    let Some(r) = info.resource() else { return format!("{} {}", info.verb(), info.path()) };
    let dash = |o: &Option<String>| o.clone().unwrap_or_else(|| "-".to_owned());
    let sub = r.subresource.as_ref().map_or(String::new(), |s| format!("/{s}"));
    format!("{} {}/{} {} {}{sub} {}", info.verb(), r.group, r.version, dash(&r.namespace), r.resource, dash(&r.name))
}

/// The API server's own table (`requestinfo_test.go`), and the shapes of § 2.2.
#[test]
fn requests_are_read_as_the_api_server_reads_them() {
    for (method, raw, expected) in [
        ("GET", "/api/v1/namespaces", "list /v1 - namespaces -"),
        ("GET", "/api/v1/namespaces/other", "get /v1 other namespaces other"),
        ("GET", "/api/v1/namespaces/other/status", "get /v1 other namespaces/status other"),
        ("PUT", "/api/v1/namespaces/other/finalize", "update /v1 other namespaces/finalize other"),
        ("GET", "/api/v1/namespaces/other/pods", "list /v1 other pods -"),
        ("GET", "/api/v1/namespaces/other/pods/", "list /v1 other pods -"),
        ("GET", "/api/v1/namespaces/other/pods/foo", "get /v1 other pods foo"),
        ("HEAD", "/api/v1/namespaces/other/pods/foo", "get /v1 other pods foo"),
        ("HEAD", "/api/v1/pods", "list /v1 - pods -"),
        ("GET", "/api/v1/pods", "list /v1 - pods -"),
        ("GET", "/api/v1/nodes/n1", "get /v1 - nodes n1"),
        ("GET", "/api/v1/proxy/namespaces/other/pods/foo", "proxy /v1 other pods foo"),
        ("GET", "/api/v1/proxy/namespaces/other/pods/foo/sub", "proxy /v1 other pods foo"),
        ("POST", "/api/v1/proxy/nodes/n1", "proxy /v1 - nodes n1"),
        ("GET", "/api/v1/watch/pods", "watch /v1 - pods -"),
        ("GET", "/api/v1/watch/namespaces/other/pods/foo", "watch /v1 other pods foo"),
        ("GET", "/api/v1/pods?watch=true", "watch /v1 - pods -"),
        ("GET", "/api/v1/pods?watch=false", "list /v1 - pods -"),
        ("GET", "/api/v1/pods?watch=false&watch=true", "watch /v1 - pods -"),
        ("GET", "/api/v1/namespaces/other/pods/foo?watch=1", "get /v1 other pods foo"),
        ("GET", "/api/v1/pods?watch=1&fieldSelector=metadata.name%3Dfoo", "watch /v1 - pods foo"),
        ("GET", "/api/v1/namespaces/x/pods?fieldSelector=metadata.name%3Dfoo", "list /v1 x pods foo"),
        ("DELETE", "/api/v1/namespaces/other/pods", "deletecollection /v1 other pods -"),
        ("DELETE", "/api/v1/pods?fieldSelector=metadata.name%3Dfoo", "deletecollection /v1 - pods -"),
        ("DELETE", "/api/v1/namespaces/other", "delete /v1 other namespaces other"),
        ("POST", "/api/v1/namespaces/other/pods/foo/exec?command=ls", "create /v1 other pods/exec foo"),
        ("GET", "/api/v1/namespaces/other/pods/foo/%65xec", "get /v1 other pods/exec foo"),
        ("GET", "/api/v1/namespaces/other/pods/foo/proxy/a//b", "get /v1 other pods/proxy foo"),
        ("PATCH", "/apis/apps/v1/namespaces/x/deployments/d/scale", "patch apps/v1 x deployments/scale d"),
        ("GET", "/apis/apps/v1/watch/deployments", "watch apps/v1 - deployments -"),
        ("GET", "/apis/g/v1/clusterroles/system%3Anode", "get g/v1 - clusterroles system:node"),
        ("GET", "/api", "get /api"),
        ("GET", "/api/v1", "get /api/v1"),
        ("GET", "/apis/apps/v1", "get /apis/apps/v1"),
        ("GET", "/apis/apps/v1/", "get /apis/apps/v1/"),
        ("POST", "/healthz", "post /healthz"),
        ("GET", "/namespaces/other/pods", "get /namespaces/other/pods"),
        ("OPTIONS", "/version", "options /version"),
        ("GET", "/", "get /"),
    ] {
        assert_eq!(line(&info(method, raw)), expected, "{method} {raw}");
    }
}

#[test]
fn traffic_of_real_clients_is_understood() {
    for raw in include_str!("../target/corpus.txt").lines() {
        assert_eq!(info("GET", raw).method(), Method::GET, "{raw}");
    }
}

#[test]
fn unknown_shapes_are_denied() {
    for (method, raw) in [
        ("GET", "/api/v1/watch"),
        ("GET", "/api/v1/proxy/"),
        ("GET", "/apis/apps/v1/watch"),
        ("OPTIONS", "/api/v1/pods"),
        ("DELETE", "/api/v1/watch/pods"),
        ("TRACE", "/api"),
        ("CONNECT", "/api/v1/pods"),
        ("PURGE", "/api/v1/pods/x"),
    ] {
        let target = ApiTarget::parse(raw).unwrap();
        assert!(RequestInfo::new(&method.parse().unwrap(), &target).is_err(), "{method} {raw}");
    }
}

#[test]
fn long_running_is_what_the_api_server_says() {
    for (method, raw, long) in [
        ("GET", "/api/v1/pods?watch=1", true),
        ("GET", "/api/v1/watch/pods", true),
        ("GET", "/api/v1/namespaces/x/pods/p?watch=1", false),
        ("GET", "/api/v1/proxy/nodes/n", true),
        ("GET", "/api/v1/namespaces/x/pods/p/log", true),
        ("POST", "/api/v1/namespaces/x/pods/p/exec", true),
        ("POST", "/api/v1/namespaces/x/pods/p/attach", true),
        ("POST", "/api/v1/namespaces/x/pods/p/portforward", true),
        ("GET", "/api/v1/namespaces/x/services/s/proxy/a", true),
        ("GET", "/debug/pprof/heap", true),
        ("GET", "/debug/pprof", false),
        ("GET", "/api/v1/pods", false),
        ("PATCH", "/api/v1/namespaces/x/pods/p/ephemeralcontainers", false),
    ] {
        assert_eq!(info(method, raw).is_long_running(), long, "{method} {raw}");
    }
}

/// Security § 6.3, T049 to T051.
#[test]
fn each_request_needs_its_class_of_power() {
    use Capability as C;
    for (method, raw, upgrade, capability) in [
        ("GET", "/api/v1/pods", false, C::Read),
        ("GET", "/api/v1/pods?watch=1", false, C::Read),
        ("GET", "/api/v1/watch/pods", false, C::Read),
        ("GET", "/openapi/v2", false, C::Read),
        ("POST", "/healthz", false, C::Write),
        ("POST", "/api/v1/namespaces/x/pods", false, C::Write),
        ("DELETE", "/api/v1/namespaces/x/pods", false, C::Write),
        ("PATCH", "/api/v1/nodes/n/status", false, C::Write),
        ("GET", "/api/v1/nodes/n/status", false, C::Read),
        ("GET", "/api/v1/namespaces/x/pods/p/exec", true, C::Exec),
        ("GET", "/api/v1/namespaces/x/pods/p/exec", false, C::Exec),
        ("POST", "/api/v1/namespaces/x/pods/p/attach", true, C::Exec),
        ("GET", "/api/v1/namespaces/x/pods/p/portforward", true, C::PortForward),
        ("GET", "/api/v1/namespaces/x/pods/p/proxy/", false, C::Proxy),
        ("GET", "/api/v1/namespaces/x/services/s/proxy/", false, C::Proxy),
        ("GET", "/api/v1/proxy/namespaces/x/services/s", false, C::Proxy),
        ("GET", "/api/v1/nodes/n/proxy/exec/a/b/c", false, C::NodesProxy),
        ("GET", "/api/v1/nodes/n/proxy/run", true, C::NodesProxy),
        ("GET", "/api/v1/proxy/nodes/n/exec", false, C::NodesProxy),
        ("GET", "/api/v1/nodes/n/metrics", false, C::NodesProxy),
        ("GET", "/api/v1/nodes/n/log", false, C::NodesProxy),
        ("GET", "/apis/metrics.k8s.io/v1beta1/nodes/n", false, C::Read),
        ("GET", "/api/v1/namespaces/x/secrets", false, C::Secrets),
        ("GET", "/api/v1/watch/secrets", false, C::Secrets),
        ("HEAD", "/api/v1/namespaces/x/secrets/s", false, C::Secrets),
        ("POST", "/api/v1/namespaces/x/secrets", false, C::Write),
        ("POST", "/api/v1/namespaces/x/serviceaccounts/a/token", false, C::Secrets),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", false, C::Read),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", false, C::Write),
        ("GET", "/apis/subresources.kubevirt.io/v1/namespaces/x/vmis/v/portforward/22", true, C::PortForward),
        ("GET", "/api/v1/pods", true, C::Write),
    ] {
        assert_eq!(info(method, raw).capability(upgrade), capability, "{method} {raw} upgrade={upgrade}");
    }
}

#[test]
fn changing_a_secret_also_reads_it() {
    for (method, raw, second) in [
        ("PATCH", "/api/v1/namespaces/x/secrets/s", Some(Capability::Secrets)),
        ("DELETE", "/api/v1/namespaces/x/secrets", Some(Capability::Secrets)),
        ("POST", "/api/v1/namespaces/x/secrets", None),
        ("GET", "/api/v1/namespaces/x/secrets/s", None),
        ("PATCH", "/api/v1/namespaces/x/configmaps/s", None),
        ("GET", "/version", None),
    ] {
        assert_eq!(info(method, raw).also_requires(), second, "{method} {raw}");
    }
}

#[test]
fn an_upgrade_with_get_amounts_to_create() {
    for (raw, upgrade, verb) in [
        ("/api/v1/namespaces/x/pods/p/exec", true, Verb::Create),
        ("/api/v1/namespaces/x/pods/p/exec", false, Verb::Get),
        ("/api/v1/namespaces/x/pods/p/attach", true, Verb::Create),
        ("/api/v1/namespaces/x/pods/p/portforward", true, Verb::Create),
        ("/api/v1/nodes/n/proxy/run", true, Verb::Create),
        ("/api/v1/namespaces/x/services/s/proxy/", true, Verb::Get),
        ("/api/v1/pods", true, Verb::List),
    ] {
        assert_eq!(info("GET", raw).effective_verb(upgrade), verb, "{raw}");
    }
}

#[test]
fn only_plain_reads_may_be_repeated() {
    for (method, raw, safe, discovery) in [
        ("GET", "/api/v1/pods", true, false),
        ("GET", "/api/v1/namespaces/x/secrets", true, false),
        ("GET", "/api", true, true),
        ("GET", "/apis/apps/v1", true, true),
        ("GET", "/openapi/v3/apis/apps/v1?hash=x", true, true),
        ("GET", "/version", true, true),
        ("GET", "/healthz", true, false),
        ("POST", "/version", false, false),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", false, false),
        ("GET", "/api/v1/namespaces/x/pods/p/proxy/", false, false),
        ("GET", "/api/v1/proxy/nodes/n", false, false),
        ("GET", "/api/v1/namespaces/x/pods/p/exec", false, false),
        ("GET", "/api/v1/namespaces/x/pods/p/log", true, false),
        ("DELETE", "/api/v1/namespaces/x/pods/p", false, false),
    ] {
        let info = info(method, raw);
        assert_eq!((info.is_safe(), info.is_discovery()), (safe, discovery), "{method} {raw}");
    }
}

#[test]
fn streaming_is_of_the_core_group_only() {
    for (raw, streaming) in [
        ("/api/v1/namespaces/x/pods/p/exec", Some(Streaming::Exec)),
        ("/api/v1/namespaces/x/pods/p/attach", Some(Streaming::Attach)),
        ("/api/v1/namespaces/x/pods/p/portforward", Some(Streaming::PortForward)),
        ("/api/v1/nodes/n/proxy/", Some(Streaming::Proxy)),
        ("/api/v1/pods", None),
        ("/api/v1/namespaces/x/pods/p/log", None),
        ("/apis/g/v1/namespaces/x/pods/p/exec", None),
        ("/api/v1/namespaces/x/secrets/p/exec", None),
    ] {
        assert_eq!(info("GET", raw).streaming(), streaming, "{raw}");
    }
}

proptest! {
    #[test]
    fn any_target_that_passes_the_gate_is_read_or_refused(
        method in "GET|POST|DELETE|OPTIONS|FOO",
        raw in "/(api|apis|x)(/(v1|watch|proxy|namespaces|pods|nodes|exec|status|%61|[a-z]{1,3})){0,7}(\\?(watch|fieldSelector)=([a-z=,.!]|%5C|%3D){0,9})?",
    ) {
        let Ok(target) = ApiTarget::parse(&raw) else { return Ok(()) };
        if let Ok(info) = RequestInfo::new(&method.parse().unwrap(), &target) {
            for upgrade in [false, true] {
                let _ = (info.capability(upgrade), info.effective_verb(upgrade));
            }
            prop_assert!(!info.is_safe() || info.capability(false) != Capability::Write);
        }
    }
}
