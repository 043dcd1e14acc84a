//! The workers: started, greeted, fed with what is committed, told who leads. A worker's death stops
//! neither consensus nor governance.

use std::collections::BTreeSet;

use boundary::{
    CallerIdentity, Forward, ForwardedUnit, Inject, ManagerToPlatform, ManagerToWorker, Message,
    WorkerEnded, WorkerStarted, WorkerToManager, manager_to_platform, manager_to_worker,
    worker_to_manager,
};
use bytes::Bytes;
use consensus::Engine;
use ledger::{Header, Kind};
use types::{Epoch, Height, Index, Millis, NodeId, Term};

use crate::Output;
use crate::keyring::Keyring;
use crate::node::{Node, Phase, Reading, log};
use crate::protocols::{Protocol, Worker};
use crate::reading::{READ_BYTES_MAX, Read};
use crate::sessions::Who;
use crate::wire::PeerMessage;

pub fn send_worker(
    out: &mut Vec<Output>,
    now: Millis,
    worker: u64,
    message: manager_to_worker::Message,
) {
    out.push(Output::Worker(
        worker,
        ManagerToWorker {
            now: now.0,
            message: Some(message),
        },
    ));
}

impl Node {
    /// Starts the workers whose time has come.
    pub fn start_workers(&mut self, out: &mut Vec<Output>) {
        for protocol in &mut self.protocols {
            if matches!(protocol.worker, Worker::Absent { at } if at <= self.now) {
                protocol.worker = Worker::ExpectStarted;
                let message = boundary::StartWorker {
                    protocol: protocol.name.clone(),
                };
                out.push(Output::Platform(ManagerToPlatform {
                    message: Some(manager_to_platform::Message::StartWorker(message)),
                }));
            }
        }
    }

    pub fn worker_started(&mut self, started: &WorkerStarted, out: &mut Vec<Output>) {
        let expects = |p: &crate::protocols::Protocol| {
            p.name == started.protocol && p.worker == Worker::ExpectStarted
        };
        let Some(place) = self.protocols.iter().position(expects) else {
            return out.push(Output::StopWorker(started.worker));
        };
        if !self.lists_worker(&started.protocol, &started.measurement) {
            let text = format!(
                "the image of worker/{} is not in the code manifest: it gets nothing",
                started.protocol
            );
            log(out, 1, "platform", &text);
            self.protocols[place].worker = Worker::GivenUp;
            return out.push(Output::StopWorker(started.worker));
        }
        self.workers.insert(started.worker, place);
        self.protocols[place].image = started.measurement.clone();
        self.protocols[place].worker = Worker::ExpectGenesis {
            worker: started.worker,
        };
        self.greet_workers(out);
    }

    /// Whether the code manifest in force lists a worker's image. A node that reads the past takes what its
    /// owner approved until that came into force: the past knew other images.
    fn lists_worker(&self, protocol: &str, measurement: &[u8]) -> bool {
        let approved = self.setup.constitution.digest();
        let came = self.state.versions().iter().any(|v| v.digest == approved);
        let in_force = self.state.constitution().filter(|_| came);
        let images = &in_force.unwrap_or(&self.setup.constitution).code.images;
        let named = |name: &str| name.strip_prefix("worker/") == Some(protocol);
        images
            .iter()
            .any(|image| named(&image.name) && image.measurement == measurement)
    }

