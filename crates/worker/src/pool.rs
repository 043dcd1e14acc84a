//! Units that wait: what they wait for, and in which order they may run.
//!
//! One pool serves every protocol. A unit names a lane and its place in it (Ethereum: sender and
//! nonce), and units that must be applied before it (Sawtooth). Units that may run stand in the order
//! of their arrival. A unit stays here while it is in flight, so that its id is found and a rollback
//! only moves it back; it leaves when it is committed or rejected.
//!
//! A lane's next sequence number, as the VN that admitted a unit saw it, may be out of date here. So a
//! lane of which nothing is known is tried at its first unit, once: if the machine answers `Later`, the
//! lane waits until that changes.

mod room;

use std::collections::BTreeMap;

use adapter::{Answer, Caller, ExternalFailure, Memo, Reject, Ticket, Unit};
use bytes::Bytes;
use hashbrown::HashMap;
use types::{ActorId, Millis, UnitId};

use room::Loads;
pub use room::PoolLimits;

/// Who brought a unit and is told if it is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client of this VN, by the worker's name of its stream.
    Local { stream: u64 },
    /// Another VN, by the manager's name of it.
    Node(u64),
}

impl Origin {
    fn is_node(self) -> bool {
        matches!(self, Self::Node(_))
    }
}

/// A unit in the pool.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) unit: Unit,
    pub(crate) caller: Caller,
    pub(crate) lane: Bytes,
    pub(crate) lane_seq: u64,
    pub(crate) lane_next: u64,
    pub(crate) after: Vec<UnitId>,
    /// Stream of the local client that submitted it, if one did.
    pub(crate) stream: Option<u64>,
    /// Other VNs that forwarded it.
    pub(crate) nodes: Vec<u64>,
    /// It came from another VN first.
    forwarded: bool,
    arrival: u64,
    arrived: Millis,
    /// How many of `after` are not applied yet.
    missing: usize,
    attempts: u32,
    in_flight: bool,
    /// It waits for a system outside, and its lane with it.
    suspended: bool,
}

/// Units of one lane that are not in flight, and what is known about what comes next.
#[derive(Debug, Default)]
struct Lane {
    waiting: BTreeMap<u64, UnitId>,
    in_flight: usize,
    /// The number after the last unit of this lane that was executed or committed here.
    next: Option<u64>,
    /// The highest `lane_next` that came with a unit: a lower bound.
    hint: u64,
    /// Up to here, exclusive, no number was missing when it was looked at.
    reach: u64,
    /// The machine answered `Later`, and nothing has changed since.
    blocked: bool,
}

impl Lane {
    /// The first unit that is not in flight.
    fn first(&self) -> Option<(u64, UnitId)> {
        self.waiting.first_key_value().map(|(seq, id)| (*seq, *id))
    }

    /// The first unit, if it may run.
    fn head(&self) -> Option<(u64, UnitId)> {
        let (seq, id) = self.first()?;
        let known = self.next.is_some_and(|next| seq <= next);
        let tried = self.blocked || self.next.is_some();
        (known || !tried).then_some((seq, id))
    }

    /// The next number, as far as it is known here: a lower bound.
    fn floor(&self) -> u64 {
        self.hint.max(self.next.unwrap_or(0))
    }

    /// The first number that is missing here. Each look goes on where the last one ended.
    fn reach(&mut self) -> u64 {
        self.reach = self.reach.max(self.floor());
        while self.waiting.contains_key(&self.reach) && self.reach < u64::MAX {
            self.reach += 1;
        }
        self.reach
    }
}

/// Units that wait, and those in flight.
#[derive(Debug)]
pub(crate) struct Pool {
    limits: PoolLimits,
    units: HashMap<UnitId, Waiting>,
    lanes: HashMap<Bytes, Lane>,
    /// What may run now, by arrival.
    ready: BTreeMap<u64, UnitId>,
    /// Everything, by arrival.
    arrivals: BTreeMap<u64, UnitId>,
    /// For an id that is not applied: the units that wait for it.
    dependents: HashMap<UnitId, Vec<UnitId>>,
    /// Units without a lane that were answered `Later`: tried again when the state has changed.
    deferred: Vec<UnitId>,
    /// Units of each actor that came in here.
    callers: HashMap<ActorId, usize>,
    loads: Loads,
    /// The latest arrival among the local units that were committed.
    pub(crate) newest_committed: u64,
    next_arrival: u64,
}

