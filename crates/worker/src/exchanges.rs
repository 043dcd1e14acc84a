//! Exchanges under way: requests whose answers wait for something, and what each waits for.
//!
//! An exchange is polled when something it asked for has happened and at no other time, so a thousand
//! clients that wait for commits cost nothing while they wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use adapter::{
    Batch, Caller, Context, Exchange, Fate, Kind, Missing, NotYet, Progress, Reject, Response,
    Unit, View,
};
use boundary::WorkerToManager;
use boundary::worker_to_manager::Message as Out;
use bytes::Bytes;
use hashbrown::HashMap;
use types::{Height, Millis, UnitId};

use crate::catalogue::{Catalogue, Part, Sought};
use crate::core::{Core, Place, placed, send};

/// After a linear read failed for want of a leader, it is asked for again.
const READ_INDEX_AGAIN_MS: u64 = 100;

/// How long it is believed that the ledger here does not have a batch: exchanges that asked are polled
/// within that time, and a client that asks again a second later is looked after again.
const ELSEWHERE_MS: u64 = 1_000;

/// Most receipts asked of the manager at once; the rest wait here. Half of what a manager allows.
const RECEIPTS_ASKED_MAX: usize = 32;

/// An exchange, named by the worker. Never used twice.
pub(crate) type ExchangeId = u64;

/// Exchanges and what they wait for.
#[derive(Default)]
pub(crate) struct Exchanges {
    running: HashMap<ExchangeId, Running>,
    last: ExchangeId,
    woken: BTreeSet<ExchangeId>,
    waits: Waits,
}

struct Running {
    stream: u64,
    exchange: Box<dyn Exchange>,
    mine: Mine,
}

/// What one exchange waits for, so that it can be cleaned up after.
#[derive(Default)]
struct Mine {
    units: Vec<UnitId>,
    wake_at: Option<Millis>,
    linear: Linear,
    receipt: Option<Asked>,
    /// How far units and names were looked for in the ledger.
    sought: BTreeMap<[u8; 32], Sought>,
}

/// The receipt that an exchange waits for; it waits for one at a time.
struct Asked {
    height: Height,
    position: u32,
    answer: Option<Result<Bytes, Reject>>,
}

#[derive(Default, Clone, Copy)]
enum Linear {
    #[default]
    NotAsked,
    Asked,
    /// What is committed up to this height must be in view.
    From(Height),
}

#[derive(Default)]
struct Waits {
    units: HashMap<UnitId, Vec<ExchangeId>>,
    times: BTreeSet<(Millis, ExchangeId)>,
    /// Batches asked of the ledger.
    loading: BTreeMap<Height, Vec<ExchangeId>>,
    /// What was asked of the ledger, by request: an answer that there is none names no height.
    loading_asked: BTreeMap<u64, Height>,
    /// Committed heights that the ledger of this node does not have yet, and until when that is believed.
    elsewhere: BTreeMap<Height, Millis>,
    /// Heights to ask for with the next flush.
    to_load: Vec<Height>,
    /// Linear reads not sent yet, and those sent, by request.
    linear_new: Vec<ExchangeId>,
    linear_asked: BTreeMap<u64, Vec<ExchangeId>>,
    linear_heights: BTreeMap<Height, Vec<ExchangeId>>,
    linear_not_before: Millis,
    /// Receipts to ask the manager for, and those asked, by request.
    receipts_new: VecDeque<ExchangeId>,
    receipts_asked: BTreeMap<u64, ExchangeId>,
    last_request: u64,
}

impl Exchanges {
    /// Takes an exchange in; it is polled with the next flush.
    pub(crate) fn start(&mut self, stream: u64, exchange: Box<dyn Exchange>) -> ExchangeId {
        self.last += 1;
        self.running.insert(
            self.last,
            Running {
                stream,
                exchange,
                mine: Mine::default(),
            },
        );
        self.woken.insert(self.last);
        self.last
    }

