//! How much may wait.
//!
//! Nothing that was taken is dropped for something else: a client may have been told that its unit waits for
//! another one. So units whose lane stands still until another has come (Ethereum: a nonce is missing before
//! them) get half of each limit; otherwise those that wait would keep out the very ones that set them free.
//! What fills the rest can run, so there is room again as fast as the network works.
//!
//! Units of this VN's clients and those that other VNs forwarded are counted apart, so that neither keeps the
//! other out. Whether an actor has too much waiting is looked at where its units come in.
//!
//! A leader executes for all, and what others forward they have looked at already. While it has much of that, its own
//! clients get a smaller part of its time, which the network lacks first.

use adapter::{Caller, Kind, Reject, Ticket};
use types::UnitId;
use types::limits::BATCH_UNITS_MAX;

use super::{Origin, Pool, Waiting};

/// What others forwarded is much when it fills a batch.
const FORWARDED_MUCH: usize = BATCH_UNITS_MAX;

/// Then one unit of the leader's own clients may wait for so many of those.
const FORWARDED_FOR_ONE: usize = 8;

/// And so many at least: two of the longest requests.
const OWN_UNITS_MIN: usize = 2_048;

/// Bounds of the pool.
#[derive(Debug, Clone)]
pub struct PoolLimits {
    /// Units of this VN's clients, and as many of other VNs. Three seconds of work at 20,000 units a second.
    pub units_max: usize,
    /// Bytes of units of this VN's clients, and as many of other VNs.
    pub bytes_max: usize,
    /// Units of one lane.
    pub lane_units_max: usize,
    /// Units of one actor: no actor can fill the pool by itself. Of one that sends too much through each of three
    /// VNs, a second of work.
    pub caller_units_max: usize,
    /// Dependencies of one unit.
    pub after_max: usize,
    /// How long a unit may wait. Past that its client is told so.
    pub wait_max_ms: u64,
    /// How often a unit that has its turn may be answered `Later`.
    pub attempts_max: u32,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            units_max: 65_536,
            bytes_max: 128 << 20,
            lane_units_max: 8_192,
            caller_units_max: 8_192,
            after_max: 64,
            wait_max_ms: 10 * 60 * 1000,
            attempts_max: 16,
        }
    }
}

/// What waits of one side: of this VN's clients, or of other VNs.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) units: usize,
    pub(super) bytes: usize,
}

/// Units that come from this VN's clients, and those that others forwarded.
#[derive(Debug, Default)]
pub(super) struct Loads {
    local: Load,
    forwarded: Load,
}

impl Loads {
    pub(super) fn of(&self, forwarded: bool) -> &Load {
        if forwarded {
            &self.forwarded
        } else {
            &self.local
        }
    }

    pub(super) fn of_mut(&mut self, forwarded: bool) -> &mut Load {
        if forwarded {
            &mut self.forwarded
        } else {
            &mut self.local
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.local.bytes + self.forwarded.bytes
    }
}

impl Pool {
    /// Whether so many more units of a client may wait here. What there is no room for needs no look at what
    /// it is.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn room(&self, caller: &Caller, units: usize) -> Result<(), Reject> {
        let limits = &self.limits;
        let load = self.loads.of(false);
        if load.units + units > self.own_units_max() || load.bytes >= limits.bytes_max {
            return Err(full());
        }
        if self.waiting_of(caller) + units > limits.caller_units_max {
            return Err(Reject::new(
                Kind::Busy,
                "too much of your work is waiting on this node: wait until some of it is committed",
            ));
        }
        Ok(())
    }

    /// Units of this VN's clients that may wait.
    fn own_units_max(&self) -> usize {
        let forwarded = self.loads.of(true).units;
        if forwarded < FORWARDED_MUCH {
            return self.limits.units_max;
        }
        let share = (forwarded / FORWARDED_FOR_ONE).max(OWN_UNITS_MIN);
        share.min(self.limits.units_max)
    }

    /// # Errors
    /// Why there is no room for a unit.
    pub(super) fn check_limits(
        &mut self,
        ticket: &Ticket,
        bytes: usize,
        caller: &Caller,
        origin: Origin,
    ) -> Result<(), Reject> {
        let forwarded = origin.is_node();
        if !forwarded {
            self.room(caller, 1)?;
        }
        let waits = self.would_wait(ticket);
        let limits = &self.limits;
        let load = self.loads.of(forwarded);
        if load.units >= limits.units_max || load.bytes + bytes > limits.bytes_max {
            return Err(full());
        }
        if ticket.after.len() > limits.after_max {
            return Err(Reject::new(
                Kind::Malformed,
                format!("at most {} dependencies are allowed", limits.after_max),
            ));
        }
        let mut of_lane = 0;
        if let Some(lane) = self.lanes.get(&ticket.lane) {
            of_lane = lane.waiting.len();
            if lane.waiting.contains_key(&ticket.lane_seq) {
                return Err(Reject::new(
                    Kind::Duplicate,
                    format!(
                        "something else with sequence number {} is waiting already",
                        ticket.lane_seq
                    ),
                ));
            }
            if of_lane >= limits.lane_units_max {
                return Err(Reject::new(
                    Kind::Busy,
                    "too many units of one sender are waiting: try again later",
                ));
            }
        }
        let half_full = load.units >= limits.units_max / 2
            || load.bytes + bytes > limits.bytes_max / 2
            || of_lane >= limits.lane_units_max / 2
            || (!forwarded && self.waiting_of(caller) >= limits.caller_units_max / 2);
        if waits && half_full {
            return Err(Reject::new(
                Kind::Busy,
                "an earlier one of this sender is missing, and this node has room only for what can run: send that one first",
            ));
        }
        Ok(())
    }

    /// Whether a unit would wait for an earlier one of its lane that is not here, as far as is known.
    fn would_wait(&mut self, ticket: &Ticket) -> bool {
        if ticket.lane.is_empty() {
            return false;
        }
        let reach = self
            .lanes
            .get_mut(&ticket.lane)
            .map_or(0, super::Lane::reach);
        ticket.lane_seq > reach.max(ticket.lane_next)
    }

    fn waiting_of(&self, caller: &Caller) -> usize {
        self.callers.get(&caller.actor).copied().unwrap_or(0)
    }

    /// A unit has come in.
    pub(super) fn count(&mut self, id: &UnitId) {
        let Some(waiting) = self.units.get(id) else {
            return;
        };
        let load = self.loads.of_mut(waiting.forwarded);
        load.units += 1;
        load.bytes += waiting.unit.bytes();
        if !waiting.forwarded {
            *self.callers.entry(waiting.caller.actor).or_default() += 1;
        }
    }

    /// A unit has left.
    pub(super) fn discount(&mut self, waiting: &Waiting) {
        let load = self.loads.of_mut(waiting.forwarded);
        load.units -= 1;
        load.bytes -= waiting.unit.bytes();
        if waiting.forwarded {
            return;
        }
        if let Some(count) = self.callers.get_mut(&waiting.caller.actor) {
            *count -= 1;
            if *count == 0 {
                self.callers.remove(&waiting.caller.actor);
            }
        }
    }
}

fn full() -> Reject {
    Reject::new(
        Kind::Busy,
        "this node has as much work waiting as it takes: try again later",
    )
}
