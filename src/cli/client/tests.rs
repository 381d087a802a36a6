//! The client alone: whom it trusts, how long it waits, how much it reads.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::super::client_config::Ca;
use super::super::tests::fake_hub::FakeHub;
use super::*;

fn settings(address: std::net::SocketAddr, ca: &str) -> ClientSettings {
    let hub = format!("https://{address}").parse().unwrap();
    ClientSettings { hub, ca: Ca { pem: ca.to_owned(), system: false }, token: Secret::new("jwt.of.admin"), path: None }
}

fn get(settings: &ClientSettings, limits: Limits) -> Result<Value, Failure> {
    let client = Client::new(settings, limits).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.get("/x"))
}

fn quick() -> Limits {
    Limits { connect: Duration::from_millis(200), answer: Duration::from_millis(200), bytes: 1024 }
}

#[test]
fn a_hub_of_another_ca_is_never_sent_the_token() {
    let (hub, other) = (FakeHub::start(200, b"{}".to_vec()), FakeHub::start(200, b"{}".to_vec()));
    let failure = get(&settings(hub.address, &other.ca), Limits::default()).unwrap_err();
    assert_eq!(failure.code(), Code::Unreachable);
    assert!(failure.to_string().contains("cannot trust the hub"), "{failure}");
    assert!(hub.asked().is_empty());
    assert_eq!(get(&settings(hub.address, &hub.ca), Limits::default()).unwrap(), json!({}));
}

#[test]
fn the_name_in_the_certificate_must_be_the_name_that_was_asked_for() {
    let hub = FakeHub::start(200, b"{}".to_vec());
    let mut settings = settings(hub.address, &hub.ca);
    settings.hub = format!("https://localhost:{}", hub.address.port()).parse().unwrap();
    assert_eq!(get(&settings, Limits::default()).unwrap_err().code(), Code::Unreachable);
    assert!(hub.asked().is_empty());
}

#[test]
fn nobody_there_and_somebody_silent_are_both_unreachable() {
    let ca = FakeHub::start(200, Vec::new()).ca.clone();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, expected) in [(silent.local_addr().unwrap(), "no connection within"), (gone, "refused")] {
        let failure = get(&settings(address, &ca), quick()).unwrap_err();
        assert_eq!(failure.code(), Code::Unreachable);
        assert!(failure.to_string().contains(expected), "{failure}");
    }
}

#[test]
fn an_answer_that_is_too_long_or_no_json_is_a_failure() {
    let rows = [(vec![b' '; 2000], "longer than 1024"), (b"<html>".to_vec(), "cannot be read")];
    for (answer, expected) in rows {
        let hub = FakeHub::start(200, answer);
        let limits = Limits { bytes: 1024, ..Limits::default() };
        let failure = get(&settings(hub.address, &hub.ca), limits).unwrap_err();
        assert_eq!(failure.code(), Code::Failed);
        assert!(failure.to_string().contains(expected), "{failure}");
    }
}

#[test]
fn a_ca_that_is_none_is_a_usage_error() {
    let settings = settings("127.0.0.1:1".parse().unwrap(), "nothing");
    assert_eq!(Client::new(&settings, quick()).err().map(|failure| failure.code()), Some(Code::Usage));
}
