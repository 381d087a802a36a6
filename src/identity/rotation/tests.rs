//! Each step in each phase, each gate, and a model of hub and agents in which everything happens in any order.

mod model;

use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-11-25 12:00 UTC);

/// Where a step leads, and what becomes of the keys; `None` when it is refused.
type Led = Option<(Phase, Keys)>;

fn member(name: &str) -> Member {
    let on = Some(Generation::Current);
    Member {
        uid: format!("uid-{name}"),
        name: name.into(),
        live: true,
        told: true,
        certified: on,
        linked: on,
        external: false,
        saw: on,
    }
}

fn next(name: &str) -> Member {
    let on = Some(Generation::Next);
    Member { certified: on, linked: on, saw: on, ..member(name) }
}

/// A rotation in `phase`, come to with nobody enrolled.
fn in_phase(phase: Phase) -> Rotation {
    let steps: &[Step] = match phase {
        Phase::Standby => &[],
        Phase::Init => &[Step::Prepare],
        Phase::UpdateAgents => &[Step::Prepare, go()],
        Phase::UpdateHub => &[Step::Prepare, go(), go()],
        Phase::Rollback => &[Step::Prepare, Step::Rollback],
    };
    let rotation = steps.iter().fold(Rotation::default(), |r, step| r.take(step, &[], NOW).unwrap().rotation);
    assert_eq!(rotation.phase(), phase);
    rotation
}

fn go() -> Step {
    Step::Activate(Acceptance::default())
}

fn giving_up(names: &[&str], offline: usize) -> Acceptance {
    Acceptance { names: names.iter().map(|n| (*n).to_owned()).collect(), offline }
}

