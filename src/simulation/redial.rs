//! How long an agent waits, whatever happens to its links.

use std::time::Duration;

use super::{Dice, play};
use crate::{agent::rules::Redial, defaults, transport::LinkEnd, wire::CloseCode};

fn end(dice: &mut Dice) -> LinkEnd {
    match dice.below(7) {
        0 => LinkEnd::Silent,
        1 => LinkEnd::Restarted,
        2 => LinkEnd::Peer(CloseCode::Revoked),
        3 => LinkEnd::Peer(CloseCode::Draining),
        4 => LinkEnd::Here,
        5 => LinkEnd::Peer(CloseCode::Locked),
        _ => LinkEnd::Transport("x".to_owned()),
    }
}

#[test]
fn waits_stay_in_bounds_and_start_over_after_a_good_link() {
    play(15_000, |dice| {
        let mut redial = Redial::default();
        assert_eq!(redial.wait(dice.fraction()), Duration::ZERO, "the first attempt is at once");
        let mut shut = false;
        for _ in 0..dice.below(40) {
            if dice.chance(70) {
                let wait = redial.wait(dice.one(&[0.0, 1.0, 0.5]));
                let most = if shut { defaults::REFUSED_WAIT * 3 / 2 } else { defaults::REDIAL_LONGEST };
                assert!(wait <= most, "{wait:?}");
                assert_eq!(
                    wait >= defaults::REFUSED_WAIT / 2,
                    shut,
                    "only a removed or locked cluster waits that long"
                );
            } else {
                let lived = dice.one(&[Duration::ZERO, defaults::LINK_PROVEN / 2, defaults::LINK_PROVEN]);
                let end = end(dice);
                redial.lost(lived, &end);
                shut = matches!(end, LinkEnd::Peer(CloseCode::Revoked | CloseCode::Locked));
                if lived >= defaults::LINK_PROVEN && !shut {
                    let wait = redial.wait(1.0);
                    assert!(wait <= defaults::REDIAL_FIRST * 2, "{wait:?} after a good link");
                    assert!(wait > Duration::ZERO, "agents that lost the same hub must not come back in one instant");
                }
            }
        }
    });
}
