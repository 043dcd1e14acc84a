//! Every message that crosses a trust boundary inside a validating node, and their framing.
//!
//! The lists are `proto/coco.proto`, one page, so that a worker can be written in another language.
//! Four lists and the launcher's two; each is named by who speaks to whom.

mod frame;

#[allow(clippy::all, missing_docs)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/coco.boundary.v1.rs"));
}

pub use frame::{Broken, Decoder, encode};
pub use prost::Message;
pub use v1::*;
