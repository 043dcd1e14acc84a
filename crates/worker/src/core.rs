//! What the worker knows: state, pool, role, history. Streams and exchanges lie above.
//!
//! Everything that changes here by consensus comes in one of three ways: a batch of our own is
//! committed ([`Core::commit`]), a batch of another leader is applied ([`Core::apply`]), or batches of
//! our own are forgotten ([`Core::roll_back`]). A unit's fate changes at these places and nowhere else.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapter::{
    Access, Action, Batch, Caller, Env, Fate, Kind, Layout, Machine, Memo, Reject, Settings, Ticket,
};
use boundary::WorkerToManager;
use boundary::worker_to_manager::Message as Out;
use bytes::Bytes;
use kv::Store;
use types::limits::{BATCH_BYTES_MAX, BATCH_UNITS_MAX, UNIT_BYTES_MAX};
use types::{Height, Index, Millis, Term, UnitId};

use crate::body::Body;
use crate::catalogue::{Catalogue, Part, SEGMENT_TAGS};
use crate::convert;
use crate::execution::{Execution, State};
use crate::external::Externals;
use crate::following::Following;
use crate::history::History;
use crate::leading::Leading;
use crate::pool::{self, Origin, Pool, PoolLimits};
use crate::recent::Recent;
use crate::refusing::Refusing;
use crate::restore::{Restoring, Unusable};
use crate::snapshot::Giving;

/// Rejections remembered until their exchanges have been polled.
const REJECTIONS_MAX: usize = 1 << 16;

/// How often units are looked at that may have waited too long.
const EXPIRY_MS: u64 = 10_000;

pub(crate) struct Core {
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) store: State,
    pub(crate) pool: Pool,
    pub(crate) history: History,
    pub(crate) role: Role,
    pub(crate) batch_units_max: usize,
    pub(crate) batch_bytes_max: usize,
    /// Units that other VNs forward are admitted again: their word is not taken for a signature.
    pub(crate) verify_forwarded: bool,
    /// The data format that the members voted.
    pub(crate) voted_format: u32,
    /// Why this worker stays at its height: the next batch leaves a data format that this code does not know.
    pub(crate) stays: Option<String>,
    /// Time for timers.
    pub(crate) now: Millis,
    /// The latest time that the manager named: the time of batches.
    pub(crate) manager_now: Millis,
    /// Time of the last committed batch.
    pub(crate) committed_time: Millis,
    pub(crate) draining: bool,
    /// The snapshot that is being given out.
    pub(crate) giving: Option<Giving>,
    /// Units whose fate has changed since exchanges were last told.
    pub(crate) changed: Vec<UnitId>,
    pub(crate) catalogue: Catalogue,
    pub(crate) refusing: Refusing,
    pub(crate) externals: Externals,
    rejections: Recent<UnitId, Reject>,
    refusals: BTreeMap<u64, Vec<boundary::RefusedUnit>>,
    expiry_at: Millis,
}

/// The state of a protocol that has none yet.
fn empty_state(machine: &dyn Machine) -> State {
    let domains = machine.describe().domains.into_iter().map(|spec| {
        let layout = match spec.layout {
            Layout::Hashed => kv::Layout::Hashed,
            Layout::Ordered => kv::Layout::Ordered,
        };
        (spec.domain, layout)
    });
    State::new(Store::new(domains))
}

/// Who makes batches.
pub(crate) enum Role {
    Leading(Leading),
    Following(Following),
}

impl Core {
    pub(crate) fn new(machine: Arc<dyn Machine>, limits: PoolLimits) -> Self {
        Self {
            store: empty_state(&*machine),
            machine,
            pool: Pool::new(limits),
            history: History::default(),
            role: Role::Following(Following::default()),
            batch_units_max: BATCH_UNITS_MAX,
            batch_bytes_max: BATCH_BYTES_MAX,
            verify_forwarded: false,
            voted_format: 1,
            stays: None,
            now: Millis::ZERO,
            manager_now: Millis::ZERO,
            committed_time: Millis::ZERO,
            draining: false,
            giving: None,
            changed: Vec::new(),
            catalogue: Catalogue::new(SEGMENT_TAGS),
            refusing: Refusing::default(),
            externals: Externals::default(),
            rejections: Recent::new(REJECTIONS_MAX),
            refusals: BTreeMap::new(),
            expiry_at: Millis::ZERO,
        }
    }

