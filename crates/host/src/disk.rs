//! The ledger's threads: one writes, with group commit, and one reads.
//!
//! All appends that wait share one sync and one answer, which names the last of them by its sequence
//! number: an index would not tell an append from one that was truncated and made again. Nothing is
//! acknowledged before the sync has returned, and after an error nothing at all.
//!
//! The writing thread's latency is what clients feel. So it only says which bytes are to be read
//! ([`crate::storage::Reading`]), and another thread reads them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use boundary::{Append, Committed, Entries, Persisted, ReadEntries, StorageFailed, Truncate};

use crate::metrics::Metrics;
use crate::storage::{LedgerFailed, LedgerFiles, Place, Reading};

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
    /// The last answer of the writing thread.
    Failed(StorageFailed),
}

/// The two threads.
#[derive(Debug)]
pub struct Disk {
    jobs: Sender<Job>,
    writing: JoinHandle<()>,
    reading: JoinHandle<()>,
}

impl Disk {
    /// Starts the threads; `answer` is called there.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(
        files: LedgerFiles,
        metrics: Arc<Metrics>,
        answer: impl Fn(Done) + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = channel();
        let (reads, to_read) = channel();
        let answer_read = answer.clone();
        let reading = Builder::new()
            .name("ledger reads".into())
            .spawn(move || read(&to_read, answer_read))?;
        let writing = Builder::new().name("ledger".into()).spawn(move || {
            let writer = Writer {
                files,
                metrics,
                reads,
                answer,
            };
            writer.show_size();
            writer.run(&waiting);
        })?;
        Ok(Self {
            jobs,
            writing,
            reading,
        })
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
        let _ = self.writing.join();
        let _ = self.reading.join();
    }
}

struct Writer<F> {
    files: LedgerFiles,
    metrics: Arc<Metrics>,
    reads: Sender<(ReadEntries, Result<Reading, String>)>,
    answer: F,
}

impl<F: Fn(Done)> Writer<F> {
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
                    let place = if append.detached {
                        Place::Detached
                    } else {
                        Place::Following
                    };
                    self.files.append(append.first, &append.entries, place)?;
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
                    let reading = self.files.reading(read.first, read.last, bytes_max);
                    // The reading thread lives as long as this one.
                    let _ = self.reads.send((read, reading));
                }
            }
        }
        self.sync(&mut appended)?;
        self.close(&mut committed)?;
        self.show_size();
        Ok(())
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
            self.files.close_committed()?;
        }
        Ok(())
    }

    fn show_size(&self) {
        let (bytes, chunks) = self.files.size();
        self.metrics.ledger_is(bytes, chunks);
    }
}

fn read(
    reads: &Receiver<(ReadEntries, Result<Reading, String>)>,
    answer: impl Fn(Done) + Send + 'static,
) {
    while let Ok((asked, reading)) = reads.recv() {
        let (entries, failure) = match reading.and_then(Reading::read) {
            Ok(entries) => (entries, String::new()),
            Err(failure) => {
                tracing::error!(
                    "{failure}; what is asked for is fetched from other nodes. Find out what changed \
                     the file; a restart checks all of them"
                );
                (Vec::new(), failure)
            }
        };
        answer(Done::Entries(Entries {
            request: asked.request,
            first: asked.first,
            entries,
            failure,
        }));
    }
}
