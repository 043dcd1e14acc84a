//! The worker: every message of the manager, and what is done about it.

use std::sync::Arc;

use adapter::{Batch, Front, Machine, View};
use boundary::manager_to_worker::Message as In;
use boundary::worker_to_manager::Message as Out;
use boundary::{ManagerToWorker, WorkerToManager};
use types::limits::{BATCH_BYTES_MAX, BATCH_UNITS_MAX};
use types::{Height, Millis};

use crate::catalogue::Catalogue;
use crate::convert;
use crate::core::{Core, send};
use crate::entropy::genesis_entropy;
use crate::exchanges::Exchanges;
use crate::pool::PoolLimits;
use crate::restore::Restoring;
use crate::snapshot::Giving;
use crate::streams::Streams;

/// Rounds of polling in one flush. An exchange that submits again whenever it is refused waits for the
/// next flush then.
const ROUNDS_MAX: usize = 64;

/// How often gauges are sent.
const METRICS_MS: u64 = 5_000;

/// A worker enclave as a synchronous value.
///
/// The run loop gives it every message that waits, by [`Worker::handle`], and then calls
/// [`Worker::flush`]: that is when batches are formed and answers leave. It calls `flush` also at
/// [`Worker::next_wake`].
pub struct Worker {
    core: Core,
    front: Box<dyn Front>,
    exchanges: Exchanges,
    streams: Streams,
    phase: Phase,
    metrics_at: Millis,
    flush_again: bool,
    /// What the run loop said last.
    clock: Millis,
}

#[derive(Debug)]
enum Phase {
    ExpectHello,
    /// The state comes in a snapshot.
    ExpectRestore(Option<Restoring>),
    Running,
    /// The protocol's settings cannot be used; the manager was told.
    Failed,
}

impl Worker {
    /// A worker that waits for the manager's Hello.
    pub fn new(machine: Arc<dyn Machine>, front: Box<dyn Front>) -> Self {
        Self::with_limits(machine, front, PoolLimits::default())
    }

    /// As [`Worker::new`], with other bounds of the pool.
    pub fn with_limits(
        machine: Arc<dyn Machine>,
        front: Box<dyn Front>,
        limits: PoolLimits,
    ) -> Self {
        Self {
            core: Core::new(machine, limits),
            front,
            exchanges: Exchanges::default(),
            streams: Streams::default(),
            phase: Phase::ExpectHello,
            metrics_at: Millis::ZERO,
            flush_again: false,
            clock: Millis::ZERO,
        }
    }

    /// With a catalogue of segments of so many tags, for tests: all workers of a network must have the same. Before Hello.
    #[must_use]
    pub fn cataloguing(mut self, segment_tags: usize) -> Self {
        self.core.catalogue = Catalogue::new(segment_tags);
        self
    }

    /// Handles one message. `now` is the run loop's clock.
    pub fn handle(
        &mut self,
        now: Millis,
        message: ManagerToWorker,
        out: &mut Vec<WorkerToManager>,
    ) {
        self.pass(now);
        self.core.manager_now = Millis(message.now);
        let Some(message) = message.message else {
            return;
        };
        if let In::Hello(hello) = message {
            return self.hello(hello, out);
        }
        // A vote does not wait for a state to be restored.
        if let In::Limits(limits) = message {
            return self.limit(&limits, out);
        }
        if let (Phase::ExpectRestore(_), In::Restore(chunk)) = (&self.phase, &message) {
            return self.restore(chunk, out);
        }
        if !self.is_running() {
            return;
        }
        if let (Some(reason), In::Open(_) | In::Data(_)) = (&self.core.stays, &message) {
            let reason = reason.clone();
            return self.turn_away(&message, reason, out);
        }
        match message {
            In::Hello(_) | In::Limits(_) => unreachable!("handled above"),
            In::Lead(lead) => self.core.lead(&lead, out),
            In::Follow(follow) => self.core.follow(follow),
            In::Commit(commit) => {
                if let Some(batch) = self.core.commit(commit) {
                    self.committed(&batch);
                }
            }
            In::Rollback(rollback) => self.core.roll_back(Height(rollback.height)),
            In::Apply(apply) => {
                if let Some(batch) = self.core.apply(apply, out) {
                    self.committed(&batch);
                }
                let height = self.core.store.committed_height().0;
                send(out, Out::Applied(boundary::Applied { height }));
            }
            In::Open(open) => match convert::caller(open.caller.as_ref()) {
                Some(caller) if !caller.is_nobody() || self.front.serves_nobody() => {
                    self.streams.open(open.stream, caller);
                }
                _ => {
                    let reason = "the stream names no caller that this protocol serves".into();
                    send(
                        out,
                        Out::Close(boundary::StreamClose {
                            stream: open.stream,
                            reason,
                        }),
                    );
                }
            },
            In::Data(data) => {
                self.streams.data(
                    data.stream,
                    data.data,
                    &mut *self.front,
                    &mut self.exchanges,
                    &self.core,
                );
            }
            In::Close(close) => {
                self.streams
                    .close(close.stream, &mut *self.front, &mut self.exchanges)
            }
            In::Inject(inject) => self.core.inject(inject),
            In::Refused(refused) => self.core.refused(refused),
            In::History(reply) => self.exchanges.loaded(&mut self.core, reply),
            In::ReadIndex(reply) => {
                if !self.core.refusal_confirmed(&reply) {
                    self.exchanges.read_index(&self.core, &reply);
                }
            }
            In::Time(_) => {}
            In::Drain(_) => self.core.draining = true,
            In::Receipt(reply) => self.exchanges.receipt(reply),
            In::External(data) => self.core.external(data),
            In::TakeSnapshot(take) => self.core.take_snapshot(Height(take.height), out),
            In::SnapshotCredit(credit) => self.core.allow_snapshot(credit),
            In::Restore(_) => {}
        }
    }

