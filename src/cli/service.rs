//! A process that stays: its runtime and its signals.

use std::future::Future;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{self, Receiver},
};
use tokio_util::sync::CancellationToken;

/// Runs a service on one thread until it ends by itself or a signal ended it: SIGTERM and SIGINT stop it in order, SIGHUP
/// tells it to read its files again.
///
/// One thread, because handing a stream from one to another costs more than the request itself.
pub(super) fn run<F, E>(start: impl FnOnce(CancellationToken, Receiver<()>) -> F) -> anyhow::Result<()>
where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        let (tell, reload) = mpsc::channel(1);
        let service = start(stop.clone(), reload);
        tokio::pin!(service);
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hup = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                ended = &mut service => return Ok::<_, std::io::Error>(ended),
                _ = term.recv() => stop.cancel(),
                _ = int.recv() => stop.cancel(),
                // A reload that is already due covers this one.
                _ = hup.recv() => drop(tell.try_send(())),
            }
        }
    })?;
    // Files that are being written by helper threads are let go: what was acknowledged is on disk.
    runtime.shutdown_background();
    Ok(ended?)
}
