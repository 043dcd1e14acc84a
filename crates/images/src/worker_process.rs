//! [`worker::Worker`] as the run loop sees it.

use std::sync::Arc;

use adapter::{Front, Machine, Spread};
use boundary::{ManagerToWorker, WorkerToManager};
use platform::{Threads, WorkerProcess};
use types::Millis;
use worker::Worker;

/// Runs a worker for this protocol until its manager hangs up. `protocol` is given 32 random bytes
/// of this start, for what must be unguessable and need not be the same elsewhere.
pub fn worker(protocol: impl FnOnce([u8; 32]) -> (Arc<dyn Machine>, Box<dyn Front>)) -> ! {
    platform::run_worker(|seed| {
        let (machine, front) = protocol(seed);
        Process(Worker::new(machine, front))
    })
}

/// As [`worker()`], for a protocol that can use threads.
pub fn worker_with_threads(
    protocol: impl FnOnce([u8; 32], Arc<dyn Spread>) -> (Arc<dyn Machine>, Box<dyn Front>),
) -> ! {
    platform::run_worker_with_threads(|seed, threads| {
        let (machine, front) = protocol(seed, Arc::new(Lent(threads)));
        Process(Worker::new(machine, front))
    })
}

/// The process's threads, as an adapter knows them.
#[derive(Debug)]
struct Lent(Threads);

impl Spread for Lent {
    fn width(&self) -> usize {
        self.0.width()
    }

    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        self.0.each(count, work);
    }
}

struct Process(Worker);

impl WorkerProcess for Process {
    fn handle(&mut self, now: Millis, message: ManagerToWorker, out: &mut Vec<WorkerToManager>) {
        self.0.handle(now, message, out);
    }

    fn flush(&mut self, now: Millis, out: &mut Vec<WorkerToManager>) {
        self.0.flush(now, out);
    }

    fn has_work(&self) -> bool {
        self.0.has_work()
    }
}
