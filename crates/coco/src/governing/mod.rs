//! The consortium governs itself: `coco propose`, `coco vote`, `coco withdraw`, `coco proposals`,
//! and how an owner comes to the constitution that it approves for its node.
//!
//! What a member signs can be made on a machine without a network (`--out`) and handed in from
//! another (`--send`): the object is good for one network, one proposal and a limited time.

mod approve;
mod fetch;

mod list;
mod message;
mod proposal;
mod session;

pub(crate) use approve::{Approve, run as approve};
pub(crate) use fetch::{Fetch, run as fetch};
pub(crate) use list::{Proposals, run as proposals};
pub(crate) use message::{Common, Propose, Vote, Withdraw, digest, propose, vote, withdraw};
pub(crate) use session::{Key, read_passphrase};
