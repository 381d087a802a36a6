//! What `/metrics` shows (Prometheus text). Labels come from fixed sets and from clusters that the operator named, never
//! from what a client sends.

mod ca;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

pub(super) use self::ca::{AuthorityLabels, CaMetrics};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    cluster: Arc<str>,
    verb: &'static str,
    code: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CertificateLabels {
    certificate: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ClusterLabels {
    cluster: Arc<str>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct AlertLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct DirectionLabels {
    direction: &'static str,
}

/// One part of a request's way through the hub.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// From the whole head to the decision.
    Decide,
    /// Until the agent granted a stream.
    Open,
    /// From the head on the link to the head of the answer.
    Answer,
}

/// What became of a request for a first certificate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Enrolment {
    /// A certificate was given.
    Done,
    /// The request was at fault, its token above all.
    Refused,
    /// The hub was at fault.
    Failed,
    /// Not looked at: too many from its source were refused.
    Limited,
}

/// What somebody should look at: an identity is not where it should be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Alert {
    /// A spent certificate was shown; its cluster is locked.
    CopiedKey,
    /// Agent processes of one cluster take turns.
    Flapping,
    /// A genuine certificate was not recorded.
    Unrecorded,
}

/// Where a request's bytes go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Toward {
    /// To the cluster.
    Cluster,
    /// To the client.
    Client,
}

/// All metrics of the hub.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    phases: Family<PhaseLabels, Histogram>,
    /// Those of `phases` and of `bytes`, looked up once: every request counts in all of them.
    phase: [Histogram; 3],
    bytes: Family<DirectionLabels, Counter>,
    toward: [Counter; 2],
    /// Links with a served agent.
    pub links: Gauge,
    /// Streams of requests that are under way.
    pub streams: Gauge,
    enrolments: Family<OutcomeLabels, Counter>,
    renewals: Family<OutcomeLabels, Counter>,
    certificates: Family<CertificateLabels, Gauge>,
    clocks: Family<ClusterLabels, Gauge>,
    /// 1 while the operator's certificate for HTTPS cannot be used.
    pub https_fault: Gauge,
    links_refused: Counter,
    links_cut: Counter,
    alerts: Family<AlertLabels, Counter>,
    requests_refused: Counter,
    truncated: Counter,
    clusters: Gauge<i64, std::sync::atomic::AtomicI64>,
    started: Gauge<f64, AtomicU64>,
    /// The authorities.
    pub ca: CaMetrics,
}

impl Metrics {
    /// Fresh metrics; `now` is the Unix time of the start in seconds.
    pub(super) fn new(now: f64) -> Self {
        let phases = || Histogram::new(exponential_buckets(0.0001, 2.0, 18));
        let phases = Family::<PhaseLabels, Histogram>::new_with_constructor(phases);
        let bytes = Family::<DirectionLabels, Counter>::default();
        let metrics = Self {
            registry: Registry::with_prefix("roadstead"),
            requests: Family::default(),
            phase: ["decide", "open", "answer"].map(|phase| phases.get_or_create_owned(&PhaseLabels { phase })),
            phases,
            toward: ["to_cluster", "to_client"]
                .map(|direction| bytes.get_or_create_owned(&DirectionLabels { direction })),
            bytes,
            links: Gauge::default(),
            streams: Gauge::default(),
            enrolments: Family::default(),
            renewals: Family::default(),
            certificates: Family::default(),
            clocks: Family::default(),
            https_fault: Gauge::default(),
            links_refused: Counter::default(),
            links_cut: Counter::default(),
            alerts: Family::default(),
            requests_refused: Counter::default(),
            truncated: Counter::default(),
            clusters: Gauge::default(),
            started: Gauge::default(),
            ca: CaMetrics::default(),
        };
        metrics.started.set(now);
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        r.register("requests", "Requests to clusters that were answered", self.requests.clone());
        r.register_with_unit("request_phase", "Parts of a request's way", Unit::Seconds, self.phases.clone());
        r.register_with_unit("proxied", "Body bytes of requests and answers", Unit::Bytes, self.bytes.clone());
        r.register("links", "Links with an agent that said hello", self.links.clone());
        r.register("streams", "Requests to clusters that are under way", self.streams.clone());
        r.register("enrolments", "Requests for a first certificate", self.enrolments.clone());
        r.register("renewals", "Requests of agents for their next certificate", self.renewals.clone());
        let ends = "Unix time at which each of the hub's certificates ends";
        r.register_with_unit("certificate_expiry", ends, Unit::Seconds, self.certificates.clone());
        let ahead = "How far the clock of each cluster's agent was ahead of the hub's when its link came up";
        r.register_with_unit("cluster_clock_ahead", ahead, Unit::Seconds, self.clocks.clone());
        let fault = "1 while the files of --https-cert and --https-key cannot be used";
        r.register("https_certificate_fault", fault, self.https_fault.clone());
        r.register("links_refused", "Agents that were not admitted", self.links_refused.clone());
        r.register("links_cut", "Links closed by a lock or a revocation", self.links_cut.clone());
        r.register("identity_alerts", "Identities that were not where they should be", self.alerts.clone());
        r.register("requests_refused", "Requests refused before they had a meaning", self.requests_refused.clone());
        r.register("answers_truncated", "Answers that were cut and shown as cut", self.truncated.clone());
        r.register("clusters", "Clusters that may join", self.clusters.clone());
        r.register_with_unit("start_time", "Unix time of the start", Unit::Seconds, self.started.clone());
        self.ca.register(r);
        self
    }

