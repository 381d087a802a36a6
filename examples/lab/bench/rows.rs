//! The rows of the table: what is measured, and how. Names of scenarios and rows stay, so that runs of different days can be compared.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::load::{Clients, Work, measure};
use super::sample::Sample;
use super::setup::{LIST_PATH, Target};
use super::stream::Watches;
use super::way::{Protocol, Way};
use super::{stalled, watches};

/// Open connections of an open loop: far more than are ever busy at the rates used here.
const OPEN_LOOP_CONNECTIONS: usize = 64;

/// What the requests of a row lead to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Server {
    /// The real kube-apiserver.
    Api,
    /// The minimal origin in this program.
    Origin,
}

/// What clients do in a row.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    /// So many clients in a closed loop.
    Closed { clients: usize, fresh: bool, path: String },
    /// Small requests of one client beside so many that read lists.
    BesideLists(usize),
    /// An open loop of so many small requests a second.
    FixedRate(u32),
    /// Small requests of one client beside so many that ask for a large answer and stop reading.
    Stalled(usize),
    /// So many watches, of which so many have events.
    Watches { all: usize, busy: usize },
}

/// How figures of a row are shown, and which goals it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    /// Times of one client.
    Latency,
    /// Requests a second, CPU per request.
    Requests,
    /// Megabytes a second, CPU per megabyte.
    Bulk,
    /// Times with and without, and memory.
    Stalled,
    /// Times of events, memory per watch.
    Watches,
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What `--only` names.
    pub(crate) scenario: &'static str,
    /// Unique, such as `alone h1`.
    pub(crate) name: String,
    /// In words.
    pub(crate) what: String,
    pub(crate) server: Server,
    pub(crate) protocol: Protocol,
    pub(crate) load: Load,
    pub(crate) shape: Shape,
    /// At most so many rounds of it.
    pub(crate) rounds: usize,
    /// So many times the rounds, each so much shorter: what disturbs the machine for some seconds then disturbs every target, and not one of them.
    pub(crate) finer: u32,
}

impl Row {
    /// How often each target is measured in a run of so many rounds.
    pub(crate) fn times(&self, rounds: usize) -> usize {
        (rounds * self.finer as usize).min(self.rounds)
    }

    fn pace(&self, context: &Context<'_>) -> Pace {
        let Pace { warm, time } = context.pace;
        Pace { warm: warm / self.finer, time: time / self.finer }
    }
}

/// How long each measurement takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Before it counts.
    pub(crate) warm: Duration,
    /// While it counts.
    pub(crate) time: Duration,
}

/// What measuring needs to know beside the row and the target.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) pace: Pace,
    /// Bytes of the answers, learnt on the direct way.
    pub(crate) lengths: Lengths,
    pub(crate) watches: &'a Arc<Watches>,
}

/// Bytes of whole answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    pub(crate) api_version: u64,
    pub(crate) api_list: u64,
    pub(crate) origin_version: u64,
}

impl Context<'_> {
    /// What a client is to ask for.
    pub(crate) fn work(&self, row: &Row, path: &str) -> Work {
        let sized = path.rsplit_once("/body-").and_then(|(_, size)| size.parse().ok());
        let length = sized.unwrap_or(match (path, row.server) {
            (LIST_PATH, _) => self.lengths.api_list,
            (_, Server::Api) => self.lengths.api_version,
            (_, Server::Origin) => self.lengths.origin_version,
        });
        Work::new(row.protocol, path, length)
    }
}

/// The small request of every row.
pub(crate) const SMALL: &str = "/version";

/// Where the minimal origin has so many bytes.
pub(crate) fn sized(bytes: usize) -> String {
    format!("/api/v1/namespaces/bench/configmaps/body-{bytes}")
}