    /// The client is gone.
    pub(crate) fn drop(&mut self, id: ExchangeId) {
        if let Some(running) = self.running.remove(&id) {
            self.waits.clean(id, &running.mine);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    /// Polls what has reason to be polled. Answers go to `answer` with their stream.
    pub(crate) fn poll(
        &mut self,
        core: &mut Core,
        answer: &mut Vec<(u64, ExchangeId, Response)>,
    ) -> bool {
        self.wake(core);
        let woken = core::mem::take(&mut self.woken);
        let polled = !woken.is_empty();
        for id in woken {
            let Some(mut running) = self.running.remove(&id) else {
                continue;
            };
            let mut polling = Polling {
                core: &mut *core,
                waits: &mut self.waits,
                mine: &mut running.mine,
                id,
                stream: running.stream,
            };
            match running.exchange.poll(&mut polling) {
                Progress::Pending => {
                    self.running.insert(id, running);
                }
                Progress::Ready(response) => {
                    self.waits.clean(id, &running.mine);
                    answer.push((running.stream, id, response));
                }
            }
        }
        polled
    }

    fn wake(&mut self, core: &mut Core) {
        for unit in core.changed.drain(..) {
            if let Some(waiters) = self.waits.units.get(&unit) {
                self.woken.extend(waiters);
            }
        }
        while let Some((time, id)) = self.waits.times.first().copied()
            && time <= core.now
        {
            self.waits.times.pop_first();
            if let Some(running) = self.running.get_mut(&id) {
                running.mine.wake_at = None;
            }
            self.woken.insert(id);
        }
        while let Some(entry) = self.waits.linear_heights.first_entry()
            && *entry.key() <= core.store.committed_height()
        {
            self.woken.extend(entry.remove());
        }
    }

    /// Sends what exchanges asked of the ledger and of the leader.
    pub(crate) fn send_out(&mut self, now: Millis, out: &mut Vec<WorkerToManager>) {
        let waits = &mut self.waits;
        for height in core::mem::take(&mut waits.to_load) {
            waits.last_request += 1;
            waits.loading_asked.insert(waits.last_request, height);
            let request = boundary::HistoryRequest {
                request: waits.last_request,
                height: height.0,
            };
            send(out, Out::History(request));
        }
        if !waits.linear_new.is_empty() && now >= waits.linear_not_before {
            waits.last_request += 1;
            let request = waits.last_request;
            waits
                .linear_asked
                .insert(request, core::mem::take(&mut waits.linear_new));
            send(out, Out::ReadIndex(boundary::ReadIndex { request }));
        }
        while waits.receipts_asked.len() < RECEIPTS_ASKED_MAX
            && let Some(id) = waits.receipts_new.pop_front()
        {
            let Some(asked) = self.running.get(&id).and_then(|r| r.mine.receipt.as_ref()) else {
                continue;
            };
            waits.last_request += 1;
            waits.receipts_asked.insert(waits.last_request, id);
            let request = boundary::ReceiptRequest {
                request: waits.last_request,
                height: asked.height.0,
                position: asked.position,
            };
            send(out, Out::Receipt(request));
        }
    }

    /// The manager's answer to a request for a receipt.
    pub(crate) fn receipt(&mut self, reply: boundary::ReceiptReply) {
        let Some(id) = self.waits.receipts_asked.remove(&reply.request) else {
            return;
        };
        let asked = self
            .running
            .get_mut(&id)
            .and_then(|r| r.mine.receipt.as_mut());
        if let Some(asked) = asked {
            asked.answer = Some(if reply.failure.is_empty() {
                Ok(reply.receipt)
            } else {
                Err(Reject::new(Kind::Busy, reply.failure))
            });
            self.woken.insert(id);
        }
    }

    /// The ledger's answer.
    pub(crate) fn loaded(&mut self, core: &mut Core, reply: boundary::HistoryBatch) {
        let Some(height) = self.waits.loading_asked.remove(&reply.request) else {
            return;
        };
        let waiters = self.waits.loading.remove(&height).unwrap_or_default();
        let bytes = reply.body.len();
        let place = Place {
            index: types::Index(reply.index),
            term: types::Term(reply.term),
            time: Millis(reply.time),
        };
        let body = (!reply.absent)
            .then(|| crate::Body::decode(reply.body).ok())
            .flatten();
        // A copy, so that the part does not keep the whole batch in memory.
        let part = (body.as_ref().and_then(|body| body.part.as_ref()))
            .and_then(|part| Part::decode(Bytes::copy_from_slice(part)).ok());
        let as_filed = core.catalogue.read(height, part);
        let batch = body
            .filter(|body| body.env.height == height)
            .map(|body| Arc::new(placed(body, place)));
        match batch {
            Some(batch) if as_filed => core.history.loaded(batch, bytes),
            _ => {
                self.waits.elsewhere.retain(|_, until| core.now < *until);
                let until = core.now.plus(ELSEWHERE_MS);
                self.waits.elsewhere.insert(height, until);
            }
        }
        self.woken.extend(waiters);
    }

    /// The leader's answer to a linear read.
    pub(crate) fn read_index(&mut self, core: &Core, reply: &boundary::ReadIndexReply) {
        let Some(waiters) = self.waits.linear_asked.remove(&reply.request) else {
            return;
        };
        if !reply.failure.is_empty() {
            self.waits.linear_new.extend(waiters);
            self.waits.linear_not_before = core.now.plus(READ_INDEX_AGAIN_MS);
            return;
        }
        let height = Height(reply.height);
        for id in waiters {
            let Some(running) = self.running.get_mut(&id) else {
                continue;
            };
            running.mine.linear = Linear::From(height);
            self.waits
                .linear_heights
                .entry(height)
                .or_default()
                .push(id);
        }
    }

    /// When something here is due though nothing comes in.
    pub(crate) fn next_wake(&self) -> Option<Millis> {
        let time = self.waits.times.first().map(|(time, _)| *time);
        let linear = (!self.waits.linear_new.is_empty()).then_some(self.waits.linear_not_before);
        [time, linear].into_iter().flatten().min()
    }
}

impl Waits {
    fn clean(&mut self, id: ExchangeId, mine: &Mine) {
        for unit in &mine.units {
            if let Some(waiters) = self.units.get_mut(unit) {
                waiters.retain(|waiter| *waiter != id);
                if waiters.is_empty() {
                    self.units.remove(unit);
                }
            }
        }
        if let Some(time) = mine.wake_at {
            self.times.remove(&(time, id));
        }
        // Other lists hold ids that are passed over when their turn comes.
        self.linear_new.retain(|waiter| *waiter != id);
        self.receipts_new.retain(|waiter| *waiter != id);
    }
}

/// One exchange being polled.
struct Polling<'a> {
    core: &'a mut Core,
    waits: &'a mut Waits,
    mine: &'a mut Mine,
    id: ExchangeId,
    stream: u64,
}

impl Polling<'_> {
    /// Asks the ledger for a batch that is not in memory; the exchange is polled again when it has come.
    fn load(&mut self, height: Height) -> Missing {
        let elsewhere = self.waits.elsewhere.get(&height);
        if elsewhere.is_some_and(|until| self.core.now < *until) {
            return Missing::Elsewhere;
        }
        let waiters = self.waits.loading.entry(height).or_insert_with(|| {
            self.waits.to_load.push(height);
            Vec::new()
        });
        if !waiters.contains(&self.id) {
            waiters.push(self.id);
        }
        Missing::NotYet
    }

