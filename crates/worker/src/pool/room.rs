//! How much may wait, and who leaves when something else needs the room.
//!
//! A unit whose lane stands still until another has come (Ethereum: a nonce is missing before it) may wait
//! as long as any. But where a limit is met, it leaves for one that can run: otherwise the very unit that
//! would set the others free is refused for their sake.

use adapter::{Caller, Kind, Reject, Ticket};
use bytes::Bytes;

use super::{Lane, Pool, Waiting};

/// Bounds of the pool.
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

/// A limit that a unit meets, and the words for its client.
#[derive(Debug, Clone, Copy)]
enum Full {
    Node,
    Caller,
    Lane,
}

impl Full {
    fn reject(self) -> Reject {
        let text = match self {
            Self::Node => "this node has as much work waiting as it takes: try again later",
            Self::Caller => {
                "too much of your work is waiting on this node: wait until some of it is committed"
            }
            Self::Lane => "too many units of one sender are waiting: try again later",
        };
        Reject::new(Kind::Busy, text)
    }
}

impl Pool {
    /// Refuses a unit for which there is no room, or takes out those that make way for it: see
    /// [`Pool::displaced`].
    pub(super) fn make_room(
        &mut self,
        ticket: &Ticket,
        raw: &Bytes,
        caller: &Caller,
    ) -> Result<(), Reject> {
        if ticket.after.len() > self.limits.after_max {
            return Err(Reject::new(
                Kind::Malformed,
                format!("at most {} dependencies are allowed", self.limits.after_max),
            ));
        }
        let lane = self.lanes.get(&ticket.lane);
        if lane.is_some_and(|lane| lane.waiting.contains_key(&ticket.lane_seq)) {
            return Err(Reject::new(
                Kind::Duplicate,
                format!(
                    "something else with sequence number {} is waiting already",
                    ticket.lane_seq
                ),
            ));
        }
        while let Some(full) = self.full(ticket, raw, caller) {
            let may_run = self.may_run(ticket);
            let lane = match full {
                _ if !may_run => None,
                Full::Node => self.most_stalled(),
                Full::Caller => self
                    .stalled
                    .get(&caller.actor)
                    .and_then(|lanes| lanes.last()),
                Full::Lane => Some(&ticket.lane),
            };
            let last = lane
                .and_then(|lane| self.lanes.get(lane)?.waiting.last_key_value())
                .filter(|(seq, id)| {
                    // Not what the new one itself waits for.
                    self.units[*id].lane != ticket.lane || **seq > ticket.lane_seq
                });
            let Some(last) = last.map(|(_, id)| *id) else {
                return Err(full.reject());
            };
            let last = self.remove(&last);
            self.displaced.extend(last);
        }
        Ok(())
    }

    fn full(&self, ticket: &Ticket, raw: &Bytes, caller: &Caller) -> Option<Full> {
        let limits = &self.limits;
        let callers = self.callers.get(&caller.actor);
        if self.units.len() >= limits.units_max || self.bytes + raw.len() > limits.bytes_max {
            Some(Full::Node)
        } else if callers.is_some_and(|units| *units >= limits.caller_units_max) {
            Some(Full::Caller)
        } else if (self.lanes.get(&ticket.lane))
            .is_some_and(|lane| lane.waiting.len() >= limits.lane_units_max)
        {
            Some(Full::Lane)
        } else {
            None
        }
    }

    /// Whether a new unit waits for nothing that has not come, as far as is known here.
    fn may_run(&self, ticket: &Ticket) -> bool {
        let lane = self.lanes.get(&ticket.lane);
        let floor = lane.map_or(0, Lane::floor).max(ticket.lane_next);
        let behind = |lane: &Lane| {
            let before = ticket.lane_seq.checked_sub(1);
            !lane.is_stalled() && before.is_some_and(|before| lane.waiting.contains_key(&before))
        };
        ticket.after.is_empty()
            && (ticket.lane.is_empty() || ticket.lane_seq <= floor || lane.is_some_and(behind))
    }

    /// A stalled lane of whoever has the most of them.
    fn most_stalled(&self) -> Option<&Bytes> {
        let most = self.stalled.values().max_by_key(|lanes| lanes.len());
        most.and_then(|lanes| lanes.last())
    }

    /// What has left to make room since this was asked last, for its clients to be told.
    pub(crate) fn displaced(&mut self) -> Vec<Waiting> {
        core::mem::take(&mut self.displaced)
    }

    /// Lists a lane as stalled, or no longer.
    pub(super) fn list_stalled(&mut self, name: &Bytes) {
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        let last = lane.waiting.last_key_value().filter(|_| lane.is_stalled());
        let now = last.map(|(_, id)| self.units[id].caller.actor);
        let before = core::mem::replace(&mut lane.stalled, now);
        if before == now {
            return;
        }
        if let Some(before) = before
            && let Some(lanes) = self.stalled.get_mut(&before)
        {
            lanes.remove(name);
            if lanes.is_empty() {
                self.stalled.remove(&before);
            }
        }
        if let Some(now) = now {
            self.stalled.entry(now).or_default().insert(name.clone());
        }
    }
}
