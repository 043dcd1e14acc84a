//! Connections whose next request waits for room in the pool.
//!
//! While there may be no room for what an HTTP request submits, it is not dealt with, and what comes after it on
//! its connection is not read: that costs nothing, and what does not fit there waits with the client. When there
//! is room the connections get it in turn, a request each. One that waits for nothing but its turn hears after
//! [`HOLD_MS`] that the node is busy.
//!
//! To refuse at once would be dearer for both. Who sends several requests in a row has sent the next ones before
//! hearing of the refusal, and those that build on the refused one (Ethereum: nonces) are refused in turn, after
//! a look at each signature. A WebSocket has no order of answers and is refused at once.

use std::collections::VecDeque;

use adapter::Caller;
use hashbrown::HashMap;
use types::{ActorId, Millis};

use crate::pool::Pool;

/// A request that waits longer for its turn is dealt with, and so refused if there still is no room.
pub(super) const HOLD_MS: u64 = 1_000;

/// How often it is looked for requests that wait too long.
const LOOK_MS: u64 = 50;

/// Fewest bytes of a request for each further unit in it, as a rule.
const UNIT_REQUEST_BYTES_MIN: usize = 128;

/// Most units of a request, as a rule. A long body is rather one long unit.
const REQUEST_UNITS_MAX: usize = 1_000;

/// Connections in the order of their turns.
#[derive(Default)]
pub(super) struct Turns {
    queue: VecDeque<(u64, ActorId)>,
    of: HashMap<ActorId, usize>,
    /// Units of requests since exchanges were last polled, as far as can be told: they are not in the pool yet.
    unpolled_units: usize,
    looked_at: Millis,
}

impl Turns {
    /// Whether a client's request with so long a body is to wait: others of his do, or there may be no room.
    pub(super) fn is_blocked(&self, caller: &Caller, pool: &Pool, bytes: usize) -> bool {
        self.of.contains_key(&caller.actor) || !self.has_room(caller, pool, bytes)
    }

    /// Whether there is room for a request with so long a body.
    pub(super) fn has_room(&self, caller: &Caller, pool: &Pool, bytes: usize) -> bool {
        pool.room(caller, self.unpolled_units + units(bytes))
            .is_ok()
    }

    /// A request with so long a body goes on.
    pub(super) fn goes_on(&mut self, bytes: usize) {
        self.unpolled_units += units(bytes);
    }

    /// Exchanges have been polled.
    pub(super) fn polled(&mut self) {
        self.unpolled_units = 0;
    }

    /// The connection waits behind all others.
    pub(super) fn wait(&mut self, stream: u64, actor: ActorId) {
        self.queue.push_back((stream, actor));
        *self.of.entry(actor).or_default() += 1;
    }

    /// Takes out those that wait; those that keep their place come back by [`Turns::keep`]. True: it is time to look
    /// which have waited too long. Otherwise what waits behind others of its actor needs no look.
    pub(super) fn take(&mut self, now: Millis) -> (VecDeque<(u64, ActorId)>, bool) {
        let look = now.since(self.looked_at) >= LOOK_MS;
        if look {
            self.looked_at = now;
        }
        (core::mem::take(&mut self.queue), look)
    }

    /// One of [`Turns::take`] has its turn, or is gone.
    pub(super) fn leave(&mut self, actor: &ActorId) {
        if let Some(count) = self.of.get_mut(actor) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(actor);
            }
        }
    }

    /// These go before those that began to wait meanwhile.
    pub(super) fn keep(&mut self, mut kept: VecDeque<(u64, ActorId)>) {
        kept.append(&mut self.queue);
        self.queue = kept;
    }

    pub(super) fn next_wake(&self) -> Option<Millis> {
        (!self.queue.is_empty()).then(|| self.looked_at.plus(LOOK_MS))
    }
}

/// How many units may be in a request with so long a body.
fn units(bytes: usize) -> usize {
    (1 + bytes / UNIT_REQUEST_BYTES_MIN).min(REQUEST_UNITS_MAX)
}
