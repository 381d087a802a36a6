//! What becomes of the headers of requests and responses, and who may speak for whom.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};
use proptest::prelude::*;

use super::HeaderError as E;
use super::*;
use crate::k8s::{ApiTarget, RequestInfo};

const EXEC: &str = "/api/v1/namespaces/x/pods/p/exec";
const PODS: &str = "/api/v1/pods";

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn info(method: &str, raw: &str) -> RequestInfo {
    RequestInfo::new(&method.parse().unwrap(), &ApiTarget::parse(raw).unwrap()).unwrap()
}

fn sanitise_on(method: &str, raw: &str, pairs: &[(&str, &str)]) -> Result<SanitisedRequest, HeaderError> {
    let mut headers = map(pairs);
    headers.insert("host", HeaderValue::from_static("hub"));
    sanitise_request(&headers, &info(method, raw), Version::HTTP_11)
}

fn sanitise(pairs: &[(&str, &str)]) -> Result<SanitisedRequest, HeaderError> {
    sanitise_on("GET", PODS, pairs)
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    headers.keys().map(HeaderName::as_str).collect()
}

/// T043, T053.
#[test]
fn nothing_that_could_be_an_identity_passes() {
    let clean = sanitise(&[
        ("Authorization", "Bearer secret"),
        ("Cookie", "a=b"),
        ("Proxy-Authorization", "x"),
        ("X-Remote-User", "root"),
        ("X_Remote_Group", "system:masters"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("Forwarded", "for=1.2.3.4"),
        ("X-Real-Ip", "1.2.3.4"),
        ("Audit-ID", "forged"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("Accept", "application/json"),
        ("User-Agent", "kubectl/v1.33.1"),
        ("Kubectl-Session", "s"),
    ]);
    let clean = clean.unwrap();
    assert_eq!(names(&clean.headers), ["accept", "user-agent", "kubectl-session"]);
    assert_eq!((clean.requested, clean.upgrade), (None, None));
}

/// T042: what `Connection` names goes, but it cannot hide that the client asks to be someone.
#[test]
fn connection_cannot_hide_an_impersonation() {
    let clean = sanitise(&[
        ("Connection", "Impersonate-User, Authorization, x-secret"),
        ("Connection", "keep-alive"),
        ("Impersonate-User", "jane"),
        ("X-Secret", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Accept", "*/*"),
    ]);
    let clean = clean.unwrap();
    assert_eq!(names(&clean.headers), ["accept"]);
    assert_eq!(clean.requested.unwrap().user, "jane");
}

/// T041: read in full, forwarded never.
#[test]
fn a_requested_impersonation_is_read_and_not_forwarded() {
    let clean = sanitise(&[
        ("IMPERSONATE-USER", "jane doe"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("impersonate-group", "b,c"),
        ("Impersonate-Extra-Acme.com%2FTeam_x", "red"),
        ("Impersonate-Extra-%2F", "slash"),
    ]);
    let clean = clean.unwrap();
    assert!(clean.headers.is_empty());
    let requested = clean.requested.unwrap();
    assert_eq!((requested.user.as_str(), requested.uid.as_deref()), ("jane doe", Some("7")));
    assert_eq!(requested.groups, ["a", "b,c"]);
    assert_eq!(requested.extras["acme.com/team_x"], ["red"]);
    assert_eq!(requested.extras["/"], ["slash"]);
}

#[test]
fn malformed_impersonations_are_refused() {
    let padded = E::ImpersonationValue { name: "impersonate-user".to_owned() };
    let key = |key: &str| E::ExtraKey { key: key.to_owned() };
    let unknown = |name: &str| E::UnknownImpersonation { name: name.to_owned() };
    for (pairs, error) in [
        (&[("Impersonate-Group", "a")][..], E::ImpersonationWithoutUser),
        (&[("Impersonate-Uid", "a")], E::ImpersonationWithoutUser),
        (&[("Impersonate-Extra-A", "a")], E::ImpersonationWithoutUser),
        (&[("Impersonate-User", "")], padded.clone()),
        (&[("Impersonate-User", "\u{85}a")], padded.clone()),
        (&[("Impersonate-User", " a")], padded),
        (
            &[("Impersonate-User", "a"), ("Impersonate-User", "a")],
            E::RepeatedImpersonation { name: "impersonate-user" },
        ),
        (&[("Impersonate-User", "a"), ("Impersonate-Extra-", "x")], key("")),
        (&[("Impersonate-User", "a"), ("Impersonate-Extra-%zz", "x")], key("%zz")),
        (&[("Impersonate-User", "a"), ("Impersonate-Extra-%+1", "x")], key("%+1")),
        (&[("Impersonate-User", "a"), ("Impersonate-Extra-%ff", "x")], key("%ff")),
        (&[("Impersonate-User", "a"), ("Impersonate-Extra-a%0a", "x")], key("a%0a")),
        (&[("Impersonate_User", "a")], unknown("impersonate_user")),
        (&[("Impersonate-User", "a"), ("Impersonate-Groups", "x")], unknown("impersonate-groups")),
    ] {
        assert_eq!(sanitise(pairs).expect_err("refused"), error, "{pairs:?}");
    }
}

/// T022 to T025, as far as they are visible after parsing.
#[test]
fn ambiguous_framing_is_refused() {
    for pairs in [
        &[("Content-Length", "1"), ("Content-Length", "1")][..],
        &[("Content-Length", "+4")],
        &[("Content-Length", "")],
        &[("Content-Length", "4"), ("Transfer-Encoding", "chunked")],
        &[("Transfer-Encoding", "gzip"), ("Transfer-Encoding", "chunked")],
        &[("Transfer-Encoding", "gzip, chunked")],
        &[("Transfer-Encoding", "xchunked")],
    ] {
        assert_eq!(sanitise(pairs).expect_err("refused"), E::Framing, "{pairs:?}");
    }
    assert!(sanitise(&[("Transfer-Encoding", "chunked")]).unwrap().headers.is_empty());
    assert_eq!(names(&sanitise(&[("Content-Length", "12")]).unwrap().headers), ["content-length"]);
    let check = |headers: &HeaderMap, version| sanitise_request(headers, &info("GET", PODS), version).map(drop);
    assert_eq!(check(&HeaderMap::new(), Version::HTTP_11), Err(E::MissingHost));
    assert_eq!(check(&HeaderMap::new(), Version::HTTP_2), Ok(()));
    assert_eq!(check(&map(&[("host", "a"), ("host", "a")]), Version::HTTP_2), Err(E::RepeatedHost));
    assert_eq!(check(&map(&[("host", "a"), ("connection", "a b")]), Version::HTTP_11), Err(E::Connection));
}

#[test]
fn the_two_protocols_of_kubectl_are_recognised() {
    let spdy = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v4.channel.k8s.io")];
    let clean = sanitise_on("POST", EXEC, &[&spdy[..], &[("Content-Length", "0")]].concat()).unwrap();
    assert_eq!(clean.upgrade, Some(Upgrade::Spdy));
    assert_eq!(names(&clean.headers), ["x-stream-protocol-version", "content-length"]);
    let websocket = [
        ("Connection", "keep-alive, upgrade"),
        ("Upgrade", "WebSocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Sec-WebSocket-Protocol", "SPDY/3.1+portforward.k8s.io"),
    ];
    let clean = sanitise_on("GET", "/api/v1/namespaces/x/pods/p/portforward", &websocket).unwrap();
    let protocols = vec!["SPDY/3.1+portforward.k8s.io".to_owned()];
    let offer = WebSocketOffer { port_forward: true, protocols };
    assert_eq!(clean.upgrade, Some(Upgrade::WebSocket(offer)));
    assert_eq!(names(&clean.headers), ["sec-websocket-version", "sec-websocket-protocol"]);
    let mut next = clean.headers;
    clean.upgrade.unwrap().write_to(&mut next);
    assert_eq!([&next["connection"], &next["upgrade"]], ["Upgrade", "websocket"]);
}

/// T046 to T048.
#[test]
fn other_protocol_switches_are_refused() {
    let up = ("Connection", "Upgrade");
    let ws = ("Upgrade", "websocket");
    for (method, raw, pairs, error) in [
        ("GET", PODS, &[up, ws][..], E::UpgradeNotHere),
        ("GET", "/api/v1/namespaces/x/pods/p/log", &[up, ws], E::UpgradeNotHere),
        ("GET", EXEC, &[up, ("Upgrade", "h2c")], E::UpgradeProtocol),
        ("GET", EXEC, &[up, ("Upgrade", "websocket, h2c")], E::UpgradeProtocol),
        ("GET", EXEC, &[up, ws, ("Upgrade", "h2c")], E::UpgradeProtocol),
        ("GET", EXEC, &[ws], E::HalfUpgrade),
        ("GET", EXEC, &[up], E::HalfUpgrade),
        ("GET", PODS, &[("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c")], E::UpgradeProtocol),
        ("POST", EXEC, &[up, ws], E::UpgradeMethod),
        ("PUT", EXEC, &[up, ("Upgrade", "SPDY/3.1")], E::UpgradeMethod),
        ("POST", EXEC, &[up, ("Upgrade", "SPDY/3.1"), ("Content-Length", "5")], E::UpgradeWithBody),
        ("POST", EXEC, &[up, ("Upgrade", "SPDY/3.1"), ("Transfer-Encoding", "chunked")], E::UpgradeWithBody),
        ("GET", "/api/v1/namespaces/x/pods/p/proxy/", &[up, ("Upgrade", "SPDY/3.1")], E::UpgradeNotHere),
    ] {
        assert_eq!(sanitise_on(method, raw, pairs).expect_err("refused"), error, "{method} {raw} {pairs:?}");
    }
    let headers = map(&[("host", "hub"), up, ws]);
    let refused = sanitise_request(&headers, &info("GET", EXEC), Version::HTTP_2).expect_err("refused");
    assert_eq!(refused, E::UpgradeVersion);
    assert_eq!(crate::k8s::Status::from(&refused).code(), StatusCode::BAD_REQUEST);
}

/// T044.
#[test]
fn a_bearer_subprotocol_is_stripped() {
    let token = "Base64URL.bearer.authorization.k8s.io.c2VjcmV0";
    let base = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    let send = |value: &str| sanitise_on("GET", EXEC, &[&base[..], &[("Sec-WebSocket-Protocol", value)]].concat());
    let clean = send(&format!("{token}, v5.channel.k8s.io,v4.channel.k8s.io")).unwrap();
    assert_eq!(clean.headers["sec-websocket-protocol"], "v5.channel.k8s.io, v4.channel.k8s.io");
    assert!(!format!("{clean:?}").contains("c2VjcmV0"));
    assert_eq!(send(token).expect_err("refused"), E::BearerSubprotocolAlone);
    assert_eq!(send("v4.channel.k8s.io\u{e9}").expect_err("refused"), E::UpgradeProtocol);
    assert!(sanitise(&[("Sec-WebSocket-Protocol", "v5.channel.k8s.io")]).unwrap().headers.is_empty());
}

#[test]
fn identity_is_written_as_kubernetes_reads_it() {
    let identity = Impersonation {
        user: "José".to_owned(),
        uid: Some("7".to_owned()),
        groups: vec!["dev".to_owned(), "ops, on call".to_owned()],
        extras: [("Roadstead.io/Request_id%".to_owned(), vec!["r1".to_owned(), "r2".to_owned()])].into(),
    };
    let headers = identity_headers(&identity).unwrap();
    assert_eq!(headers["impersonate-user"].as_bytes(), "José".as_bytes());
    assert_eq!(headers["impersonate-uid"], "7");
    assert_eq!(headers.get_all("impersonate-group").iter().collect::<Vec<_>>(), ["dev", "ops, on call"]);
    assert_eq!(headers.get_all("impersonate-extra-roadstead.io%2frequest_id%25").iter().count(), 2);
    let mut sent = headers.clone();
    sent.insert("host", HeaderValue::from_static("h"));
    let read = sanitise_request(&sent, &info("GET", PODS), Version::HTTP_11).unwrap().requested.unwrap();
    assert_eq!(identity_headers(&read).unwrap(), headers);
}

#[test]
fn an_identity_that_would_change_on_the_way_is_refused() {
    let user = |user: &str| Impersonation { user: user.to_owned(), ..Impersonation::default() };
    let long = "a".repeat(5000);
    for name in ["", " a", "a\t", "a\r\nImpersonate-Group: system:masters", "a\0", "a\u{9f}", &long] {
        assert_eq!(identity_headers(&user(name)), Err(IdentityError::Value { part: "user" }), "{name:?}");
        let group = Impersonation { groups: vec![name.to_owned()], ..user("a") };
        assert_eq!(identity_headers(&group), Err(IdentityError::Value { part: "group" }), "{name:?}");
    }
    for key in ["", "a\n", " a"] {
        let extras = [(key.to_owned(), vec!["v".to_owned()])].into();
        let refused = identity_headers(&Impersonation { extras, ..user("a") });
        assert_eq!(refused, Err(IdentityError::Key { key: key.to_owned() }));
    }
    let many = Impersonation { groups: vec!["g".to_owned(); 513], ..user("a") };
    assert_eq!(identity_headers(&many), Err(IdentityError::TooMany));
}

/// T045, and what a hostile hub could try.
#[test]
fn the_agent_refuses_what_the_hub_must_not_send() {
    let as_user = |user: &str, group: &str| Impersonation {
        user: user.to_owned(),
        groups: vec![group.to_owned()],
        ..Impersonation::default()
    };
    let none = HeaderMap::new();
    let reserved = |name: &str| Err(GuardError::Reserved { name: name.to_owned() });
    assert_eq!(agent_guard(&none, &as_user("jane", "dev"), &[]), Ok(()));
    assert_eq!(agent_guard(&none, &as_user(" ", "dev"), &[]), Err(GuardError::NoUser));
    assert_eq!(agent_guard(&none, &as_user("jane", "system:masters"), &[]), reserved("system:masters"));
    assert_eq!(agent_guard(&none, &as_user(" System:admin", "dev"), &[]), reserved(" System:admin"));
    let allowed = ["system:authenticated".to_owned()];
    assert_eq!(agent_guard(&none, &as_user("jane", "system:authenticated"), &allowed), Ok(()));
    for name in
        ["Impersonate-User", "Impersonate_Group", "X-Remote-User", "Authorization", "Cookie", "Connection", "TE"]
    {
        let refused = agent_guard(&map(&[(name, "x")]), &as_user("jane", "dev"), &[]);
        assert_eq!(refused, Err(GuardError::IdentityHeader { name: name.to_ascii_lowercase() }));
    }
}

fn answer(status: u16, pairs: &[(&str, &str)], raw: &str) -> Result<HeaderMap, ResponseError> {
    let mut headers = map(pairs);
    let streaming = info("GET", raw).streaming();
    let context = ResponseContext { cluster_prefix: "/clusters/edge-1", streaming, upgrade: None };
    sanitise_response(&mut headers, StatusCode::from_u16(status).unwrap(), &context).map(|()| headers)
}

/// T056.
#[test]
fn a_response_is_data_only() {
    let headers = answer(
        200,
        &[
            ("Connection", "x-hop"),
            ("X-Hop", "1"),
            ("Set-Cookie", "a=b"),
            ("Strict-Transport-Security", "max-age=1"),
            ("Access-Control-Allow-Origin", "*"),
            ("Service-Worker-Allowed", "/"),
            ("Alt-Svc", "h3"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Security-Policy", "default-src *"),
            ("Warning", "299 - \"x\""),
            ("Content-Type", "text/html"),
        ],
        PODS,
    );
    let headers = headers.unwrap();
    let mut left = names(&headers);
    left.sort_unstable();
    assert_eq!(left, ["content-security-policy", "content-type", "warning", "x-content-type-options"]);
    assert_eq!([&headers["x-content-type-options"], &headers["content-security-policy"]], ["nosniff", "sandbox"]);
}

/// T055.
#[test]
fn a_redirect_stays_inside_the_cluster_or_fails() {
    let proxy = "/api/v1/namespaces/x/services/s/proxy/";
    for (location, expected) in [
        ("/api/v1/namespaces/x/services/s/proxy/login?a=b#/home", true),
        ("/apis", true),
        ("http://169.254.169.254/latest", false),
        ("//evil/api/v1", false),
        ("/apiary", false),
        ("/healthz", false),
        ("/api/../../x", false),
        ("/api/%2e%2e/x", false),
        ("login", false),
    ] {
        let answered = answer(302, &[("Location", location)], proxy);
        match answered {
            Ok(headers) => assert_eq!(
                (headers["location"].to_str().unwrap(), true),
                (&*format!("/clusters/edge-1{location}"), expected)
            ),
            Err(error) => assert_eq!((error, false), (ResponseError::Redirect, expected), "{location}"),
        }
    }
    assert!(answer(201, &[("Location", "http://x/")], PODS).unwrap().get("location").is_none());
    assert!(answer(304, &[("ETag", "x")], PODS).is_ok());
}

#[test]
fn a_401_of_the_api_server_is_the_agents_fault() {
    assert_eq!(answer(401, &[], PODS).expect_err("refused"), ResponseError::CredentialRejected);
    let headers = answer(401, &[("WWW-Authenticate", "Basic")], "/api/v1/namespaces/x/services/s/proxy/").unwrap();
    assert!(!headers.contains_key("www-authenticate"));
    let status = ResponseError::CredentialRejected.to_status("edge-1");
    assert_eq!(status.code(), StatusCode::BAD_GATEWAY);
    assert!(status.message().starts_with("cluster edge-1: the api server rejected the agent's credential"));
}

#[test]
fn only_the_switch_that_was_asked_for_passes() {
    let spdy = Upgrade::Spdy;
    let check = |status: u16, pairs: &[(&str, &str)], upgrade: Option<&Upgrade>| {
        let mut headers = map(pairs);
        let context =
            ResponseContext { cluster_prefix: "/clusters/a", streaming: Some(crate::k8s::Streaming::Exec), upgrade };
        sanitise_response(&mut headers, StatusCode::from_u16(status).unwrap(), &context).map(|()| headers)
    };
    let switch =
        [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v4.channel.k8s.io")];
    let headers = check(101, &switch, Some(&spdy)).unwrap();
    assert_eq!(names(&headers), ["x-stream-protocol-version", "connection", "upgrade"], "and nothing else");
    for (pairs, upgrade) in [(&switch[..], None), (&[("Upgrade", "websocket")], Some(&spdy)), (&[], Some(&spdy))] {
        assert_eq!(check(101, pairs, upgrade).expect_err("refused"), ResponseError::UnexpectedSwitch);
    }
    let redirect = check(302, &[("Location", "/api/v1")], Some(&spdy));
    assert_eq!(redirect.expect_err("refused"), ResponseError::Redirect);
}

proptest! {
    #[test]
    fn no_identity_survives_any_headers(pairs in prop::collection::vec(("(impersonate|x-remote|connection|upgrade|authorization|accept|sec-websocket-protocol)[-_]?(user|group|extra-[a-z%2f]{0,4})?", "[ -~]{0,20}"), 0..8)) {
        let mut headers = HeaderMap::new();
        for (name, value) in &pairs {
            let value = HeaderValue::from_str(value.trim()).unwrap();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        headers.insert("host", HeaderValue::from_static("h"));
        if let Ok(clean) = sanitise_request(&headers, &info("GET", EXEC), Version::HTTP_11) {
            let me = Impersonation { user: "me".to_owned(), ..Impersonation::default() };
            prop_assert_eq!(agent_guard(&clean.headers, &me, &[]), Ok(()));
            let asked = headers.keys().any(|n| n.as_str().starts_with("impersonate-"));
            prop_assert_eq!(clean.requested.is_some(), asked);
        }
    }

    #[test]
    fn written_identities_read_back(user in "\\PC{1,20}", group in any::<String>(), key in "\\PC{0,9}", value in any::<String>()) {
        let extras = [(key.to_ascii_lowercase(), vec![value])].into();
        let identity = Impersonation { user, uid: None, groups: vec![group], extras };
        if let Ok(mut headers) = identity_headers(&identity) {
            headers.insert("host", HeaderValue::from_static("h"));
            let read = sanitise_request(&headers, &info("GET", PODS), Version::HTTP_11).unwrap();
            prop_assert_eq!(read.requested, Some(identity));
        }
    }
}
