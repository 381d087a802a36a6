//! Three real kubectl for each cluster: an exec that gives back what it is sent, a log that is followed, a watch. Each begins again when it ends, and
//! how it ended is judged: by the hub because its link's certificate ended, at that moment and in those words; or it broke.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use time::OffsetDateTime;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::site::{NAMESPACE, Site};

/// What a stream is told whose link's certificate has ended.
const ENDED: &str = "the certificate of the link that it ran over has ended; the agent has a newer link";

/// It ends so long before the certificate at most, which is what clocks are read apart, …
const EARLY: time::Duration = time::Duration::SECOND;
/// … and is seen to have ended so long after it: a kubectl among thirty on two busy cores is late to say so.
const LATE: time::Duration = time::Duration::seconds(10);

/// Kubectl begins within this, beside compilers on two cores.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);

/// Something comes at least this often: lines of the log each 100 ms, echoes twice a second, changes every few seconds.
const SILENT_FOR: Duration = Duration::from_secs(20);

/// An exec is sent a line this often.
const ECHO_EVERY: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    Exec,
    Log,
    Watch,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exec => "exec",
            Self::Log => "logs -f",
            Self::Watch => "watch",
        })
    }
}

/// What became of the streams of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    begun: u64,
    ended: u64,
    broken: u64,
    lines: u64,
}

/// What became of all of them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    counts: BTreeMap<Kind, Count>,
    /// How some of those that broke did.
    broken: Vec<String>,
    /// How long after its certificate's end one was seen to end, at most.
    latest: time::Duration,
}

impl Seen {
    /// How many ended in another way than with their link's certificate.
    pub(super) fn broken(&self) -> u64 {
        self.counts.values().map(|count| count.broken).sum()
    }

    /// How many ended with their link's certificate.
    pub(super) fn ended(&self) -> u64 {
        self.counts.values().map(|count| count.ended).sum()
    }

    /// In words, with how some broke.
    pub(super) fn text(&self) -> String {
        let why = if self.broken.is_empty() { String::new() } else { format!(" [{}]", self.broken.join("; ")) };
        self.counted() + &why
    }

    fn counted(&self) -> String {
        let of = |(kind, count): (&Kind, &Count)| {
            let Count { begun, ended, broken, lines } = count;
            format!("{kind}: {begun} begun, {ended} ended at notAfter, {broken} broken, {lines} lines")
        };
        let counts: Vec<_> = self.counts.iter().map(of).collect();
        format!("{}; seen to end {:.1} s after notAfter at most", counts.join("; "), self.latest.as_seconds_f32())
    }
}

/// When certificates of each cluster end, as far as the hub has said so.
pub(super) type Ends = Arc<Mutex<BTreeMap<String, Vec<OffsetDateTime>>>>;

/// Streams that go on until they are stopped.
pub(super) struct Streams {
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Streams {
    /// Begins all three in each of these clusters.
    pub(super) fn start(site: &Site, clusters: &[String], ends: &Ends) -> Self {
        let mut this = Self { seen: Arc::default(), stop: CancellationToken::new(), tasks: JoinSet::new() };
        for (name, kind) in
            clusters.iter().flat_map(|name| [Kind::Exec, Kind::Log, Kind::Watch].map(|kind| (name, kind)))
        {
            let (kubectl, name) = (site.kubectl(name), name.clone());
            let following =
                Following { kind, name, seen: this.seen.clone(), stop: this.stop.clone(), ends: ends.clone() };
            this.tasks.spawn(following.run(kubectl));
        }
        this
    }

    /// Until each kind has begun in each of so many clusters.
    pub(super) async fn begun(&self, clusters: usize) -> Result<()> {
        let all = || {
            let seen = self.seen.lock().map_err(|_| anyhow!("a stream panicked"))?;
            let begun = |kind| seen.counts.get(&kind).is_some_and(|count: &Count| count.begun >= clusters as u64);
            Ok::<_, anyhow::Error>([Kind::Exec, Kind::Log, Kind::Watch].into_iter().all(begun))
        };
        let started = Instant::now();
        while !all()? {
            ensure!(started.elapsed() < BEGINS_WITHIN * 2, "streams do not begin: {}", self.text());
            tokio::time::sleep(super::site::LOOK).await;
        }
        Ok(())
    }

    /// How it goes.
    pub(super) fn text(&self) -> String {
        self.seen.lock().map_or_else(|_| "a stream panicked".to_owned(), |seen| seen.counted())
    }

    /// Ends all.
    pub(super) async fn stop(mut self) -> Result<Seen> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        let seen = Arc::into_inner(self.seen).context("a stream still runs")?;
        seen.into_inner().map_err(|_| anyhow!("a stream panicked"))
    }
}