/// Who is named as holding up `step`.
fn held_up(rotation: &Rotation, step: &Step, members: &[Member]) -> Vec<(String, Lack)> {
    match rotation.take(step, members, NOW) {
        Ok(_) => Vec::new(),
        Err(Refused::Laggards { laggards, .. }) => laggards.into_iter().map(|l| (l.name, l.lack)).collect(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn each_step_leads_where_the_design_says_or_is_refused() {
    use Phase::{Init, Rollback, Standby, UpdateAgents, UpdateHub};
    let steps = [Step::Prepare, go(), Step::Rollback, Step::Taint, Step::Revoke(Acceptance::default())];
    let table: [(Phase, [Led; 5]); 5] = [
        (Standby, [Some((Init, Keys::Make)), None, None, Some((UpdateAgents, Keys::Make)), None]),
        (
            Init,
            [
                None,
                Some((UpdateAgents, Keys::Keep)),
                Some((Rollback, Keys::Keep)),
                Some((UpdateAgents, Keys::Keep)),
                None,
            ],
        ),
        (
            UpdateAgents,
            [
                None,
                Some((UpdateHub, Keys::Keep)),
                Some((Rollback, Keys::Keep)),
                Some((UpdateAgents, Keys::Keep)),
                Some((UpdateAgents, Keys::Keep)),
            ],
        ),
        (
            UpdateHub,
            [
                None,
                Some((Standby, Keys::Promote)),
                Some((Rollback, Keys::Keep)),
                Some((UpdateHub, Keys::Keep)),
                Some((Standby, Keys::Promote)),
            ],
        ),
        (Rollback, [None, Some((Standby, Keys::Discard)), None, Some((UpdateAgents, Keys::Keep)), None]),
    ];
    for (phase, row) in table {
        let rotation = in_phase(phase);
        for (step, expected) in steps.iter().zip(row) {
            let taken = rotation.take(step, &[], NOW);
            let led = taken.as_ref().ok().map(|t| (t.rotation.phase(), t.keys));
            assert_eq!(led, expected, "{} in {phase}", step.as_str());
            if let Ok(taken) = taken {
                assert_eq!(taken.rotation.revision(), rotation.revision() + 1);
            }
        }
    }
}

#[test]
fn each_phase_trusts_signs_and_presents_as_the_design_says() {
    use Generation::{Current, Next};
    let both = [Current, Next];
    let table: [(Phase, &[Generation], Generation, Generation); 5] = [
        (Phase::Standby, &[Current], Current, Current),
        (Phase::Init, &both, Current, Current),
        (Phase::UpdateAgents, &both, Next, Current),
        (Phase::UpdateHub, &both, Next, Next),
        (Phase::Rollback, &both, Current, Current),
    ];
    for (phase, trusted, signs, presents) in table {
        let r = in_phase(phase);
        assert_eq!((r.trusted_agents(), r.trusted_hubs()), (trusted, trusted), "{phase}");
        assert_eq!((r.signs(), r.presents()), (signs, presents), "{phase}");
    }
}

#[test]
fn each_gate_names_who_lacks_what() {
    let untold = Member { told: false, ..member("untold") };
    let away = Member { live: false, ..member("away") };
    let unused = Member { linked: Some(Generation::Current), ..next("unused") };
    let undialled = Member { saw: Some(Generation::Current), ..next("undialled") };
    let fresh = Member { certified: None, linked: None, saw: None, ..member("fresh") };
    let unmoved = Member { saw: Some(Generation::Next), ..member("unmoved") };
    let members = [untold, away, unused, undialled, fresh, member("old"), next("new"), unmoved];
    let all = |lacks: &[(&str, Lack)]| lacks.iter().map(|(n, l)| ((*n).to_owned(), *l)).collect::<Vec<_>>();
    use Lack::{Certificate, Link, Roots};
    let (untold, unused) = (("untold", Roots), ("unused", Certificate));
    let (fresh, old, unmoved) = (("fresh", Certificate), ("old", Certificate), ("unmoved", Certificate));
    let rows = [
        (Phase::Init, all(&[untold])),
        (Phase::UpdateAgents, all(&[untold, unused, fresh, old, unmoved])),
        (Phase::UpdateHub, all(&[untold, ("away", Certificate), unused, ("undialled", Link), fresh, old, unmoved])),
        (Phase::Rollback, all(&[unused, ("undialled", Certificate), ("new", Certificate), ("unmoved", Link)])),
    ];
    for (phase, expected) in rows {
        assert_eq!(held_up(&in_phase(phase), &go(), &members), expected, "{phase}");
    }
}

/// T094.
#[test]
fn the_old_root_is_not_dropped_under_a_live_laggard_who_was_not_given_up_by_name() {
    for phase in [Phase::UpdateAgents, Phase::UpdateHub] {
        let (rotation, members) = (in_phase(phase), [next("ready"), member("late")]);
        let revoke = |names: &[&str], offline| Step::Revoke(giving_up(names, offline));
        let late = vec![("late".to_owned(), Lack::Certificate)];
        assert_eq!(held_up(&rotation, &revoke(&[], 0), &members), late, "{phase}");
        assert_eq!(held_up(&rotation, &revoke(&[], 9), &members), late, "a number is for those who are away: {phase}");
        assert_eq!(held_up(&rotation, &revoke(&["late"], 0), &members), vec![], "{phase}");
    }
}

#[test]
fn those_who_are_away_are_given_up_by_number_all_or_none() {
    let away = |name: &str| Member { live: false, told: false, ..member(name) };
    let members = [away("a"), away("b"), member("c")];
    let init = in_phase(Phase::Init);
    assert_eq!(held_up(&init, &Step::Activate(giving_up(&[], 1)), &members).len(), 2);
    let taken = init.take(&Step::Activate(giving_up(&[], 2)), &members, NOW).unwrap().rotation;
    assert!(taken.has_accepted("uid-a") && taken.has_accepted("uid-b") && !taken.has_accepted("uid-c"));
    let unknown = init.take(&Step::Activate(giving_up(&["z"], 0)), &members, NOW);
    assert_eq!(unknown.unwrap_err(), Refused::Unknown("z".into()));
}

#[test]
fn there_is_no_way_back_to_a_suspected_or_distrusted_generation() {
    let tainted = in_phase(Phase::UpdateAgents).take(&Step::Taint, &[], NOW).unwrap().rotation;
    assert_eq!(tainted.take(&Step::Rollback, &[], NOW).unwrap_err(), Refused::NoWayBack("tainted"));
    let revoke = Step::Revoke(Acceptance::default());
    let revoked = in_phase(Phase::UpdateAgents).take(&revoke, &[], NOW).unwrap().rotation;
    assert_eq!(revoked.trusted_agents(), [Generation::Next]);
    assert_eq!(revoked.trusted_hubs().len(), 2, "the hub still presents the current one");
    assert_eq!(revoked.take(&Step::Rollback, &[], NOW).unwrap_err(), Refused::NoWayBack("revoked"));
    let over = tainted.take(&go(), &[], NOW).and_then(|t| t.rotation.take(&go(), &[], NOW)).unwrap().rotation;
    assert!(!over.tainted() && over.phase() == Phase::Standby);
}

#[test]
fn a_caller_who_saw_another_revision_is_refused() {
    let init = in_phase(Phase::Init);
    assert_eq!(init.seen_at(Some(0)), Err(Refused::Stale { expected: 0, actual: 1 }));
    assert_eq!((init.seen_at(Some(1)), init.seen_at(None)), (Ok(()), Ok(())));
}

#[test]
fn a_store_without_a_rotation_is_in_standby_and_a_rotation_survives_its_json() {
    assert_eq!(serde_json::from_str::<Rotation>("{}").unwrap(), Rotation::default());
    let step = Step::Activate(giving_up(&["a"], 0));
    let taken = in_phase(Phase::Init).take(&step, &[member("a")], NOW).unwrap().rotation;
    let json = serde_json::to_string(&taken).unwrap();
    assert_eq!(serde_json::from_str::<Rotation>(&json).unwrap(), taken);
    assert!(json.contains("\"update_agents\""), "{json}");
}

/// Certificates of another CA are not renewed here; the hub's roots concern everybody.
#[test]
fn an_agent_with_a_certificate_of_another_ca_is_a_laggard_for_the_hubs_roots_only() {
    let external = Member { external: true, certified: None, linked: None, ..member("external") };
    let untold = Member { told: false, ..external.clone() };
    for generation in [Generation::Current, Generation::Next] {
        assert!(external.is_on(generation));
    }
    let mut rotation = Rotation::default();
    let at = time::macros::datetime!(2026-11-25 12:00:00 UTC);
    for (step, phase) in [(Step::Prepare, Phase::Init), (Step::Activate(Acceptance::default()), Phase::UpdateAgents)] {
        rotation = rotation.take(&step, std::slice::from_ref(&external), at).unwrap().rotation;
        assert_eq!(rotation.phase(), phase);
        let lacks = rotation.laggards(&[external.clone(), untold.clone()]);
        assert_eq!(lacks.iter().map(|l| l.lack).collect::<Vec<_>>(), [Lack::Roots], "{phase}");
    }
}
