//! T114: peers that take the turns of handshakes and let them pass.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quinn::{Connecting, Endpoint};
use roadstead::{identity::verify::LINK_SERVER_NAME, wire::ALPN_LINK};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    quic::{Joined, config, dial, hello, moor},
    rows::{Outcome, expect},
    world::Hub,
};

/// More than the hub has turns, from one address.
const SILENT: usize = 400;

/// As many of them as have turns, nearly: the experiment begins when so many are linked.
const HOLDING: usize = roadstead::defaults::HANDSHAKES / 4 * 3 - 5;

/// What another address waits for its link at most: less than it takes until the first of the silent are closed, ten seconds after they began.
const OTHERS_WAIT: Duration = Duration::from_secs(3);

/// Each of them ends its handshake and says no hello, which is as silent as can be with the turn held.
pub(super) async fn others_get_their_links(hub: &Hub, silent: &Joined, honest: &Joined) -> Outcome {
    let (mut peers, linked) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..SILENT {
        let (endpoint, connecting) = dial_from_there(hub, silent)?;
        let linked = linked.clone();
        peers.spawn(async move {
            let connected = timeout(Duration::from_secs(9), connecting).await;
            linked.fetch_add(usize::from(matches!(connected, Ok(Ok(_)))), Ordering::Relaxed);
            // Held until the task is dropped.
            let _held = (endpoint, connected);
            std::future::pending::<()>().await;
        });
    }
    let began = Instant::now();
    while linked.load(Ordering::Relaxed) < HOLDING {
        let count = linked.load(Ordering::Relaxed);
        expect(began.elapsed() < Duration::from_secs(9), format!("only {count} of the silent have a turn"))?;
        sleep(Duration::from_millis(50)).await;
    }
    let began = Instant::now();
    let other = timeout(OTHERS_WAIT, async {
        moor(dial(hub.door.address, honest.tls(ALPN_LINK)).await?, hello("1.0.0")).await
    });
    other.await.map_err(|_| "no link beside them")??;
    let took = began.elapsed();
    // The control of the experiment: one more at the address of the silent.
    let (_endpoint, connecting) = dial_from_there(hub, silent)?;
    let same = timeout(Duration::from_secs(1), connecting).await;
    expect(
        !matches!(same, Ok(Ok(_))),
        format!("linked after {took:?}, but so was one more of the silent: nothing was held"),
    )
}

fn dial_from_there(hub: &Hub, silent: &Joined) -> Result<(Endpoint, Connecting), String> {
    let endpoint = Endpoint::client((Ipv4Addr::new(127, 0, 0, 9), 0).into()).map_err(|e| e.to_string())?;
    let connecting = endpoint.connect_with(config(silent.tls(ALPN_LINK)), hub.door.address, LINK_SERVER_NAME);
    Ok((endpoint, connecting.map_err(|e| e.to_string())?))
}
