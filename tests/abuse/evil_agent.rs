//! Section H: an agent with a valid certificate that breaks every rule, against the hub and the people who ask for its cluster.
//! The same hub serves an honest cluster, which must not notice.

#[path = "evil_agent/flood.rs"]
mod flood;
#[path = "evil_agent/scripts.rs"]
mod scripts;

use std::{sync::Arc, time::Duration};

use prost::Message;
use quinn::{RecvStream, SendStream};
use roadstead::wire::{Frame, generated::RequestHead};
use tokio::time::{Instant, sleep};

use crate::{
    origin::Origin,
    quic::{Frames, Joined, Moored, join},
    raw::Reply,
    rows::{Outcome, Rows, expect},
    world::{Hub, Process},
};
use scripts::Script;

/// A hub with an evil cluster and an honest one.
pub(crate) struct Fleet {
    pub(crate) hub: Hub,
    _origin: Origin,
    _agent: Process,
    pub(crate) alice: String,
    pub(crate) evil: Joined,
}

impl Fleet {
    async fn gather() -> Self {
        let (hub, origin) = (Hub::start("debug").await, Origin::start().await);
        let agent = hub.agent("edge-1", &origin, "info").await;
        let alice = hub.token("alice").await;
        let evil = join(&hub, "bad-1").await;
        Self { hub, _origin: origin, _agent: agent, alice, evil }
    }

    /// Asks for something in a cluster.
    pub(crate) async fn ask(&self, cluster: &str, path: &str, more: &str, until_closed: bool) -> Reply {
        let host = self.hub.door.address;
        let request = format!(
            "GET /clusters/{cluster}{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n{more}\r\n",
            self.alice
        );
        self.hub.door.send(request.as_bytes(), until_closed).await
    }

    /// Whether the honest cluster is served, and how fast.
    pub(crate) async fn honest_is_served(&self) -> Outcome {
        let start = Instant::now();
        let reply = self.ask("edge-1", "/api/v1/namespaces/default/pods", "", false).await;
        expect(reply.status() == 200, format!("the honest cluster answers {}", reply.status()))?;
        expect(start.elapsed() < Duration::from_secs(2), "the honest cluster is slow")
    }
}

/// Answers every request on the link with the script that its path names.
fn serve(moored: &Moored, scripts: &Arc<Vec<Script>>) {
    let (connection, scripts) = (moored.connection.clone(), scripts.clone());
    tokio::spawn(async move {
        while let Ok((send, recv)) = connection.accept_bi().await {
            let scripts = scripts.clone();
            tokio::spawn(async move { play(send, recv, &scripts).await });
        }
    });
}

async fn play(mut send: SendStream, mut recv: RecvStream, scripts: &[Script]) -> Option<()> {
    let mut frames = Frames::after_open(&mut recv).await?;
    let Some(Frame::Head(head)) = frames.next(&mut recv).await else { return None };
    let head = RequestHead::decode(head).ok()?;
    let script = scripts.iter().find(|s| head.target.ends_with(&format!("/{}", s.name)))?;
    for piece in &script.send {
        send.write_all(piece).await.ok()?;
    }
    match script.then {
        scripts::Then::Finish => drop(send.finish()),
        scripts::Then::Reset => drop(send.reset(0x2000u32.into())),
        scripts::Then::Hang => {
            // Holds both halves; the other end must not wait for ever.
            let _ = tokio::time::timeout(Duration::from_secs(15), send.stopped()).await;
        }
    }
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malicious_agent_hurts_only_its_own_cluster() {
    let mut fleet = Fleet::gather().await;
    let rows = Rows::default();
    let moored = fleet.evil.moor(fleet.hub.door.address).await;
    fleet.hub.connected("bad-1").await;
    let all = Arc::new(scripts::all());
    serve(&moored, &all);
    for script in all.iter() {
        rows.run(script.id, script.what, script.check(&fleet)).await;
    }
    rows.run("T103", "the link is still up and others are served", fleet.honest_is_served()).await;
    rows.run("T112", "an agent's text cannot forge a log line", scripts::log_injection(&fleet)).await;
    drop(moored);
    flood::run(&rows, &fleet).await;
    rows.run("T103-T112", "the honest cluster did not notice", fleet.honest_is_served()).await;
    fleet.hub.check_unharmed();
    // What was broken is given back: no connection and no stream outlives its cause.
    sleep(Duration::from_millis(200)).await;
    rows.run("T107", "file descriptors are given back", async {
        expect(fleet.hub.process.descriptors() < 60, format!("{} open", fleet.hub.process.descriptors()))
    })
    .await;
    rows.end().await;
}
