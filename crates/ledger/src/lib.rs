//! The one global order: entries, sealing, Merkle tree, receipts, file format, audit.
//!
//! Source: Coco 2017, "Encrypting Persistent State" (sealed by the leader, byte-identical on every
//! VN, decrypted by those that the network lets read). Every byte layout is drawn, with a test
//! vector, in docs/formats.md.
//!
//! Deliberately not here: who may be leader, when an entry is committed, what a body means, and
//! any file or socket. The host keeps the files; this crate says whether they are right.

mod entry;
mod leaf;
mod seal;
mod tree;

mod root;

pub mod snapshot;

mod receipt;

pub mod chunk;

mod prepared;

mod audit;
mod verdict;

pub use audit::{AuditFact, Auditor, Before};
pub use entry::{Entry, HEADER_BYTES, Header, Kind, Leaves, Refused, inspect};
pub use leaf::{Evidence, Leaf, leaves};
pub use prepared::{Known, Prepared};
pub use receipt::{
    BadReceipt, RECEIPT_BYTES_MAX, Receipt, receipt, verify_receipt, verify_receipt_of_network,
};
pub use root::{BadRoot, RootSignature, RootStatement, sign_root, verify_root};
pub use seal::{Content, Opened, SealKeyring, Sealed, Sealer};
pub use tree::{BadFrontier, Frontier, Path, Side, Tree};
pub use verdict::{Fault, Problem, Verdict};
