//! Requests at a steady rate to edge-1 while something is broken, and the judgement of every answer: reads against what is known to
//! be there, changes against what the API server has in the end.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::parts::client::HubClient;
use super::parts::noise::Noise;
use super::world::World;

/// Objects that are read.
const FIXED: usize = 20;
/// Connections of the client.
const CONNECTIONS: usize = 8;
/// Requests under way; more are not begun, and counted.
const AT_ONCE: usize = 1_000;
/// An answer, good or bad, must be there by then: a silent link takes 15 s to be noticed, and an API server grants itself 60 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(70);
/// Of so many requests one is a change, and one a list.
const CHANGE_OF: u64 = 10;

/// What came of the requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Answered as asked.
    pub(super) right: u64,
    /// Answered by the hub with an error that names cluster and hop.
    pub(super) told: HashMap<String, u64>,
    /// Errors of the API server's own, passed on.
    pub(super) passed_on: u64,
    /// The connection to the hub broke, or an answer was cut, visibly.
    pub(super) cut: u64,
    /// Not begun: too many under way.
    pub(super) held_back: u64,
    /// What must never be.
    pub(super) wrong: Vec<String>,
    /// Changes by their number.
    acknowledged: HashSet<u64>,
    promised_not_run: HashSet<u64>,
    unknown: u64,
    /// The longest time without a right answer.
    pub(super) silence: Duration,
    last_right: Option<Instant>,
}

struct Shared {
    client: HubClient,
    fixed: Vec<String>,
    run: String,
    tally: Mutex<Tally>,
    /// Right answers so far, for those who wait.
    right: AtomicU64,
    connections: Vec<tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>>,
}

/// Requests that go on until they are stopped.
pub(super) struct Load {
    shared: Arc<Shared>,
    stop: CancellationToken,
    thread: JoinHandle<Result<()>>,
}

impl Load {
    /// Begins `rate` requests a second.
    pub(super) fn start(world: &mut World, rate: u64) -> Result<Self> {
        let fixed = fixed(world)?;
        world.loads += 1;
        let shared = Arc::new(Shared {
            client: world.client()?,
            fixed,
            run: format!("run-{}", world.loads),
            tally: Mutex::default(),
            right: AtomicU64::new(0),
            connections: (0..CONNECTIONS).map(|_| tokio::sync::Mutex::new(None)).collect(),
        });
        let stop = CancellationToken::new();
        let (of_thread, until, noise) = (shared.clone(), stop.clone(), Noise(world.seed + u64::from(world.loads) * 7));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(drive(&of_thread, rate, noise, &until));
            Ok(())
        });
        let this = Self { shared, stop, thread };
        this.wait_right(rate, Duration::from_secs(30)).context("before anything was broken")?;
        Ok(this)
    }

    /// Until so many more answers were right; how long that took.
    pub(super) fn wait_right(&self, more: u64, within: Duration) -> Result<Duration> {
        let started = Instant::now();
        let until = self.shared.right.load(Ordering::Relaxed) + more;
        while self.shared.right.load(Ordering::Relaxed) < until {
            ensure!(started.elapsed() < within, "no right answer within {within:?}: {:?}", self.shared.tally.lock());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(started.elapsed())
    }

    /// Ends it, waits for what is under way, and compares with what the API server has.
    pub(super) fn judge(self, world: &mut World) -> Result<Judged> {
        self.stop.cancel();
        self.thread.join().map_err(|_| anyhow!("the load panicked"))??;
        let columns = "custom-columns=A:.metadata.labels.attempt";
        let selector = format!("run={}", self.shared.run);
        let made = world.fleet.environment.plane(0)?.kubectl_ok(&[
            "get",
            "configmaps",
            "-n",
            "load",
            "-l",
            &selector,
            "--no-headers",
            "-o",
            columns,
        ])?;
        let mut times: HashMap<u64, u32> = HashMap::new();
        for line in made.lines().filter(|line| !line.trim().is_empty()) {
            *times.entry(line.trim().parse().with_context(|| format!("{line:?} is no attempt"))?).or_default() += 1;
        }
        let shared = Arc::into_inner(self.shared).context("the load still runs")?;
        let tally = shared.tally.into_inner().map_err(|_| anyhow!("the load panicked"))?;
        Ok(Judged::new(tally, &times))
    }
}

/// The tally, beside what the API server has.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) tally: Tally,
    twice: usize,
    lost: usize,
    lies: usize,
}