    /// Counts an answered request.
    pub(super) fn request(&self, cluster: &Arc<str>, verb: &'static str, code: u16) {
        self.requests.get_or_create(&RequestLabels { cluster: cluster.clone(), verb, code }).inc();
    }

    /// Records how long a part of a request took.
    pub(super) fn phase(&self, phase: Phase, took: Duration) {
        self.phase[phase as usize].observe(took.as_secs_f64());
    }

    /// Counts body bytes.
    pub(super) fn bytes(&self, toward: Toward, n: usize) {
        self.toward[toward as usize].inc_by(n as u64);
    }

    /// Counts a request for a first certificate.
    pub(super) fn enrolment(&self, outcome: Enrolment) {
        let outcome = match outcome {
            Enrolment::Done => "done",
            Enrolment::Refused => "refused",
            Enrolment::Failed => "failed",
            Enrolment::Limited => "limited",
        };
        self.enrolments.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts a request for the next certificate.
    pub(super) fn renewal(&self, done: bool) {
        let outcome = if done { "done" } else { "refused" };
        self.renewals.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Records when certificates end, in Unix time.
    pub(super) fn expiries(&self, ends: impl IntoIterator<Item = (&'static str, i64)>) {
        for (certificate, end) in ends {
            self.certificates.get_or_create(&CertificateLabels { certificate }).set(end);
        }
    }

    /// Records how far clocks of agents are ahead, in seconds; these are all that are known.
    pub(super) fn clocks(&self, ahead: impl IntoIterator<Item = (Arc<str>, i64)>) {
        self.clocks.clear();
        for (cluster, seconds) in ahead {
            self.clocks.get_or_create(&ClusterLabels { cluster }).set(seconds);
        }
    }

    /// Counts an agent that was not admitted.
    pub(super) fn refused_link(&self) {
        self.links_refused.inc();
    }

    /// Counts links that a lock or a revocation closed.
    pub(super) fn cut_links(&self, count: usize) {
        self.links_cut.inc_by(count as u64);
    }

    /// Counts what somebody should look at.
    pub(super) fn alert(&self, alert: Alert) {
        let kind = match alert {
            Alert::CopiedKey => "copied_key",
            Alert::Flapping => "flapping",
            Alert::Unrecorded => "unrecorded",
        };
        self.alerts.get_or_create(&AlertLabels { kind }).inc();
    }

    /// Counts a request that was refused before it had a meaning.
    pub(super) fn refused_request(&self) {
        self.requests_refused.inc();
    }

    /// Counts an answer that was cut.
    pub(super) fn truncated(&self) {
        self.truncated.inc();
    }

    /// The text for Prometheus.
    pub(super) fn render(&self, clusters: usize) -> String {
        self.clusters.set(i64::try_from(clusters).unwrap_or(i64::MAX));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes all");
        text
    }
}
