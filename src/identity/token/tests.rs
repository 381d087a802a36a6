//! Which texts are tokens, and that their secret shows nowhere.

use proptest::prelude::*;

use super::*;

#[test]
fn a_token_survives_its_text() {
    for kind in [TokenKind::Join, TokenKind::Hub] {
        let token = Token::generate(kind);
        let text = token.reveal();
        let parsed = Token::parse(kind, text.expose()).unwrap();
        assert_eq!((parsed.kind(), parsed.id()), (kind, token.id()));
        assert!(SecretHash::verify(Some(&token.hash()), &parsed));
        assert_eq!(text.expose().len(), TOKEN_LEN);
    }
}

#[test]
fn the_shape_is_the_documented_one() {
    let text = Token::generate(TokenKind::Join).reveal();
    let text = text.expose();
    assert!(text.starts_with("rsj_"));
    assert_eq!(text.as_bytes()[14], b'_');
    assert_eq!(text.as_bytes()[58], b'_');
    assert!(text[59..].bytes().all(|b| b.is_ascii_hexdigit()));
}

#[test]
fn each_mistake_has_its_own_error() {
    let text = Token::generate(TokenKind::Hub).reveal();
    let good = text.expose();
    let flipped = if good.ends_with('0') { format!("{}1", &good[..66]) } else { format!("{}0", &good[..66]) };
    let cases = [
        (String::new(), TokenError::Prefix),
        ("ghp_0123".to_owned(), TokenError::Prefix),
        (good.to_uppercase(), TokenError::Prefix),
        (good[..66].to_owned(), TokenError::Length(66)),
        (format!("{good} "), TokenError::Length(68)),
        (flipped, TokenError::Checksum),
        (good.replacen("rst", "rsj", 1), TokenError::Checksum),
        (format!("{}!{}", &good[..6], &good[7..]), TokenError::Character),
        (format!("{}-{}", &good[..14], &good[15..]), TokenError::Character),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<Token>().unwrap_err(), expected, "{text}");
    }
    assert_eq!(Token::parse(TokenKind::Join, good).unwrap_err(), TokenError::Kind { wanted: TokenKind::Join });
}

/// A checksum is no secret: a token whose secret has spare bits set is refused although its checksum is right.
#[test]
fn a_secret_has_one_spelling() {
    let text = Token::generate(TokenKind::Join).reveal();
    let body = &text.expose()[..57];
    for last in "BCDF".chars() {
        let body = format!("{body}{last}");
        let token = format!("{body}_{:08x}", crc32fast::hash(body.as_bytes()));
        assert_eq!(token.parse::<Token>().unwrap_err(), TokenError::Character);
    }
}

/// T005: a wrong secret, however near, and an unknown id are the same refusal.
#[test]
fn only_the_same_secret_verifies() {
    let token = Token::generate(TokenKind::Join);
    let mut near = token.clone();
    near.secret[31] ^= 1;
    assert!(SecretHash::verify(Some(&token.hash()), &token));
    assert!(!SecretHash::verify(Some(&token.hash()), &near));
    assert!(!SecretHash::verify(Some(&Token::generate(TokenKind::Join).hash()), &token));
    assert!(!SecretHash::verify(None, &token));
}

/// T006, T021: neither what is stored nor what is printed contains the secret.
#[test]
fn the_secret_is_in_no_printed_or_stored_form() {
    let token = Token::generate(TokenKind::Hub);
    let text = token.reveal();
    let secret = &text.expose()[15..58];
    let stored = serde_json::to_string(&(token.id(), token.hash())).unwrap();
    for shown in [format!("{token:?}"), format!("{text:?}"), format!("{:?}", token.hash()), stored.clone()] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let (id, hash): (TokenId, SecretHash) = serde_json::from_str(&stored).unwrap();
    assert!(&id == token.id() && SecretHash::verify(Some(&hash), &token));
}

#[test]
fn tokens_do_not_repeat() {
    let ids: std::collections::HashSet<_> = (0..200).map(|_| Token::generate(TokenKind::Join).id().clone()).collect();
    assert_eq!(ids.len(), 200);
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,80}") {
        prop_assert!(text.parse::<Token>().is_err());
    }

    #[test]
    fn no_near_token_panics(tail in "[a-z2-7é_]{0,64}") {
        let text = format!("rsj_{tail}");
        prop_assert!(text.parse::<Token>().is_err());
    }

    #[test]
    fn one_changed_character_never_parses(at in 0usize..TOKEN_LEN, with in "[A-Za-z0-9_-]") {
        let text = Token::generate(TokenKind::Join).reveal();
        let good = text.expose();
        let changed = format!("{}{with}{}", &good[..at], &good[at + 1..]);
        prop_assume!(changed != good && !changed.eq_ignore_ascii_case(good));
        prop_assert!(changed.parse::<Token>().is_err());
    }
}
