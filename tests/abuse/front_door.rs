//! Section B: what a client may send over HTTP/1.1, as raw bytes, and what of it reaches the API server.

#[path = "front_door/heads.rs"]
mod heads;
#[path = "front_door/passing.rs"]
mod passing;
#[path = "front_door/slow.rs"]
mod slow;
#[path = "front_door/upgrades.rs"]
mod upgrades;

use std::sync::Arc;

use crate::{
    origin::{Origin, Recorded},
    raw::Reply,
    rows::{Outcome, Rows, expect},
    world::{Hub, Process, marker},
};

/// One hub, one cluster, three people.
pub(crate) struct Front {
    pub(crate) hub: Hub,
    pub(crate) origin: Origin,
    _agent: Process,
    pub(crate) alice: String,
    pub(crate) bob: String,
}

impl Front {
    pub(crate) async fn open() -> Self {
        let (hub, origin) = (Hub::start("info").await, Origin::start().await);
        let agent = hub.agent("edge-1", &origin, "info").await;
        let (alice, bob) = (hub.token("alice").await, hub.token("bob").await);
        Self { hub, origin, _agent: agent, alice, bob }
    }

    /// Puts the world into a template:
    /// `{P}` the cluster's prefix, `{M}` an object in it that no other row names, `{m}` that name alone,
    /// `{H}` Host and Alice's token, `{B}` the same with Bob's, `{W}` what asks for a WebSocket, `{S}` a whole second request.
    pub(crate) fn fill(&self, template: &str, marker: &str) -> Vec<u8> {
        let host = format!("Host: {}\r\n", self.hub.door.address);
        let (alice, bob) = (bearer(&host, &self.alice), bearer(&host, &self.bob));
        template
            .replace("{S}", "GET {P}/api/v1/namespaces/x/secrets/{m}-smuggled HTTP/1.1\r\n{H}\r\n")
            .replace("{M}", "{P}/api/v1/namespaces/default/configmaps/{m}")
            .replace("{W}", WEBSOCKET)
            .replace("{H}", &alice)
            .replace("{B}", &bob)
            .replace("{P}", "/clusters/edge-1")
            .replace("{m}", marker)
            .into_bytes()
    }

    /// Sends a template; the reply, and what the API server saw of it.
    pub(crate) async fn send(&self, template: &str, until_closed: bool) -> (Reply, Vec<Recorded>) {
        let marker = marker();
        let reply = self.hub.door.send(&self.fill(template, &marker), until_closed).await;
        (reply, self.origin.seen(&marker))
    }

    /// Whether the hub still serves others.
    pub(crate) async fn serves(&self) -> Outcome {
        let (reply, seen) = self.send("GET {M} HTTP/1.1\r\n{H}\r\n", false).await;
        expect(reply.status() == 200 && seen.len() == 1, format!("a plain request got {}", reply.status()))
    }
}

fn bearer(host: &str, token: &str) -> String {
    format!("{host}Authorization: Bearer {token}\r\n")
}

/// What a client sends that wants a WebSocket of exec.
const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n";

/// A request that is refused: nothing of it reaches the API server.
struct Refused {
    id: &'static str,
    what: &'static str,
    send: String,
    status: u16,
    /// The connection must end: what follows is not to be trusted.
    closes: bool,
}

impl Refused {
    async fn check(&self, front: &Front) -> Outcome {
        let (reply, seen) = front.send(&self.send, self.closes).await;
        expect(reply.status() == self.status, format!("status {} instead of {}", reply.status(), self.status))?;
        expect(reply.answers.len() == 1, format!("{} answers", reply.answers.len()))?;
        expect(!self.closes || reply.closed, "the connection stays open")?;
        expect(seen.is_empty(), format!("the API server saw {:?}", seen.first().map(|r| &r.head)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_ambiguous_passes_the_front_door() {
    let mut front = Front::open().await;
    let rows = Rows::default();
    for case in heads::cases() {
        rows.run(case.id, case.what, case.check(&front)).await;
    }
    passing::run(&rows, &front).await;
    upgrades::run(&rows, &front).await;
    rows.run("T022-T056", "the hub still serves", front.serves()).await;
    front.hub.check_unharmed();
    rows.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_let_go() {
    let front = Arc::new(Front::open().await);
    let mut rows = Rows::default();
    slow::start(&mut rows, &front);
    rows.end().await;
}
