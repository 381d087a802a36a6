//! The rows of the security design § 9 A, E, F and G: each is named, and the tests that run it are, so that a test that is renamed, moved
//! or ignored is missed at once. What is not run, or not whole, says why; the table is printed.

use std::fs;
use std::io::Write;
use std::path::Path;

use By::{Id, Test};
use State::{Later, Partly, Run};

/// What runs a row.
#[derive(Clone, Copy)]
enum By {
    /// This test in this file.
    Test(&'static str, &'static str),
    /// The table of cases in this file, under the row's own number.
    Id(&'static str),
}

/// How far a row is run.
enum State {
    /// All of it.
    Run(&'static [By]),
    /// The rest of it is not there, and why.
    Partly(&'static [By], &'static str),
    /// None of it, and why.
    Later(&'static str),
}

const ENROLMENT: &str = "tests/abuse/enrolment.rs";
const LINKS: &str = "tests/abuse/links.rs";
const FORGE: &str = "tests/abuse/links/forge.rs";
const CORPUS: Named =
    ("src/identity/verify/tests/corpus.rs", "every_certificate_of_the_corpus_is_refused_with_its_reason");
const EXTERNAL: Named = (
    "src/identity/verify/tests/external.rs",
    "every_external_certificate_is_the_cluster_or_the_refusal_that_it_must_be",
);
const REQUESTS: Named = ("src/identity/csr/tests/corpus.rs", "every_request_of_the_corpus_is_refused_with_its_reason");
const HUBS: Named = ("src/identity/verify/tests/hubs.rs", "an_agent_refuses_everything_but_its_hub");
const RENEWAL: Named = ("tests/renewal.rs", "a_certificate_is_renewed_over_the_link_and_nobody_notices");
const REVOCATION: &str = "tests/revocation.rs";
const COPIES: &str = "tests/revocation/copies.rs";
const STATE: &str = "src/agent/run/renewal/tests.rs";
const ACCOUNT: Named =
    ("tests/recovery.rs", "only_the_clusters_own_agent_with_its_own_key_and_a_fresh_nonce_is_let_in");
const JWT: &str = "src/identity/service_account/tests.rs";
const ROTATION: &str = "tests/rotation.rs";
const RULES: &str = "src/identity/rotation/tests.rs";
const PKI: &str = "src/hub/pki/tests.rs";
const TLS: &str = "src/identity/tls/tests.rs";

type Named = (&'static str, &'static str);

const fn of(test: Named) -> By {
    Test(test.0, test.1)
}

/// In the order of the design.
const ROWS: &[(&str, &str, State)] = &[
    ("T001", "a used join token with another key", Run(&[Id(ENROLMENT)])),
    ("T002", "a used join token with the same key", Run(&[Id(ENROLMENT)])),
    (
        "T003",
        "parallel uses of one token",
        Run(&[Id(ENROLMENT), Test("tests/abuse/join_tokens.rs", "a_join_token_is_what_it_was_made_for")]),
    ),
    ("T004", "an expired token", Run(&[Id(ENROLMENT)])),
    (
        "T005",
        "a token whose secret differs",
        Partly(
            &[Test("src/identity/token/tests.rs", "only_the_same_secret_verifies")],
            "that the comparison takes the same time is by its construction (subtle), and is not measured",
        ),
    ),
    (
        "T006",
        "secrets in what is stored",
        Run(&[Test("src/identity/token/tests.rs", "the_secret_is_in_no_printed_or_stored_form")]),
    ),
    (
        "T007",
        "a request that asks for everything",
        Run(&[
            Id(ENROLMENT),
            Test("src/identity/csr/tests/corpus.rs", "what_a_request_asks_for_is_not_in_its_certificate"),
            Test("src/identity/ca/tests.rs", "nothing_but_the_key_is_taken_from_a_request"),
        ]),
    ),
    ("T008", "a request that names another cluster", Run(&[Id(ENROLMENT)])),
    ("T009", "bad requests", Run(&[Id(ENROLMENT), of(REQUESTS)])),
    (
        "T010",
        "two requests with one key",
        Run(&[Id(ENROLMENT), Test("src/identity/ca/tests.rs", "two_certificates_for_one_key_have_different_serials")]),
    ),
    (
        "T011",
        "a ServiceAccount's token of another cluster",
        Run(&[of(ACCOUNT), Test(JWT, "a_token_of_each_algorithm_proves_its_cluster")]),
    ),
    (
        "T012",
        "a ServiceAccount's token for another key",
        Run(&[of(ACCOUNT), Test(JWT, "each_claim_is_exactly_what_it_must_be")]),
    ),
    (
        "T013",
        "a ServiceAccount's token of the wrong kind",
        Run(&[of(ACCOUNT), Test(JWT, "each_claim_is_exactly_what_it_must_be")]),
    ),
    (
        "T014",
        "a nonce that was used, is old or from elsewhere",
        Run(&[of(ACCOUNT), Test("src/hub/enrol/nonce.rs", "a_nonce_is_fresh_for_a_minute_for_its_network_and_once")]),
    ),
    (
        "T015",
        "a key set that shares a key with another cluster's",
        Run(&[of(ACCOUNT), Test("src/hub/directory/attest.rs", "a_key_is_of_one_cluster")]),
    ),
    (
        "T016",
        "a key set that has nothing of the pinned one",
        Run(&[
            Test("tests/recovery.rs", "an_agent_that_lost_its_identity_comes_back_by_itself"),
            Test("src/hub/directory/attest.rs", "keys_follow_an_agent_only_where_they_overlap"),
        ]),
    ),
    ("T017", "a name that exists", Run(&[Id(ENROLMENT)])),
    ("T018", "a cluster that was not accepted", Later("a join token accepts its cluster: there is no such state yet")),
    ("T019", "many enrolments from one address", Run(&[Id(ENROLMENT)])),
    (
        "T020",
        "a hub that is not the pinned one",
        Run(&[Id(ENROLMENT), Test("src/identity/verify/tests/hubs.rs", "https_needs_the_ca_and_the_name")]),
    ),
    ("T021", "secrets in logs", Run(&[Test(ENROLMENT, "no_secret_is_in_any_log")])),
    (
        "T074",
        "certificates of strangers",
        Run(&[
            of(CORPUS),
            Id(LINKS),
            Id(FORGE),
            Test("src/identity/verify/tests/agents.rs", "an_agent_without_a_certificate_is_refused"),
        ]),
    ),
    (
        "T075",
        "expired, and not valid yet",
        Run(&[
            of(CORPUS),
            Id(FORGE),
            Test("src/identity/verify/tests/corpus.rs", "life_is_counted_in_whole_seconds_at_both_ends"),
        ]),
    ),
    ("T076", "a session that is resumed", Run(&[Id(LINKS), Test(TLS, "links_are_never_resumed")])),
    ("T077", "early data", Run(&[Id(LINKS), Test(TLS, "early_data_is_never_accepted")])),
    ("T078", "the wrong extended key usage", Run(&[of(CORPUS), of(EXTERNAL), Id(FORGE)])),
    ("T079", "the wrong name", Run(&[of(CORPUS), of(EXTERNAL), Id(FORGE)])),
    ("T080", "CA certificates, long chains, many bytes", Run(&[of(CORPUS), of(EXTERNAL), Id(FORGE)])),
    (
        "T081",
        "an agent's certificate as a hub's or a user's",
        Run(&[Id(LINKS), of(HUBS), Test(TLS, "links_and_https_do_not_mix")]),
    ),
    ("T082", "a hub with a certificate of the agents' CA", Run(&[Id(LINKS), of(HUBS)])),
    (
        "T083",
        "another protocol, or none",
        Partly(&[Id(LINKS), Test(TLS, "another_protocol_is_refused")], "links over TCP are not built"),
    ),
    ("T084", "TLS 1.2 on links", Run(&[Test(TLS, "tls12_is_refused_on_links")])),
    (
        "T085",
        "one cluster's certificate renews another's",
        Run(&[Id(COPIES), Test(STATE, "answers_that_are_not_for_this_agent_and_key_change_nothing")]),
    ),
    ("T086", "a link that outlives its certificate", Run(&[of(RENEWAL), Id(LINKS)])),
    ("T087", "an external signer that returns something else", Later("external signers are not built yet")),
    (
        "T088",
        "bytes that are no certificate or request",
        Partly(
            &[
                Test("src/identity/verify/tests/agents.rs", "changed_leaves_never_panic_and_never_verify"),
                Test("src/identity/csr/tests.rs", "changed_bytes_never_panic_and_never_change_the_key"),
                Test("src/identity/csr/tests.rs", "no_bytes_panic"),
                of(CORPUS),
            ],
            "no CRL is ever parsed",
        ),
    ),
    (
        "T089",
        "recorded traffic and a key that leaks later",
        Run(&[Test(TLS, "key_exchange_is_hybrid_on_links_and_https")]),
    ),
    ("T090", "renewal under traffic", Partly(&[of(RENEWAL)], "requests and a watch; exec and logs are the lab's")),
    (
        "T091",
        "an agent that ends at any step of a renewal",
        Run(&[
            Test(STATE, "an_agent_that_ends_at_any_step_of_a_renewal_goes_on_with_what_it_left"),
            Test(STATE, "a_write_that_fails_leaves_the_old_identity_and_the_next_write_works"),
            Test(STATE, "two_agents_with_one_place_never_have_two_identities"),
            Test("tests/deploy/shared.rs", "what_one_agent_stored_in_a_shared_secret_is_what_the_other_goes_on_with"),
            Test("src/agent/state/tests.rs", "of_many_writers_at_once_one_wins_and_the_others_learn_of_it"),
            Test("tests/renewal.rs", "a_certificate_that_cannot_be_kept_is_asked_for_again_while_the_old_one_serves"),
        ]),
    ),
    (
        "T092",
        "a hub that ends between signing and answering",
        Run(&[Id(COPIES), Test(STATE, "an_agent_that_ends_at_any_step_of_a_renewal_goes_on_with_what_it_left")]),
    ),
    (
        "T093",
        "rotation of a CA, each phase",
        Run(&[
            Test(ROTATION, "a_rotation_under_traffic_loses_nothing_and_names_the_agent_that_is_away"),
            Test(ROTATION, "a_rollback_from_each_phase_under_traffic_loses_nothing"),
            Test(ROTATION, "a_hub_that_is_killed_at_each_step_goes_on_from_there"),
            Test(ROTATION, "a_suspected_key_signs_no_more_and_its_certificates_are_dead_once_it_is_revoked"),
            Test(
                PKI,
                "a_rotation_swaps_what_is_trusted_signed_with_and_presented_and_survives_a_restart_in_each_phase",
            ),
            Test(PKI, "a_rollback_from_each_phase_ends_with_the_old_keys_and_without_the_new"),
            Test(PKI, "a_rotation_needs_no_offline_key_but_for_a_way_back_that_comes_late"),
            Test(RULES, "each_step_leads_where_the_design_says_or_is_refused"),
            Test(
                "src/identity/rotation/tests/model.rs",
                "whatever_happens_no_agent_is_locked_out_nobody_else_is_let_in_and_the_rotation_ends",
            ),
        ]),
    ),
    (
        "T094",
        "an old root with an agent that still needs it",
        Run(&[
            Test(RULES, "the_old_root_is_not_dropped_under_a_live_laggard_who_was_not_given_up_by_name"),
            Test(RULES, "each_gate_names_who_lacks_what"),
            Test(ROTATION, "a_rotation_under_traffic_loses_nothing_and_names_the_agent_that_is_away"),
        ]),
    ),
    ("T095", "a cloned Secret", Run(&[Id(COPIES)])),
    (
        "T096",
        "5,000 agents that start together",
        Later("the load lab: each renews at two thirds of its life give or take a tenth"),
    ),
    (
        "T097",
        "wrong clocks",
        Partly(
            &[
                Test("src/agent/link.rs", "the_clock_here_is_compared_with_the_hubs"),
                Test("src/agent/doctor/hub.rs", "clocks_may_differ_by_a_minute"),
                Id(COPIES),
                Test("src/hub/links/agent_info.rs", "an_agents_clock_is_compared_with_the_hubs"),
                Test("src/cli/doctor.rs", "clusters_whose_clock_is_off_are_named"),
            ],
            "clocks are read when a link comes up: a jump is seen at the next; an agent that is a year off does not join, and says why",
        ),
    ),
    (
        "T098",
        "a file of the hub's certificate that is wrong",
        Run(&[Test("tests/https.rs", "a_certificate_is_replaced_without_a_restart_and_by_nothing_that_does_not_fit")]),
    ),
    ("T099", "revocation under traffic", Run(&[Id(REVOCATION)])),
    ("T100", "a user loses a grant during exec", Run(&[Id(REVOCATION)])),
    ("T101", "a replica that is cut off from the store", Later("there is one hub")),
    ("T102", "a lock that survives a restart", Run(&[Id(REVOCATION)])),
];

fn read(file: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).ok()
}

/// What is wrong with a reference.
fn fault(id: &str, by: By) -> Option<String> {
    let (file, needle) = match by {
        Test(file, name) => (file, format!("fn {name}(")),
        Id(file) => (file, format!("\"{id}\"")),
    };
    let Some(text) = read(file) else { return Some(format!("{id}: no file {file}")) };
    let Some(at) = text.find(&needle) else { return Some(format!("{id}: {file} has no {needle}")) };
    if let Id(_) = by {
        return None;
    }
    // Attributes and the comment stand right above.
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let above = text[..line].lines().rev().take_while(|line| !line.trim().is_empty() && line.trim() != "}");
    let above: Vec<&str> = above.map(str::trim_start).collect();
    let is_test = above.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    let is_ignored = above.iter().any(|line| line.starts_with("#[ignore"));
    (!is_test || is_ignored).then(|| format!("{id}: {file}: {needle} is no test that runs"))
}

#[test]
fn the_tests_that_the_table_names_are_there() {
    let mut faults = Vec::new();
    for (id, _, state) in ROWS {
        match state {
            Run(by) | Partly(by, _) => {
                assert!(!by.is_empty(), "{id} is run by nothing");
                faults.extend(by.iter().filter_map(|by| fault(id, *by)));
            }
            Later(_) => {}
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_row_of_the_sections_stands_in_the_table_once_and_in_order() {
    let expected: Vec<String> = (1..=21).chain(74..=102).map(|number| format!("T{number:03}")).collect();
    let found: Vec<&str> = ROWS.iter().map(|(id, ..)| *id).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_table_is_printed() {
    for (id, what, state) in ROWS {
        let (word, why) = match state {
            Run(_) => ("run   ", String::new()),
            Partly(_, rest) => ("partly", format!(": {rest}")),
            Later(why) => ("later ", format!(": {why}")),
        };
        let _ = writeln!(std::io::stderr(), "{id} {word} {what}{why}");
    }
}

/// The checks above can fail: each kind of false reference is found.
#[test]
fn references_to_nothing_are_found() {
    let wrong = [
        Test("tests/no/such/file.rs", "x"),
        Test(STATE, "no_such_test"),
        // A function, and no test.
        Test(STATE, "renew_until"),
        Id("tests/layers/source.rs"),
    ];
    for by in wrong {
        assert!(fault("T091", by).is_some());
    }
}