    /// What a vote may change for workers that run: their limits, and whether their image may run.
    fn retune_workers(&mut self, out: &mut Vec<Output>) {
        let Some(constitution) = self.state.constitution() else {
            return;
        };
        let limits = |protocol: &str| boundary::Limits {
            batch_units_max: u64::from(constitution.settings.batch_units_max),
            batch_bytes_max: u64::from(constitution.settings.batch_bytes_max),
            verify_forwarded: constitution.leader_verifies_signatures(),
            format: constitution.protocol(protocol).map_or(0, |p| p.version),
        };
        for place in 0..self.protocols.len() {
            let protocol = &self.protocols[place];
            let Some(worker) = protocol.running() else {
                continue;
            };
            if self.lists_worker(&protocol.name, &protocol.image) {
                let limits = manager_to_worker::Message::Limits(limits(&protocol.name));
                send_worker(out, self.clock, worker, limits);
                continue;
            }
            let text = format!(
                "members removed the image of worker/{} that runs here: it is stopped; start this node with one that the constitution lists",
                protocol.name
            );
            log(out, 1, "governance", &text);
            self.protocols[place].worker = Worker::GivenUp;
            out.push(Output::StopWorker(worker));
        }
    }

    pub fn worker_ended(&mut self, ended: &WorkerEnded, out: &mut Vec<Output>) {
        let Some(place) = self.workers.remove(&ended.worker) else {
            // It did not come up.
            for protocol in &mut self.protocols {
                if protocol.worker == Worker::ExpectStarted {
                    protocol.ended(self.now);
                }
            }
            return log(
                out,
                1,
                "platform",
                &format!("a worker could not be started: {}", ended.reason),
            );
        };
        self.revivals.remove(&place);
        self.drop_calls_of(ended.worker, out);
        self.drop_taking("a worker died", out);
        let now = self.now;
        let protocol = &mut self.protocols[place];
        let given_up = protocol.worker == Worker::GivenUp;
        protocol.ended(now);
        let text = match protocol.worker {
            _ if given_up => format!("the worker of {} ended: {}", protocol.name, ended.reason),
            Worker::GivenUp => format!(
                "the worker of {} died too often and stays down: {}",
                protocol.name, ended.reason
            ),
            _ => format!(
                "the worker of {} died and is started again: {}",
                protocol.name, ended.reason
            ),
        };
        log(out, 1, "worker", &text);
        self.drop_orphans(place, "its worker died", out);
    }

