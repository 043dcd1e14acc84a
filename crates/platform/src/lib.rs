//! What lies under an enclave: the run loop, the sandbox, the launcher and its evidence.
//!
//! An enclave is a synchronous value ([`ManagerProcess`], [`WorkerProcess`]). [`run_manager`] and
//! [`run_worker`] lock the process down and then feed it messages; nothing else of the process is
//! left to it. The launcher (`coco-launcher`, [`launcher`]) measures a sealed copy of each image,
//! starts it, and signs evidence about it. Source: Coco 2017, "Trusted execution environments".
//!
//! Deliberately absent: any knowledge of what the messages mean, and any clock. Time is in the
//! messages.

mod link;
mod process;
mod run;
mod sandbox;
mod syscalls;
mod threads;
mod words;

pub mod launcher;

pub use process::{ManagerInput, ManagerOutput, ManagerProcess, WorkerProcess};
pub use run::{run_manager, run_worker, run_worker_with_threads};
pub use threads::{THREADS_MAX, Threads};
