//! An API server that lies: cut and overlong bodies, heads without end. Truncated never looks complete, and one answer's surplus is
//! never another request's answer.

use crate::{
    front_door::Front,
    origin::{Then, json},
    rows::{Outcome, Rows, expect},
    world::marker,
};

struct Lie {
    what: &'static str,
    bytes: Vec<u8>,
    then: Then,
    status: &'static [u16],
    /// The answer must not look complete.
    cut: bool,
}

fn lies() -> Vec<Lie> {
    let plain = |text: &str| text.as_bytes().to_vec();
    let large = format!("HTTP/1.1 200 OK\r\nX-Large: {}\r\nContent-Length: 2\r\n\r\n{{}}", "a".repeat(300 << 10));
    let many = (0..2_000).map(|i| format!("x-{i}: y\r\n")).collect::<String>();
    let mut lies = vec![
        Lie {
            what: "a body shorter than its length",
            bytes: plain("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"a\":"),
            then: Then::Close,
            status: &[0, 200],
            cut: true,
        },
        Lie {
            what: "chunks without an end",
            bytes: plain("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n"),
            then: Then::Close,
            status: &[0, 200],
            cut: true,
        },
        Lie {
            what: "a chunk size that is none",
            bytes: plain("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\nZZ\r\n"),
            then: Then::Stay,
            status: &[0, 200],
            cut: true,
        },
    ];
    let refused: Vec<(&'static str, Vec<u8>, Then)> = vec![
        ("a header of 300 KB", large.into_bytes(), Then::Close),
        ("2,000 headers", format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\n{{}}").into_bytes(), Then::Close),
        ("two lengths", plain("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}"), Then::Close),
        ("a status line of nonsense", plain("ICY 200 OK\r\n\r\n"), Then::Close),
        ("a status of two digits", plain("HTTP/1.1 20 OK\r\n\r\n"), Then::Close),
        ("nothing at all", Vec::new(), Then::Close),
        ("a head that is cut", plain("HTTP/1.1 200 OK\r\nContent-"), Then::Close),
        ("its own 401", json("401 Unauthorized", "WWW-Authenticate: Bearer\r\n", "{}"), Then::Stay),
        ("its own 407", json("407 Proxy Authentication Required", "", "{}"), Then::Stay),
    ];
    for (what, bytes, then) in refused {
        lies.push(Lie { what, bytes, then, status: &[502, 503], cut: false });
    }
    lies
}

async fn check(front: &Front, lie: &Lie) -> Outcome {
    let marker = marker();
    front.origin.tell(&marker, lie.bytes.clone(), lie.then);
    let reply = front.hub.door.send(&front.fill("GET {M} HTTP/1.1\r\n{H}\r\n", &marker), lie.cut).await;
    expect(lie.status.contains(&reply.status()), format!("status {} {}", reply.status(), reply.first().text()))?;
    expect(!lie.cut || (!reply.first().whole && reply.closed), "a cut answer looks complete")?;
    expect(reply.answers.len() <= 1, format!("{} answers", reply.answers.len()))?;
    front.serves().await
}

/// A surplus answer behind the first one: nobody gets it.
async fn surplus(front: &Front) -> Outcome {
    let (poisoned, next) = (marker(), marker());
    let mut bytes = json("200 OK", "", "{}");
    bytes.extend(json("200 OK", "", "{\"poison\":true}"));
    front.origin.tell(&poisoned, bytes, Then::Stay);
    for _ in 0..20 {
        let first = front.hub.door.send(&front.fill("GET {M} HTTP/1.1\r\n{H}\r\n", &poisoned), false).await;
        expect(first.first().body == b"{}" && first.answers.len() == 1, first.first().text())?;
        let reply = front.hub.door.send(&front.fill("GET {M} HTTP/1.1\r\n{B}\r\n", &next), false).await;
        expect(reply.status() == 200 && !reply.first().text().contains("poison"), reply.first().text())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_lies_is_not_believed() {
    let mut front = Front::open().await;
    let rows = Rows::default();
    for lie in lies() {
        rows.run("T104", &format!("the API server sends {}", lie.what), check(&front, &lie)).await;
    }
    rows.run("T105", "a surplus answer of the API server reaches nobody", surplus(&front)).await;
    front.hub.check_unharmed();
    rows.end().await;
}
