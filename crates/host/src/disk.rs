//! The disk thread: carries out what the manager asks of the ledger's files, with group commit.
//!
//! All appends that wait share one sync and one answer, which names the last of them by its sequence
//! number: an index would not tell an append from one that was truncated and made again. Nothing is
//! acknowledged before the sync has returned, and after an error nothing at all.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use boundary::{Append, Committed, Entries, Persisted, ReadEntries, StorageFailed, Truncate};

use crate::ledger_files::{LedgerFailed, LedgerFiles};
use crate::metrics::Metrics;

/// Most jobs that share a sync.
const JOBS_PER_SYNC_MAX: usize = 1024;

/// Most bytes of entries in one answer, below the frame limit.
const READ_BYTES_MAX: u64 = 32 << 20;

/// What the disk can be asked.
#[derive(Debug)]
pub enum Job {
    Append(Append),
    Truncate(Truncate),
    Committed(Committed),
    Read(ReadEntries),
}

/// What the disk answers.
#[derive(Debug, PartialEq)]
pub enum Done {
    Persisted(Persisted),
    Entries(Entries),
    /// The last answer of a disk.
    Failed(StorageFailed),
}

/// The disk thread.
#[derive(Debug)]
pub struct Disk {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

impl Disk {
    /// Starts the thread; `answer` is called there.
    pub fn start(
        files: LedgerFiles,
        metrics: Arc<Metrics>,
        answer: impl FnMut(Done) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = channel();
        let thread = std::thread::Builder::new()
            .name("disk".into())
            .spawn(move || {
                Worker {
                    files,
                    metrics,
                    answer,
                }
                .run(&waiting)
            })?;
        Ok(Self { jobs, thread })
    }

    /// Queues a job. How much can wait is limited by the manager, which has few appends in flight.
    pub fn ask(&self, job: Job) {
        // After a failure the thread has ended; the manager has been told.
        let _ = self.jobs.send(job);
    }

    /// Finishes what waits and ends.
    pub fn finish(self) {
        drop(self.jobs);
        // A panic there has been reported by the panic hook.
        let _ = self.thread.join();
    }
}

struct Worker<F> {
    files: LedgerFiles,
    metrics: Arc<Metrics>,
    answer: F,
}

impl<F: FnMut(Done)> Worker<F> {
    fn run(mut self, waiting: &Receiver<Job>) {
        while let Ok(first) = waiting.recv() {
            let more = waiting.try_iter().take(JOBS_PER_SYNC_MAX - 1);
            let jobs: Vec<Job> = std::iter::once(first).chain(more).collect();
            if let Err(failure) = self.carry_out(jobs) {
                let reason = failure.to_string();
                (self.answer)(Done::Failed(StorageFailed { reason }));
                return;
            }
        }
    }

    fn carry_out(&mut self, jobs: Vec<Job>) -> Result<(), LedgerFailed> {
        let mut appended = None;
        let mut committed = None;
        for job in jobs {
            match job {
                Job::Append(append) => {
                    self.files.append(append.first, &append.entries)?;
                    appended = Some(append.sequence);
                }
                Job::Truncate(truncate) => {
                    self.sync(&mut appended)?;
                    self.close(&mut committed)?;
                    self.files.truncate(truncate.from)?;
                }
                Job::Committed(upto) => committed = Some(upto.upto),
                Job::Read(read) => {
                    let bytes_max = read.bytes_max.min(READ_BYTES_MAX);
                    let entries = self.files.read(read.first, read.last, bytes_max)?;
                    let (request, first) = (read.request, read.first);
                    let failure = String::new();
                    (self.answer)(Done::Entries(Entries {
                        request,
                        first,
                        entries,
                        failure,
                    }));
                }
            }
        }
        self.sync(&mut appended)?;
        self.close(&mut committed)
    }

    fn close(&mut self, committed: &mut Option<u64>) -> Result<(), LedgerFailed> {
        committed
            .take()
            .map_or(Ok(()), |upto| self.files.committed(upto))
    }

    fn sync(&mut self, appended: &mut Option<u64>) -> Result<(), LedgerFailed> {
        if let Some(sequence) = appended.take() {
            let began = Instant::now();
            self.files.sync()?;
            self.metrics.synced(began.elapsed());
            (self.answer)(Done::Persisted(Persisted { sequence }));
        }
        Ok(())
    }
}
