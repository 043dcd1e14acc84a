//! A key-value protocol over HTTP: the simplest adapter, written to be read first.
//!
//! An adapter has two halves. Read them in this order:
//!
//! 1. `command` — the protocol's own unit: what a client can ask for, as bytes. A unit is atomic: all of
//!    its commands are applied, or none is.
//! 2. `state` — how keys are laid out in the replicated maps.
//! 3. `machine` — the rules: `admit` checks what can be checked without executing and gives the unit its
//!    identity, `execute` reads and writes the maps. It runs on the leader; everybody else applies what
//!    it wrote.
//! 4. `front` — HTTP: turns a request into a unit or a query and the outcome into a response.
//!    `history` reads what the state does not hold any more from the ledger.
//!
//! ```text
//! PUT    /kv/<key>        body = value         If-Match: "<version>" | If-None-Match: *
//! DELETE /kv/<key>                             If-Match: "<version>"
//! GET    /kv/<key>?consistency=local|linear    value; ETag = version
//! GET    /kv?prefix=&after=&limit=&consistency=
//! GET    /kv/<key>?at=<height>                 the value that it had then
//! GET    /history/<key>?from=<height>&limit=   its versions, the latest first
//! POST   /batch           {"commands":[{"op":"put","key":"k","value":"v"},
//!                                      {"op":"delete","key":"k"},
//!                                      {"op":"put","key":"k","value":"v","expect":{"value":"u"}}]}
//! GET    /receipt/<height>/<position>          the ledger's proof (docs/receipts.md)
//! GET    /receipt/request/<Coco-Request-Id>    the same, for a request of the caller's own
//! ```
//! Keys are text of up to 1 KiB, percent-encoded in the path; values are any bytes up to 64 KiB. A write
//! with the header `Coco-Request-Id` (up to 64 visible characters, chosen by the client) is done once
//! however often it is sent, for ever: the worker knows the id of every committed unit. Old versions are read from the ledger; a node that joined by a snapshot and
//! has not fetched the rest of the ledger yet says so, with status 503. Errors are JSON: `{"error":{"kind":"...","message":"..."}}`.
//!
//! Settings (JSON, may be empty): `{"participants_may_write":true}`.

mod command;
mod state;

mod machine;

mod front;
mod history;
mod route;

use std::sync::Arc;

/// The rules of the protocol.
pub fn machine() -> Arc<dyn adapter::Machine> {
    Arc::new(machine::KeyValue)
}

/// The protocol's HTTP surface.
pub fn front() -> Box<dyn adapter::Front> {
    Box::new(front::HttpFront::default())
}

pub use command::{
    Command, Condition, KEY_BYTES_MAX, Op, REQUEST_ID_BYTES_MAX, Submission, VALUE_BYTES_MAX,
    Version,
};
