//! Whether bytes are DER and not merely BER. Refuses to know what they mean.
//!
//! Parsers differ in what they forgive (X.690 § 10, § 11); bytes that have only one reading leave them nothing to differ about.

/// Deepest nesting that is read: a certificate has about 8 levels.
const MAX_DEPTH: usize = 16;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const NULL: u8 = 0x05;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// Are `bytes` one element and nothing else, encoded as DER wants it as far as that shows without a schema: tags of one byte, definite
/// lengths in the fewest bytes, no strings in pieces, booleans only where they are true, integers without padding?
pub(super) fn is_one_element(bytes: &[u8]) -> bool {
    after_element(bytes, MAX_DEPTH).is_some_and(<[u8]>::is_empty)
}

/// What follows the first element; `None` when that is not DER.
fn after_element(bytes: &[u8], depth: usize) -> Option<&[u8]> {
    const LONG_TAG: u8 = 0x1f;
    const CONSTRUCTED: u8 = 0x20;
    const CLASS: u8 = 0xc0;
    let (&tag, rest) = bytes.split_first()?;
    let (length, rest) = length(rest)?;
    let (content, rest) = rest.split_at_checked(length)?;
    let universal = tag & CLASS == 0;
    let holds = match tag {
        _ if tag & LONG_TAG == LONG_TAG => false,
        SEQUENCE | SET => are_elements(content, depth),
        _ if universal && tag & CONSTRUCTED != 0 => false,
        _ if tag & CONSTRUCTED != 0 => are_elements(content, depth),
        // Whatever is a boolean in certificates and requests is false unless said, and DER does not say defaults (X.690 § 11.5).
        BOOLEAN => content == [0xff],
        INTEGER => is_minimal(content),
        NULL => content.is_empty(),
        // A sequence or a set that says it is in one piece.
        0x10 | 0x11 => false,
        _ => true,
    };
    holds.then_some(rest)
}

fn are_elements(mut content: &[u8], depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    while !content.is_empty() {
        let Some(rest) = after_element(content, depth) else { return false };
        content = rest;
    }
    true
}

/// A length and what follows it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    const LONG: u8 = 0x80;
    let (&first, rest) = bytes.split_first()?;
    if first < LONG {
        return Some((first.into(), rest));
    }
    // 0 would be the indefinite form.
    let digits = usize::from(first & !LONG);
    if !(1..=4).contains(&digits) {
        return None;
    }
    let (digits, rest) = rest.split_at_checked(digits)?;
    let value = digits.iter().fold(0, |value, digit| value << 8 | usize::from(*digit));
    (digits[0] != 0 && value >= usize::from(LONG)).then_some((value, rest))
}

fn is_minimal(integer: &[u8]) -> bool {
    match integer {
        [] => false,
        [0x00, next, ..] => next & 0x80 != 0,
        [0xff, next, ..] => next & 0x80 == 0,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_spelling_of_each_element_is_der() {
        let deep = |levels: usize| (0..levels).fold(vec![], |inner, _| crate::identity::testing::der(0x30, &inner));
        let (nested, too_deep) = (deep(16), deep(18));
        let long = [&[0x04, 0x81, 0x80][..], &[7; 0x80]].concat();
        let cases: [(&str, &[u8], bool); 25] = [
            ("a sequence of an integer", &[0x30, 3, 2, 1, 5], true),
            ("a length of two bytes that needs them", &long, true),
            ("sixteen levels", &nested, true),
            ("eighteen levels", &too_deep, false),
            ("nothing", &[], false),
            ("a tag alone", &[0x30], false),
            ("content cut", &[0x30, 3, 2, 1], false),
            ("a byte after it", &[5, 0, 0], false),
            ("indefinite", &[0x30, 0x80, 5, 0, 0, 0], false),
            ("a length with a spare byte", &[0x30, 0x81, 3, 2, 1, 5], false),
            ("a length with a leading zero", &[0x04, 0x82, 0, 1, 5], false),
            ("a length of nine bytes", &[0x04, 0x89, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5], false),
            ("a string in pieces", &[0x24, 3, 4, 1, 5], false),
            ("a sequence in one piece", &[0x10, 0], false),
            ("a long tag", &[0x3f, 0x21, 0], false),
            ("true as 1", &[1, 1, 1], false),
            ("true", &[1, 1, 0xff], true),
            ("false", &[1, 1, 0], false),
            ("an empty integer", &[2, 0], false),
            ("a padded integer", &[2, 2, 0, 1], false),
            ("a padded negative integer", &[2, 2, 0xff, 0x80], false),
            ("a negative integer", &[2, 1, 0x80], true),
            ("a null with content", &[5, 1, 0], false),
            ("something wrong deep inside", &[0xa0, 5, 0x30, 3, 1, 1, 1], false),
            ("a context's own string", &[0x86, 1, b'a'], true),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(is_one_element(bytes), expected, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = is_one_element(&bytes);
        }
    }
}
