//! Writing: a queue of commits and the one blocking job that empties it, many commits to a transaction. Refuses to know the tables.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    Inner,
    file::{self, Applied, Data, File},
};
use crate::store::{Action, Change, CommitError, LeaseId, Op, Revision, StoreError};

/// Most commits in one transaction: bounds how long the first of them waits.
const MAX_TOGETHER: usize = 64;

/// Commits that wait, and whether a job is emptying the queue.
#[derive(Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    busy: bool,
}

struct Request {
    work: Work,
    answer: oneshot::Sender<Answer>,
    /// Room in the queue; given back when the request is done.
    _room: OwnedSemaphorePermit,
}

enum Work {
    Commit(Vec<Op>),
    End(LeaseId),
}

type Answer = Result<Revision, CommitError>;

/// Queues a commit and waits until it is on disk.
pub(super) async fn commit(inner: &Arc<Inner>, ops: Vec<Op>) -> Answer {
    submit(inner, Work::Commit(ops)).await
}

/// Removes the keys bound to a lease that has ended.
pub(super) async fn end_lease(inner: &Arc<Inner>, lease: LeaseId) -> Result<(), StoreError> {
    match submit(inner, Work::End(lease)).await {
        Ok(_) => Ok(()),
        Err(CommitError::Store(error)) => Err(error),
        Err(other) => Err(StoreError::Engine(Box::new(other))),
    }
}

async fn submit(inner: &Arc<Inner>, work: Work) -> Answer {
    let room = inner.room.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
    let file = inner.file()?;
    let (answer, answered) = oneshot::channel();
    let start = {
        let mut waiting = inner.queue.lock();
        waiting.requests.push_back(Request { work, answer, _room: room });
        !mem::replace(&mut waiting.busy, true)
    };
    if start {
        let inner = inner.clone();
        let tasks = inner.tasks.clone();
        drop(tasks.spawn_blocking(move || empty(&inner, &file)));
    }
    answered.await.map_err(|_| StoreError::Engine("the writing job panicked".into()))?
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the next commit start a job if this one panics; the engine does on some kinds of damage.
struct Unstick<'a>(&'a Queue);

impl Drop for Unstick<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut waiting = self.0.lock();
            waiting.busy = false;
            waiting.requests.clear();
        }
    }
}

/// Writes what waits until nothing does.
fn empty(inner: &Inner, file: &File) {
    let _unstick = Unstick(&inner.queue);
    loop {
        let together: Vec<Request> = {
            let mut waiting = inner.queue.lock();
            let count = waiting.requests.len().min(MAX_TOGETHER);
            if count == 0 {
                waiting.busy = false;
                return;
            }
            waiting.requests.drain(..count).collect()
        };
        write(inner, file, together);
    }
}

/// Writes `requests` in one transaction, announces their changes, and answers.
fn write(inner: &Inner, file: &File, requests: Vec<Request>) {
    let (works, answers): (Vec<_>, Vec<_>) = requests.into_iter().map(|r| (r.work, (r.answer, r._room))).unzip();
    let written = file.write(|data, before| {
        let mut revision = before;
        let mut results = Vec::with_capacity(works.len());
        for work in &works {
            let result = apply(inner, data, work, revision.next());
            if let Err(CommitError::Store(error)) = result {
                return Err(error);
            }
            if result.as_ref().is_ok_and(|applied| !applied.changes.is_empty()) {
                revision = revision.next();
            }
            results.push((result, revision));
        }
        Ok((results, revision))
    });
    let results = match written {
        Ok(results) => results,
        Err(error) => return refuse(error, answers),
    };
    let mut changes: Vec<Change> = Vec::new();
    let mut replies = Vec::with_capacity(results.len());
    for ((result, revision), work) in results.into_iter().zip(works) {
        if let Ok(applied) = &result {
            inner.leases.record(applied);
            if let Work::End(lease) = work {
                inner.leases.forget(lease);
            }
        }
        replies.push(result.map(|applied| {
            changes.extend(applied.changes);
            revision
        }));
    }
    inner.feed.publish(changes);
    for ((answer, _room), reply) in answers.into_iter().zip(replies) {
        // Whoever asked may have gone; the commit stands.
        let _ = answer.send(reply);
    }
}

fn apply(inner: &Inner, data: &mut Data<'_>, work: &Work, revision: Revision) -> Result<Applied, CommitError> {
    match work {
        Work::Commit(ops) => {
            let leases = ops.iter().filter_map(|op| match op.action {
                Action::Put { lease, .. } => lease,
                Action::Delete | Action::Check => None,
            });
            for lease in leases {
                if !inner.leases.runs(lease) {
                    return Err(CommitError::Lease(lease));
                }
            }
            file::apply(data, ops, revision)
        }
        Work::End(lease) => Ok(file::apply_end(data, *lease, &inner.leases.keys(*lease), revision)?),
    }
}

/// Tells every caller that the transaction failed; none of their commits happened.
fn refuse(error: StoreError, answers: Vec<(oneshot::Sender<Answer>, OwnedSemaphorePermit)>) {
    let again: Box<dyn Fn() -> StoreError> = match error {
        StoreError::Closed => Box::new(|| StoreError::Closed),
        StoreError::Full => Box::new(|| StoreError::Full),
        StoreError::Engine(error) => {
            let text = error.to_string();
            Box::new(move || StoreError::Engine(text.as_str().into()))
        }
    };
    for (answer, _room) in answers {
        // Whoever asked may have gone.
        let _ = answer.send(Err(again().into()));
    }
}