/// A stream that begins again when it ends.
struct Following {
    kind: Kind,
    name: String,
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
    ends: Ends,
}

/// How a kubectl ended.
struct End {
    at: OffsetDateTime,
    success: bool,
    /// The last that it said, on either way.
    said: String,
}

impl Following {
    async fn run(self, kubectl: std::process::Command) {
        let arguments = self.arguments();
        while !self.stop.is_cancelled() {
            let mut command = std::process::Command::new(kubectl.get_program());
            command.args(kubectl.get_args()).args(&arguments);
            command.envs(kubectl.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let came = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                came = self.follow(command.into()) => came.and_then(|end| self.judge(&end)),
            };
            self.count(|count| match came {
                Ok(()) => count.ended += 1,
                Err(_) => count.broken += 1,
            });
            if let Err(error) = came {
                let text = format!("{} of {} at {}: {error:#}", self.kind, self.name, OffsetDateTime::now_utc().time());
                eprintln!("identity: broken: {text}");
                self.note(|seen| {
                    seen.broken.push(text);
                    seen.broken.truncate(5);
                });
                // One that breaks at once is not begun a hundred times a second.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    fn arguments(&self) -> Vec<String> {
        // A failure is an object without data: what it says is shown.
        let template = r#"--output=go-template={{if .data}}{{.data.n}}{{else}}{{.message}}{{end}}{{"\n"}}"#;
        // A list, for kubectl watches one object from "about now" and may miss what comes before that.
        let one = format!("--field-selector=metadata.name={}", self.name);
        let arguments = match self.kind {
            Kind::Exec => vec!["exec", "-i", "-n", "demo", "shell", "-c", "shell", "--", "cat"],
            Kind::Log => vec!["logs", "-f", "-n", "demo", "shell", "-c", "log", "--tail=1"],
            Kind::Watch => vec!["get", "configmaps", &one, "-n", NAMESPACE, "--watch", template],
        };
        arguments.into_iter().map(str::to_owned).collect()
    }

    /// One kubectl, to its end.
    async fn follow(&self, mut command: Command) -> Result<End> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(mut stderr)) = pipes else { bail!("kubectl has no pipes") };
        let mut complains = JoinSet::new();
        complains.spawn(async move {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text).await;
            text
        });
        let read = self.read(stdin, BufReader::new(stdout).lines(), &mut child).await;
        let at = OffsetDateTime::now_utc();
        let complaint = timeout(SILENT_FOR, complains.join_next()).await.context("kubectl does not end")?;
        let complaint = complaint.transpose()?.unwrap_or_default();
        let last = read.with_context(|| format!("kubectl says: {}", complaint.trim()))?;
        let status = timeout(SILENT_FOR, child.wait()).await.context("kubectl does not end")??;
        Ok(End { at, success: status.success(), said: format!("{last} {}", complaint.trim()) })
    }

    /// Every line must be the one that follows; the last, which is none of ours, is given back.
    async fn read(
        &self,
        mut stdin: ChildStdin,
        mut lines: Lines<BufReader<ChildStdout>>,
        child: &mut Child,
    ) -> Result<String> {
        let (mut last, mut sent, mut ticks) = (None, 0_u64, interval(ECHO_EVERY));
        let mut heard = Instant::now();
        loop {
            let patience = if last.is_none() { BEGINS_WITHIN } else { SILENT_FOR };
            let line = tokio::select! {
                biased;
                line = lines.next_line() => line?,
                () = tokio::time::sleep_until(heard + patience) => {
                    child.start_kill()?;
                    bail!("nothing came for {patience:?} after {last:?}");
                }
                _ = ticks.tick(), if self.kind == Kind::Exec => {
                    sent += 1;
                    // It ended; how, its output says.
                    let _ = stdin.write_all(format!("line {sent}\n").as_bytes()).await;
                    continue;
                }
            };
            heard = Instant::now();
            let Some(line) = line else { return Ok(String::new()) };
            let Some(number) = number(&line) else {
                // What is left, and then the end.
                while let Ok(Ok(Some(_))) = timeout(SILENT_FOR, lines.next_line()).await {}
                return Ok(line);
            };
            let first = last.is_none();
            let follows = last.map_or(self.kind != Kind::Exec || number == 1, |last: u64| number == last + 1);
            if !follows {
                child.start_kill()?;
                bail!("{number} came after {last:?}");
            }
            last = Some(number);
            self.count(|count| {
                count.begun += u64::from(first);
                count.lines += 1;
            });
        }
    }

    /// Whether it ended as it was meant to.
    fn judge(&self, End { at, success, said }: &End) -> Result<()> {
        ensure!(said.contains(ENDED), "it ended with {said:?}");
        // kubectl ends every watch with 0.
        ensure!(!success || self.kind == Kind::Watch, "what was cut looks complete: {said:?}");
        let ends = self.ends.lock().map_err(|_| anyhow!("whoever asks for certificates panicked"))?;
        let ends = ends.get(&self.name).map(Vec::as_slice).unwrap_or_default();
        let after: Vec<_> = ends.iter().map(|end| *at - *end).filter(|after| (-EARLY..=LATE).contains(after)).collect();
        let after = after.iter().min_by_key(|after| after.abs());
        let after = after.with_context(|| format!("it ended at {at}, when no certificate did: {said:?}"))?;
        self.note(|seen| seen.latest = seen.latest.max(*after));
        Ok(())
    }

    fn count(&self, change: impl FnOnce(&mut Count)) {
        self.note(|seen| change(seen.counts.entry(self.kind).or_default()));
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        if let Ok(mut seen) = self.seen.lock() {
            change(&mut seen);
        }
    }
}

