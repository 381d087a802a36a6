//! The adversarial corpus: certificates that a program makes anew for every run, each with one thing wrong and with the reason for which it
//! must be refused, by the rule alone and at the end of a whole TLS handshake. No private key is kept anywhere.
//!
//! Requests have a corpus of their own (`csr/tests/corpus.rs`).

pub(super) mod chains;
mod encodings;
mod extensions;
mod names;

use std::collections::HashSet;

use rcgen::CertificateParams;

use super::{agents::refused_agent, cluster, good_uri, reason};
use crate::identity::{
    Serial, SpiffeId, VerifiedPeer,
    ca::profile,
    testing::{HOUR, Holder, World, sign_any},
};

/// The least that the corpus of certificates holds, besides the requests and the hubs.
const LEAST: usize = 100;

/// One certificate chain and the reason for which a hub refuses it.
struct Case {
    /// Its row in the security design § 9 E.
    row: &'static str,
    name: String,
    agent: Holder,
    expected: String,
    /// The reason in a handshake, where TLS itself is in the way of the rule.
    in_handshake: Option<&'static str>,
}

impl Case {
    fn new(row: &'static str, name: impl Into<String>, agent: Holder, expected: impl Into<String>) -> Self {
        Self { row, name: name.into(), agent, expected: expected.into(), in_handshake: None }
    }

    /// A leaf of the agents' CA with the fields of a good one, changed by `change`.
    fn of(
        world: &World,
        row: &'static str,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
        expected: &str,
    ) -> Self {
        let mut params = agent_params(world);
        change(&mut params);
        Self::new(row, name, sign_any(&world.agents, &params), expected)
    }
}

/// The fields of a good agent's leaf, to be broken.
pub(super) fn agent_params(world: &World) -> CertificateParams {
    let id: SpiffeId = good_uri().parse().unwrap();
    profile::agent_leaf(&id, &cluster(), profile::Life::from(world.now, HOUR), Serial::random())
}

fn corpus(world: &World) -> Vec<Case> {
    [names::cases(world), extensions::cases(world), chains::cases(world), encodings::cases(world)]
        .into_iter()
        .flatten()
        .collect()
}

/// T074, T075, T078, T079, T080.
#[test]
fn every_certificate_of_the_corpus_is_refused_with_its_reason() {
    let world = World::new();
    let verifier = world.agent_verifier();
    let mut wrong = Vec::new();
    for Case { row, name, agent, expected, in_handshake } in corpus(&world) {
        let by_rule = match VerifiedPeer::from_chain(&verifier, &agent.chain, world.now) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => reason(&error.into()),
        };
        let by_handshake = refused_agent(&world, agent);
        let in_handshake = in_handshake.unwrap_or(&expected);
        if by_rule != expected || by_handshake != in_handshake {
            wrong.push(format!("{row} {name}: {by_rule} / {by_handshake}, expected {expected} / {in_handshake}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_corpus_is_as_large_as_it_says_and_no_case_is_in_it_twice() {
    let cases = corpus(&World::new());
    assert!(cases.len() >= LEAST, "{}", cases.len());
    let mut names = HashSet::new();
    for Case { name, expected, .. } in &cases {
        assert!(names.insert(name.clone()), "{name}");
        assert_ne!(expected, "accepted", "{name}");
    }
}

/// What looks odd and is in order: were it refused, the cases above might be refused for the wrong reason.
#[test]
fn what_the_corpus_starts_from_is_accepted() {
    let world = World::new();
    let good = world.agent(&cluster());
    let mut with_root = world.agent(&cluster());
    with_root.chain.push(world.agents.root().clone());
    let mut root_first = world.agent(&cluster());
    root_first.chain.insert(1, world.agents.root().clone());
    let mut twice = world.agent(&cluster());
    twice.chain.push(twice.chain[1].clone());
    let cases = [
        ("a good one", good),
        ("fields of a good one", sign_any(&world.agents, &agent_params(&world))),
        ("signed again by hand", encodings::signed_again(&world)),
        ("its name written by hand", encodings::name_by_hand(&world)),
        ("an issuing certificate made by hand", chains::by_another_issuing(&world)),
        ("an extension that nobody knows and need not know", extensions::unknown(&world)),
        // RFC 8446 § 4.4.2 allows what follows the leaf to be in any order and to hold more than is needed.
        ("with the root", with_root),
        ("with the root before the issuing certificate", root_first),
        ("with the issuing certificate twice", twice),
    ];
    for (name, agent) in cases {
        assert_eq!(refused_agent(&world, agent), "accepted", "{name}");
    }
}

/// T075, to the second: a certificate is good in its last second and not in the next, in its first and not in the one before.
#[test]
fn life_is_counted_in_whole_seconds_at_both_ends() {
    let now = time::macros::datetime!(2026-06-01 12:00:00 UTC);
    let world = World::of("fleet.example", now);
    let (chain, verifier) = (world.agent(&cluster()).chain, world.agent_verifier());
    let (first, last) = (now - crate::identity::ca::BACKDATE, now + HOUR);
    let second = time::Duration::SECOND;
    let cases = [
        (first - second, "InvalidCertificate(NotValidYetContext"),
        (first, "accepted"),
        (last, "accepted"),
        (last + second, "InvalidCertificate(ExpiredContext"),
    ];
    for (at, expected) in cases {
        let got = match VerifiedPeer::from_chain(&verifier, &chain, at) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => reason(&error.into()),
        };
        assert_eq!(got, expected, "{at}");
    }
}
