//! The quoted measurements: how many transactions a network commits durably, and how long each takes.
//!
//! Read in this order: what is asked for (`options`), what is sent (`load` and one file for each kind
//! of workload), how (`wire`, `drive`), who else looks at the same time (`observe`, `processes`), what
//! came of it (`figures`, `verdict`, `report`).
//!
//! Everything that is sent is signed and encoded before the clock starts. Load goes straight to the
//! validating nodes over mutually authenticated TLS 1.3. A node answers a write when a quorum has it
//! on disk, so the time of the answer is the client's knowledge of the commit. When every node has
//! applied a block is observed on a connection of its own to each node.
//!
//! Not here: starting a network. Whoever calls gives [`Endpoint`]s.
//!
//! Source: Coco 2017, "Performance"; DESIGN sections 8 and 9.

mod options;

mod ethereum;
mod load;
mod mainnet;
mod token;

mod drive;
mod wire;

mod observe;
mod processes;

mod figures;
mod report;
mod verdict;

mod measure;

pub use load::Load;
pub use measure::{Endpoint, Run, measure};
pub use options::{Options, Problem, Via, Workload};
pub use report::Report;