impl Pool {
    pub(crate) fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            units: HashMap::new(),
            lanes: HashMap::new(),
            ready: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            dependents: HashMap::new(),
            deferred: Vec::new(),
            callers: HashMap::new(),
            loads: Loads::default(),
            newest_committed: 0,
            next_arrival: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.units.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.loads.bytes()
    }

    pub(crate) fn get(&self, id: &UnitId) -> Option<&Waiting> {
        self.units.get(id)
    }

    /// Whether a unit may run now.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes a unit in. `committed` tells which ids are.
    pub(crate) fn insert(
        &mut self,
        now: Millis,
        ticket: Ticket,
        raw: Bytes,
        caller: Caller,
        origin: Origin,
        committed: impl Fn(&UnitId) -> bool,
    ) -> Result<(), Reject> {
        if let Some(known) = self.units.get_mut(&ticket.id) {
            match origin {
                // The latest stream: the client may have come back on another connection, and the
                // manager takes the caller from a stream that is open.
                Origin::Local { stream } => known.stream = Some(stream),
                Origin::Node(node) if !known.nodes.contains(&node) => known.nodes.push(node),
                Origin::Node(_) => {}
            }
            return Ok(());
        }
        self.check_limits(&ticket, raw.len(), &caller, origin)?;

        let id = ticket.id;
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        let mut missing = 0;
        for dependency in &ticket.after {
            let applied =
                self.units.get(dependency).is_some_and(|d| d.in_flight) || committed(dependency);
            if !applied {
                missing += 1;
                self.dependents.entry(*dependency).or_default().push(id);
            }
        }
        if !ticket.lane.is_empty() {
            let lane = self.lanes.entry(ticket.lane.clone()).or_default();
            lane.hint = lane.hint.max(ticket.lane_next);
            // A unit before all others is news: the lane is tried again.
            if lane
                .waiting
                .first_key_value()
                .is_none_or(|(first, _)| ticket.lane_seq < *first)
            {
                lane.blocked = false;
            }
            if let Some((_, former_head)) = lane.waiting.first_key_value()
                && let Some(former) = self.units.get(former_head)
            {
                self.ready.remove(&former.arrival);
            }
            lane.waiting.insert(ticket.lane_seq, id);
        }
        self.arrivals.insert(arrival, id);
        let (stream, nodes) = match origin {
            Origin::Local { stream } => (Some(stream), Vec::new()),
            Origin::Node(node) => (None, vec![node]),
        };
        let lane = ticket.lane.clone();
        let unit = Unit {
            id,
            caller: caller.actor,
            raw,
            established: ticket.established,
            memo: ticket.memo,
            answers: Vec::new(),
        };
        self.units.insert(
            id,
            Waiting {
                unit,
                caller,
                lane: ticket.lane,
                lane_seq: ticket.lane_seq,
                lane_next: ticket.lane_next,
                after: ticket.after,
                stream,
                nodes,
                forwarded: origin.is_node(),
                arrival,
                arrived: now,
                missing,
                attempts: 0,
                in_flight: false,
                suspended: false,
            },
        );
        self.count(&id);
        if lane.is_empty() {
            self.refresh_unit(&id)
        } else {
            self.refresh_lane(&lane)
        }
        Ok(())
    }

    /// Takes out what may run now, in order, within the limits of a batch. At least one unit comes out
    /// if any may run. What comes out is in flight.
    pub(crate) fn take(&mut self, units_max: usize, bytes_max: usize) -> Vec<Unit> {
        let mut taken: Vec<Unit> = Vec::new();
        let mut bytes = 0;
        while taken.len() < units_max {
            let Some((arrival, id)) = self.ready.first_key_value().map(|(a, id)| (*a, *id)) else {
                break;
            };
            let waiting = self
                .units
                .get_mut(&id)
                .expect("what is ready is in the pool");
            if !taken.is_empty() && bytes + waiting.unit.bytes() > bytes_max {
                break;
            }
            bytes += waiting.unit.bytes();
            waiting.in_flight = true;
            waiting.attempts += 1;
            taken.push(waiting.unit.clone());
            let (lane, seq) = (waiting.lane.clone(), waiting.lane_seq);
            // One that has called a system outside may do so again: what comes after it waits until it is
            // applied, and is not executed in vain.
            let calls = !waiting.unit.answers.is_empty();
            self.ready.remove(&arrival);
            if let Some(entry) = self.lanes.get_mut(&lane) {
                entry.waiting.remove(&seq);
                entry.in_flight += 1;
                entry.next = Some(if calls { seq } else { seq.saturating_add(1) });
                self.refresh_lane(&lane);
            }
            self.unblock_dependents(&id);
        }
        taken
    }

    /// A unit that was taken has been applied: what was deferred may be tried again.
    pub(crate) fn applied(&mut self, id: &UnitId) {
        let Some(waiting) = self.units.get(id) else {
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&waiting.lane) {
            lane.next = Some(waiting.lane_seq.saturating_add(1));
            lane.blocked = false;
            let lane = waiting.lane.clone();
            self.refresh_lane(&lane);
        }
    }

    /// The state has changed: units without a lane that had been answered `Later` have another try.
    pub(crate) fn retry_deferred(&mut self) {
        for id in core::mem::take(&mut self.deferred) {
            self.refresh_unit(&id);
        }
    }

    /// A unit that was taken cannot run yet. `Some` if it has been tried too often and leaves.
    pub(crate) fn later(&mut self, id: &UnitId) -> Option<Waiting> {
        let waiting = self.units.get_mut(id)?;
        if waiting.attempts >= self.limits.attempts_max {
            return self.remove(id);
        }
        waiting.in_flight = false;
        let (lane_name, seq) = (waiting.lane.clone(), waiting.lane_seq);
        match self.lanes.get_mut(&lane_name) {
            Some(lane) => {
                lane.in_flight = lane.in_flight.saturating_sub(1);
                lane.waiting.insert(seq, *id);
                lane.next = None;
                lane.blocked = true;
                self.refresh_lane(&lane_name);
            }
            None => self.deferred.push(*id),
        }
        None
    }

    /// A unit that was taken waits for a system outside. Its lane waits behind it.
    pub(crate) fn suspend(&mut self, id: &UnitId) {
        self.put_back([id]);
        let Some(waiting) = self.units.get_mut(id) else {
            return;
        };
        waiting.suspended = true;
        self.ready.remove(&waiting.arrival);
        let (lane, seq) = (waiting.lane.clone(), waiting.lane_seq);
        // Those behind it were tried in vain, which is not their fault.
        let behind = self.lanes.get(&lane).into_iter();
        for (_, id) in behind.flat_map(|lane| lane.waiting.range(seq.saturating_add(1)..)) {
            if let Some(waiting) = self.units.get_mut(id) {
                waiting.attempts = waiting.attempts.saturating_sub(1);
            }
        }
    }

    /// The answer that a suspended unit waits for has come: it may run again. False: there is no such unit
    /// any more.
    pub(crate) fn resume(&mut self, id: &UnitId, mut answer: Answer) -> bool {
        let Some(waiting) = self.units.get_mut(id).filter(|waiting| waiting.suspended) else {
            return false;
        };
        let load = self.loads.of_mut(waiting.forwarded);
        if answer.bytes() > self.limits.bytes_max.saturating_sub(load.bytes) {
            answer.reply = Err(ExternalFailure::Busy);
        }
        load.bytes += answer.bytes();
        waiting.unit.answers.push(answer);
        waiting.suspended = false;
        let (lane_name, seq) = (waiting.lane.clone(), waiting.lane_seq);
        match self.lanes.get_mut(&lane_name) {
            Some(lane) => {
                lane.next = Some(seq);
                lane.blocked = false;
                self.refresh_lane(&lane_name);
            }
            None => self.refresh_unit(id),
        }
        true
    }

    /// A suspended unit waits for nothing any more: it is executed anew.
    pub(crate) fn wake(&mut self, id: &UnitId) {
        let Some(waiting) = self.units.get_mut(id).filter(|waiting| waiting.suspended) else {
            return;
        };
        waiting.suspended = false;
        let lane = waiting.lane.clone();
        if lane.is_empty() {
            self.refresh_unit(id);
        } else {
            self.refresh_lane(&lane);
        }
    }

    /// What systems outside answered is forgotten.
    pub(crate) fn forget_answers(&mut self) {
        for waiting in self.units.values_mut() {
            let answers = waiting.unit.answers.iter();
            self.loads.of_mut(waiting.forwarded).bytes -= answers.map(Answer::bytes).sum::<usize>();
            waiting.unit.answers.clear();
        }
    }

    /// Takes a unit out for good: it was rejected, or gave up waiting.
    pub(crate) fn remove(&mut self, id: &UnitId) -> Option<Waiting> {
        let waiting = self.units.remove(id)?;
        self.forget(&waiting);
        if let Some(lane) = self.lanes.get_mut(&waiting.lane) {
            lane.reach = lane.reach.min(waiting.lane_seq);
            if waiting.in_flight {
                // The lane did not move on after all; its next unit finds out by itself.
                lane.in_flight = lane.in_flight.saturating_sub(1);
                lane.next = None;
                lane.blocked = false;
            } else {
                lane.waiting.remove(&waiting.lane_seq);
            }
            self.refresh_lane(&waiting.lane);
        }
        Some(waiting)
    }

    /// A unit is committed, whether it was taken here or executed elsewhere.
    pub(crate) fn committed(&mut self, id: &UnitId) {
        self.unblock_dependents(id);
        let Some(waiting) = self.units.remove(id) else {
            return;
        };
        self.forget(&waiting);
        if waiting.stream.is_some() {
            self.newest_committed = self.newest_committed.max(waiting.arrival);
        }
        if let Some(lane) = self.lanes.get_mut(&waiting.lane) {
            if waiting.in_flight {
                lane.in_flight = lane.in_flight.saturating_sub(1);
            } else {
                lane.waiting.remove(&waiting.lane_seq);
            }
            let next = waiting.lane_seq.saturating_add(1);
            lane.hint = lane.hint.max(next);
            if lane.next.is_none_or(|known| known < next) {
                lane.next = Some(next);
            }
            lane.blocked = false;
            self.refresh_lane(&waiting.lane);
        }
    }

    /// Units come back from batches that will not be committed. They keep their place in the order.
    pub(crate) fn put_back<'a>(&mut self, ids: impl IntoIterator<Item = &'a UnitId>) {
        for id in ids {
            let Some(waiting) = self.units.get_mut(id) else {
                continue;
            };
            waiting.in_flight = false;
            waiting.attempts = waiting.attempts.saturating_sub(1);
            let (lane_name, seq) = (waiting.lane.clone(), waiting.lane_seq);
            if let Some(lane) = self.lanes.get_mut(&lane_name) {
                // A former head may not be one any more.
                if let Some((_, head)) = lane.waiting.first_key_value()
                    && let Some(head) = self.units.get(head)
                {
                    self.ready.remove(&head.arrival);
                }
                lane.in_flight = lane.in_flight.saturating_sub(1);
                lane.waiting.insert(seq, *id);
                lane.next = None;
                lane.blocked = false;
                self.refresh_lane(&lane_name);
            } else {
                self.refresh_unit(id);
            }
        }
    }

    /// Leadership begins: what was known about lanes is not worth more than trying.
    pub(crate) fn reset_lanes(&mut self) {
        let mut names: Vec<Bytes> = self.lanes.keys().cloned().collect();
        names.sort_unstable();
        for name in names {
            let lane = self.lanes.get_mut(&name).expect("just listed");
            lane.next = None;
            lane.blocked = false;
            self.refresh_lane(&name);
        }
        self.retry_deferred();
    }

    /// Leadership ended: units of other VNs go, since those VNs forward them to the new leader.
    pub(crate) fn drop_foreign(&mut self) {
        let foreign: Vec<UnitId> = self
            .arrivals
            .values()
            .filter(|id| self.units[*id].stream.is_none())
            .copied()
            .collect();
        for id in foreign {
            self.remove(&id);
        }
        for waiting in self.units.values_mut() {
            waiting.nodes.clear();
        }
    }

    /// Units of local clients in the order of arrival: what a follower forwards.
    pub(crate) fn local(&self) -> impl Iterator<Item = &Waiting> {
        self.arrivals
            .values()
            .map(|id| &self.units[id])
            .filter(|waiting| waiting.stream.is_some())
    }

    /// Those of [`Pool::local`] that have waited for at least so long and may be lost on their way: one that came
    /// later was committed before them, or none was since [`Pool::newest_committed`] was `before`.
    pub(crate) fn lost(
        &self,
        now: Millis,
        wait_ms: u64,
        before: u64,
    ) -> impl Iterator<Item = &Waiting> {
        let newest = self.newest_committed;
        self.local()
            .take_while(move |waiting| now.since(waiting.arrived) >= wait_ms)
            .filter(move |waiting| newest == before || waiting.arrival < newest)
    }

    /// Takes out what has waited too long and is not in flight.
    pub(crate) fn expire(&mut self, now: Millis) -> Vec<Waiting> {
        let mut expired = Vec::new();
        for id in self.arrivals.values() {
            let waiting = &self.units[id];
            if now.since(waiting.arrived) < self.limits.wait_max_ms {
                break;
            }
            if !waiting.in_flight {
                expired.push(*id);
            }
        }
        expired.iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Everything that waits or is in flight, by arrival.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Unit> {
        let waiting = self.arrivals.values().filter_map(|id| self.units.get(id));
        waiting.map(|waiting| &waiting.unit)
    }

    /// The sequence number after everything that waits here without a gap.
    pub(crate) fn lane_next(&self, lane: &[u8]) -> Option<u64> {
        let lane = self.lanes.get(lane)?;
        let mut next = lane.floor();
        for seq in lane.waiting.range(next..).map(|(seq, _)| *seq) {
            if seq != next {
                break;
            }
            next = next.saturating_add(1);
        }
        Some(next)
    }

    fn forget(&mut self, waiting: &Waiting) {
        self.discount(waiting);
        self.arrivals.remove(&waiting.arrival);
        self.ready.remove(&waiting.arrival);
        if waiting.missing > 0 {
            for dependency in &waiting.after {
                if let Some(waiters) = self.dependents.get_mut(dependency) {
                    waiters.retain(|id| *id != waiting.unit.id);
                    if waiters.is_empty() {
                        self.dependents.remove(dependency);
                    }
                }
            }
        }
    }

    fn unblock_dependents(&mut self, id: &UnitId) {
        for dependent in self.dependents.remove(id).unwrap_or_default() {
            let Some(waiting) = self.units.get_mut(&dependent) else {
                continue;
            };
            waiting.missing -= 1;
            let lane = waiting.lane.clone();
            if lane.is_empty() {
                self.refresh_unit(&dependent)
            } else {
                self.refresh_lane(&lane)
            }
        }
    }

    /// Makes a unit ready if nothing holds it.
    fn refresh_unit(&mut self, id: &UnitId) {
        if let Some(waiting) = self.units.get(id)
            && waiting.missing == 0
            && !waiting.in_flight
            && !waiting.suspended
        {
            self.ready.insert(waiting.arrival, *id);
        }
    }

    /// Makes a lane's first unit ready, or not, and drops a lane that nothing is known of.
    fn refresh_lane(&mut self, name: &Bytes) {
        let Some(lane) = self.lanes.get(name) else {
            return;
        };
        match lane.head() {
            Some((_, id)) => self.refresh_unit(&id),
            None => {
                if let Some((_, first)) = lane.waiting.first_key_value() {
                    self.ready.remove(&self.units[first].arrival);
                } else if lane.in_flight == 0 {
                    self.lanes.remove(name);
                }
            }
        }
    }
}