    /// Writes the first state.
    pub(crate) fn genesis(
        &mut self,
        settings: Bytes,
        network: &[u8],
        entropy: [u8; 32],
        time: Millis,
    ) -> Result<(), String> {
        let env = Env {
            height: Height::ZERO,
            time,
            entropy,
        };
        let mut execution = Execution::genesis(self.store.committed(), env);
        let settings = Settings { bytes: settings };
        self.machine
            .genesis(&settings, &mut execution)
            .map_err(|reject| reject.message)?;
        if let Ok(network) = network.try_into() {
            self.machine.found(network, &mut execution);
        }
        let writes = execution.finish().writes;
        self.store
            .genesis(&writes)
            .map_err(|error| error.to_string())?;
        self.committed_time = time;
        self.role = Role::Following(Following::since(self.now));
        Ok(())
    }

    /// A chunk of a snapshot, in the place of the first state. Gives its height when it was the last.
    /// What was read of an earlier one is thrown away when one begins, and when one cannot be used.
    pub(crate) fn restore(
        &mut self,
        restoring: &mut Option<Restoring>,
        chunk: &boundary::Restore,
    ) -> Result<bool, Unusable> {
        if chunk.sequence == 0 || restoring.is_none() {
            self.forget_state();
            let descriptor = self.machine.describe();
            *restoring = Some(Restoring::new(
                descriptor.protocol,
                descriptor.state_format,
                self.machine.formats(),
                Height(chunk.height),
            ));
        }
        let reading = restoring.as_mut().expect("made above");
        match reading.chunk(&mut self.store, &mut self.catalogue, chunk) {
            Ok(None) => Ok(false),
            Ok(Some(time)) => {
                self.committed_time = time;
                self.role = Role::Following(Following::since(self.now));
                *restoring = None;
                Ok(true)
            }
            Err(unusable) => {
                self.forget_state();
                *restoring = None;
                Err(unusable)
            }
        }
    }

    fn forget_state(&mut self) {
        self.store = empty_state(&*self.machine);
        self.catalogue = self.catalogue.emptied();
    }

    /// The state of this height, which must be the one committed last, is to be given out.
    pub(crate) fn take_snapshot(&mut self, height: Height, out: &mut Vec<WorkerToManager>) {
        self.giving = None;
        self.store.thaw();
        self.catalogue.thaw();
        let committed = self.store.committed_height();
        if height != committed {
            let text = format!("a snapshot of height {height} cannot be taken at {committed}");
            return send(out, convert::log(1, text));
        }
        let descriptor = self.machine.describe();
        self.giving = Some(Giving::begin(
            &mut self.store,
            descriptor.protocol,
            descriptor.state_format,
            self.committed_time,
            &mut self.catalogue,
        ));
    }

    /// Chunks of a snapshot that the manager has room for.
    pub(crate) fn allow_snapshot(&mut self, credit: boundary::SnapshotCredit) {
        if let Some(giving) = &mut self.giving
            && giving.height() == Height(credit.height)
        {
            giving.allow(credit.chunks);
        }
    }

    /// A flush's share of the snapshot under way.
    pub(crate) fn give_snapshot(&mut self, out: &mut Vec<WorkerToManager>) {
        if let Some(giving) = &mut self.giving
            && !giving.work(&mut self.store, &mut self.catalogue, out)
        {
            self.giving = None;
        }
    }

    /// Admits a unit of a local client.
    pub(crate) fn submit(
        &mut self,
        stream: u64,
        caller: &Caller,
        raw: Bytes,
    ) -> Result<UnitId, Reject> {
        if self.draining {
            return Err(Reject::new(
                Kind::Busy,
                "this node is shutting down: use another",
            ));
        }
        if let Some(reject) = self.takes_no_units() {
            return Err(reject);
        }
        self.pool.room(caller, 1)?;
        if raw.len() > UNIT_BYTES_MAX {
            return Err(Reject::new(
                Kind::Malformed,
                format!("longer than the {UNIT_BYTES_MAX} bytes allowed"),
            ));
        }
        let lost = |_| Reject::new(Kind::Fault, "the state is gone: try again");
        let access = self
            .machine
            .authorize(&self.store, caller, Action::Submit { unit: &raw })
            .map_err(lost)?;
        if access != Access::Allow {
            return Err(Reject::new(Kind::Unauthorized, "you may not submit this"));
        }
        let ticket = self.machine.admit(&self.store, caller, &raw)?;
        assert!(
            ticket.established.len() <= crate::body::ESTABLISHED_BYTES_MAX,
            "an adapter keeps Ticket's limit"
        );
        let id = ticket.id;
        if self.catalogue.recent(&id).is_some() {
            return Ok(id);
        }
        let committed = |id: &UnitId| self.catalogue.may_have(id);
        let origin = Origin::Local { stream };
        self.pool
            .insert(self.now, ticket, raw, caller.clone(), origin, committed)?;
        self.rejections.remove(&id);
        if let Role::Following(following) = &mut self.role {
            following.came(id);
        }
        Ok(id)
    }

