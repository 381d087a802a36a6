//! How long an agent waits, whatever happens to its links.

use std::time::Duration;

use super::{Dice, play};
use crate::{agent::rules::Redial, defaults, transport::LinkEnd, wire::CloseCode};

fn end(dice: &mut Dice) -> LinkEnd {
    match dice.below(6) {
        0 => LinkEnd::Silent,
        1 => LinkEnd::Restarted,
        2 => LinkEnd::Peer(CloseCode::Revoked),
        3 => LinkEnd::Peer(CloseCode::Draining),
        4 => LinkEnd::Here,
        _ => LinkEnd::Transport("x".to_owned()),
    }
}

#[test]
fn waits_stay_in_bounds_and_start_over_after_a_good_link() {
    play(15_000, |dice| {
        let mut redial = Redial::default();
        assert_eq!(redial.wait(dice.fraction()), Duration::ZERO, "the first attempt is at once");
        let mut revoked = false;
        for _ in 0..dice.below(40) {
            if dice.chance(70) {
                let wait = redial.wait(dice.one(&[0.0, 1.0, 0.5]));
                let most = if revoked { defaults::REFUSED_WAIT } else { defaults::REDIAL_LONGEST };
                assert!(wait <= most, "{wait:?}");
                assert_eq!(wait == defaults::REFUSED_WAIT, revoked, "only a removed cluster waits that long");
            } else {
                let lived = dice.one(&[Duration::ZERO, defaults::LINK_PROVEN / 2, defaults::LINK_PROVEN]);
                let end = end(dice);
                redial.lost(lived, &end);
                revoked = end == LinkEnd::Peer(CloseCode::Revoked);
                if lived >= defaults::LINK_PROVEN && !revoked {
                    let wait = redial.wait(1.0);
                    assert!(wait <= defaults::REDIAL_FIRST * 2, "{wait:?} after a good link");
                    assert!(wait > Duration::ZERO, "agents that lost the same hub must not come back in one instant");
                }
            }
        }
    });
}