    /// A client of a worker that stays where it is would read the past.
    fn turn_away(&mut self, message: &In, reason: String, out: &mut Vec<WorkerToManager>) {
        let (In::Open(boundary::StreamOpen { stream, .. })
        | In::Data(boundary::StreamData { stream, .. })) = *message
        else {
            return;
        };
        (self.streams).close(stream, &mut *self.front, &mut self.exchanges);
        send(out, Out::Close(boundary::StreamClose { stream, reason }));
    }

    /// The clock behind `now` is a host's and may go back; timers go on from there.
    fn pass(&mut self, now: Millis) {
        self.core.now = match self.clock {
            Millis::ZERO => now,
            before => self.core.now.plus(now.since(before)),
        };
        self.clock = now;
    }

    /// To be called when all input that was waiting has been handled: polls exchanges, forms batches,
    /// forwards units, sends answers.
    pub fn flush(&mut self, now: Millis, out: &mut Vec<WorkerToManager>) {
        self.pass(now);
        if !self.is_running() {
            return;
        }
        self.flush_again = true;
        let mut answers = Vec::new();
        for _ in 0..ROUNDS_MAX {
            self.core.tick();
            let polled = self.exchanges.poll(&mut self.core, &mut answers);
            for (stream, exchange, response) in answers.drain(..) {
                self.streams
                    .answer(self.core.now, stream, exchange, response);
            }
            let resumed = (self.streams).resume(&mut *self.front, &mut self.exchanges, &self.core);
            self.core.form_batches(out);
            if !polled && !resumed && self.core.changed.is_empty() {
                self.flush_again = false;
                break;
            }
        }
        self.core.send_out(out);
        self.exchanges.send_out(self.core.now, out);
        self.streams
            .send_out(&mut *self.front, &mut self.exchanges, out);
        self.core.give_snapshot(out);
        self.metrics(out);
    }

    /// When [`Worker::flush`] is to be called though nothing comes in.
    pub fn next_wake(&self) -> Option<Millis> {
        if self.has_work() {
            return Some(self.core.now);
        }
        let wakes = [
            self.core.next_wake(),
            self.exchanges.next_wake(),
            self.streams.next_wake(),
        ];
        wakes.into_iter().flatten().min()
    }

    /// True if [`Worker::flush`] has more to do at once, though nothing comes in: it does a bounded share
    /// each time, so that input is never kept waiting.
    pub fn has_work(&self) -> bool {
        self.flush_again || self.core.giving.as_ref().is_some_and(Giving::has_work)
    }

    /// Height of the committed state.
    pub fn height(&self) -> Height {
        self.core.store.committed_height()
    }

    /// The committed state: for validation and for digests that are compared between VNs.
    pub fn state(&self) -> &crate::State {
        &self.core.store
    }

