//! What the run loop asks of an enclave: two traits, one for each kind of image.
//!
//! They repeat the shape of `manager` and `worker` without naming them, so that this crate stays
//! below both and a test can put a process of its own into the same sandbox.

use boundary::{
    HostToManager, ManagerToHost, ManagerToPlatform, ManagerToWorker, PlatformToManager,
    WorkerToManager,
};
use types::Millis;

/// Everything that goes into a manager.
#[derive(Debug)]
pub enum ManagerInput {
    Host(HostToManager),
    Platform(PlatformToManager),
    /// From the worker of this number.
    Worker(u64, WorkerToManager),
    /// All that had arrived has been handled: send what was held back to be batched.
    Flush,
}

/// Everything that comes out of a manager.
#[derive(Debug)]
pub enum ManagerOutput {
    Host(ManagerToHost),
    Platform(ManagerToPlatform),
    /// To the worker of this number. Dropped if it has ended meanwhile.
    Worker(u64, ManagerToWorker),
    /// Ends this worker; `WorkerEnded` follows when it is gone.
    StopWorker(u64),
}

/// A manager as the run loop sees it.
pub trait ManagerProcess {
    fn handle(&mut self, input: ManagerInput, out: &mut Vec<ManagerOutput>);
}

/// A worker as the run loop sees it. Its time is the manager's: `now` of the last message.
pub trait WorkerProcess {
    fn handle(&mut self, now: Millis, message: ManagerToWorker, out: &mut Vec<WorkerToManager>);

    /// All that had arrived has been handled: send what was held back to be batched.
    fn flush(&mut self, now: Millis, out: &mut Vec<WorkerToManager>);

    /// True if `flush` has more to do at once, though nothing comes in.
    fn has_work(&self) -> bool {
        false
    }
}
