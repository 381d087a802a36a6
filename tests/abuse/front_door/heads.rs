//! T022–T039, T041, T046–T054: requests that end at the hub, with the status that they get.

use super::Refused;

/// Refused by the strict gate or the judge behind it.
pub(super) fn cases() -> Vec<Refused> {
    let mut cases: Vec<Refused> = Vec::new();
    let mut add = |rows: &[(&'static str, &'static str, &str, u16, bool)]| {
        for (id, what, send, status, closes) in rows {
            cases.push(Refused { id, what, send: (*send).to_owned(), status: *status, closes: *closes });
        }
    };
    add(FRAMING);
    add(HEADS);
    add(PATHS);
    add(IDENTITY);
    add(ACCESS);
    let large = "a".repeat(500 << 10);
    let many = (0..100).map(|i| format!("x-{i}: y\r\n")).collect::<String>();
    for (id, what, send) in [
        ("T030", "a header of 500 KB", format!("GET {{M}} HTTP/1.1\r\n{{H}}X-Large: {large}\r\n\r\n")),
        ("T030", "a target of 500 KB", format!("GET {{M}}?{large} HTTP/1.1\r\n{{H}}\r\n")),
        ("T031", "102 headers", format!("GET {{M}} HTTP/1.1\r\n{{H}}{many}\r\n")),
    ] {
        cases.push(Refused { id, what, send, status: 431, closes: true });
    }
    cases
}

