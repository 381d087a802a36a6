//! What is sealed opens whole, for its purpose, with its key; or not at all.

use super::*;

fn keys() -> PassphraseKey {
    PassphraseKey::quick("correct horse battery")
}

fn plain(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn what_is_sealed_opens_whatever_its_length() {
    let keys = keys();
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5] {
        let sealed = seal(&keys, "test", &plain(length)).unwrap();
        assert!(is_sealed(&sealed));
        assert!(length < 16 || !sealed.windows(16).any(|part| part == &plain(16)[..]), "it stands there in the clear");
        assert_eq!(open(&keys, "test", &sealed).unwrap()[..], plain(length), "{length}");
    }
}

#[test]
fn a_sealed_thing_cut_anywhere_is_refused_where_a_chunk_ends_above_all() {
    let keys = keys();
    let sealed = seal(&keys, "test", &plain(3 * CHUNK)).unwrap();
    let begins = sealed.len() - 3 * (CHUNK + TAG);
    let ends = (0..3).map(|chunk| begins + chunk * (CHUNK + TAG));
    for length in (0..begins + 40).chain(ends.flat_map(|end| [end - 1, end, end + 1, end + TAG])) {
        assert!(open(&keys, "test", &sealed[..length]).is_err(), "{length} of {}", sealed.len());
    }
    let longer = [&sealed[..], &[0]].concat();
    assert!(matches!(open(&keys, "test", &longer), Err(SealError::Damaged)));
}

#[test]
fn chunks_cannot_change_their_places() {
    let keys = keys();
    let sealed = seal(&keys, "test", &plain(3 * CHUNK)).unwrap();
    let (head, chunks) = sealed.split_at(sealed.len() - 3 * (CHUNK + TAG));
    let chunk = |at: usize| &chunks[at * (CHUNK + TAG)..(at + 1) * (CHUNK + TAG)];
    for order in [[1, 0, 2], [0, 2, 1], [0, 0, 2], [0, 1, 1]] {
        let moved = [head, chunk(order[0]), chunk(order[1]), chunk(order[2])].concat();
        assert!(matches!(open(&keys, "test", &moved), Err(SealError::Damaged)), "{order:?}");
    }
}

#[test]
fn no_byte_can_be_changed() {
    let keys = keys();
    let sealed = seal(&keys, "test", b"secret").unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(open(&keys, "test", &changed).is_err(), "byte {at}");
    }
}

#[test]
fn it_opens_for_its_purpose_and_with_its_key_only_and_says_which_was_wrong() {
    let keys = keys();
    let sealed = seal(&keys, "one", b"secret").unwrap();
    assert!(matches!(open(&keys, "two", &sealed), Err(SealError::Damaged)));
    let other = PassphraseKey::quick("another passphrase");
    assert!(matches!(open(&other, "one", &sealed), Err(SealError::Wrap(WrapError::WrongKey))));
    assert!(matches!(open(&keys, "one", b"{\"plain\":1}"), Err(SealError::NotSealed)));
    let mut newer = sealed;
    newer[7] = 2;
    assert!(is_sealed(&newer));
    assert!(matches!(open(&keys, "one", &newer), Err(SealError::Version(2))));
}

/// What a key management service looks like from here.
#[derive(Debug)]
struct Service(&'static str);

impl KeyWrapper for Service {
    fn key_id(&self) -> &str {
        self.0
    }

    fn wrap(&self, key: &DataKey) -> Result<Vec<u8>, WrapError> {
        Ok(key.expose().map(|byte| !byte).to_vec())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<DataKey, WrapError> {
        let bytes = <[u8; 32]>::try_from(wrapped).map_err(|_| WrapError::Malformed)?;
        Ok(DataKey::new(bytes.map(|byte| !byte)))
    }
}

#[test]
fn another_service_than_the_one_that_sealed_it_is_named_not_asked() {
    let sealed = seal(&Service("arn:one"), "test", b"secret").unwrap();
    assert_eq!(open(&Service("arn:one"), "test", &sealed).unwrap()[..], *b"secret");
    let error = open(&Service("arn:two"), "test", &sealed).unwrap_err();
    assert!(matches!(&error, SealError::OtherKey { found, .. } if found == "arn:one"), "{error}");
}

proptest::proptest! {
    #[test]
    fn nothing_that_is_read_panics(bytes: Vec<u8>, cut in 0_usize..200) {
        let _ = open(&Service("arn:one"), "test", &bytes);
        let sealed = seal(&Service("arn:one"), "test", &bytes).unwrap();
        let _ = open(&Service("arn:one"), "test", &sealed[..cut.min(sealed.len())]);
    }
}
