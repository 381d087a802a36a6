//! The operator's certificate for HTTPS: read at start, and again when its files change. What does not fit changes nothing.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};
use time::OffsetDateTime;
use tokio::{task::spawn_blocking, time::sleep};
use zeroize::Zeroizing;

use crate::{
    defaults,
    hub::{metrics::Metrics, settings::HttpsFiles},
    identity::{
        Secret,
        tls::{Given, GivenError, HttpsSlots},
    },
};

/// Why the files are not used.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("cannot read {path}: {source}")]
    File { path: String, source: io::Error },
    #[error(transparent)]
    Given(#[from] GivenError),
}

/// What the files hold.
struct Content {
    chain: String,
    key: Secret,
    digest: Vec<u8>,
}

/// Looks after the operator's certificate.
pub(super) struct Watcher {
    files: HttpsFiles,
    /// Of the public URL.
    host: String,
    slots: Arc<HttpsSlots>,
    /// The digest of what is shown.
    shown: Vec<u8>,
    /// What was last told of the files.
    fault: Option<String>,
}

impl Watcher {
    /// Of the files, for clients that call the hub `host`. Nothing is read yet.
    pub(super) fn new(files: HttpsFiles, host: &str, slots: Arc<HttpsSlots>) -> Self {
        Self { files, host: host.to_owned(), slots, shown: Vec::new(), fault: None }
    }

    /// Reads the files, and shows what they hold from now on if it fits. Whatever is wrong is told once, and what was shown before goes on
    /// being shown; at the start that is the hub's own certificate, for links must not wait for this one.
    pub(super) async fn look(&mut self, metrics: &Metrics, now: OffsetDateTime) {
        let files = self.files.clone();
        let content = match spawn_blocking(move || read(&files)).await {
            Ok(content) => content,
            Err(panic) => Err(fault(&self.files.cert, io::Error::other(panic))),
        };
        let given = match content {
            Ok(content) if content.digest == self.shown => return self.told(metrics, None),
            Ok(Content { chain, key, digest }) => {
                Given::new(&chain, &key, &self.host, now).map(|given| (given, digest)).map_err(Fault::from)
            }
            Err(fault) => Err(fault),
        };
        match given {
            Ok((given, digest)) => {
                let path = self.files.cert.display();
                tracing::info!(%path, not_after = %given.not_after, "https certificate read");
                self.slots.give(given);
                self.shown = digest;
                self.told(metrics, None);
            }
            Err(fault) => self.told(metrics, Some(fault.to_string())),
        }
    }

    fn told(&mut self, metrics: &Metrics, fault: Option<String>) {
        metrics.https_fault.set(i64::from(fault.is_some()));
        if let Some(why) = fault.as_ref().filter(|_| fault != self.fault) {
            let path = self.files.cert.display();
            let instead = if self.shown.is_empty() { "the hub's own" } else { "the one before" };
            tracing::error!(%path, why, instead, "https certificate not used: another is shown");
        }
        self.fault = fault;
    }
}

/// Looks from time to time, without end, if there is something to look at.
pub(super) async fn watch(watcher: Option<Watcher>, metrics: &Metrics) {
    let Some(mut watcher) = watcher else { return std::future::pending().await };
    loop {
        sleep(defaults::GRANTS_POLL).await;
        watcher.look(metrics, OffsetDateTime::now_utc()).await;
    }
}

fn read(files: &HttpsFiles) -> Result<Content, Fault> {
    let [mut chain, mut key] = [Zeroizing::new(String::new()), Zeroizing::new(String::new())];
    for (path, text) in [(&files.cert, &mut chain), (&files.key, &mut key)] {
        let read = File::open(path).and_then(|file| file.take(defaults::HTTPS_FILE).read_to_string(text));
        read.map_err(|source| fault(path, source))?;
    }
    let all = Zeroizing::new([chain.as_bytes(), &[0], key.as_bytes()].concat());
    let digest = digest(&SHA256, &all).as_ref().to_vec();
    let key = Secret::new(std::mem::take(&mut *key));
    Ok(Content { chain: std::mem::take(&mut *chain), key, digest })
}

fn fault(path: &Path, source: io::Error) -> Fault {
    Fault::File { path: path.display().to_string(), source }
}
