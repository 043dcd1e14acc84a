//! The quoted measurements: how many transactions a network commits durably, and how long each takes.
//!
//! Read in this order: what is asked for (`options`), what is sent (`load` and one file for each kind
//! of workload), how (`wire`, `drive`), who else looks at the same time (`observe`, `processes`), what
//! came of it (`figures`, `verdict`, `report`, `plot`). Then the same load on others (`peer`, `etcd`), and
//! what is not one load: `start`, `failover`, and loads of minutes (`endless`, `overload`, `steady`).
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

mod memory;
mod observe;
mod processes;

mod figures;
mod plot;
mod report;
mod tally;
mod verdict;

mod measure;

mod etcd;
mod peer;

mod endless;
mod signed;

mod failover;
mod overload;
mod pace;
mod start;
mod steady;

pub use etcd::{measure_etcd, members};
pub use failover::{Failover, failover, failovers_to_json};
pub use figures::Range;
pub use load::Load;
pub use measure::{Endpoint, Run, measure};
pub use options::{Form, Options, Problem, Via, Workload};
pub use overload::{Overload, overload};
pub use peer::{Peer, alloc, measure_peer};
pub use plot::{Point, Series, draw};
pub use report::{Report, Subject};
pub use start::first_commit;
pub use steady::{Steady, steady};
pub use wire::{Door, Way};
