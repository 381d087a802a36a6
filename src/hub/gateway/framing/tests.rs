//! What is let in and what is not, byte by byte.

use proptest::prelude::*;

use super::*;

fn head(lines: &str) -> Result<Body, Violation> {
    judge(format!("GET /x HTTP/1.1\r\n{lines}\r\n").as_bytes(), None)
}

#[test]
fn bodies_have_one_meaning_or_are_refused() {
    use Violation as V;
    let cases: &[(&str, Result<Body, Violation>)] = &[
        ("Host: h\r\n", Ok(Body::Length(0))),
        ("Host: h\r\nContent-Length: 12\r\n", Ok(Body::Length(12))),
        ("Host: h\r\nTransfer-Encoding: chunked\r\n", Ok(Body::Chunked)),
        ("Host: h\r\nTransfer-Encoding: Chunked\r\n", Ok(Body::Chunked)),
        ("Host: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n", Err(V::LengthAndEncoding)),
        ("Host: h\r\nContent-Length: 4\r\nContent-Length: 5\r\n", Err(V::ContentLength)),
        ("Host: h\r\nContent-Length: 4\r\nContent-Length: 4\r\n", Err(V::ContentLength)),
        ("Host: h\r\nContent-Length: 4, 4\r\n", Err(V::ContentLength)),
        ("Host: h\r\nContent-Length: +4\r\n", Err(V::ContentLength)),
        ("Host: h\r\nContent-Length: \r\n", Err(V::ContentLength)),
        ("Host: h\r\nContent-Length: 9999999999999999999\r\n", Err(V::ContentLength)),
        ("Host: h\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Err(V::TransferEncoding)),
        ("Host: h\r\nTransfer-Encoding: chunked, identity\r\n", Err(V::TransferEncoding)),
        ("Host: h\r\nTransfer-Encoding: xchunked\r\n", Err(V::TransferEncoding)),
        ("Host: h\r\nTransfer-Encoding: \x0bchunked\r\n", Err(V::Syntax)),
        ("Host: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: SPDY/3.1\r\n", Ok(Body::Upgrade)),
        ("Host: h\r\nUpgrade: h2c\r\n", Ok(Body::Upgrade)),
        ("Host: h\r\nUpgrade: h2c\r\nContent-Length: 3\r\n", Err(V::UpgradeWithBody)),
    ];
    for (lines, expected) in cases {
        assert_eq!(head(lines), *expected, "{lines:?}");
    }
}

#[test]
fn heads_that_could_be_read_in_two_ways_are_refused() {
    use Violation as V;
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS));
    let cases: &[(&str, Violation)] = &[
        ("GET / HTTP/1.1\r\n\r\n", V::Host),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", V::Host),
        ("GET / HTTP/1.1\r\nHost: \r\n\r\n", V::Host),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", V::Host),
        ("GET http://evil/x HTTP/1.1\r\nHost: a\r\n\r\n", V::TargetForm),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", V::TargetForm),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", V::Method("CONNECT")),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", V::Method("TRACE")),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", V::Version),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", V::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", V::BareLineFeed),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", V::Syntax),
        ("GET / HTTP/1.1\r\nHost: a\r\nx: y\r\n folded\r\n\r\n", V::Syntax),
        ("GET / HTTP/1.1\r\nHost: a\r\nx : y\r\n\r\n", V::Syntax),
        ("GET / HTTP/1.1\r\nHost: a\r\nx: \0\r\n\r\n", V::Syntax),
        ("GET / HTTP/1.1\r\nHost: a\r\nh\u{e9}: y\r\n\r\n", V::Syntax),
        ("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nauthorization: y\r\n\r\n", V::Authorization),
        (&many, V::TooLarge),
    ];
    for (bytes, expected) in cases {
        assert_eq!(judge(bytes.as_bytes(), None), Err(*expected), "{bytes:?}");
    }
}

#[test]
fn host_must_be_the_name_of_the_handshake() {
    let with = |host: &str| judge(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(), Some("hub.example"));
    assert_eq!(with("hub.example"), Ok(Body::Length(0)));
    assert_eq!(with("HUB.example:8443"), Ok(Body::Length(0)));
    assert_eq!(with("other.example"), Err(Violation::Misdirected));
    assert_eq!(with("hub.example.evil"), Err(Violation::Misdirected));
}

#[test]
fn chunked_bodies_end_where_they_end() {
    type Scanned = Result<(usize, bool), Violation>;
    let cases: &[(&str, Scanned)] = &[
        ("0\r\n\r\nGET", Ok((5, true))),
        ("3\r\nabc\r\n0\r\n\r\n", Ok((13, true))),
        ("A;x=y\r\n0123456789\r\n0\r\nt: v\r\n\r\n!", Ok((30, true))),
        ("3\r\nab", Ok((5, false))),
        ("3\nabc", Err(Violation::Chunk)),
        ("3\r\nabcd\r\n", Err(Violation::Chunk)),
        ("\r\n", Err(Violation::Chunk)),
        ("-1\r\n", Err(Violation::Chunk)),
        ("0x3\r\n", Err(Violation::Chunk)),
        ("1000000000000000\r\n", Err(Violation::Chunk)),
    ];
    for (bytes, expected) in cases {
        assert_eq!(ChunkedScan::new().scan(bytes.as_bytes()), *expected, "{bytes:?}");
    }
    let long = format!("1;{}\r\n", "x".repeat(5000));
    assert_eq!(ChunkedScan::new().scan(long.as_bytes()), Err(Violation::Chunk));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = judge(&bytes, Some("hub.example"));
        let _ = ChunkedScan::new().scan(&bytes);
    }

    #[test]
    fn a_cut_changes_nothing(parts in proptest::collection::vec("[a-z]{1,20}", 0..6), cut in 1usize..9) {
        let mut wire: String = parts.iter().map(|p| format!("{:x}\r\n{p}\r\n", p.len())).collect();
        wire.push_str("0\r\n\r\n");
        let mut scan = ChunkedScan::new();
        let ends: Vec<bool> = wire.as_bytes().chunks(cut).map(|c| scan.scan(c).unwrap().1).collect();
        prop_assert!(ends[..ends.len() - 1].iter().all(|end| !end) && ends[ends.len() - 1]);
    }
}
