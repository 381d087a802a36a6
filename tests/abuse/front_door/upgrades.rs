//! T044, T047: protocol switches. What is not a granted switch ends the connection, and nothing behind it is read as HTTP.

use super::Front;
use crate::{
    origin::{Then, json},
    rows::{Outcome, Rows, expect},
    world::marker,
};

const EXEC: &str = "GET {P}/api/v1/namespaces/n/pods/{m}/exec?command=id HTTP/1.1\r\n{H}";

pub(super) async fn run(rows: &Rows, front: &Front) {
    rows.run("T044", "a bearer subprotocol beside a real one is taken out", bearer(front)).await;
    for (status, expected) in [("200 OK", 200), ("403 Forbidden", 403), ("401 Unauthorized", 502), ("302 Found", 502)] {
        let what = format!("API server answers {status} to an upgrade, a request follows it");
        rows.run("T047", &what, pipelined(front, status, expected)).await;
    }
    rows.run("T047", "101 that nobody asked for", unasked(front)).await;
    rows.run("T047", "101 to another protocol", other_protocol(front)).await;
    rows.run("T047", "a request behind a granted switch is session data", session_data(front)).await;
}

async fn bearer(front: &Front) -> Outcome {
    let protocols = "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.c2VjcmV0\r\n";
    let (reply, seen) = front.send(&format!("{EXEC}{{W}}{protocols}\r\n"), false).await;
    let [request] = seen.as_slice() else { return Err(format!("{} {}", reply.status(), seen.len())) };
    expect(reply.status() == 101, format!("status {}", reply.status()))?;
    expect(!request.head.to_ascii_lowercase().contains("bearer.authorization"), &request.head)?;
    expect(request.header("sec-websocket-protocol") == ["v5.channel.k8s.io"], &request.head)
}

async fn pipelined(front: &Front, status: &str, expected: u16) -> Outcome {
    let marker = marker();
    front.origin.tell(&marker, json(status, "Location: /api/v1/pods\r\n", "{\"kind\":\"Status\"}"), Then::Stay);
    let request = front.fill(&format!("{EXEC}{{W}}\r\n{{S}}"), &marker);
    let reply = front.hub.door.send(&request, true).await;
    expect(reply.status() == expected, format!("status {}", reply.status()))?;
    expect(reply.answers.len() == 1 && reply.closed, "the connection goes on")?;
    expect(reply.first().header("connection") == ["close"], "no connection: close")?;
    let seen = front.origin.seen(&marker);
    expect(seen.len() == 1 && seen[0].body.is_empty(), "the second request arrived")?;
    let others = front.origin.all().into_iter().filter(|r| r.connection == seen[0].connection).count();
    expect(others == 1, "the connection to the API server was used again")
}

async fn unasked(front: &Front) -> Outcome {
    let marker = marker();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    front.origin.tell(&marker, switch, Then::Echo);
    let reply = front.hub.door.send(&front.fill("GET {M} HTTP/1.1\r\n{H}\r\n", &marker), false).await;
    expect(matches!(reply.status(), 502 | 503), format!("status {}", reply.status()))
}

async fn other_protocol(front: &Front) -> Outcome {
    let marker = marker();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    front.origin.tell(&marker, switch, Then::Echo);
    let reply = front.hub.door.send(&front.fill(&format!("{EXEC}{{W}}\r\n"), &marker), true).await;
    expect(reply.status() == 502 && reply.closed, format!("status {}", reply.status()))
}

/// The fake echoes: what comes back is what arrived, and it came as data of the same session.
async fn session_data(front: &Front) -> Outcome {
    let marker = marker();
    let reply = front.hub.door.send(&front.fill(&format!("{EXEC}{{W}}\r\n{{S}}"), &marker), false).await;
    expect(reply.status() == 101, format!("status {}", reply.status()))?;
    let seen = front.origin.seen(&marker);
    expect(seen.len() == 1 && seen[0].head.contains("/exec?"), "read as a second request")
}
