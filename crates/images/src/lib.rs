//! The enclave images: `coco-manager`, and one worker for each protocol.
//!
//! Each is a process of its own, built from a `main` of a few lines, so that what is measured holds
//! this one thing: a manager names no adapter, a worker no ledger key. They are started by
//! `coco-launcher` and run inside [`platform`]'s loop.

mod manager_process;
mod worker_process;

pub use manager_process::manager;
pub use worker_process::{worker, worker_with_threads};
