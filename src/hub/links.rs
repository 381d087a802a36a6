//! Which cluster is reachable, and by which link. Knows nothing of HTTP.

mod agent_info;
mod arrivals;
mod moorings;
mod outbox;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) use self::agent_info::AgentInfo;
use self::arrivals::Arrivals;
pub(crate) use self::moorings::Moorings;
pub(super) use self::outbox::{Lead, Outbox};
use super::{
    proxy::{Reader, relieve},
    rotation::Made,
};
use crate::{
    defaults,
    identity::{ClusterUid, VerifiedPeer},
    transport::{Link, LinkEnd},
    wire::CloseCode,
};

/// A link whose agent said hello.
#[derive(Debug)]
pub(super) struct ClusterLink {
    /// The link.
    pub link: Link,
    /// Who is at its other end.
    pub peer: VerifiedPeer,
    /// What the agent said of itself.
    pub agent: AgentInfo,
    /// What the authorities' rotation must know of it.
    pub made: Made,
    generation: u64,
    streams: AtomicUsize,
    /// What the agent is to be told of its answers; `None` when it would not listen.
    pub outbox: Option<Arc<Outbox>>,
    /// Answers under way, by a number of their own.
    readers: Mutex<HashMap<u64, Arc<Reader>>>,
    next_reader: AtomicU64,
    /// When it was last looked for clients that do not read.
    relieved: Mutex<Option<Instant>>,
    /// Why the hub closed it under its requests, in words for their clients.
    cut: OnceLock<String>,
    /// Its agent should dial anew: another process has the successor of its certificate.
    pub outdated: CancellationToken,
}

/// A link whose agent said hello and was let in.
pub(super) struct Arrival {
    /// The link.
    pub link: Link,
    /// Who is at its other end.
    pub peer: VerifiedPeer,
    /// What the agent said of itself.
    pub agent: AgentInfo,
    /// What the authorities' rotation must know of it.
    pub made: Made,
    /// What the agent is to be told of its answers; `None` when it would not listen.
    pub outbox: Option<Arc<Outbox>>,
}

/// Why there is no link, as far as the hub knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Offline {
    /// When the last link ended; `None` when there was none since the hub started and none is remembered.
    pub last_seen: Option<OffsetDateTime>,
    /// How it ended.
    pub end: Option<LinkEnd>,
}

#[derive(Debug, Default)]
struct Cluster {
    live: Moorings<Arc<ClusterLink>>,
    arrivals: Arrivals,
    last_seen: Option<OffsetDateTime>,
    end: Option<LinkEnd>,
}

/// All links of this hub.
#[derive(Debug)]
pub(super) struct Links {
    clusters: Mutex<HashMap<ClusterUid, Cluster>>,
    generations: AtomicU64,
    started: Instant,
}

impl Default for Links {
    fn default() -> Self {
        Self { clusters: Mutex::default(), generations: AtomicU64::default(), started: Instant::now() }
    }
}

impl Links {
    /// Remembers when a cluster was last seen before this process.
    pub(super) fn remember(&self, cluster: ClusterUid, last_seen: OffsetDateTime) {
        self.lock().entry(cluster).or_default().last_seen = Some(last_seen);
    }

    /// Makes a link the one that serves its cluster.
    pub(super) fn register(&self, arrival: Arrival) -> Arc<ClusterLink> {
        let Arrival { link, peer, agent, made, outbox } = arrival;
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        let cluster = peer.cluster().clone();
        let link = Arc::new(ClusterLink {
            link,
            peer,
            agent,
            made,
            generation,
            streams: AtomicUsize::new(0),
            outbox,
            readers: Mutex::default(),
            next_reader: AtomicU64::new(0),
            relieved: Mutex::default(),
            cut: OnceLock::new(),
            outdated: CancellationToken::new(),
        });
        self.lock().entry(cluster).or_default().live.moor(generation, link.clone());
        link
    }

    /// A certificate came into use: other processes of the cluster that hold what it replaced should dial anew with what is stored now.
    /// The process that renewed it does so by itself.
    pub(super) fn outdate(&self, current: &VerifiedPeer, instance: &str) {
        for link in self.all_of(current.cluster()) {
            if link.peer.serial() != current.serial() && link.agent.instance != instance {
                link.outdated.cancel();
            }
        }
    }

    /// Whether the links of a cluster come from processes that take turns, as of this one's.
    pub(super) fn flaps(&self, link: &ClusterLink) -> bool {
        let now = self.started.elapsed();
        let mut clusters = self.lock();
        let arrivals = &mut clusters.entry(link.peer.cluster().clone()).or_default().arrivals;
        arrivals.came(&link.agent.instance, now, defaults::FLAPS, defaults::FLAP_WINDOW)
    }

    /// Takes a link out, and only that one: a reconnect is not evicted by its own past.
    pub(super) fn unregister(&self, link: &ClusterLink, end: LinkEnd, now: OffsetDateTime) {
        let mut clusters = self.lock();
        if let Some(cluster) = clusters.get_mut(link.peer.cluster()) {
            cluster.live.unmoor(link.generation);
            // Of a silent peer the last sign of life was that long ago.
            cluster.last_seen = Some(if end == LinkEnd::Silent { now - defaults::LINK_IDLE } else { now });
            cluster.end = Some(end);
        }
    }