/// The number of a line that is as it should be: `line 17`, or `17`.
fn number(line: &str) -> Option<u64> {
    line.strip_prefix("line ").unwrap_or(line).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(kind: Kind, success: bool, said: &str, seconds: i64) -> bool {
        let at = OffsetDateTime::UNIX_EPOCH;
        let ends: Ends = Arc::default();
        ends.lock().unwrap().insert("site-1".to_owned(), vec![at - time::Duration::days(1), at]);
        let following =
            Following { kind, name: "site-1".to_owned(), seen: Arc::default(), stop: CancellationToken::new(), ends };
        let end = End { at: at + time::Duration::seconds(seconds), success, said: said.to_owned() };
        following.judge(&end).is_ok()
    }

    #[test]
    fn only_an_end_at_not_after_in_its_words_that_does_not_look_complete_is_meant() {
        let words = format!("cluster \"site-1\": session cut at the hub: {ENDED}: start it again");
        assert!(judged(Kind::Exec, false, &words, 1));
        assert!(judged(Kind::Watch, true, &words, -1));
        assert!(!judged(Kind::Exec, true, &words, 0));
        assert!(judged(Kind::Log, false, &words, 9));
        assert!(!judged(Kind::Log, false, &words, -2));
        assert!(!judged(Kind::Log, false, &words, 11));
        assert!(!judged(Kind::Watch, true, "session cut at the link between hub and agent: closed here", 0));
    }
}
