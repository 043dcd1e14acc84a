//! [`worker::Worker`] as the run loop sees it.

use std::sync::Arc;

use adapter::{Front, Machine};
use boundary::{ManagerToWorker, WorkerToManager};
use platform::WorkerProcess;
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
