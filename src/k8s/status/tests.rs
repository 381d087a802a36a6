//! Each Status is what kubectl shows: its code, its reason, its words.

use proptest::prelude::*;

use super::*;

fn all() -> Vec<Status> {
    vec![
        Status::new(Reason::ServiceUnavailable, "cluster edge-1: agent not connected").with_retry_after(Some(1)),
        Status::new(Reason::Unauthorized, "the bearer token expired an hour ago"),
        Status::new(Reason::AlreadyExists, "a cluster named edge-1 exists"),
        Status::agent_credential_rejected("edge-1"),
        Status::response_refused("edge-1", "redirect"),
        Status::bad_request("path is encoded twice"),
        Status::method_not_allowed("TRACE"),
        Status::no_such_path(),
    ]
}

#[test]
fn the_body_is_byte_for_byte_what_client_go_decodes() {
    let status = Status::new(Reason::ServiceUnavailable, "cluster edge-1: agent not connected, last seen 5s ago")
        .with_retry_after(Some(1))
        .with_cause("AgentNotConnected", "no live link");
    let expected = concat!(
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"cluster edge-1: agent not "#,
        r#"connected, last seen 5s ago","reason":"ServiceUnavailable","details":{"causes":[{"reason":"AgentNotConnected","#,
        r#""message":"no live link"}],"retryAfterSeconds":1},"code":503}"#,
    );
    assert_eq!(std::str::from_utf8(&status.to_json()).unwrap(), expected);
    assert!(!std::str::from_utf8(&Status::no_such_path().to_json()).unwrap().contains("details"));
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

#[test]
fn a_retry_is_invited_in_header_and_body_alike() {
    for status in all() {
        let parts = status.response_parts();
        assert_eq!(parts.headers.contains_key(RETRY_AFTER), status.retry_after().is_some());
        let told = std::str::from_utf8(&parts.body).unwrap().contains("retryAfterSeconds");
        assert_eq!(told, status.retry_after().is_some());
    }
}

#[test]
fn codes_are_those_of_the_table() {
    let codes: Vec<u16> = all().iter().map(|s| s.code().as_u16()).collect();
    assert_eq!(codes, [503, 401, 409, 502, 502, 400, 405, 404]);
}

#[test]
fn a_warning_is_quoted_ascii_and_bounded() {
    assert_eq!(warning("say \"hi\" \\ \u{e9}\n").to_str().unwrap(), "299 roadstead \"say \\\"hi\\\" \\\\ ??\"");
    assert!(warning(&"\"".repeat(100_000)).len() < 2 * MAX_WARNING + 20);
}

#[test]
fn a_request_id_ends_the_message() {
    assert!(Status::no_such_path().with_request_id("01J").message().ends_with("(request 01J)"));
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
