//! Names, numbers and limits of Coco. Words only: nothing here decides anything.
//!
//! One thing has one word, and the words are the white paper's: validating node (VN), member,
//! participant, constitution, epoch, manager, worker, adapter.

mod names;
mod numbers;

pub mod limits;

pub use names::{ActorId, Digest, NetworkId, UnitId};
pub use numbers::{Epoch, Height, Index, Millis, NodeId, Term};
