//! Each Status is what kubectl shows: its code, its reason, its words.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn all() -> Vec<Status> {
    vec![
        Status::agent_not_connected("edge-1", Some(Duration::from_secs(42)), false),
        Status::agent_not_connected("edge-1", Some(Duration::from_secs(5)), true),
        Status::cluster_not_granted("edge-1"),
        Status::token_invalid("token expired"),
        Status::policy_denied("edge-1", "no grant has exec"),
        Status::overloaded("streams to this cluster"),
        Status::tunnel_lost_before_dispatch("edge-1"),
        Status::tunnel_lost_after_dispatch("edge-1"),
        Status::tunnel_lost_in_session("edge-1"),
        Status::upstream_lost_in_session("edge-1"),
        Status::upstream_unreachable("edge-1", "connection refused"),
        Status::upstream_lost_after_dispatch("edge-1", "connection reset"),
        Status::upstream_timeout("edge-1"),
        Status::agent_credential_rejected("edge-1"),
        Status::response_refused("edge-1", "redirect"),
        Status::body_too_large(3_145_728),
        Status::head_too_large(),
        Status::bad_request("path is encoded twice"),
        Status::method_not_allowed("TRACE"),
        Status::misdirected(),
        Status::no_such_path(),
        Status::draining(),
        Status::internal("audit"),
    ]
}

#[test]
fn the_body_is_byte_for_byte_what_client_go_decodes() {
    let status = Status::agent_not_connected("edge-1", Some(Duration::from_secs(5)), true);
    let expected = concat!(
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"cluster edge-1: agent not "#,
        r#"connected, last seen 5s ago; check the roadstead agent in that cluster and its way to the hub","#,
        r#""reason":"ServiceUnavailable","details":{"causes":[{"reason":"AgentNotConnected","message":"no live link to "#,
        r#"cluster edge-1, last seen 5s ago"}],"retryAfterSeconds":1},"code":503}"#,
    );
    assert_eq!(std::str::from_utf8(&status.to_json()).unwrap(), expected);
    assert!(!std::str::from_utf8(&Status::head_too_large().to_json()).unwrap().contains("details"));
}

#[test]
fn every_failure_has_one_code_in_line_and_body_and_a_warning() {
    for status in all() {
        let parts = status.response_parts();
        let body: serde_json::Value = serde_json::from_slice(&parts.body).unwrap();
        assert_eq!(body["code"], parts.status.as_u16(), "{status:?}");
        assert_eq!(body["message"], status.message());
        assert_eq!(parts.headers[CONTENT_TYPE], "application/json");
        assert_eq!(parts.headers.contains_key(WWW_AUTHENTICATE), parts.status == StatusCode::UNAUTHORIZED);
        let warning = parts.headers[WARNING].to_str().unwrap();
        assert!(warning.starts_with("299 roadstead \"") && warning.ends_with('"'), "{warning}");
        assert!(warning.len() > 30, "{warning}");
    }
}

/// § 2.9: `Retry-After` is a promise that nothing was executed.
#[test]
fn a_retry_is_invited_only_when_nothing_was_executed() {
    let invited: Vec<_> = all().iter().filter(|s| s.retry_after().is_some()).map(|s| s.message().to_owned()).collect();
    assert_eq!(invited.len(), 5, "{invited:#?}");
    for status in all() {
        assert_eq!(status.response_parts().headers.contains_key(RETRY_AFTER), status.retry_after().is_some());
        assert!(status.retry_after().is_none() || !status.message().contains("may have been executed"));
        let quiet = status.without_retry();
        assert!(!quiet.response_parts().headers.contains_key(RETRY_AFTER));
        assert!(!std::str::from_utf8(&quiet.to_json()).unwrap().contains("retryAfterSeconds"));
    }
}

#[test]
fn failures_of_a_cluster_name_it() {
    for status in all().iter().filter(|s| matches!(s.code().as_u16(), 502..=504)) {
        let named = status.message().starts_with("cluster edge-1: ");
        assert!(named || *status == Status::draining(), "{}", status.message());
    }
}

#[test]
fn codes_are_those_of_the_table() {
    let codes: Vec<u16> = all().iter().map(|s| s.code().as_u16()).collect();
    let expected = [
        503, 503, 403, 401, 403, 429, 503, 502, 502, 502, 503, 502, 504, 502, 502, 413, 431, 400, 405, 421, 404, 503,
        500,
    ];
    assert_eq!(codes, expected);
}

#[test]
fn a_warning_is_quoted_ascii_and_bounded() {
    assert_eq!(warning("say \"hi\" \\ \u{e9}\n").to_str().unwrap(), "299 roadstead \"say \\\"hi\\\" \\\\ ??\"");
    assert!(warning(&"\"".repeat(100_000)).len() < 2 * MAX_WARNING + 20);
}

#[test]
fn an_age_is_one_unit() {
    for (secs, text) in
        [(0, "0s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (172_800, "2d"), (u64::MAX, "213503982334601d")]
    {
        let status = Status::agent_not_connected("a", Some(Duration::from_secs(secs)), false);
        assert!(status.message().contains(&format!("last seen {text} ago")), "{}", status.message());
    }
    assert!(Status::agent_not_connected("a", None, false).message().contains("never seen"));
    assert!(Status::draining().with_request_id("01J").message().ends_with("(request 01J)"));
}

proptest! {
    #[test]
    fn any_text_makes_a_valid_response(text in any::<String>()) {
        let parts = Status::bad_request(&text).response_parts();
        let body: serde_json::Value = serde_json::from_slice(&parts.body).unwrap();
        prop_assert!(body["message"].as_str().unwrap().ends_with(&text));
        prop_assert!(parts.headers[WARNING].to_str().is_ok());
    }
}