impl Waiting {
    /// As it is sent to the leader's VN.
    pub(crate) fn forwarded(&self) -> boundary::ForwardedUnit {
        boundary::ForwardedUnit {
            id: Bytes::copy_from_slice(&self.unit.id.0),
            lane: self.lane.clone(),
            lane_seq: self.lane_seq,
            lane_next: self.lane_next,
            after: self
                .after
                .iter()
                .map(|id| Bytes::copy_from_slice(&id.0))
                .collect(),
            established: self.unit.established.clone(),
            raw: self.unit.raw.clone(),
            caller: Some(crate::convert::identity(&self.caller)),
            stream: self.stream.unwrap_or_default(),
        }
    }
}

/// What another VN's worker forwarded, as a ticket. `None` if it breaks a limit.
pub(crate) fn ticket(unit: &boundary::ForwardedUnit) -> Option<Ticket> {
    let ids = unit
        .after
        .iter()
        .map(|id| UnitId::from_slice(id))
        .collect::<Option<Vec<_>>>()?;
    let within = unit.established.len() <= crate::body::ESTABLISHED_BYTES_MAX
        && unit.raw.len() <= types::limits::UNIT_BYTES_MAX
        && unit.lane.len() <= crate::body::ESTABLISHED_BYTES_MAX;
    within.then_some(Ticket {
        id: UnitId::from_slice(&unit.id)?,
        lane: Bytes::copy_from_slice(&unit.lane),
        lane_seq: unit.lane_seq,
        lane_next: unit.lane_next,
        after: ids,
        established: Bytes::copy_from_slice(&unit.established),
        memo: Memo::default(),
    })
}
