//! The message that opens a stream: any bytes decode or are refused, and what is decoded survives another turn.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use roadstead::wire::{OpenDecoder, encode_open};

fuzz_target!(|data: &[u8]| {
    let mut buffer = BytesMut::from(data);
    if let Ok(Some(open)) = OpenDecoder::decode(&mut buffer) {
        let mut again = BytesMut::new();
        encode_open(&open, &mut again);
        assert_eq!(OpenDecoder::decode(&mut again), Ok(Some(open)));
        assert!(again.is_empty());
    }
});
