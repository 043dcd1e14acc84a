//! A confidential network: who sees what, through the whole worker.

mod asm;
mod auditing;
mod bypasses;
mod limits;
mod network;
mod noninterference;
mod policies;
#[path = "../common/shapes.rs"]
mod shapes;
