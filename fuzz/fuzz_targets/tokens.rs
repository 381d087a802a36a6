//! Tokens, pins and serials as people type them: one spelling each, and a secret in no message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roadstead::identity::{Serial, SpkiSha256, Token, TokenKind};

fuzz_target!(|text: &str| {
    for kind in [TokenKind::Join, TokenKind::Hub] {
        if let Ok(token) = Token::parse(kind, text) {
            assert_eq!(token.reveal().expose(), text);
            assert!(!format!("{token:?}").contains(&text[16..]));
        }
    }
    if let Ok(pin) = text.parse::<SpkiSha256>() {
        assert_eq!(pin.to_string().parse::<SpkiSha256>().ok(), Some(pin));
    }
    let _ = text.parse::<Serial>();
});
