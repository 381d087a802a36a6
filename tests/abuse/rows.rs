//! The rows of the table: each is named, run and printed. Knows nothing of what they do.

use std::{
    fmt::Display,
    future::Future,
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{task::JoinSet, time::timeout};

/// No row may take longer; the slow ones wait for a deadline of 10 s.
const LONGEST: Duration = Duration::from_secs(28);

/// What a row found: `Err` says what came instead of what was expected.
pub(crate) type Outcome = Result<(), String>;

/// Rows that are under way and those that failed.
#[derive(Default)]
pub(crate) struct Rows {
    failed: Arc<Mutex<Vec<String>>>,
    running: JoinSet<()>,
}

impl Rows {
    /// Runs a row to its end.
    pub(crate) async fn run(&self, id: &str, what: &str, row: impl Future<Output = Outcome>) {
        let outcome = timeout(LONGEST, row).await.unwrap_or_else(|_| Err("no end in time".to_owned()));
        note(&self.failed, id, what, outcome);
    }

    /// Starts a row; [`Rows::end`] waits for it.
    pub(crate) fn start(&mut self, id: &str, what: &str, row: impl Future<Output = Outcome> + Send + 'static) {
        let (failed, id, what) = (self.failed.clone(), id.to_owned(), what.to_owned());
        self.running.spawn(async move {
            let outcome = timeout(LONGEST, row).await.unwrap_or_else(|_| Err("no end in time".to_owned()));
            note(&failed, &id, &what, outcome);
        });
    }

    /// Waits for all rows.
    ///
    /// # Panics
    /// When one failed: that is the test's failure.
    pub(crate) async fn end(mut self) {
        while let Some(ended) = self.running.join_next().await {
            if let Err(error) = ended {
                note(&self.failed, "?", "row", Err(error.to_string()));
            }
        }
        let failed = self.failed.lock().unwrap();
        assert!(failed.is_empty(), "{} row(s) failed:\n{}", failed.len(), failed.join("\n"));
    }
}

fn note(failed: &Mutex<Vec<String>>, id: &str, what: &str, outcome: Outcome) {
    match outcome {
        Ok(()) => print(&format!("{id} ok      {what}")),
        Err(why) => {
            print(&format!("{id} FAILED  {what}: {why}"));
            failed.lock().unwrap().push(format!("{id} {what}: {why}"));
        }
    }
}

/// To the terminal even when the test passes: the table is the point.
pub(crate) fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// `Ok` when `holds`, else what is wrong.
pub(crate) fn expect(holds: bool, otherwise: impl Display) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise.to_string()) }
}

/// Rows without a part of the product to run against, and what brings that part. Those of sections A, E, F and G stand in the table of
/// `tests/layers/rows.rs`, which names the tests that run each of them, here and elsewhere.
const LATER: &[(&str, &str)] = &[
    ("T035-T039", "paths: unit tests in src/k8s/target; a sample runs here"),
    ("T051", "audit of proxied pods: the audit issue; that the capability is needed runs here"),
    (
        "T057-T061",
        "browser sessions: the pages issue; the hub has no cookie, so a request with one is a request without",
    ),
    ("T062-T069", "JWT: unit tests in src/identity/service_account; OIDC brings its own"),
    ("T070-T073", "OIDC: the access issue; T072 for hub tokens is a unit test of the hub's cut"),
    ("T108", "fragments, PATH_CHALLENGE, connection ids: quinn's own caps, pinned by version"),
    ("T113", "bundles: the gitops issue"),
    (
        "T114-T115",
        "reconnect storm of a fleet, spoofed floods: the load lab; one address that takes every handshake's turn runs here",
    ),
    ("T116b", "capability ceiling at the agent: the agent policy issue; reserved names run here"),
    ("T117, T119-T126", "git sources: the gitops issue"),
    ("T127-T129", "audit: the audit issue"),
    ("T110", "inventories and reports: the observer issue; what an agent says of itself runs here as T112"),
    (
        "T131",
        "a panic injected: no such switch in the product; every test here ends by looking for panics in the hub's log",
    ),
    ("T132", "container: the deploy tests"),
];

#[test]
fn rows_of_later_issues_are_named() {
    for (id, why) in LATER {
        print(&format!("{id} n/a     {why}"));
    }
}
