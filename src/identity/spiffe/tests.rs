//! Which texts are names, and that a name is compared whole.

use proptest::prelude::*;
use time::macros::datetime;

use super::*;

const UID: &str = "01jdq3v5c0e8m2k4n6p8r0s2t4";

#[test]
fn ids_survive_their_text() {
    for uri in [format!("spiffe://fleet.example/cluster/{UID}"), "spiffe://a_b-c.d/hub/hub-0".to_owned()] {
        assert_eq!(uri.parse::<SpiffeId>().unwrap().to_string(), uri);
    }
}

/// T079: every way to write a name that is not the one spelling.
#[test]
fn odd_spellings_are_refused() {
    let refused = [
        "",
        "spiffe://",
        "spiffe://fleet/cluster/",
        "spiffe://fleet/cluster",
        "spiffe://fleet/cluster/{uid}/",
        "spiffe://fleet//cluster/{uid}",
        "spiffe://fleet/cluster/a/../{uid}",
        "spiffe://fleet/./cluster/{uid}",
        "spiffe://fleet/cluster/..",
        "spiffe://fleet/cluster/%61{uid}",
        "spiffe://fleet/cluster/{uid}?x=1",
        "spiffe://fleet/cluster/{uid}#x",
        "spiffe://fleet:443/cluster/{uid}",
        "spiffe://user@fleet/cluster/{uid}",
        "SPIFFE://fleet/cluster/{uid}",
        "spiffe://Fleet/cluster/{uid}",
        "spiffe:///cluster/{uid}",
        "https://fleet/cluster/{uid}",
        " spiffe://fleet/cluster/{uid}",
        "spiffe://fleet/cluster/{uid} ",
        "spiffe://fleet/cluster/{uid}\0",
        "spiffe://fleet/Cluster/{uid}",
        "spiffe://fleet/clusters/{uid}",
        "spiffe://fleet/agent/{uid}",
        "spiffe://fleet/hub/-a",
        "spiffe://fleet/hub/a.b",
    ];
    for form in refused {
        let uri = form.replace("{uid}", UID);
        assert!(uri.parse::<SpiffeId>().is_err(), "{uri}");
    }
    let long = format!("spiffe://{}/cluster/{UID}", "a".repeat(5000));
    assert_eq!(long.parse::<SpiffeId>(), Err(NameError::Uri));
}

/// T085 begins here: a uid is one exact text, so nothing that merely begins like it is equal to it.
#[test]
fn uids_have_one_spelling() {
    assert!(UID.parse::<ClusterUid>().is_ok());
    let upper = UID.to_ascii_uppercase();
    let refused = [
        &UID[..25],
        &format!("{UID}0"),
        upper.as_str(),
        "81jdq3v5c0e8m2k4n6p8r0s2t4",
        "01jdq3v5c0e8m2k4n6p8r0s2il",
        "prod",
    ];
    for bad in refused {
        assert_eq!(bad.parse::<ClusterUid>(), Err(NameError::ClusterUid), "{bad}");
    }
}

#[test]
fn generated_uids_parse_sort_by_time_and_differ() {
    let (a, b) = (datetime!(2026-01-01 0:00 UTC), datetime!(2026-01-02 0:00 UTC));
    let (first, second, third) = (ClusterUid::generate(a), ClusterUid::generate(a), ClusterUid::generate(b));
    assert_eq!(first.as_str().parse::<ClusterUid>().unwrap(), first);
    assert_ne!(first, second);
    assert!(second < third && first < third);
    assert!(ClusterUid::generate(datetime!(1901-01-01 0:00 UTC)).as_str().starts_with("0000000000"));
}

#[test]
fn stored_names_are_checked_when_read() {
    assert_eq!(serde_json::from_str::<ClusterUid>(&format!("\"{UID}\"")).unwrap().as_str(), UID);
    assert!(serde_json::from_str::<ClusterUid>("\"prod\"").is_err());
    assert!(serde_json::from_str::<TrustDomain>("\"a/b\"").is_err());
    assert!(serde_json::from_str::<HubName>("\"\"").is_err());
}

proptest! {
    #[test]
    fn no_text_panics_and_a_parsed_id_prints_as_it_came(text in ".{0,120}") {
        if let Ok(id) = text.parse::<SpiffeId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn near_misses_never_panic(domain in "[a-zA-Z0-9._%/-]{0,12}", role in "(cluster|hub|x)", name in "[0-9a-z./%-]{0,28}") {
        let text = format!("spiffe://{domain}/{role}/{name}");
        if let Ok(id) = text.parse::<SpiffeId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