impl Judged {
    fn new(tally: Tally, times: &HashMap<u64, u32>) -> Self {
        let twice = times.values().filter(|times| **times > 1).count();
        let lost = tally.acknowledged.iter().filter(|attempt| !times.contains_key(attempt)).count();
        let lies = tally.promised_not_run.iter().filter(|attempt| times.contains_key(attempt)).count();
        Self { tally, twice, lost, lies }
    }

    /// Whether nothing happened that must not.
    pub(super) fn safe(&self) -> bool {
        self.tally.wrong.is_empty() && self.twice + self.lost + self.lies == 0
    }

    /// In words.
    pub(super) fn text(&self) -> String {
        let Tally { right, told, passed_on, cut, held_back, wrong, acknowledged, unknown, silence, .. } = &self.tally;
        let mut told: Vec<_> = told.iter().map(|(text, times)| format!("{times}× {text}")).collect();
        told.sort();
        format!(
            "{right} right, {} changes acknowledged, {unknown} unknown; told [{}], passed on {passed_on}, cut {cut}, held back {held_back}; \
             longest silence {:.1} s; wrong {}, twice {}, lost {}, promises broken {}{}",
            acknowledged.len(),
            told.join(", "),
            silence.as_secs_f32(),
            wrong.len(),
            self.twice,
            self.lost,
            self.lies,
            match (wrong.first(), wrong.last()) {
                (Some(first), Some(last)) => format!(" (first: {first}; last: {last})"),
                _ => String::new(),
            }
        )
    }
}

/// Objects of known content in the namespace `load`, made once.
fn fixed(world: &mut World) -> Result<Vec<String>> {
    let mut noise = Noise(0xDEAD_BEEF_CAFE_F00D);
    let text = |noise: &mut Noise, length| -> String {
        (0..length).map(|_| char::from(b'a' + (noise.below(26)) as u8)).collect()
    };
    let contents: Vec<String> = (0..FIXED).map(|number| text(&mut noise, 100 + number * number * 150)).collect();
    if world.loads == 0 {
        let mut items = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "load"}})];
        items.extend(contents.iter().enumerate().map(|(number, text)| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": text},
                "metadata": {"name": format!("fixed-{number}"), "namespace": "load", "labels": {"kind": "fixed"}}})
        }));
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        let file = world.fleet.file("load.json");
        std::fs::write(&file, list.to_string())?;
        world.fleet.environment.plane(0)?.kubectl_ok(&["create", "-f", &file.display().to_string()])?;
    }
    Ok(contents)
}