    /// What another VN's worker established, established here.
    fn admitted_again(
        &self,
        given: Ticket,
        caller: &Caller,
        raw: &Bytes,
    ) -> Result<Ticket, Reject> {
        let own = self.machine.admit(&self.store, caller, raw)?;
        if (own.id, &own.established) == (given.id, &given.established) {
            Ok(own)
        } else {
            Err(Reject::new(
                Kind::Unauthorized,
                "the node that forwarded this unit states another sender than its signature",
            ))
        }
    }

    /// Units that another VN forwarded to this leader.
    pub(crate) fn inject(&mut self, inject: boundary::Inject) {
        if let Some(reject) = self.takes_no_units() {
            let refused = (inject.units.iter())
                .filter_map(|unit| UnitId::from_slice(&unit.id))
                .map(|id| convert::refused(&id, &reject));
            let refusals = self.refusals.entry(inject.origin).or_default();
            return refusals.extend(refused);
        }
        // Not the leader (any more): that VN forwards again when it learns of the new one.
        let Role::Leading(_) = &self.role else { return };
        // That VN does not know of batches which are not in memory here: it forwards again when it has applied them.
        let knows_all = self.catalogue.recent_from() <= Height(inject.height).next();
        if inject.height != 0 && !knows_all {
            return;
        }
        for unit in inject.units {
            let (Some(ticket), Some(caller)) =
                (pool::ticket(&unit), convert::caller(unit.caller.as_ref()))
            else {
                let reject = Reject::new(Kind::Malformed, "the forwarded unit breaks a limit");
                let refused = boundary::RefusedUnit {
                    id: unit.id,
                    kind: 1,
                    message: reject.message,
                };
                self.refusals
                    .entry(inject.origin)
                    .or_default()
                    .push(refused);
                continue;
            };
            let id = ticket.id;
            if self.catalogue.recent(&id).is_some() {
                continue;
            }
            // A copy, so that a small unit does not keep the whole message in memory.
            let raw = Bytes::copy_from_slice(&unit.raw);
            let ticket = match self.verify_forwarded {
                true => self.admitted_again(ticket, &caller, &raw),
                false => Ok(ticket),
            };
            let committed = |id: &UnitId| self.catalogue.may_have(id);
            let origin = Origin::Node(inject.origin);
            let inserted = ticket.and_then(|ticket| {
                self.pool
                    .insert(self.now, ticket, raw, caller, origin, committed)
            });
            if let Err(reject) = inserted {
                let mut refused = convert::refused(&id, &reject);
                if reject.kind == Kind::Busy {
                    refused.kind = convert::NO_ROOM;
                }
                self.refusals
                    .entry(inject.origin)
                    .or_default()
                    .push(refused);
            }
        }
    }

    /// Tells whoever brought a unit, which has left the pool, that it was rejected.
    pub(crate) fn reject(&mut self, waiting: &pool::Waiting, reject: Reject) {
        let id = waiting.unit.id;
        for node in &waiting.nodes {
            self.refusals
                .entry(*node)
                .or_default()
                .push(convert::refused(&id, &reject));
        }
        if waiting.stream.is_some() {
            self.rejections.insert(id, reject);
            self.changed.push(id);
        }
    }

