//! The agent's settings: what is needed, what wins, what is refused.

use super::super::tests::with_env;
use super::*;
use crate::cli::Code;

const PIN: &str = "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn read(args: AgentArgs, env: &[(&str, &str)]) -> Result<agent::Settings, Failure> {
    with_env(env, |context| settings(args, context)).map(|(settings, _)| settings)
}

fn args() -> AgentArgs {
    AgentArgs {
        hub: Some("https://h:8443".into()),
        hub_ca_pin: vec![PIN.into()],
        state: Some("/s".into()),
        ..AgentArgs::default()
    }
}

#[test]
fn hub_pin_and_a_place_for_the_key_suffice() {
    let found = read(args(), &[]).unwrap();
    assert_eq!(found.hub.authority(), "h:8443");
    assert_eq!((found.hub_ca_pins.len(), found.state), (1, StateAt::Directory("/s".into())));
    assert_eq!((found.api_server, found.admin_listen.port()), (ApiServerFrom::InCluster, 0));
    assert!(found.join_token.is_none());
}

#[test]
fn everything_can_come_from_the_environment() {
    let token = Token::generate(TokenKind::Join).reveal();
    let pins = format!("{PIN}, {}", PIN.replace('0', "1"));
    let env = [
        ("ROADSTEAD_HUB", "https://h:8443"),
        ("ROADSTEAD_HUB_CA_PIN", &*pins),
        ("ROADSTEAD_JOIN_TOKEN", token.expose()),
        ("ROADSTEAD_STATE_SECRET", "roadstead/agent-state"),
    ];
    let found = read(AgentArgs::default(), &env).unwrap();
    assert_eq!(found.hub_ca_pins.len(), 2);
    assert!(matches!(found.join_token, Some(JoinToken::Text(_))));
    let place = StateAt::Secret { namespace: "roadstead".into(), name: "agent-state".into() };
    assert_eq!(found.state, place);
}

#[test]
fn a_join_token_file_wins_over_a_join_token_in_the_environment() {
    let env = [("ROADSTEAD_JOIN_TOKEN_FILE", "/t"), ("ROADSTEAD_JOIN_TOKEN", "ignored")];
    assert!(matches!(read(args(), &env).unwrap().join_token, Some(JoinToken::File(path)) if path.ends_with("t")));
}

#[test]
fn a_flag_of_state_wins_over_the_other_kind_in_the_environment() {
    let found = read(args(), &[("ROADSTEAD_STATE_SECRET", "a/b")]).unwrap();
    assert_eq!(found.state, StateAt::Directory("/s".into()));
}

#[test]
fn faults_are_told_together_and_never_show_a_token() {
    let env = [
        ("ROADSTEAD_HUB", "h"),
        ("ROADSTEAD_HUB_CA_PIN", "sha1:00"),
        ("ROADSTEAD_JOIN_TOKEN", "rsj_verysecret"),
        ("ROADSTEAD_STATE", "/s"),
        ("ROADSTEAD_STATE_SECRET", "a/b"),
    ];
    let failure = read(AgentArgs::default(), &env).unwrap_err();
    let text = failure.to_string();
    for expected in ["ROADSTEAD_HUB: ", "ROADSTEAD_HUB_CA_PIN: ", "ROADSTEAD_JOIN_TOKEN: ", "are both set; keep one"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("verysecret"), "{text}");
    assert_eq!(failure.code(), Code::Usage);
}

#[test]
fn nothing_at_all_says_what_is_needed() {
    let text = read(AgentArgs::default(), &[]).unwrap_err().to_string();
    for expected in ["--hub ", "--hub-ca-pin", "--state DIR"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn secrets_are_named_with_their_namespace() {
    for bad in ["", "a", "/a", "a/", "A/b", "a/b/c", "a/-b"] {
        assert!(state_secret(bad).is_err(), "{bad}");
    }
}

#[test]
fn files_of_another_ca_are_both_given_and_no_other_proof_beside_them() {
    let given = |more: AgentArgs, env: &[(&str, &str)]| {
        read(AgentArgs { cert: Some("/c".into()), ..more }, env).map(|found| found.certificate)
    };
    let both = AgentArgs { key: Some("/k".into()), ..args() };
    let files = CertificateFiles { cert: "/c".into(), key: "/k".into() };
    assert_eq!(given(AgentArgs { key: Some("/k".into()), ..args() }, &[]).unwrap(), Some(files.clone()));
    assert_eq!(given(args(), &[("ROADSTEAD_KEY", "/k")]).unwrap(), Some(files));
    assert!(given(args(), &[]).unwrap_err().to_string().contains("--cert and --key"));
    let uid = AgentArgs { cluster_uid: Some("01jdq3v5c0e8m2k4n6p8r0s2t4".into()), ..both };
    assert!(given(uid, &[]).unwrap_err().to_string().contains("does not join"));
    let token = [("ROADSTEAD_JOIN_TOKEN_FILE", "/t"), ("ROADSTEAD_KEY", "/k")];
    assert!(given(args(), &token).unwrap_err().to_string().contains("does not join"));
}
