//! What a member or an application links: an attested session with a validating node.
//!
//! [`Entrance`] says who we are ([`Identity`]), whom we believe ([`Trust`]) and what we want to talk
//! to ([`Surface`]). A [`Tunnel`] made from it is bytes in and bytes out and belongs to any kind of
//! socket; [`Connection`] is one over a blocking TCP socket; [`Http`] speaks HTTP/1.1 on it and goes
//! on to the next address when a node is lost; [`Admin`] reads the administrative channel, and
//! [`Receipts`] fetches what [`ReceiptFile`] verifies.
//!
//! [`Signer`] is the key with which an actor signs what it proposes and votes, in a file or in a module.
//!
//! Nothing of ours is sent before the node's certificate led to the pinned network identity and, if
//! a constitution is at hand, before its evidence satisfied that constitution's manifests.
//!
//! Source: Coco 2017, "Client applications"; DESIGN section 8.

mod admin;
mod connection;
mod http;
mod identity;
mod module;
mod parts;
mod problem;
mod receipt;
mod share_key;
mod signer;
mod trust;
mod tunnel;
mod wrapped;

pub use admin::Admin;
pub use connection::Connection;
pub use http::{Http, Retry};
pub use http1::ClientResponse;
pub use identity::{Identity, Passphrase, certificate_to_pem, read_certificate};
pub use module::ModuleKey;
pub use parts::{
    PARTS_TEXT_BYTES_MAX, RecoveryPart, SessionKeys, audit_part_from_cbor, audit_part_from_pem,
    audit_part_to_pem, auditor_key_from_pem, auditor_key_to_pem, restart_order_from_pem,
    restart_order_to_pem,
};
pub use problem::Problem;
pub use receipt::{Claim, ReceiptFile, Receipts, Unproven, Wanted};
pub use share_key::{ShareKey, share_key_to_locked_pem, share_key_to_pem};
pub use signer::Signer;
pub use trust::{Node, Trust};
pub use tunnel::{Entrance, Surface, Tunnel};
pub use wrapped::WrappedShareKey;