    /// The link that serves a cluster.
    ///
    /// # Errors
    /// [`Offline`] when there is none.
    pub(super) fn of(&self, cluster: &ClusterUid) -> Result<Arc<ClusterLink>, Offline> {
        let clusters = self.lock();
        let Some(cluster) = clusters.get(cluster) else { return Err(Offline { last_seen: None, end: None }) };
        cluster.live.serving(|l| l.link.end().is_none()).cloned().ok_or_else(|| {
            // A link that just ended may not be taken out yet.
            let ended = cluster.live.newest().and_then(|l| l.link.end());
            let last_seen = if ended.is_some() { Some(OffsetDateTime::now_utc()) } else { cluster.last_seen };
            Offline { last_seen, end: ended.or_else(|| cluster.end.clone()) }
        })
    }

    /// Every link of a cluster.
    pub(super) fn all_of(&self, cluster: &ClusterUid) -> Vec<Arc<ClusterLink>> {
        self.lock().get(cluster).map_or_else(Vec::new, |c| c.live.all().cloned().collect())
    }

    /// Every link.
    pub(super) fn all(&self) -> Vec<Arc<ClusterLink>> {
        self.lock().values().flat_map(|c| c.live.all().cloned()).collect()
    }

    /// Whether a cluster has a newer link than this one that `holds`.
    pub(super) fn is_replaced(&self, link: &ClusterLink, holds: impl Fn(&ClusterLink) -> bool) -> bool {
        let clusters = self.lock();
        let links = clusters.get(link.peer.cluster()).into_iter().flat_map(|cluster| cluster.live.all());
        links.filter(|other| other.generation > link.generation && other.link.end().is_none()).any(|other| holds(other))
    }

    /// What clients of a link whose certificate has ended are told: those whose request began before a renewal and outlived the old
    /// certificate, or everybody when nothing was renewed.
    pub(super) fn expired(&self, link: &ClusterLink) -> &'static str {
        match self.is_replaced(link, |_| true) {
            true => {
                "the certificate of the link that it ran over has ended; the agent has a newer link: start it again"
            }
            false => {
                "the certificate of the cluster's agent has ended and was not renewed: see `roadstead cluster show`"
            }
        }
    }

    /// How many links there are.
    pub(super) fn count(&self) -> usize {
        self.lock().values().map(|c| c.live.all().count()).sum()
    }

    /// Forgets a cluster that was removed.
    pub(super) fn forget(&self, cluster: &ClusterUid) {
        self.lock().remove(cluster);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClusterUid, Cluster>> {
        self.clusters.lock().expect("no panic while it is held")
    }
}

impl ClusterLink {
    /// Counts a stream for as long as the guard lives.
    pub(super) fn count_stream(self: &Arc<Self>) -> StreamGuard {
        self.streams.fetch_add(1, Ordering::Relaxed);
        StreamGuard { link: self.clone(), reader: None }
    }

    /// As [`ClusterLink::count_stream`], for an answer that the link may take away.
    pub(super) fn read_stream(self: &Arc<Self>, reader: &Arc<Reader>) -> StreamGuard {
        let number = self.next_reader.fetch_add(1, Ordering::Relaxed);
        self.readers().insert(number, reader.clone());
        let mut guard = self.count_stream();
        guard.reader = Some(number);
        guard
    }

    /// Makes room when clients that have stopped reading hold too much: it counts against every stream of the link.
    pub(super) fn relieve(&self) {
        if self.streams() as u64 * u64::from(defaults::HUB_STREAM_WINDOW) <= defaults::STALLED_BYTES {
            return;
        }
        let now = Instant::now();
        let mut relieved = self.relieved.lock().expect("no panic while it is held");
        if relieved.is_some_and(|at| now.duration_since(at) < defaults::RELIEF) {
            return;
        }
        *relieved = Some(now);
        drop(relieved);
        let readers: Vec<_> = self.readers().values().cloned().collect();
        let cut = relieve(&readers);
        if cut > 0 {
            tracing::warn!(cluster = %self.peer.cluster(), cut, "clients that did not read were cut to keep the link going");
        }
    }

    /// Closes the link at once; clients of its requests are told `words`.
    pub(super) fn cut(&self, code: CloseCode, words: String) {
        // The first reason stands: the link is closed by it.
        let _ = self.cut.set(words);
        self.link.close(code);
    }

    /// Why the hub closed it, if it did so under its requests.
    pub(super) fn cut_because(&self) -> Option<&str> {
        self.cut.get().map(String::as_str)
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Reader>>> {
        self.readers.lock().expect("no panic while it is held")
    }

    /// Streams open on it now.
    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }
}

/// One open stream of a link.
#[derive(Debug)]
pub(super) struct StreamGuard {
    link: Arc<ClusterLink>,
    reader: Option<u64>,
}

impl StreamGuard {
    /// As [`ClusterLink::cut_because`].
    pub(super) fn cut_because(&self) -> Option<&str> {
        self.link.cut_because()
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.link.streams.fetch_sub(1, Ordering::Relaxed);
        if let Some(number) = self.reader {
            self.link.readers().remove(&number);
        }
    }
}
