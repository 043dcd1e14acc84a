//! The snapshot thread: writes and reads snapshot files while the ledger's threads go on.
//!
//! Every request has its answer, so whoever asks need not count: a failure is an answer, too, and the
//! node lives on without that snapshot.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use boundary::{ReadSnapshot, RemoveSnapshot, SnapshotRead, SnapshotStored, StoreSnapshot};

use crate::metrics::Metrics;
use crate::storage::SnapshotFiles;

/// What the snapshot thread can be asked.
#[derive(Debug)]
pub enum Job {
    Store(StoreSnapshot),
    Read(ReadSnapshot),
    Remove(RemoveSnapshot),
}

/// What it answers; a removal has no answer.
#[derive(Debug, PartialEq)]
pub enum Done {
    Stored(SnapshotStored),
    Read(SnapshotRead),
}

/// The thread.
#[derive(Debug)]
pub struct Snapshots {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

impl Snapshots {
    /// Starts the thread; `answer` is called there.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(
        files: SnapshotFiles,
        metrics: Arc<Metrics>,
        answer: impl Fn(Done) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = channel();
        let thread = Builder::new()
            .name("snapshots".into())
            .spawn(move || run(files, &metrics, &waiting, answer))?;
        Ok(Self { jobs, thread })
    }

    /// Queues a job. How much can wait is limited by the manager, which awaits answers.
    pub fn ask(&self, job: Job) {
        // The thread ends only when this is dropped.
        let _ = self.jobs.send(job);
    }

    /// Finishes what waits and ends.
    pub fn finish(self) {
        drop(self.jobs);
        // A panic there has been reported by the panic hook.
        let _ = self.thread.join();
    }
}

fn run(
    mut files: SnapshotFiles,
    metrics: &Metrics,
    waiting: &Receiver<Job>,
    answer: impl Fn(Done),
) {
    metrics.snapshots_are(files.kept());
    while let Ok(job) = waiting.recv() {
        match job {
            Job::Store(store) => {
                let (index, sequence) = (store.index, store.sequence);
                let stored = files.store(index, sequence, &store.chunk, store.last);
                let failure = logged(stored.err());
                if store.last {
                    metrics.snapshots_are(files.kept());
                }
                answer(Done::Stored(SnapshotStored {
                    index,
                    sequence,
                    failure,
                }));
            }
            Job::Read(read) => {
                let request = read.request;
                let done = match files.read(read.index, read.sequence) {
                    Ok((chunk, last)) => SnapshotRead {
                        request,
                        chunk,
                        last,
                        failure: String::new(),
                    },
                    failed => SnapshotRead {
                        request,
                        failure: logged(failed.err()),
                        ..SnapshotRead::default()
                    },
                };
                answer(Done::Read(done));
            }
            Job::Remove(remove) => {
                logged(files.remove(remove.index).err());
                metrics.snapshots_are(files.kept());
            }
        }
    }
}

fn logged(failure: Option<String>) -> String {
    let failure = failure.unwrap_or_default();
    if !failure.is_empty() {
        tracing::warn!("snapshot: {failure}");
    }
    failure
}
