//! The table of cases, each as a history of one cluster; `src/simulation/renewal.rs` plays random ones.

use super::*;

/// A cluster's certificates by the letters of their keys, at a hub whose clock stands still unless it is moved.
struct Cluster {
    standing: Standing,
    now: OffsetDateTime,
}

fn cert(position: (u64, u64), key: &str) -> Held {
    let (enrolment, generation) = position;
    Held {
        serial: Serial::random(),
        spki: SpkiSha256::of(key.as_bytes()),
        position: Position { enrolment, generation },
        not_after: time::macros::datetime!(2026-11-26 12:00 UTC),
    }
}

impl Cluster {
    fn new() -> Self {
        Self { standing: Standing::default(), now: time::macros::datetime!(2026-11-25 12:00 UTC) }
    }

    fn enrol(&mut self, key: &str) -> Held {
        Held { position: self.standing.enrol(), ..cert((0, 0), key) }
    }

    fn renew(&self, held: &Held, key: &str) -> Result<Held, RenewalRefused> {
        let next = cert((0, 0), key);
        Ok(Held { position: self.standing.successor(held, next.spki, self.now)?, ..next })
    }

    /// Dials with it: what the hub says, and the certificate is in use if it may be.
    fn dial(&mut self, held: &Held) -> Verdict {
        let verdict = self.standing.judge(held, self.now);
        assert_eq!(self.standing.promote(held, self.now), verdict == Verdict::Next);
        verdict
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

#[test]
fn a_renewed_certificate_is_next_until_it_is_used_and_then_its_predecessor_is_spent() {
    let mut c = Cluster::new();
    let a = c.enrol("a");
    assert_eq!((c.dial(&a), c.dial(&a)), (Verdict::Next, Verdict::Current));
    let b = c.renew(&a, "b").unwrap();
    assert_eq!(b.position, Position { enrolment: 1, generation: 2 });
    assert_eq!(c.dial(&a), Verdict::Current, "not yet");
    assert_eq!((c.dial(&b), c.dial(&b)), (Verdict::Next, Verdict::Current));
    assert_eq!(c.dial(&a), Verdict::Late);
    c.pass(LATE);
    assert_eq!(c.dial(&a), Verdict::Copied);
    assert_eq!(c.dial(&b), Verdict::Current, "the verdict is about the certificate; the lock is the hub's");
}

#[test]
fn replies_that_were_lost_and_crashes_before_the_next_one_is_stored_never_look_like_a_copy() {
    let mut c = Cluster::new();
    let a = c.enrol("a");
    c.dial(&a);
    let lost: Vec<_> = (0..40).map(|n| c.renew(&a, &format!("lost {n}")).unwrap()).collect();
    c.pass(LATE * 100);
    assert_eq!(c.dial(&a), Verdict::Current, "the agent started anew with what it had");
    let stored = c.renew(&a, "stored").unwrap();
    assert_eq!(c.dial(&lost[3]), Verdict::Next, "one that was stored although the agent was told that it was not");
    c.pass(LATE);
    assert_eq!(c.dial(&stored), Verdict::Copied, "but of two that were stored only one can be an agent's");
}

#[test]
fn an_enrolment_that_was_asked_for_again_by_the_same_key_is_one_agent() {
    let mut c = Cluster::new();
    let first = c.enrol("a");
    let again = Held { serial: Serial::random(), ..first };
    assert_eq!((c.dial(&again), c.dial(&first), c.dial(&again)), (Verdict::Next, Verdict::Current, Verdict::Current));
    c.pass(LATE * 2);
    assert_eq!(c.dial(&first), Verdict::Current);
}

#[test]
fn a_renewal_is_for_a_new_key_and_an_old_request_is_harmless() {
    let mut c = Cluster::new();
    let a = c.enrol("a");
    c.dial(&a);
    assert_eq!(c.renew(&a, "a"), Err(RenewalRefused::SameKey));
    let b = c.renew(&a, "b").unwrap();
    c.dial(&b);
    assert_eq!(c.renew(&a, "x"), Err(RenewalRefused::Standing(Verdict::Late)));
    c.pass(LATE * 2);
    assert_eq!(c.renew(&a, "b"), Err(RenewalRefused::Standing(Verdict::Late)), "the key in use: an older request");
    assert_eq!(c.renew(&a, "x"), Err(RenewalRefused::Standing(Verdict::Copied)));
}

#[test]
fn a_new_enrolment_replaces_an_older_one_once_it_is_used() {
    let mut c = Cluster::new();
    let (old, new) = (c.enrol("old"), c.enrol("new"));
    assert_eq!(c.dial(&old), Verdict::Next);
    let older = c.renew(&old, "older").unwrap();
    assert_eq!((c.dial(&older), c.dial(&new)), (Verdict::Next, Verdict::Next));
    c.pass(LATE * 2);
    for gone in [&old, &older] {
        assert_eq!(c.dial(gone), Verdict::Replaced, "no copy: an administrator gave another token");
        assert_eq!(c.renew(gone, "x"), Err(RenewalRefused::Standing(Verdict::Replaced)));
    }
}

#[test]
fn revoking_kills_what_was_issued_and_what_an_agent_may_have_stored_but_no_later_enrolment() {
    let mut c = Cluster::new();
    let a = c.enrol("a");
    c.dial(&a);
    let (b, unused) = (c.renew(&a, "b").unwrap(), c.enrol("unused"));
    c.standing.revoke(c.now);
    for dead in [&a, &b, &unused] {
        assert_eq!(c.dial(dead), Verdict::Revoked);
    }
    assert!(c.standing.revoked().is_some() && c.standing.adopt().is_none());
    let again = c.enrol("again");
    assert!(c.standing.revoked().is_none());
    assert_eq!((c.dial(&again), c.dial(&a)), (Verdict::Next, Verdict::Revoked));
}

#[test]
fn a_hub_that_was_restored_takes_unrecorded_certificates_for_newer_than_all_it_knows() {
    let mut c = Cluster::new();
    let a = c.enrol("a");
    c.dial(&a);
    let unrecorded = Held { position: c.standing.adopt().unwrap(), ..cert((0, 0), "b") };
    assert_eq!((c.dial(&unrecorded), c.dial(&unrecorded)), (Verdict::Next, Verdict::Current));
    c.pass(LATE);
    assert_eq!(c.dial(&a), Verdict::Copied);
    assert_eq!(Standing::default().adopt(), Some(Position { enrolment: 0, generation: 1 }));
}

#[test]
fn certificates_from_before_hubs_counted_are_not_told_apart_until_one_is_renewed() {
    let mut c = Cluster::new();
    let (a, b) = (cert((0, 0), "a"), cert((0, 0), "b"));
    assert_eq!((c.dial(&a), c.dial(&b), c.dial(&a)), (Verdict::Next, Verdict::Current, Verdict::Current));
    let next = c.renew(&b, "c").unwrap();
    assert_eq!(c.dial(&next), Verdict::Next);
    c.pass(LATE);
    assert_eq!(c.dial(&b), Verdict::Copied);
}

#[test]
fn a_clock_that_goes_back_makes_the_hub_milder_and_never_harder() {
    let mut c = Cluster::new();
    let a = c.enrol("a");
    c.dial(&a);
    let b = c.renew(&a, "b").unwrap();
    c.dial(&b);
    c.now -= Duration::from_secs(86_400 * 365);
    assert_eq!((c.dial(&a), c.dial(&b)), (Verdict::Late, Verdict::Current));
}

#[test]
fn a_standing_survives_its_text_and_an_empty_one_is_that_of_an_older_hub() {
    let mut c = Cluster::new();
    let a = c.enrol("a");
    c.dial(&a);
    c.standing.revoke(c.now);
    let text = serde_json::to_string(&c.standing).unwrap();
    assert_eq!(serde_json::from_str::<Standing>(&text).unwrap(), c.standing);
    assert_eq!(serde_json::from_str::<Standing>("{}").unwrap(), Standing::default());
}