/// All rows of a quick or a full run, in order: watches first, as the memory of a watch is seen only in a process that was not larger before.
pub(crate) fn all(quick: bool) -> Vec<Row> {
    use Protocol::{H1, H2};
    let mut rows = vec![watches_row(quick)];
    let closed = |clients, path: &str| Load::Closed { clients, fresh: false, path: path.to_owned() };
    let mut api = |scenario, protocol: Protocol, what: &str, load, shape| {
        rows.push(row(scenario, what.to_owned(), Server::Api, protocol, load, shape));
    };
    for protocol in [H1, H2] {
        api("alone", protocol, "one client, GET /version, one connection", closed(1, SMALL), Shape::Latency);
    }
    let fresh = Load::Closed { clients: 1, fresh: true, path: SMALL.to_owned() };
    api("new-connection", H1, "one client, a new TLS connection for each GET /version", fresh, Shape::Latency);
    for protocol in [H1, H2] {
        api("small-64", protocol, "64 clients, GET /version, a connection each", closed(64, SMALL), Shape::Requests);
    }
    for protocol in [H1, H2] {
        api("list", protocol, "4 clients, a list of 5.2 MB", closed(4, LIST_PATH), Shape::Bulk);
    }
    api(
        "beside-lists",
        H1,
        "GET /version of one client beside 2 that read lists",
        Load::BesideLists(2),
        Shape::Latency,
    );
    for rate in [500, 2_000] {
        let what = format!("{rate} GET /version a second, due at fixed times");
        rows.push(Row {
            name: format!("fixed-rate {rate}"),
            ..row("fixed-rate", what, Server::Api, H1, Load::FixedRate(rate), Shape::Latency)
        });
    }
    // Goals that are ratios of what all of the machine gives.
    let ratios = rows.iter_mut().filter(|row| matches!(row.shape, Shape::Requests | Shape::Bulk));
    ratios.for_each(|row| row.finer = if quick { 1 } else { 3 });
    rows.extend(of_origin(quick));
    rows
}

/// The rows that use the minimal origin.
fn of_origin(quick: bool) -> Vec<Row> {
    use Protocol::{H1, H2};
    let size = if quick { 50 } else { 500 };
    let mut rows = Vec::new();
    for protocol in [H1, H2] {
        let load = Load::Closed { clients: 1, fresh: false, path: sized(size * 1_000_000) };
        rows.push(row("bulk", format!("one client, a body of {size} MB"), Server::Origin, protocol, load, Shape::Bulk));
    }
    for clients in [16, 1_000].into_iter().take(if quick { 1 } else { 2 }) {
        let what = format!("GET /version of one client beside {clients} that ask for 64 MB and stop reading");
        // Each waits for the memory to come back.
        let rounds = if quick || clients > 16 { 3 } else { usize::MAX };
        let load = Load::Stalled(clients);
        let stalled = row("stalled", what, Server::Origin, H1, load, Shape::Stalled);
        rows.push(Row { name: format!("stalled {clients}"), rounds, ..stalled });
    }
    rows
}

fn watches_row(quick: bool) -> Row {
    let (all, busy) = if quick { (500, 100) } else { (5_000, 500) };
    let what = format!("{all} watches, {busy} of them with 10 events a second");
    let watches = row("watches", what, Server::Origin, Protocol::H2, Load::Watches { all, busy }, Shape::Watches);
    Row { name: "watches".to_owned(), rounds: 3, ..watches }
}

fn row(scenario: &'static str, what: String, server: Server, protocol: Protocol, load: Load, shape: Shape) -> Row {
    let name = format!("{scenario} {}", protocol.name());
    Row { scenario, name, what, server, protocol, load, shape, rounds: usize::MAX, finer: 1 }
}

/// Measures a row on a target, once; nothing when the target does not lead there.
pub(crate) async fn run(row: &Row, target: &Target, context: &Context<'_>) -> Result<Option<Sample>> {
    let way = match (row.server, row.shape) {
        (Server::Api, _) => Some(&target.api),
        (Server::Origin, Shape::Watches) => target.watched.as_ref().or(target.origin.as_ref()),
        (Server::Origin, _) => target.origin.as_ref(),
    };
    let Some(way) = way else { return Ok(None) };
    let Pace { warm, time } = row.pace(context);
    let outcome = match &row.load {
        Load::Closed { clients, fresh, path } => {
            let work = Work { fresh: *fresh, ..context.work(row, path) };
            let clients = Clients::start(way, &work, *clients).await?;
            measure(way, clients, warm, time).await?
        }
        Load::FixedRate(rate) => {
            let work = context.work(row, SMALL);
            let clients = Clients::start_open(way, &work, *rate, OPEN_LOOP_CONNECTIONS, warm + time).await?;
            measure(way, clients, warm, time).await?
        }
        Load::BesideLists(lists) => return beside_lists(row, way, *lists, context).await.map(Some),
        Load::Stalled(clients) => return stalled::run(row, way, *clients, context).await.map(Some),
        Load::Watches { all, busy } => return watches::run(way, (*all, *busy), context).await.map(Some),
    };
    Ok(Some(Sample::of(&outcome)))
}

async fn beside_lists(row: &Row, way: &Way, lists: usize, context: &Context<'_>) -> Result<Sample> {
    let lists = Clients::start(way, &context.work(row, LIST_PATH), lists).await?;
    let small = Clients::start(way, &context.work(row, SMALL), 1).await?;
    let Pace { warm, time } = row.pace(context);
    let outcome = measure(way, small, warm, time).await?;
    let lists = lists.end().await?;
    let mut sample = Sample::of(&outcome);
    sample.add_errors(lists.errors, lists.first_error);
    Ok(sample)
}