    /// What became of a unit, if it was not committed long ago.
    pub(crate) fn fate(&self, id: &UnitId) -> Fate {
        if let Some((height, position)) = self.catalogue.recent(id) {
            return Fate::Committed { height, position };
        }
        if self.pool.get(id).is_some() {
            return if self.leaderless() {
                Fate::Unknown
            } else {
                Fate::Pending
            };
        }
        match self.rejections.get(id) {
            Some(reject) => Fate::Rejected(reject.clone()),
            None => Fate::Absent,
        }
    }

    /// The oldest batch of our own is committed. `None` if that is not the one in flight.
    pub(crate) fn commit(&mut self, commit: boundary::Commit) -> Option<Arc<Batch>> {
        let height = Height(commit.height);
        let Role::Leading(leading) = &mut self.role else {
            return None;
        };
        let made = leading
            .in_flight
            .pop_front_if(|made| made.env.height == height)?;
        self.store
            .commit(height)
            .expect("layers and batches in flight go together");
        if let Some(format) = made.format {
            self.store.set_format(format);
        }
        let mut units = made.units;
        // What admission decoded is of no use any more, and larger than the unit.
        for (unit, _) in &mut units {
            unit.memo = Memo::default();
        }
        let batch = Arc::new(Batch {
            height,
            env: made.env,
            claim: made.claim,
            units,
            events: made.events,
            index: Index(commit.index),
            term: Term(commit.term),
            time: Millis(commit.time),
        });
        self.settle_committed(&batch, made.part.as_ref(), made.body_bytes);
        self.release_refusals();
        Some(batch)
    }

    pub(crate) fn settle_committed(
        &mut self,
        batch: &Arc<Batch>,
        part: Option<&Part>,
        bytes: usize,
    ) {
        let filed = self.machine.file(batch);
        let ids = batch.units.iter().map(|(unit, _)| &unit.id);
        self.catalogue.file(&filed, ids, part);
        for (unit, _) in &batch.units {
            self.rejections.remove(&unit.id);
            self.pool.committed(&unit.id);
            self.changed.push(unit.id);
        }
        self.committed_time = self.committed_time.max(batch.env.time);
        self.history.push(batch.clone(), bytes);
    }

    /// Forgets batches of our own above `to`; their units are in the pool again, in order.
    pub(crate) fn roll_back(&mut self, to: Height) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        while let Some(made) = leading.in_flight.pop_back_if(|made| made.env.height > to) {
            self.pool
                .put_back(made.units.iter().map(|(unit, _)| &unit.id));
        }
        self.store.rollback(to);
        self.take_back_refusals(to);
        self.take_back_calls(to);
    }

    /// What time alone brings about: units that waited too long, clients without a leader.
    pub(crate) fn tick(&mut self) {
        if self.now >= self.expiry_at {
            self.expiry_at = self.now.plus(EXPIRY_MS);
            for waiting in self.pool.expire(self.now) {
                self.reject(
                    &waiting,
                    Reject::new(Kind::Later, "it waited too long: submit it again"),
                );
            }
        }
        self.tell_leaderless();
    }

    /// Forwards what came in to the leader, and refusals to whoever forwarded.
    pub(crate) fn send_out(&mut self, out: &mut Vec<WorkerToManager>) {
        self.forward_waiting(out);
        self.send_calls(out);
        for (origin, units) in core::mem::take(&mut self.refusals) {
            send(out, Out::Refused(boundary::Refused { origin, units }));
        }
    }

    /// When [`Core::tick`] or [`Core::send_out`] has something to do though nothing comes in.
    pub(crate) fn next_wake(&self) -> Option<Millis> {
        if self.pool.len() == 0 {
            return None;
        }
        let role = match &self.role {
            Role::Leading(_) => None,
            Role::Following(following) => following.next_wake(),
        };
        Some(role.map_or(self.expiry_at, |at| at.min(self.expiry_at)))
    }
}

/// Where a committed batch stands in the ledger.
pub(crate) struct Place {
    pub(crate) index: Index,
    pub(crate) term: Term,
    pub(crate) time: Millis,
}

/// A body that is committed.
pub(crate) fn placed(body: Body, place: Place) -> Batch {
    Batch {
        height: body.env.height,
        env: body.env,
        claim: body.claim,
        units: body.units,
        events: body.events,
        index: place.index,
        term: place.term,
        time: place.time,
    }
}

/// Appends one message.
pub(crate) fn send(out: &mut Vec<WorkerToManager>, message: Out) {
    out.push(WorkerToManager {
        message: Some(message),
    });
}
