//! T025, T032, T041–T043, T052–T056: requests that pass, and exactly what of them arrives; answers, and what of them comes back.

use tokio::io::AsyncWriteExt;

use super::Front;
use crate::{
    origin::{AGENT_TOKEN, Then, json},
    raw::{Until, exchange},
    rows::{Outcome, Rows, expect},
    world::{marker, until},
};

pub(super) async fn run(rows: &Rows, front: &Front) {
    rows.run("T025", "Host differs from SNI: 421", misdirected(front)).await;
    rows.run("T022", "a good request, then a smuggling one, in one write", pipelined(front)).await;
    for (id, what, chunks) in CHUNKS {
        rows.run(id, what, bad_chunks(front, chunks)).await;
    }
    rows.run("T041", "a granted Impersonate-User arrives once, as granted", granted(front)).await;
    rows.run("T042", "Connection names identity headers: no effect", connection_tokens(front)).await;
    rows.run("T043", "a client's proxy and identity headers never arrive", stripped(front)).await;
    rows.run("T052", "doubled query keys arrive byte for byte", byte_for_byte(front)).await;
    rows.run("T054", "Expect and a huge body: 403 before a byte of it", refused_early(front)).await;
    rows.run("T055", "redirect out of the cluster", redirect(front, "http://169.254.169.254/latest", 502)).await;
    rows.run("T055", "redirect to another cluster", redirect(front, "/clusters/edge-2/api/v1/pods", 502)).await;
    rows.run("T055", "redirect without a scheme", redirect(front, "//evil.example/api/v1", 502)).await;
    rows.run("T055", "redirect within the cluster", redirect(front, "/api/v1/pods", 307)).await;
    rows.run("T130", "hostile names, methods and agents make no new metrics", no_new_metrics(front)).await;
    rows.run("T056", "a cluster's browser headers are dropped", browser_headers(front)).await;
}

async fn misdirected(front: &Front) -> Outcome {
    let marker = marker();
    let request = front.fill("GET {M} HTTP/1.1\r\n{H}\r\n", &marker);
    let reply = front.hub.door.send_as("localhost", &request, true).await;
    expect(reply.status() == 421 && reply.closed, format!("{} closed {}", reply.status(), reply.closed))?;
    expect(front.origin.seen(&marker).is_empty(), "it arrived")
}

/// The refusal belongs to the request that earned it, and comes after the answer of the one before.
async fn pipelined(front: &Front) -> Outcome {
    let (good, bad) = (marker(), marker());
    let mut bytes = front.fill("GET {M} HTTP/1.1\r\n{H}\r\n", &good);
    bytes.extend(front.fill("GET {M} HTTP/1.1\r\n{H}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", &bad));
    let reply = front.hub.door.send(&bytes, true).await;
    let statuses: Vec<u16> = reply.answers.iter().map(|a| a.status).collect();
    expect(statuses == [200, 400] && reply.closed, format!("{statuses:?}"))?;
    expect(front.origin.seen(&good).len() == 1 && front.origin.seen(&bad).is_empty(), "wrong one arrived")
}