async fn drive(shared: &Arc<Shared>, rate: u64, mut noise: Noise, stop: &CancellationToken) {
    let tasks = TaskTracker::new();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / rate.max(1)));
    let started = Instant::now();
    let mut number = 0;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        number += 1;
        let Ok(permit) = room.clone().try_acquire_owned() else {
            note(shared, |tally| tally.held_back += 1);
            continue;
        };
        let (shared, kind) = (shared.clone(), noise.below(CHANGE_OF));
        let which = noise.below(FIXED as u64) as usize;
        tasks.spawn(async move {
            let _permit = permit;
            let begun = Instant::now();
            let asked = tokio::time::timeout(ANSWER_WITHIN, ask(&shared, number, kind, which)).await;
            let late = |_| {
                let what = ["change", "list"].get(kind as usize).unwrap_or(&"read");
                let at = begun.saturating_duration_since(started).as_secs_f32();
                Ended::Wrong(format!("no answer within {ANSWER_WITHIN:?} to a {what} of second {at:.1}"))
            };
            let ended = asked.unwrap_or_else(late);
            ended.note(&shared, (kind == 0).then_some(number));
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// How one request ended.
enum Ended {
    Right,
    Told { text: String, retry: bool },
    PassedOn { retry: bool },
    Cut,
    Wrong(String),
}

impl Ended {
    fn note(self, shared: &Shared, change: Option<u64>) {
        note(shared, |tally| {
            let promised = matches!(self, Self::Told { retry: true, .. } | Self::PassedOn { retry: true });
            match change {
                Some(number) if matches!(self, Self::Right) => drop(tally.acknowledged.insert(number)),
                Some(number) if promised => drop(tally.promised_not_run.insert(number)),
                Some(_) => tally.unknown += 1,
                None => {}
            }
            match self {
                Self::Right => {
                    let now = Instant::now();
                    tally.right += 1;
                    let silence = tally.last_right.map_or(Duration::ZERO, |last| now - last);
                    tally.silence = tally.silence.max(silence);
                    tally.last_right = Some(now);
                    shared.right.fetch_add(1, Ordering::Relaxed);
                }
                Self::Told { text, .. } => *tally.told.entry(text).or_default() += 1,
                Self::PassedOn { .. } => tally.passed_on += 1,
                Self::Cut => tally.cut += 1,
                Self::Wrong(text) => tally.wrong.push(text),
            }
        });
    }
}

fn note(shared: &Shared, change: impl FnOnce(&mut Tally)) {
    if let Ok(mut tally) = shared.tally.lock() {
        change(&mut tally);
    }
}

async fn ask(shared: &Shared, number: u64, kind: u64, which: usize) -> Ended {
    const BASE: &str = "/clusters/edge-1/api/v1/namespaces/load/configmaps";
    let (method, path, body) = match kind {
        0 => {
            let labels = json!({"run": shared.run, "attempt": number.to_string()});
            let metadata = json!({"generateName": "made-", "labels": labels});
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
            (Method::POST, BASE.to_owned(), object.to_string())
        }
        1 => (Method::GET, format!("{BASE}?labelSelector=kind%3Dfixed"), String::new()),
        _ => (Method::GET, format!("{BASE}/fixed-{which}"), String::new()),
    };
    let Ok(mut sender) = connection(shared, number as usize % CONNECTIONS).await else { return Ended::Cut };
    let Ok(response) = sender.send_request(shared.client.request(method, &path, body)).await else { return Ended::Cut };
    let (status, retry) = (response.status(), response.headers().contains_key("retry-after"));
    let Ok(body) = response.into_body().collect().await else { return Ended::Cut };
    let body = body.to_bytes();
    let Ok(object) = serde_json::from_slice::<Value>(&body) else {
        // The API server says so in plain text, and nothing else.
        let busy = status == StatusCode::TOO_MANY_REQUESTS && body.starts_with(b"Too many requests, please try again");
        let text = String::from_utf8_lossy(&body);
        return if busy {
            Ended::PassedOn { retry }
        } else {
            Ended::Wrong(format!("{status} without JSON: {text:.200}"))
        };
    };
    match (kind, status) {
        (0, StatusCode::CREATED) if object["metadata"]["labels"]["attempt"] == json!(number.to_string()) => {
            Ended::Right
        }
        (1, StatusCode::OK) if list_is_right(&object, &shared.fixed) => Ended::Right,
        (2.., StatusCode::OK) if object["data"]["text"] == json!(shared.fixed[which]) => Ended::Right,
        _ => refused(status, retry, &object),
    }
}

fn list_is_right(list: &Value, fixed: &[String]) -> bool {
    let Some(items) = list["items"].as_array() else { return false };
    let right = |item: &Value| {
        let number =
            item["metadata"]["name"].as_str().and_then(|name| name.strip_prefix("fixed-")?.parse::<usize>().ok());
        number.is_some_and(|number| fixed.get(number).is_some_and(|text| item["data"]["text"] == json!(text)))
    };
    items.len() == fixed.len() && items.iter().all(right)
}

/// An answer that is no success: the hub's own words, or the API server's.
fn refused(status: StatusCode, retry: bool, object: &Value) -> Ended {
    let message = object["message"].as_str().unwrap_or_default();
    let own = message.strip_prefix("cluster \"edge-1\": ");
    match own {
        Some(text) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            // Without what differs from one request to the next.
            let text = text.split(" (request ").next().unwrap_or_default();
            let text = text.split(", last seen").next().unwrap_or_default();
            Ended::Told { text: format!("{} {text}", status.as_u16()), retry }
        }
        None if object["kind"] == "Status" && !status.is_success() => Ended::PassedOn { retry },
        _ => Ended::Wrong(format!("{status}: {:.300}", object.to_string())),
    }
}

/// The client's connection of this number, made anew when it broke.
async fn connection(shared: &Shared, number: usize) -> Result<SendRequest<Full<Bytes>>> {
    let mut slot = shared.connections[number].lock().await;
    if let Some(sender) = slot.as_mut() {
        if sender.ready().await.is_ok() {
            return Ok(sender.clone());
        }
        *slot = None;
    }
    let made = tokio::time::timeout(Duration::from_secs(5), shared.client.http2()).await;
    let Ok(Ok(sender)) = made else {
        // A hub that is down refuses at once: 200 of these a second are enough.
        tokio::time::sleep(Duration::from_millis(20)).await;
        return Err(anyhow!("no connection"));
    };
    *slot = Some(sender.clone());
    Ok(sender)
}
