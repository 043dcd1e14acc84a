//! What the host keeps on disk: the ledger's chunks and the snapshots. Bytes in, bytes out: it has
//! no key, and what it reads back is checked by the manager.

mod failed;
mod medium;

mod aside;
mod chunk;
mod ledger;
mod opening;
mod reading;
mod snapshots;
mod space;

pub use chunk::{CHUNK_BYTES, MAGIC};
pub use failed::LedgerFailed;
pub use ledger::{Extent, LedgerFiles, Options, Place};
pub use medium::{Kernel, Medium};
pub use opening::Finding;
pub use reading::Reading;
pub use snapshots::{Kept, SNAPSHOT_BYTES_MAX, SnapshotFiles};
pub use space::Space;
