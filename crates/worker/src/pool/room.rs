//! How much may wait.
//!
//! A unit whose lane stands still until another has come (Ethereum: a nonce is missing before it) may wait as
//! long as any, and nothing that was taken is dropped for something else. So a part of the room is for units
//! that are next in their lanes: otherwise those that wait would keep out the very ones that set them free.

use adapter::{Caller, Kind, Reject, Ticket};
use bytes::Bytes;
use types::UnitId;

use super::{Lane, Pool};

/// Bounds of the pool. Units that are next in their lanes may exceed those of bytes and units by a quarter.
#[derive(Debug, Clone)]
pub struct PoolLimits {
    /// Units in all. Three seconds of work at 20,000 units a second.
    pub units_max: usize,
    /// Bytes of units in all.
    pub bytes_max: usize,
    /// Units of one lane.
    pub lane_units_max: usize,
    /// Units of one actor: no actor can fill the pool by itself.
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
            caller_units_max: 32_768,
            after_max: 64,
            wait_max_ms: 10 * 60 * 1000,
            attempts_max: 16,
        }
    }
}

impl Pool {
    /// # Errors
    /// Why there is no room for a unit.
    pub(super) fn check_limits(
        &self,
        ticket: &Ticket,
        raw: &Bytes,
        caller: &Caller,
    ) -> Result<(), Reject> {
        let limits = &self.limits;
        let lane = self.lanes.get(&ticket.lane);
        let next = !ticket.lane.is_empty() && ticket.lane_seq <= self.floor(ticket);
        let room = |max: usize| if next { max + max / 4 } else { max };
        if self.units.len() >= room(limits.units_max)
            || self.bytes + raw.len() > room(limits.bytes_max)
        {
            return Err(Reject::new(
                Kind::Busy,
                "this node has as much work waiting as it takes: try again later",
            ));
        }
        let units = self.callers.get(&caller.actor);
        if units.is_some_and(|units| *units >= room(limits.caller_units_max)) {
            return Err(Reject::new(
                Kind::Busy,
                "too much of your work is waiting on this node: wait until some of it is committed",
            ));
        }
        if ticket.after.len() > limits.after_max {
            return Err(Reject::new(
                Kind::Malformed,
                format!("at most {} dependencies are allowed", limits.after_max),
            ));
        }
        if let Some(lane) = lane {
            if lane.waiting.contains_key(&ticket.lane_seq) {
                return Err(Reject::new(
                    Kind::Duplicate,
                    format!(
                        "something else with sequence number {} is waiting already",
                        ticket.lane_seq
                    ),
                ));
            }
            if lane.waiting.len() >= room(limits.lane_units_max) {
                return Err(Reject::new(
                    Kind::Busy,
                    "too many units of one sender are waiting: try again later",
                ));
            }
        }
        Ok(())
    }

    /// Whether a unit waits for an earlier one of its lane, as far as is known here.
    pub(crate) fn waits_for_another(&self, id: &UnitId) -> bool {
        self.units.get(id).is_some_and(|waiting| {
            let lane = self.lanes.get(&waiting.lane);
            lane.is_some_and(|lane| waiting.lane_seq > lane.floor())
        })
    }

    /// The next number of a unit's lane, as far as it is known here: a lower bound.
    fn floor(&self, ticket: &Ticket) -> u64 {
        let lane = self.lanes.get(&ticket.lane);
        ticket.lane_next.max(lane.map_or(0, Lane::floor))
    }
}