    fn drop_orphans(&mut self, place: usize, reason: &str, out: &mut Vec<Output>) {
        let orphans: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, session)| matches!(session.who, Who::Application { place: at, .. } if at == place))
            .map(|(connection, _)| connection)
            .collect();
        for connection in orphans {
            self.drop_connection(connection, reason, out);
        }
    }

    /// The session keys are gone. The workers have in the clear what was sealed with them: they end, and
    /// others begin from what is on disk when the keys are here again.
    pub fn stop_workers(&mut self, out: &mut Vec<Output>) {
        self.revivals.clear();
        self.drop_taking("the session keys are gone", out);
        let now = self.now;
        for place in 0..self.protocols.len() {
            if let Some(worker) = self.protocols[place].running() {
                self.workers.remove(&worker);
                out.push(Output::StopWorker(worker));
                self.protocols[place].start_again(now);
                self.drop_orphans(place, "the session keys are gone", out);
            }
        }
    }

    /// Greets workers that wait for the network's secrets, if those are known. A worker makes its genesis,
    /// or begins from a snapshot.
    pub fn greet_workers(&mut self, out: &mut Vec<Output>) {
        let keyless = self.engine.is_some() && !self.keyring.holds(self.order.epoch);
        if self.restoring.is_some() || self.is_cold() || keyless {
            return;
        }
        for place in 0..self.protocols.len() {
            let protocol = &self.protocols[place];
            let Worker::ExpectGenesis { worker } = protocol.worker else {
                continue;
            };
            let Some(key) = self.keyring.worker_key(&protocol.name) else {
                return;
            };
            let restore = self.revivable(place).is_some();
            if !restore && protocol.has_gap() {
                // The older entries come; until then there is nothing to begin from.
                continue;
            }
            let constitution = self.state.constitution();
            let constitution = constitution.unwrap_or(&self.setup.constitution);
            let hello = boundary::Hello {
                network: Bytes::copy_from_slice(&self.setup.network.0),
                protocol: protocol.name.clone(),
                settings: protocol.settings.clone(),
                worker_key: Bytes::copy_from_slice(&*key),
                batch_units_max: u64::from(constitution.settings.batch_units_max),
                batch_bytes_max: u64::from(constitution.settings.batch_bytes_max),
                genesis_time: constitution.genesis_time_ms.0,
                restore,
                verify_forwarded: constitution.leader_verifies_signatures(),
                format: (constitution.protocol(&protocol.name)).map_or(0, |p| p.version),
            };
            send_worker(
                out,
                self.clock,
                worker,
                manager_to_worker::Message::Hello(hello),
            );
            self.protocols[place].worker = Worker::ExpectReady { worker };
            if restore {
                self.begin_reviving(place, worker, out);
            }
        }
    }

    pub fn worker(&mut self, worker: u64, message: WorkerToManager, out: &mut Vec<Output>) {
        use worker_to_manager::Message as M;
        let Some(place) = self.workers.get(&worker).copied() else {
            return;
        };
        let Some(message) = message.message else {
            return;
        };
        match message {
            M::Ready(ready) => self.worker_ready(worker, place, &ready, out),
            M::Propose(propose) => self.propose(worker, &propose, out),
            M::Applied(_) | M::Metrics(_) => {}
            M::SnapshotChunk(chunk) => self.snapshot_chunk(place, &chunk, out),
            M::Receipt(asked) => self.receipt(worker, place, &asked, out),
            M::External(call) => self.external(worker, place, &call, out),
            M::ExternalClose(close) => self.call_closed(worker, close.request, out),
            M::Data(data) => self.stream_data(place, data.stream, &data.data, out),
            M::Close(close) => self.stream_ended(place, &close, out),
            M::Consumed(consumed) => self.consumed(place, &consumed, out),
            M::Forward(forward) => self.forward(place, forward, out),
            M::Refused(refused) => self.refuse_units(place, refused, out),
            M::History(history) => self.history(worker, place, &history, out),
            M::ReadIndex(read) => self.read_linear(worker, place, read.request, out),
            M::Log(line) => {
                // A worker sees application data; what it says is cut to a line.
                let text: String = line
                    .text
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(500)
                    .collect();
                let target = format!("worker/{}", self.protocols[place].name);
                log(out, line.level.clamp(1, 5), &target, &text);
            }
        }
    }

    fn worker_ready(
        &mut self,
        worker: u64,
        place: usize,
        ready: &boundary::Ready,
        out: &mut Vec<Output>,
    ) {
        let protocol = &mut self.protocols[place];
        if protocol.worker != (Worker::ExpectReady { worker }) {
            return;
        }
        if !ready.failure.is_empty() && self.revivals.contains_key(&place) {
            return self.cannot_revive(place, &ready.failure, out);
        }
        self.revivals.remove(&place);
        let protocol = &mut self.protocols[place];
        if !ready.failure.is_empty() || ready.protocol != protocol.name {
            log(
                out,
                1,
                "worker",
                &format!(
                    "the worker of {} cannot work: {}",
                    protocol.name, ready.failure
                ),
            );
            protocol.worker = Worker::GivenUp;
            return out.push(Output::StopWorker(worker));
        }
        protocol.worker = Worker::Feeding {
            worker,
            next: Height(ready.height).next(),
            request: None,
        };
        self.feed(place, out);
    }

    /// A batch was committed of which a live worker has no copy: it gets this and what follows from
    /// the ledger.
    pub fn feed_from(&mut self, place: usize, height: Height, out: &mut Vec<Output>) {
        if let Worker::Live { worker } = self.protocols[place].worker {
            self.protocols[place].worker = Worker::Feeding {
                worker,
                next: height,
                request: None,
            };
        }
        self.feed(place, out);
    }

    /// Gives a worker that is behind the next committed batches, from memory or from the files.
    pub fn feed(&mut self, place: usize, out: &mut Vec<Output>) {
        let protocol = &self.protocols[place];
        let (worker, next) = match protocol.worker {
            Worker::Feeding {
                worker,
                next,
                request: None,
            } => (worker, next),
            _ => return,
        };
        let Some(first) = protocol.index_of(next) else {
            self.protocols[place].worker = Worker::Live { worker };
            return self.lead_workers(out);
        };
        let last = Index((first.0 + 255).min(self.order.committed.0));
        let request = self.read(Reading::Feed { place }, first, last, READ_BYTES_MAX, out);
        self.protocols[place].worker = Worker::Feeding {
            worker,
            next,
            request: Some(request),
        };
    }

    pub fn fed(&mut self, place: usize, entries: Vec<Read>, out: &mut Vec<Output>) {
        let Worker::Feeding {
            worker,
            mut next,
            request: Some(_),
        } = self.protocols[place].worker
        else {
            return;
        };
        for Read { opened, .. } in entries {
            let header = opened.header;
            if header.kind
                != (Kind::Application {
                    protocol: self.protocols[place].place,
                    height: next,
                })
            {
                continue;
            }
            apply(out, self.clock, worker, &header, next, opened.private);
            next = next.next();
        }
        self.protocols[place].worker = Worker::Feeding {
            worker,
            next,
            request: None,
        };
        self.feed(place, out);
    }

    fn history(
        &mut self,
        worker: u64,
        place: usize,
        asked: &boundary::HistoryRequest,
        out: &mut Vec<Output>,
    ) {
        match self.protocols[place].index_of(Height(asked.height)) {
            Some(index) => {
                let why = Reading::History {
                    place,
                    worker,
                    request: asked.request,
                    index,
                };
                self.read(why, index, index, READ_BYTES_MAX, out);
            }
            None => self.tell_history(place, worker, asked.request, None, out),
        }
    }

    pub fn tell_history(
        &mut self,
        place: usize,
        worker: u64,
        request: u64,
        entry: Option<Read>,
        out: &mut Vec<Output>,
    ) {
        if self.protocols[place].running() != Some(worker) {
            return;
        }
        let found = entry.and_then(|Read { opened, .. }| match opened.header.kind {
            Kind::Application { height, .. } => Some((opened.header, height, opened.private)),
            _ => None,
        });
        let message = match found {
            Some((header, height, body)) => boundary::HistoryBatch {
                request,
                height: height.0,
                index: header.index.0,
                term: header.term.0,
                time: header.time.0,
                body,
                absent: false,
            },
            None => boundary::HistoryBatch {
                request,
                absent: true,
                ..Default::default()
            },
        };
        send_worker(
            out,
            self.clock,
            worker,
            manager_to_worker::Message::History(message),
        );
    }

    /// A hand-over of leadership failed: the workers, who were told to follow, lead again.
    pub fn lead_again(&mut self, out: &mut Vec<Output>) {
        let leads = |l: &crate::order::Leading| l.opened && l.in_flight.is_empty();
        let takes = self.engine.as_ref().is_some_and(|e| e.next().is_some());
        let idle = |p: &crate::protocols::Protocol| p.live().is_some() && p.leading.is_none();
        if takes
            && self.serves()
            && self.order.leading.as_ref().is_some_and(leads)
            && self.protocols.iter().any(idle)
        {
            self.lead_workers(out);
        }
    }

    /// Tells live workers to lead, once everything before this term is committed.
    pub fn lead_workers(&mut self, out: &mut Vec<Output>) {
        let stopping = matches!(self.phase, Phase::Stopping { .. });
        let leading = self.order.leading.as_ref();
        let Some(leading) = leading.filter(|l| l.opened && !stopping && self.serves()) else {
            return self.follow_workers(out);
        };
        let term = leading.term;
        // Of a worker that was told to follow meanwhile: it leads again when they are committed.
        let flying: BTreeSet<u16> = leading
            .in_flight
            .iter()
            .filter_map(|proposed| match proposed.header.kind {
                Kind::Application { protocol, .. } => Some(protocol),
                _ => None,
            })
            .collect();
        let version = self.state.version();
        let in_flight_max =
            u32::try_from(self.in_flight_max()).expect("it is a u32 of the constitution");
        let lead = leads(
            &self.keyring,
            self.order.epoch,
            term,
            in_flight_max,
            version,
        );
        for protocol in &mut self.protocols {
            let Some(worker) = protocol.live() else {
                continue;
            };
            if protocol.leading == Some(term)
                || !protocol.in_flight.is_empty()
                || flying.contains(&protocol.place)
            {
                continue;
            }
            let Some(lead) = lead(protocol) else {
                continue;
            };
            protocol.leading = Some(term);
            send_worker(
                out,
                self.clock,
                worker,
                manager_to_worker::Message::Lead(lead),
            );
            for inject in protocol.held.drain(..) {
                send_worker(
                    out,
                    self.clock,
                    worker,
                    manager_to_worker::Message::Inject(inject),
                );
            }
        }
    }

    pub fn follow_workers(&mut self, out: &mut Vec<Output>) {
        let term = self.engine.as_ref().map(|e| e.last().0).unwrap_or_default();
        let leader_known = self.leader().is_some();
        for protocol in &mut self.protocols {
            protocol.leading = None;
            protocol.in_flight.clear();
            if self.order.leading.is_none() {
                protocol.held.clear();
            }
            if let Some(worker) = protocol.live() {
                let follow = boundary::Follow {
                    term: term.0,
                    leader_known,
                };
                send_worker(
                    out,
                    self.clock,
                    worker,
                    manager_to_worker::Message::Follow(follow),
                );
            }
        }
        // A worker that follows has given its calls up; any other hears that they came to nothing.
        self.drop_calls(out);
    }

    /// The constitution changed: what workers proposed under the old version and is not in the
    /// ledger yet is refused, and they are told the new one.
    pub fn refence_workers(&mut self, out: &mut Vec<Output>) {
        self.retune_workers(out);
        let Some(leading) = self.order.leading.as_ref().filter(|l| l.opened) else {
            return;
        };
        let term = leading.term;
        let version = self.state.version();
        let in_flight_max = self.settings().batches_in_flight_max;
        let lead = leads(
            &self.keyring,
            self.order.epoch,
            term,
            in_flight_max,
            version,
        );
        for protocol in &mut self.protocols {
            let (Some(worker), Some(_)) = (protocol.live(), protocol.leading) else {
                continue;
            };
            let Some(lead) = lead(protocol) else {
                continue;
            };
            send_worker(
                out,
                self.clock,
                worker,
                manager_to_worker::Message::Lead(lead),
            );
        }
    }

    /// Workers have no clock; a leader's batches take their time from this.
    pub fn tell_time(&mut self, out: &mut Vec<Output>) {
        for protocol in &self.protocols {
            if let Some(worker) = protocol.running() {
                send_worker(
                    out,
                    self.clock,
                    worker,
                    manager_to_worker::Message::Time(boundary::Time {}),
                );
            }
        }
    }

    /// Units that clients of this node sent: to the leader, each with its caller.
    fn forward(&mut self, place: usize, forward: Forward, out: &mut Vec<Output>) {
        let Some(leader) = self.leader() else { return };
        let units: Vec<ForwardedUnit> = forward
            .units
            .into_iter()
            .filter_map(|mut unit| {
                unit.caller = Some(self.caller_of(place, unit.stream)?);
                unit.stream = 0;
                Some(unit)
            })
            .collect();
        if units.is_empty() {
            return;
        }
        let inject = Inject {
            origin: self.id.0,
            units,
            height: forward.height,
        };
        if leader == self.id {
            self.inject(place, inject, out);
        } else {
            let protocol = self.protocols[place].place;
            let inject = Bytes::from(inject.encode_to_vec());
            self.send_peer(leader, &PeerMessage::Units { protocol, inject }, out);
        }
    }

    fn inject(&mut self, place: usize, inject: Inject, out: &mut Vec<Output>) {
        let elected = self.order.leading.is_some();
        let protocol = &mut self.protocols[place];
        if let (Some(worker), Some(_)) = (protocol.live(), protocol.leading) {
            send_worker(
                out,
                self.clock,
                worker,
                manager_to_worker::Message::Inject(inject),
            );
        } else if elected {
            // The others know their leader before its term is open; they would wait to forward again.
            protocol.hold(inject);
        }
    }

    /// Units of another node's clients. That node's manager put the callers in.
    pub fn units_arrived(
        &mut self,
        from: NodeId,
        protocol: u16,
        inject: &Bytes,
        out: &mut Vec<Output>,
    ) {
        let place = usize::from(protocol);
        if self.state.node(from).is_some_and(|n| !n.is_served()) {
            return; // members removed it, and its clients with it
        }
        match Inject::decode(inject.clone()) {
            Ok(mut inject) if place < self.protocols.len() => {
                inject.origin = from.0;
                self.inject(place, inject, out);
            }
            _ => log(
                out,
                1,
                "peers",
                &format!("node {from} forwarded what are no units"),
            ),
        }
    }

    /// The leader's worker refused units: tell the node that they came from.
    fn refuse_units(&mut self, place: usize, refused: boundary::Refused, out: &mut Vec<Output>) {
        let origin = NodeId(refused.origin);
        if origin == self.id || origin == NodeId(0) {
            if let Some(worker) = self.protocols[place].live() {
                send_worker(
                    out,
                    self.clock,
                    worker,
                    manager_to_worker::Message::Refused(refused),
                );
            }
        } else if self
            .state
            .node(origin)
            .is_some_and(governance::Node::is_served)
        {
            let protocol = self.protocols[place].place;
            let refused = Bytes::from(refused.encode_to_vec());
            self.send_peer(
                origin,
                &PeerMessage::UnitsRefused { protocol, refused },
                out,
            );
        }
    }

    pub fn units_refused(&mut self, protocol: u16, refused: Bytes, out: &mut Vec<Output>) {
        let Some(worker) = self
            .protocols
            .get(usize::from(protocol))
            .and_then(crate::protocols::Protocol::live)
        else {
            return;
        };
        if let Ok(refused) = boundary::Refused::decode(refused) {
            send_worker(
                out,
                self.clock,
                worker,
                manager_to_worker::Message::Refused(refused),
            );
        }
    }

    /// The caller behind a stream, as the channel authenticated it.
    fn caller_of(&mut self, place: usize, stream: u64) -> Option<CallerIdentity> {
        match &self.sessions.get(stream)?.who {
            Who::Application {
                place: at, caller, ..
            } if *at == place => Some(caller.clone()),
            _ => None,
        }
    }
}

/// Gives a worker a committed batch of another leader.
pub fn apply(
    out: &mut Vec<Output>,
    now: Millis,
    worker: u64,
    header: &Header,
    height: Height,
    body: Bytes,
) {
    let message = boundary::Apply {
        height: height.0,
        index: header.index.0,
        term: header.term.0,
        time: header.time.0,
        body,
    };
    send_worker(out, now, worker, manager_to_worker::Message::Apply(message));
}

/// What each protocol's worker is told when it is to lead; nothing where a key is missing.
fn leads(
    keyring: &Keyring,
    epoch: Epoch,
    term: Term,
    in_flight_max: u32,
    governance_version: u64,
) -> impl Fn(&Protocol) -> Option<boundary::Lead> {
    move |protocol| {
        let seed = keyring.entropy_seed(epoch, term, &protocol.name)?;
        Some(boundary::Lead {
            term: term.0,
            height: protocol.committed().0,
            in_flight_max,
            entropy_seed: Bytes::copy_from_slice(&*seed),
            governance_version,
        })
    }
}