type Row = (&'static str, &'static str, &'static str, u16, bool);

/// Where a body ends must have one answer.
const FRAMING: &[Row] = &[
    (
        "T022",
        "CL + TE",
        "POST {M} HTTP/1.1\r\n{H}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
        400,
        true,
    ),
    (
        "T022",
        "TE + CL",
        "POST {M} HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{S}",
        400,
        true,
    ),
    (
        "T022",
        "CL + TE in odd spelling",
        "POST {M} HTTP/1.1\r\n{H}content-LENGTH: 5\r\ntransfer-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n{S}",
        400,
        true,
    ),
    (
        "T023",
        "two different CL",
        "POST {M} HTTP/1.1\r\n{H}Content-Length: 0\r\nContent-Length: 90\r\n\r\n{S}",
        400,
        true,
    ),
    ("T023", "two identical CL", "POST {M} HTTP/1.1\r\n{H}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400, true),
    ("T023", "CL list", "POST {M} HTTP/1.1\r\n{H}Content-Length: 2, 2\r\n\r\n{}", 400, true),
    ("T023", "CL +4", "POST {M} HTTP/1.1\r\n{H}Content-Length: +4\r\n\r\n{\"\"}", 400, true),
    ("T023", "CL 0x4", "POST {M} HTTP/1.1\r\n{H}Content-Length: 0x4\r\n\r\n{\"\"}", 400, true),
    ("T023", "CL -1", "POST {M} HTTP/1.1\r\n{H}Content-Length: -1\r\n\r\n", 400, true),
    (
        "T023",
        "CL above 64 bit",
        "POST {M} HTTP/1.1\r\n{H}Content-Length: 18446744073709551620\r\n\r\n{\"\"}",
        400,
        true,
    ),
    (
        "T024",
        "TE gzip and TE chunked",
        "POST {M} HTTP/1.1\r\n{H}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
        400,
        true,
    ),
    (
        "T024",
        "TE gzip, chunked",
        "POST {M} HTTP/1.1\r\n{H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{S}",
        400,
        true,
    ),
    (
        "T024",
        "TE chunked, identity",
        "POST {M} HTTP/1.1\r\n{H}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        400,
        true,
    ),
    ("T024", "TE xchunked", "POST {M} HTTP/1.1\r\n{H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, true),
    (
        "T024",
        "TE with a vertical tab",
        "POST {M} HTTP/1.1\r\n{H}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        400,
        true,
    ),
    (
        "T024",
        "TE chunked twice",
        "POST {M} HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        true,
    ),
    (
        "T054",
        "Upgrade with a body",
        "POST {P}/api/v1/namespaces/n/pods/{m}/exec HTTP/1.1\r\n{H}Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 4\r\n\r\nabcd",
        400,
        true,
    ),
];

/// Heads that two parsers read in two ways.
const HEADS: &[Row] = &[
    ("T025", "no Host", "GET {M} HTTP/1.1\r\nAuthorization: Bearer x\r\n\r\n", 400, true),
    ("T025", "two Hosts", "GET {M} HTTP/1.1\r\nHost: evil\r\n{H}\r\n", 400, true),
    ("T025", "Host with a path", "GET {M} HTTP/1.1\r\nHost: evil/x\r\n\r\n", 400, true),
    ("T026", "absolute form, other host", "GET http://169.254.169.254/{m} HTTP/1.1\r\n{H}\r\n", 400, true),
    ("T026", "absolute form, own host", "GET https://127.0.0.1{M} HTTP/1.1\r\n{H}\r\n", 400, true),
    ("T026", "asterisk form", "OPTIONS * HTTP/1.1\r\n{H}X-Mark: {m}\r\n\r\n", 400, true),
    ("T027", "CONNECT", "CONNECT 169.254.169.254:80 HTTP/1.1\r\n{H}X-Mark: {m}\r\n\r\n", 405, true),
    ("T027", "TRACE", "TRACE {M} HTTP/1.1\r\n{H}\r\n", 405, true),
    ("T028", "bare LF everywhere", "GET {M} HTTP/1.1\nHost: x\nAuthorization: Bearer x\n\n", 400, true),
    ("T028", "one bare LF", "GET {M} HTTP/1.1\r\n{H}X-A: b\nX-C: d\r\n\r\n", 400, true),
    ("T028", "bare LF hides a header", "GET {M} HTTP/1.1\r\n{H}X-A: b\nImpersonate-User: root\r\n\r\n", 400, true),
    ("T029", "obs-fold", "GET {M} HTTP/1.1\r\n{H}X-A: b\r\n Impersonate-User: root\r\n\r\n", 400, true),
    ("T029", "space before colon", "GET {M} HTTP/1.1\r\n{H}Transfer-Encoding : chunked\r\n\r\n", 400, true),
    ("T029", "NUL in a value", "GET {M} HTTP/1.1\r\n{H}X-A: b\0c\r\n\r\n", 400, true),
    ("T029", "CR in a value", "GET {M} HTTP/1.1\r\n{H}X-A: b\rc\r\n\r\n", 400, true),
    ("T029", "header without a name", "GET {M} HTTP/1.1\r\n{H}: b\r\n\r\n", 400, true),
    ("T029", "non-ASCII name", "GET {M} HTTP/1.1\r\n{H}Impersonate\u{2010}User: root\r\n\r\n", 400, true),
    ("T029", "HTTP/1.0", "GET {M} HTTP/1.0\r\n{H}\r\n", 400, true),
    ("T029", "HTTP/0.9", "GET {M}\r\n\r\n", 400, true),
    ("T029", "empty line first", "\r\nGET {M} HTTP/1.1\r\n{H}\r\n", 400, true),
    ("T029", "no HTTP at all", "\x16\x03\x01 {m}\r\n\r\n", 400, true),
];

/// Paths, a sample of what `src/k8s/target` tests in full. Never normalised.
const PATHS: &[Row] = &[
    ("T035", "dot segments", "GET {P}/api/v1/namespaces/a/../b/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T035", "%2e%2e", "GET {P}/api/v1/namespaces/a/%2e%2e/b/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T035", "%2E.", "GET {P}/api/v1/namespaces/a/%2E./b/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T035", ".%2e", "GET {P}/api/v1/namespaces/a/.%2e/b/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T035", "cluster %2e%2e", "GET /clusters/%2e%2e/api/v1/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T035", "dots before the cluster", "GET /x/../clusters/edge-1/api/v1/pods/{m} HTTP/1.1\r\n{H}\r\n", 404, false),
    ("T036", "//api", "GET {P}//api/v1/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T036", "/api//v1", "GET {P}/api//v1/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T036", "trailing /./", "GET {M}/./ HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T037", "%2f", "GET {P}/api/v1/namespaces/a%2f..%2fb/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T037", "%5c", "GET {P}/api/v1/namespaces/a%5cb/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T037", "backslash", "GET {P}/api/v1/namespaces/a\\b/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T037", "%252f", "GET {P}/api/v1/namespaces/a%252fb/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    (
        "T037",
        "dots in a proxied tail",
        "GET {P}/api/v1/namespaces/a/pods/{m}/proxy/%252e%252e/x HTTP/1.1\r\n{H}\r\n",
        400,
        false,
    ),
    ("T038", ";param", "GET {P}/api/v1/namespaces/a;b/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T038", "%00", "GET {P}/api/v1/namespaces/a%00/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T038", "overlong UTF-8", "GET {P}/api/v1/namespaces/a%c0%af/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T039", "cluster name in upper case", "GET /clusters/EDGE-1/api/v1/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
    ("T039", "prefix of a cluster name", "GET /clusters/edge/api/v1/pods/{m} HTTP/1.1\r\n{H}\r\n", 403, false),
    ("T039", "longer than a cluster name", "GET /clusters/edge-10/api/v1/pods/{m} HTTP/1.1\r\n{H}\r\n", 403, false),
    ("T039", "confusable cluster name", "GET /clusters/edge%D1%96-1/api/v1/pods/{m} HTTP/1.1\r\n{H}\r\n", 400, false),
];

/// Who a client says it is.
const IDENTITY: &[Row] = &[
    ("T041", "Impersonate-User without a grant", "GET {M} HTTP/1.1\r\n{H}Impersonate-User: root\r\n\r\n", 403, false),
    ("T041", "iMPERSONATE-uSER", "GET {M} HTTP/1.1\r\n{H}iMPERSONATE-uSER: root\r\n\r\n", 403, false),
    (
        "T041",
        "system:masters",
        "GET {M} HTTP/1.1\r\n{H}Impersonate-User: dave\r\nImpersonate-Group: system:masters\r\n\r\n",
        403,
        false,
    ),
    (
        "T041",
        "Impersonate-User twice",
        "GET {M} HTTP/1.1\r\n{H}Impersonate-User: dave\r\nImpersonate-User: root\r\n\r\n",
        400,
        false,
    ),
    ("T041", "Impersonate-Group alone", "GET {M} HTTP/1.1\r\n{H}Impersonate-Group: dev\r\n\r\n", 400, false),
    (
        "T041",
        "Impersonate-Uid",
        "GET {M} HTTP/1.1\r\n{H}Impersonate-User: dave\r\nImpersonate-Uid: 0\r\n\r\n",
        403,
        false,
    ),
    (
        "T041",
        "Impersonate-Extra-%2F",
        "GET {M} HTTP/1.1\r\n{H}Impersonate-User: dave\r\nImpersonate-Extra-%2F: x\r\n\r\n",
        403,
        false,
    ),
    (
        "T041",
        "Impersonate-Extra without a user",
        "GET {M} HTTP/1.1\r\n{H}Impersonate-Extra-scopes: x\r\n\r\n",
        400,
        false,
    ),
    ("T041", "Impersonate_User", "GET {M} HTTP/1.1\r\n{H}Impersonate_User: root\r\n\r\n", 400, false),
    ("T041", "ImpersonateUser", "GET {M} HTTP/1.1\r\n{H}ImpersonateUser: root\r\n\r\n", 400, false),
    ("T041", "padded value", "GET {M} HTTP/1.1\r\n{H}Impersonate-User: dave\u{a0}\r\n\r\n", 400, false),
    (
        "T042",
        "Connection names Impersonate-User",
        "GET {M} HTTP/1.1\r\n{H}Connection: Impersonate-User\r\nImpersonate-User: root\r\n\r\n",
        403,
        false,
    ),
    ("T043", "two Authorization headers", "GET {M} HTTP/1.1\r\n{H}Authorization: Bearer other\r\n\r\n", 400, true),
];

/// Who may do what.
const ACCESS: &[Row] = &[
    ("T001", "no token", "GET {M} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 401, false),
    (
        "T001",
        "a join token is no hub token",
        "GET {M} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer rsj_aaaaaaaaaa_x_0\r\n\r\n",
        401,
        false,
    ),
    (
        "T044",
        "bearer subprotocol authenticates nobody",
        "GET {P}/api/v1/namespaces/n/pods/{m}/exec HTTP/1.1\r\nHost: 127.0.0.1\r\n{W}Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.eA\r\n\r\n{S}",
        401,
        true,
    ),
    ("T046", "WebSocket on a list", "GET {P}/api/v1/pods?{m} HTTP/1.1\r\n{H}{W}\r\n{S}", 400, true),
    ("T048", "Upgrade: h2c", "GET {M} HTTP/1.1\r\n{H}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n{S}", 400, true),
    (
        "T048",
        "Upgrade: websocket, h2c",
        "GET {P}/api/v1/namespaces/n/pods/{m}/exec HTTP/1.1\r\n{H}Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n{S}",
        400,
        true,
    ),
    (
        "T048",
        "Upgrade without Connection",
        "GET {P}/api/v1/namespaces/n/pods/{m}/exec HTTP/1.1\r\n{H}Upgrade: websocket\r\n\r\n{S}",
        400,
        true,
    ),
    (
        "T048",
        "Connection: upgrade without Upgrade",
        "GET {P}/api/v1/namespaces/n/pods/{m}/exec HTTP/1.1\r\n{H}Connection: keep-alive, Upgrade\r\n\r\n",
        400,
        false,
    ),
    (
        "T048",
        "enrolment with Upgrade, then a smuggling request",
        "GET /enrol/v1 HTTP/1.1\r\n{H}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nPOST {M} HTTP/1.1\r\n{H}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
        405,
        true,
    ),
    (
        "T048",
        "whoami with Upgrade, then a smuggling request",
        "GET /api/v1/whoami HTTP/1.1\r\n{H}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n{S}",
        200,
        true,
    ),
    (
        "T049",
        "exec by GET with a read grant",
        "GET {P}/api/v1/namespaces/n/pods/{m}/exec HTTP/1.1\r\n{B}{W}\r\n{S}",
        403,
        true,
    ),
    (
        "T049",
        "exec by POST with a read grant",
        "POST {P}/api/v1/namespaces/n/pods/{m}/exec HTTP/1.1\r\n{B}Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n",
        403,
        true,
    ),
    (
        "T050",
        "nodes/proxy exec with a read grant",
        "GET {P}/api/v1/nodes/{m}/proxy/exec/ns/pod/c?command=id HTTP/1.1\r\n{B}{W}\r\n",
        403,
        true,
    ),
    (
        "T050",
        "nodes/proxy run with a read grant",
        "GET {P}/api/v1/nodes/{m}/proxy/run/ns/pod/c HTTP/1.1\r\n{B}\r\n",
        403,
        false,
    ),
    (
        "T051",
        "pods/proxy with a read grant",
        "GET {P}/api/v1/namespaces/n/pods/{m}:80/proxy/latest/meta-data HTTP/1.1\r\n{B}\r\n",
        403,
        false,
    ),
    (
        "T051",
        "services/proxy with a read grant",
        "GET {P}/api/v1/namespaces/n/services/https:{m}:443/proxy/ HTTP/1.1\r\n{B}\r\n",
        403,
        false,
    ),
    (
        "T058",
        "form POST to the API",
        "POST /api/v1/tokens HTTP/1.1\r\n{B}Content-Type: text/plain\r\nContent-Length: 14\r\n\r\n{\"user\":\"{m}\"}",
        403,
        false,
    ),
];
