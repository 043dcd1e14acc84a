//! The half of an adapter that speaks to clients.
//!
//! The worker speaks HTTP/1.1 and WebSocket; the front sees whole requests and messages. An answer
//! that must wait (for a commit, for an old batch from the ledger, for a linear read) is an
//! [`Exchange`], polled again when something it asked for has come. No async runtime is needed,
//! and the simulator runs the same fronts.

use std::sync::Arc;

use bytes::Bytes;
use types::{Height, Millis, UnitId};

use crate::{Batch, Caller, Kind, Reject, Unit, View};

/// A client's connection, as the worker names it. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// An HTTP request, whole.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Request {
    /// The first header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// What is sent back. For a WebSocket message only the body counts, and an empty body sends nothing.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
}

pub type Body = Bytes;

impl Response {
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".into())],
            body: body.into(),
        }
    }
}

/// What became of a unit, as far as this VN knows.
#[derive(Debug, Clone)]
pub enum Fate {
    /// Waiting: in the pool, forwarded, or executed and not committed yet.
    Pending,
    /// Committed: durable on a quorum. Position within the batch.
    Committed { height: Height, position: u32 },
    /// Refused. It left nothing in the ledger.
    Rejected(Reject),
    /// Leadership changed while it was under way, and it may still commit. Submitting the same
    /// unit again is safe.
    Unknown,
    /// Never seen here.
    Absent,
}

/// What an exchange may ask of the worker while it is polled. Everything returns at once; what is
/// not there yet is fetched, and the exchange is polled again when it has come.
pub trait Context {
    fn now(&self) -> Millis;

    /// Committed state.
    fn view(&self) -> &dyn View;

    /// Whether so many more units of `caller` may wait here: cheaper to ask than to have each one looked at.
    ///
    /// # Errors
    /// What to tell whoever sent them. None of them is taken.
    fn room(&self, caller: &Caller, units: usize) -> Result<(), Reject> {
        let _ = (caller, units);
        Ok(())
    }

    /// Admits `raw` for `caller` and hands it to the leader. The answer comes by [`Context::fate`].
    ///
    /// A unit that waits, or is among the last million committed, is not taken a second time. A protocol whose rules do
    /// not refuse what was committed before (as Ethereum's nonces do) asks [`Context::fate`] first.
    fn submit(&mut self, caller: &Caller, raw: Bytes) -> Result<UnitId, Reject>;

    /// What became of `unit`. The exchange is polled again when this changes. Of a committed one 64 bits of the id
    /// were compared: look at the batch.
    ///
    /// # Errors
    /// [`Missing`]: it is looked for among what was committed long ago, or that is not on this node.
    fn fate(&mut self, unit: &UnitId) -> Result<Fate, Missing>;

    /// The unit with this id if it waits on this VN (submitted here, not committed yet).
    fn pending(&self, unit: &UnitId) -> Option<Bytes>;

    /// Lane and number of the unit with this id if it waits on this VN.
    fn place(&self, unit: &UnitId) -> Option<(Bytes, u64)>;

    /// The next free sequence number of a lane, counting what waits on this VN.
    fn lane_next(&self, lane: &[u8]) -> Option<u64>;

    /// Units that wait on this VN, by arrival, at most so many.
    fn waiting(&self, max: usize) -> Vec<Unit> {
        let _ = max;
        Vec::new()
    }

    /// A committed batch. `Ok(None)`: none of this height is committed.
    ///
    /// # Errors
    /// [`Missing`]: it is being fetched from the ledger, or is not on this node.
    fn batch(&mut self, height: Height) -> Result<Option<Arc<Batch>>, Missing>;

    /// The batch that [`crate::Machine::file`] gave this name. Look at the batch: 64 bits of the name
    /// were compared.
    ///
    /// # Errors
    /// As of [`Context::fate`].
    fn named(&mut self, name: &[u8; 32]) -> Result<Option<Height>, Missing>;

    /// The note that [`crate::Machine::file`] gave with a committed batch.
    fn note(&self, height: Height) -> Option<&[u8]>;

    /// True once everything committed before this exchange began is in `view` (linearizable read).
    fn linear(&mut self) -> bool;

    /// The ledger's receipt of a committed unit: COSE bytes, docs/receipts.md. The front asks
    /// [`crate::Machine::authorize`] first whether the caller may have it. `Err(NotYet)`: it is being
    /// made, which may take until the next signature is committed.
    ///
    /// A runtime without a ledger has none to give.
    fn receipt(&mut self, height: Height, position: u32) -> Result<Result<Bytes, Reject>, NotYet> {
        let _ = (height, position);
        let message = "this node keeps no ledger, so it has no receipts";
        Ok(Err(Reject::new(Kind::Fault, message)))
    }

    /// Polls the exchange again at this time at the latest.
    fn wake_at(&mut self, time: Millis);
}

/// It is being fetched; return [`Progress::Pending`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotYet;

/// Why a committed batch, or what is found by one, cannot be had now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is being fetched; return [`Progress::Pending`].
    NotYet,
    /// This node joined by a snapshot and has not fetched that part of the ledger yet. Say so: another
    /// node has it, and this one will have it later.
    Elsewhere,
}

/// How far an exchange is.
#[derive(Debug)]
pub enum Progress {
    Pending,
    Ready(Response),
}

/// One request and its answer.
pub trait Exchange: Send {
    fn poll(&mut self, context: &mut dyn Context) -> Progress;
}

/// A message to a WebSocket that nobody asked for: a subscription's notification.
#[derive(Debug, Clone)]
pub struct Push {
    pub stream: StreamId,
    pub message: Bytes,
}

/// The half of an adapter that speaks to clients.
pub trait Front: Send {
    /// 32 secret bytes, the same on every VN for as long as the network lives: for what clients carry from
    /// one VN to another. They come before the first request.
    fn keyed(&mut self, key: &[u8; 32]) {
        let _ = key;
    }

    /// Whether a caller without an actor is served at all ([`Caller::is_nobody`]).
    fn serves_nobody(&self) -> bool {
        false
    }

    /// A request that opens a WebSocket; its messages follow by [`Front::message`].
    ///
    /// # Errors
    /// The answer to a request that is refused.
    fn upgrade(
        &mut self,
        stream: StreamId,
        caller: &Caller,
        request: &Request,
    ) -> Result<(), Response> {
        let _ = (stream, caller, request);
        Ok(())
    }

    /// Connections that may not go on, such as those of a revoked right. Asked after each commit; the worker
    /// closes them.
    fn ended(&mut self) -> Vec<StreamId> {
        Vec::new()
    }

    /// Whether an HTTP request may submit units. While there is no room for them it is held back; one that reads
    /// goes on. A guess is enough: what is not held is refused by [`Context::submit`].
    fn submits(&self, method: &str, body: &[u8]) -> bool {
        let _ = body;
        method != "GET"
    }

    /// An HTTP request.
    fn request(&mut self, stream: StreamId, caller: &Caller, request: Request)
    -> Box<dyn Exchange>;

    /// A message on a WebSocket.
    fn message(&mut self, stream: StreamId, caller: &Caller, message: Bytes) -> Box<dyn Exchange>;

    /// The connection is gone.
    fn closed(&mut self, stream: StreamId);

    /// A batch was committed: feed filters, notify subscribers. `view` is the state after it.
    fn committed(&mut self, view: &dyn View, batch: &Batch, push: &mut Vec<Push>);
}
