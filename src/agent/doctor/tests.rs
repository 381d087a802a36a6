//! Verdicts, without a network.

use std::sync::Arc;

use super::*;
use crate::{
    agent::state::Enrolled,
    identity::{
        ClusterUid,
        testing::{HOUR, World},
    },
};

fn enrolled(world: &World) -> Identity {
    let holder = world.agent(&ClusterUid::generate(world.now));
    let enrolled = Enrolled::new("edge-1".to_owned(), holder.chain, &holder.key, world.now).unwrap();
    Identity { key: Arc::new(holder.key), enrolled: Some(enrolled), ..Identity::fresh() }
}

#[test]
fn an_identity_is_judged_by_its_certificate_and_what_could_replace_it() {
    let world = World::new();
    let good = enrolled(&world);
    let minute = std::time::Duration::from_secs(60);
    let bare = Identity::fresh();
    let cases: [(Option<&Identity>, bool, OffsetDateTime, Verdict, &str); 8] = [
        (None, false, world.now, Verdict::Failed, "no join token"),
        (None, true, world.now, Verdict::Ok, "a join token is at hand"),
        (Some(&bare), false, world.now, Verdict::Failed, "no join token"),
        (Some(&good), false, world.now, Verdict::Ok, "edge-1"),
        (Some(&good), false, world.now + 50 * minute, Verdict::Ok, "edge-1"),
        (Some(&good), false, world.now + 56 * minute, Verdict::Failed, "was to be renewed before"),
        (Some(&good), false, world.now + HOUR, Verdict::Failed, "ended at"),
        (Some(&good), true, world.now + 1000 * HOUR, Verdict::Failed, "ended at"),
    ];
    for (identity, joins, now, verdict, found) in cases {
        let finding = judge(identity, joins, now);
        assert_eq!(finding.verdict, verdict, "{}", finding.found);
        assert!(finding.found.contains(found), "{}", finding.found);
        assert_eq!(finding.remedy.is_some(), verdict == Verdict::Failed, "{}", finding.found);
    }
}

#[test]
fn a_finding_for_scripts_has_the_fields_of_the_contract() {
    let finding = Finding::failed("hub udp", "closed", "open it");
    let expected = serde_json::json!({"check": "hub udp", "verdict": "failed", "found": "closed", "remedy": "open it"});
    assert_eq!(serde_json::to_value(finding).unwrap(), expected);
    let fine = serde_json::to_value(Finding::ok("clock", "fine")).unwrap();
    assert_eq!(fine, serde_json::json!({"check": "clock", "verdict": "ok", "found": "fine"}));
}