const CHUNKS: &[(&str, &str, &str)] = &[
    ("T032", "a chunk extension of 20 KB", "5;{20k}\r\nhello\r\n0\r\n\r\n"),
    ("T032", "a control byte in the last chunk's extension", "5\r\nhello\r\n0;a\x01\r\n\r\n"),
    ("T032", "a bare LF after a chunk size", "5\nhello\r\n0\r\n\r\n"),
    ("T032", "a chunk longer than it says", "5\r\nhelloXX\r\n0\r\n\r\n"),
    ("T032", "a chunk size of 17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("T032", "a NUL in a trailer", "5\r\nhello\r\n0\r\nx: \0\r\n\r\n"),
    ("T032", "a control byte in the last chunk's extension, alone in its packet", "5\r\nhello\r\n0;a|\x01\r\n\r\n"),
    ("T032", "a NUL in a trailer, alone in its packet", "5\r\nhello\r\n0\r\nx: |\0\r\n\r\n"),
    ("T032", "a bare LF in a chunk's extension, alone in its packet", "d;a|\nhello, world!\r\n0\r\n\r\n"),
    ("T032", "a second request in a trailer's place", "0\r\nGET /api HTTP/1.1\n\r\n\r\n"),
];

/// The request may have arrived; what must not is a body that looks complete, and nothing may be read as a second request.
/// What is behind `|` comes later: the hub has passed on what is before it.
async fn bad_chunks(front: &Front, chunks: &str) -> Outcome {
    let chunks = chunks.replace("{20k}", &"x".repeat(20 << 10));
    let send = format!("POST {{M}} HTTP/1.1\r\n{{H}}Transfer-Encoding: chunked\r\n\r\n{chunks}{{S}}");
    let marker = marker();
    let (first, later) = send.split_once('|').unwrap_or((&send, ""));
    let mut tls = front.hub.door.connect("127.0.0.1", &[b"http/1.1"]).await?;
    tls.write_all(&front.fill(first, &marker)).await.map_err(|e| e.to_string())?;
    if !later.is_empty() {
        until("the request arrives", || !front.origin.seen(&marker).is_empty()).await;
    }
    let reply = exchange(tls, &front.fill(later, &marker), Until::Closed).await;
    let seen = front.origin.seen(&marker);
    expect(reply.closed, "the connection stays open")?;
    expect(reply.answers.len() <= 1 && reply.status() != 200, format!("status {}", reply.status()))?;
    expect(seen.iter().all(|r| !r.whole && r.head.starts_with("POST ")), "a complete body or a second request arrived")
}

async fn granted(front: &Front) -> Outcome {
    let headers = "Impersonate-User: dave\r\nImpersonate-Group: dev\r\n";
    let (reply, seen) = front.send(&format!("GET {{M}} HTTP/1.1\r\n{{H}}{headers}\r\n"), false).await;
    let [request] = seen.as_slice() else { return Err(format!("{} {}", reply.status(), seen.len())) };
    expect(request.header("impersonate-user") == ["dave"], format!("user {:?}", request.head))?;
    expect(request.header("impersonate-group") == ["dev"], format!("groups {:?}", request.head))
}

async fn connection_tokens(front: &Front) -> Outcome {
    let tokens =
        "Connection: Impersonate-User, Impersonate-Group, Authorization, X-Roadstead-Identity, Host, Audit-ID\r\n";
    let (reply, seen) = front.send(&format!("GET {{M}} HTTP/1.1\r\n{{H}}{tokens}\r\n"), false).await;
    let [request] = seen.as_slice() else { return Err(format!("{} {}", reply.status(), seen.len())) };
    expect(request.header("impersonate-user") == ["roadstead:user"], format!("{:?}", request.head))?;
    expect(request.header("impersonate-group") == ["roadstead:all"], format!("{:?}", request.head))?;
    expect(request.header("authorization") == [format!("Bearer {AGENT_TOKEN}")], "the agent's credential")?;
    expect(request.header("connection").is_empty(), format!("{:?}", request.head))?;
    expect(request.header("host") == [front.origin.address.to_string()], format!("{:?}", request.head))
}

async fn stripped(front: &Front) -> Outcome {
    const NAMES: &[&str] = &[
        "Cookie",
        "Proxy-Authorization",
        "Proxy-Connection",
        "X-Remote-User",
        "X-Remote-Group",
        "X-Remote-Extra-Scopes",
        "X_Remote_User",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
        "X-Real-Ip",
        "X-Original-Url",
        "X-Rewrite-Url",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "Via",
        "Keep-Alive",
        "TE",
        "Trailer",
        "HTTP2-Settings",
        "X-Roadstead-Identity",
        "Audit-ID",
    ];
    let headers: String = NAMES.iter().map(|name| format!("{name}: forged\r\n")).collect();
    let (reply, seen) = front.send(&format!("GET {{M}} HTTP/1.1\r\n{{H}}{headers}X-Kept: yes\r\n\r\n"), false).await;
    let [request] = seen.as_slice() else { return Err(format!("{} {}", reply.status(), seen.len())) };
    expect(!request.head.contains("forged"), format!("{:?}", request.head))?;
    expect(request.header("x-kept") == ["yes"], "an ordinary header is lost")?;
    expect(!request.head.contains(&front.alice), "Alice's hub token left the hub")?;
    expect(request.header("audit-id").len() == 1, "the hub's own audit id")?;
    expect(
        request.header("impersonate-extra-roadstead.dev%2fsubject") == ["token:alice"],
        format!("{:?}", request.head),
    )
}

async fn byte_for_byte(front: &Front) -> Outcome {
    let target = "/api/v1/namespaces/default/pods?watch=false&watch=true&dryRun=All&x=%41&fieldManager={m}";
    let marker = marker();
    let request = front.fill(&format!("GET {{P}}{target} HTTP/1.1\r\n{{H}}\r\n"), &marker);
    let reply = front.hub.door.send(&request, false).await;
    let seen = front.origin.seen(&marker);
    let line = format!("GET {} HTTP/1.1\r\n", target.replace("{m}", &marker));
    expect(seen.len() == 1 && seen[0].head.starts_with(&line), format!("{} {:?}", reply.status(), seen.first()))
}

async fn refused_early(front: &Front) -> Outcome {
    let send = "POST {M} HTTP/1.1\r\n{B}Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n";
    let (reply, seen) = front.send(send, true).await;
    expect(reply.status() == 403 && reply.closed, format!("{} closed {}", reply.status(), reply.closed))?;
    expect(seen.is_empty(), "it arrived")
}

async fn redirect(front: &Front, to: &str, status: u16) -> Outcome {
    let marker = marker();
    let answer = json("307 Temporary Redirect", &format!("Location: {to}\r\n"), "{}");
    front.origin.tell(&marker, answer, Then::Stay);
    let before = front.origin.all().len();
    let reply = front.hub.door.send(&front.fill("GET {M} HTTP/1.1\r\n{H}\r\n", &marker), false).await;
    expect(reply.status() == status, format!("status {}", reply.status()))?;
    let location = reply.first().header("location").concat();
    let inside = if status == 502 { String::new() } else { format!("/clusters/edge-1{to}") };
    expect(location == inside, format!("location {location:?}"))?;
    expect(front.origin.all().len() == before + 1, "somebody followed it")
}

async fn no_new_metrics(front: &Front) -> Outcome {
    front.serves().await?;
    let before = front.hub.series().await;
    for i in 0..30 {
        for send in [
            format!("GET /clusters/made-up-{i}/api/v1/pods HTTP/1.1\r\n{{H}}\r\n"),
            format!("MADEUP{i} {{M}} HTTP/1.1\r\n{{H}}\r\n"),
            format!("GET {{P}}/apis/g{i}/v{i}/r{i}/{{m}} HTTP/1.1\r\n{{H}}User-Agent: agent-{i}\r\n\r\n"),
            format!("GET /path-{i} HTTP/1.1\r\n{{H}}\r\n"),
        ] {
            front.send(&send, false).await;
        }
    }
    let after = front.hub.series().await;
    let new: Vec<&String> = after.iter().filter(|series| !before.contains(series)).collect();
    expect(before.len() > 10 && new.is_empty(), format!("of {} series new: {new:?}", before.len()))
}

async fn browser_headers(front: &Front) -> Outcome {
    const DROPPED: &[&str] = &[
        "Set-Cookie",
        "Strict-Transport-Security",
        "Access-Control-Allow-Origin",
        "Access-Control-Allow-Credentials",
        "Service-Worker-Allowed",
        "Clear-Site-Data",
        "Alt-Svc",
        "Refresh",
        "Proxy-Authenticate",
        "X-Accel-Redirect",
    ];
    let marker = marker();
    let headers: String = DROPPED.iter().map(|name| format!("{name}: hostile\r\n")).collect();
    front.origin.tell(&marker, json("200 OK", &headers, "<script>alert(1)</script>"), Then::Stay);
    let answer = front.hub.door.send(&front.fill("GET {M} HTTP/1.1\r\n{H}\r\n", &marker), false).await.first();
    expect(answer.status == 200 && !answer.head.contains("hostile"), &answer.head)?;
    expect(answer.header("content-security-policy") == ["sandbox"], "no sandbox")?;
    expect(answer.header("x-content-type-options") == ["nosniff"], "no nosniff")
}