    /// Looks among what was committed long ago, from where this exchange left off.
    fn seek<T>(
        &mut self,
        what: &[u8; 32],
        look: impl FnOnce(&Catalogue, &mut Sought) -> Result<Option<T>, Height>,
    ) -> Result<Option<T>, Missing> {
        let mut sought = self.mine.sought.remove(what).unwrap_or_default();
        look(&self.core.catalogue, &mut sought).map_err(|height| {
            self.mine.sought.insert(*what, sought);
            self.load(height)
        })
    }
}

impl Context for Polling<'_> {
    fn now(&self) -> Millis {
        self.core.now
    }

    fn view(&self) -> &dyn View {
        &self.core.store
    }

    fn room(&self, caller: &Caller, units: usize) -> Result<(), Reject> {
        self.core.pool.room(caller, units)
    }

    fn submit(&mut self, caller: &Caller, raw: Bytes) -> Result<UnitId, Reject> {
        self.core.submit(self.stream, caller, raw)
    }

    fn fate(&mut self, unit: &UnitId) -> Result<Fate, Missing> {
        let mut fate = self.core.fate(unit);
        if matches!(fate, Fate::Absent)
            && let Some((height, position)) = self.seek(&unit.0, |catalogue, sought| {
                catalogue.older_unit(unit, sought)
            })?
        {
            fate = Fate::Committed { height, position };
        }
        let settled = matches!(fate, Fate::Committed { .. } | Fate::Rejected(_));
        if !settled && !self.mine.units.contains(unit) {
            self.mine.units.push(*unit);
            self.waits.units.entry(*unit).or_default().push(self.id);
        }
        Ok(fate)
    }

    fn pending(&self, unit: &UnitId) -> Option<Bytes> {
        self.core
            .pool
            .get(unit)
            .map(|waiting| waiting.unit.raw.clone())
    }

    fn place(&self, unit: &UnitId) -> Option<(Bytes, u64)> {
        let waiting = self.core.pool.get(unit)?;
        Some((waiting.lane.clone(), waiting.lane_seq))
    }

    fn lane_next(&self, lane: &[u8]) -> Option<u64> {
        self.core.pool.lane_next(lane)
    }

    fn waiting(&self, max: usize) -> Vec<Unit> {
        self.core.pool.all().take(max).cloned().collect()
    }

    fn batch(&mut self, height: Height) -> Result<Option<Arc<Batch>>, Missing> {
        if height == Height::ZERO || height > self.core.store.committed_height() {
            return Ok(None);
        }
        if let Some(known) = self.core.history.get(height) {
            return Ok(Some(known));
        }
        Err(self.load(height))
    }

    fn named(&mut self, name: &[u8; 32]) -> Result<Option<Height>, Missing> {
        match self.core.catalogue.recent_named(name) {
            Some(height) => Ok(Some(height)),
            None => self.seek(name, |catalogue, sought| {
                catalogue.older_named(name, sought)
            }),
        }
    }

    fn note(&self, height: Height) -> Option<&[u8]> {
        self.core.catalogue.note(height)
    }

    fn linear(&mut self) -> bool {
        match self.mine.linear {
            Linear::NotAsked => {
                self.mine.linear = Linear::Asked;
                self.waits.linear_new.push(self.id);
                false
            }
            Linear::Asked => false,
            Linear::From(height) => self.core.store.committed_height() >= height,
        }
    }

    fn receipt(&mut self, height: Height, position: u32) -> Result<Result<Bytes, Reject>, NotYet> {
        match &mut self.mine.receipt {
            Some(asked) if (asked.height, asked.position) == (height, position) => {
                let answer = asked.answer.take().ok_or(NotYet)?;
                self.mine.receipt = None;
                Ok(answer)
            }
            Some(other) if other.answer.is_none() => Err(NotYet),
            free => {
                *free = Some(Asked {
                    height,
                    position,
                    answer: None,
                });
                self.waits.receipts_new.push_back(self.id);
                Err(NotYet)
            }
        }
    }

    fn wake_at(&mut self, time: Millis) {
        if let Some(before) = self.mine.wake_at {
            if before <= time {
                return;
            }
            self.waits.times.remove(&(before, self.id));
        }
        self.mine.wake_at = Some(time);
        self.waits.times.insert((time, self.id));
    }
}