    fn hello(&mut self, hello: boundary::Hello, out: &mut Vec<WorkerToManager>) {
        let descriptor = self.core.machine.describe();
        let mut restore = false;
        let failure = if !matches!(self.phase, Phase::ExpectHello) {
            "a second Hello: a worker is started once".to_owned()
        } else if hello.protocol != descriptor.protocol {
            format!(
                "this image runs {}, not {}",
                descriptor.protocol, hello.protocol
            )
        } else if !hello.restore && !self.core.machine.formats().contains(&1) {
            "this image does not know data format 1, in which every network begins: start it with code that does, or from a snapshot".to_owned()
        } else {
            let limits = boundary::Limits {
                batch_units_max: hello.batch_units_max,
                batch_bytes_max: hello.batch_bytes_max,
                verify_forwarded: hello.verify_forwarded,
                format: hello.format,
            };
            self.limit(&limits, out);
            if let Ok(key) = hello.worker_key.as_ref().try_into() {
                self.front.keyed(key);
            }
            restore = hello.restore;
            let first = match restore {
                true => Ok(()),
                false => self.core.genesis(
                    hello.settings,
                    &hello.network,
                    genesis_entropy(&hello.worker_key),
                    Millis(hello.genesis_time),
                ),
            };
            match first {
                Ok(()) => String::new(),
                Err(reason) => format!(
                    "the settings of {} cannot be used: {reason}",
                    descriptor.protocol
                ),
            }
        };
        self.phase = match (failure.is_empty(), restore) {
            (false, _) => Phase::Failed,
            (true, false) => Phase::Running,
            // Ready follows when the state is there.
            (true, true) => {
                self.phase = Phase::ExpectRestore(None);
                return;
            }
        };
        self.ready(failure, out);
    }

    /// What the constitution allows, from the next batch on.
    fn limit(&mut self, limits: &boundary::Limits, out: &mut Vec<WorkerToManager>) {
        let limit = |given: u64, max: usize| match usize::try_from(given) {
            Ok(given) if given > 0 => given.min(max),
            _ => max,
        };
        self.core.batch_units_max = limit(limits.batch_units_max, BATCH_UNITS_MAX);
        self.core.batch_bytes_max = limit(limits.batch_bytes_max, BATCH_BYTES_MAX);
        self.core.verify_forwarded = limits.verify_forwarded;
        self.core.vote_format(limits.format, out);
    }

    fn restore(&mut self, chunk: &boundary::Restore, out: &mut Vec<WorkerToManager>) {
        let Phase::ExpectRestore(restoring) = &mut self.phase else {
            return;
        };
        match self.core.restore(restoring, chunk) {
            Ok(false) => {}
            Ok(true) => {
                self.phase = Phase::Running;
                self.ready(String::new(), out);
            }
            Err(unusable) => {
                let failure = format!("the snapshot of height {}: {unusable}", chunk.height);
                self.ready(failure, out);
            }
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    fn ready(&self, failure: String, out: &mut Vec<WorkerToManager>) {
        let descriptor = self.core.machine.describe();
        let ready = boundary::Ready {
            protocol: descriptor.protocol.into(),
            state_format: descriptor.state_format,
            height: self.core.store.committed_height().0,
            failure,
        };
        send(out, Out::Ready(ready));
    }

    fn committed(&mut self, batch: &Arc<Batch>) {
        let mut pushes = Vec::new();
        self.front.committed(&self.core.store, batch, &mut pushes);
        pushes.into_iter().for_each(|push| self.streams.push(push));
        for stream in self.front.ended() {
            self.streams.end(stream.0, &mut self.exchanges);
        }
    }

    fn metrics(&mut self, out: &mut Vec<WorkerToManager>) {
        if self.core.now < self.metrics_at {
            return;
        }
        self.metrics_at = self.core.now.plus(METRICS_MS);
        let gauge = |name: &str, value: usize| boundary::Gauge {
            name: name.into(),
            value: value as u64,
        }; // widening
        let gauges = vec![
            gauge("pool_units", self.core.pool.len()),
            gauge("pool_bytes", self.core.pool.bytes()),
            gauge("calls_outside", self.core.externals.len()),
            gauge("streams", self.streams.len()),
            gauge("exchanges", self.exchanges.len()),
            gauge("state_keys", self.core.store.keys()),
            gauge("catalogue_tags", self.core.catalogue.tags()),
            gauge("catalogue_parts", self.core.catalogue.parts()),
            gauge("data_format", self.core.store.format() as usize), // u32 fits usize
        ];
        send(out, Out::Metrics(boundary::Metrics { gauges }));
    }
}
