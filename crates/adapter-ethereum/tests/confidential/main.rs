//! A confidential network: who sees what, through the whole worker.

mod asm;
mod bypasses;
mod network;
mod noninterference;
mod policies;
