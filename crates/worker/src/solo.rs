//! One worker and a manager that commits at once: for trying out an adapter.
//!
//! Everything real runs: HTTP, admission, pool, execution, the encoding of batches. Missing is what
//! lies on the manager's side: other nodes, the ledger, TLS. A batch is committed as soon as it is
//! proposed, so an answer is there when [`Solo::http`] returns.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use adapter::{Front, Machine};
use boundary::manager_to_worker::Message as In;
use boundary::worker_to_manager::Message as Out;
use boundary::{ManagerToWorker, WorkerToManager};
use bytes::{Bytes, BytesMut};
use http1::ClientResponse;
use types::{ActorId, Millis};

use crate::{PoolLimits, Worker};

/// Ledger time at the start: 2023-11-14T22:13:20Z.
const START: Millis = Millis(1_700_000_000_000);

/// The stream that [`Solo::http`] uses.
const STREAM: u64 = 2;

/// One worker and a manager that commits at once.
pub struct Solo {
    pub worker: Worker,
    /// Linear reads and receipts fail while this is set, as without a leader.
    pub leaderless: bool,
    now: Millis,
    /// Every batch body proposed and committed, by height.
    pub bodies: BTreeMap<u64, Bytes>,
    /// Heights whose batches the ledger here does not have, as on a node that joined by a snapshot.
    pub absent: Range<u64>,
    /// Batches that the worker asked the ledger for.
    pub loaded: u64,
    /// What systems outside will say to the next calls, each the bytes of a connection.
    pub answers: VecDeque<Bytes>,
    received: BTreeMap<u64, BytesMut>,
    client: http1::Client,
    closed: Vec<u64>,
    chunks: Vec<Bytes>,
}

impl Solo {
    /// Starts a worker on its settings and makes it leader.
    ///
    /// # Panics
    /// If the settings cannot be used.
    pub fn new(
        machine: Arc<dyn Machine>,
        front: Box<dyn Front>,
        settings: impl Into<Bytes>,
    ) -> Self {
        Self::with_limits(machine, front, settings, PoolLimits::default())
    }

    /// As [`Solo::new`], with other bounds of the pool.
    ///
    /// # Panics
    /// If the settings cannot be used.
    pub fn with_limits(
        machine: Arc<dyn Machine>,
        front: Box<dyn Front>,
        settings: impl Into<Bytes>,
        limits: PoolLimits,
    ) -> Self {
        Self::of(
            &*machine,
            Worker::with_limits(machine.clone(), front, limits),
            settings,
        )
    }

    /// As [`Solo::new`], with this worker.
    ///
    /// # Panics
    /// If the settings cannot be used.
    pub fn of(machine: &dyn Machine, worker: Worker, settings: impl Into<Bytes>) -> Self {
        let mut solo = Self::start(machine, worker, settings.into(), false);
        solo.lead();
        solo
    }

    /// Starts a worker on a snapshot of this height, beside a ledger with these batches. It follows until
    /// [`Solo::lead`].
    ///
    /// # Panics
    /// If the snapshot cannot be used.
    pub fn restored(
        machine: Arc<dyn Machine>,
        front: Box<dyn Front>,
        height: u64,
        snapshot: &[Bytes],
        bodies: BTreeMap<u64, Bytes>,
    ) -> Self {
        let worker = Worker::new(machine.clone(), front);
        Self::restored_of(&*machine, worker, height, snapshot, bodies)
    }

    /// As [`Solo::restored`], with this worker.
    ///
    /// # Panics
    /// If the snapshot cannot be used.
    pub fn restored_of(
        machine: &dyn Machine,
        worker: Worker,
        height: u64,
        snapshot: &[Bytes],
        bodies: BTreeMap<u64, Bytes>,
    ) -> Self {
        let mut solo = Self::start(machine, worker, Bytes::new(), true);
        solo.bodies = bodies;
        for (sequence, data) in (0..).zip(snapshot) {
            solo.tell(In::Restore(boundary::Restore {
                height,
                sequence,
                data: data.clone(),
                last: sequence + 1 == snapshot.len() as u64, // widening
                time: 0,
            }));
        }
        assert_eq!(
            solo.worker.height().0,
            height,
            "the last chunk makes it ready"
        );
        solo.open(STREAM, "ada");
        solo
    }

    fn start(machine: &dyn Machine, worker: Worker, settings: Bytes, restore: bool) -> Self {
        let protocol = machine.describe().protocol.to_owned();
        let mut solo = Self {
            worker,
            leaderless: false,
            now: START,
            bodies: BTreeMap::new(),
            absent: 0..0,
            loaded: 0,
            answers: VecDeque::new(),
            received: BTreeMap::new(),
            client: http1::Client::new(http1::Options {
                body_bytes_max: types::limits::FRAME_BYTES_MAX,
                ..http1::Options::application()
            }),
            closed: Vec::new(),
            chunks: Vec::new(),
        };
        let hello = boundary::Hello {
            protocol,
            settings,
            genesis_time: START.0,
            verify_forwarded: false,
            worker_key: Bytes::from_static(&[7; 32]),
            restore,
            ..Default::default()
        };
        solo.tell(In::Hello(hello));
        if !restore {
            solo.open(STREAM, "ada");
        }
        solo
    }

    /// Makes the worker leader.
    pub fn lead(&mut self) {
        let height = self.worker.height().0;
        self.tell(In::Lead(boundary::Lead {
            term: 1,
            height,
            in_flight_max: 4,
            entropy_seed: Bytes::from_static(&[8; 32]),
            ..Default::default()
        }));
    }

    /// Gives a batch of another leader to the worker, which follows.
    pub fn apply(&mut self, height: u64, body: Bytes) {
        self.bodies.insert(height, body.clone());
        let apply = boundary::Apply {
            height,
            index: height + 1,
            term: 1,
            time: self.now.0,
            body,
        };
        self.tell(In::Apply(apply));
    }

    /// Has the worker freeze its state; [`Solo::snapshot_chunks`] asks for it.
    pub fn take_snapshot(&mut self) {
        let height = self.worker.height().0;
        self.chunks.clear();
        self.tell(In::TakeSnapshot(boundary::TakeSnapshot { height }));
    }

    /// The next chunks of the snapshot of `height`, at most so many.
    pub fn snapshot_chunks(&mut self, height: u64, chunks: u32) -> Vec<Bytes> {
        self.tell(In::SnapshotCredit(boundary::SnapshotCredit {
            height,
            chunks,
        }));
        core::mem::take(&mut self.chunks)
    }

    /// A snapshot of the present state.
    pub fn snapshot(&mut self) -> Vec<Bytes> {
        self.take_snapshot();
        self.snapshot_chunks(self.worker.height().0, u32::MAX)
    }

    /// Moves the clock.
    pub fn advance(&mut self, millis: u64) {
        self.now = self.now.plus(millis);
        self.tell(In::Time(boundary::Time {}));
    }

    /// Opens a stream for a member of this name.
    pub fn open(&mut self, stream: u64, name: &str) {
        let mut actor = [0; 32];
        let bytes = name.len().min(32);
        actor[..bytes].copy_from_slice(&name.as_bytes()[..bytes]);
        let caller = boundary::CallerIdentity {
            actor: Bytes::copy_from_slice(&ActorId(actor).0),
            name: name.into(),
            member: true,
            auditor: false,
        };
        self.tell(In::Open(boundary::StreamOpen {
            stream,
            caller: Some(caller),
            remote: String::new(),
        }));
    }

    /// Sends one request on ada's stream and gives its response.
    ///
    /// # Panics
    /// If no response comes, which an exchange that waits for time or for other nodes has to be given
    /// first ([`Solo::advance`], [`Solo::bytes`]).
    pub fn http(&mut self, method: &str, target: &str, body: impl AsRef<[u8]>) -> ClientResponse {
        self.http_with(method, target, &[], body)
    }

    /// As [`Solo::http`], with header fields.
    ///
    /// # Panics
    /// As [`Solo::http`].
    pub fn http_with(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> ClientResponse {
        let mut wire = BytesMut::new();
        http1::encode_request(method, target, "solo", headers, body.as_ref(), &mut wire);
        self.client.sent(method);
        let answer = self.bytes(STREAM, wire.freeze());
        self.client.receive(&answer);
        self.client
            .next()
            .expect("the worker speaks HTTP")
            .expect("a response came at once")
    }

    /// Sends bytes on a stream and gives the bytes that came back on it.
    pub fn bytes(&mut self, stream: u64, data: impl Into<Bytes>) -> Bytes {
        self.tell(In::Data(boundary::StreamData {
            stream,
            data: data.into(),
        }));
        self.received(stream)
    }

    /// Bytes that came on a stream since they were last asked for, such as notifications.
    pub fn received(&mut self, stream: u64) -> Bytes {
        self.received.remove(&stream).unwrap_or_default().freeze()
    }

    /// Whether the worker has ended a stream.
    pub fn closed(&self, stream: u64) -> bool {
        self.closed.contains(&stream)
    }

    /// Gives one message to the worker and does what a manager does about its answers, until there are
    /// none.
    ///
    /// # Panics
    /// If the worker reports a failure.
    pub fn tell(&mut self, message: In) {
        let mut inbox = vec![message];
        while !inbox.is_empty() || self.worker.has_work() {
            let mut out = Vec::new();
            for message in inbox.drain(..) {
                let message = ManagerToWorker {
                    now: self.now.0,
                    message: Some(message),
                };
                self.worker.handle(self.now, message, &mut out);
            }
            self.worker.flush(self.now, &mut out);
            inbox.extend(out.into_iter().filter_map(|message| self.manager(message)));
        }
    }

    fn manager(&mut self, message: WorkerToManager) -> Option<In> {
        match message.message.expect("a worker sends no empty message") {
            Out::Ready(ready) => {
                assert_eq!(ready.failure, "", "the worker did not start");
                None
            }
            Out::Propose(propose) => {
                self.bodies.insert(propose.height, propose.body);
                let (height, time) = (propose.height, propose.time);
                Some(In::Commit(boundary::Commit {
                    height,
                    index: height + 1,
                    term: propose.term,
                    time,
                }))
            }
            Out::Data(data) => {
                self.received
                    .entry(data.stream)
                    .or_default()
                    .extend_from_slice(&data.data);
                None
            }
            Out::Close(close) => {
                self.closed.push(close.stream);
                None
            }
            Out::History(request) => {
                self.loaded += 1;
                let here = !self.absent.contains(&request.height);
                let body = self.bodies.get(&request.height).filter(|_| here).cloned();
                Some(In::History(boundary::HistoryBatch {
                    request: request.request,
                    height: request.height,
                    index: request.height + 1,
                    term: 1,
                    time: self.now.0,
                    absent: body.is_none(),
                    body: body.unwrap_or_default(),
                }))
            }
            Out::SnapshotChunk(chunk) => {
                self.chunks.push(chunk.data);
                None
            }
            Out::ReadIndex(request) => Some(In::ReadIndex(boundary::ReadIndexReply {
                request: request.request,
                height: self.worker.height().0,
                failure: if self.leaderless {
                    "no leader".into()
                } else {
                    String::new()
                },
            })),
            Out::Receipt(request) => {
                // There is no ledger behind this; what comes says what was asked for.
                let receipt = format!("receipt {} {}", request.height, request.position);
                Some(In::Receipt(boundary::ReceiptReply {
                    request: request.request,
                    receipt: receipt.into(),
                    failure: if self.leaderless {
                        "not signed yet".into()
                    } else {
                        String::new()
                    },
                }))
            }
            // Without an answer of the owner's, nobody is outside.
            Out::External(call) => Some(In::External(match self.answers.pop_front() {
                Some(data) => boundary::ExternalData {
                    request: call.request,
                    data,
                    end: true,
                    ..Default::default()
                },
                None => boundary::ExternalData {
                    request: call.request,
                    failure: boundary::ExternalFailure::Unreachable.into(),
                    ..Default::default()
                },
            })),
            Out::Log(log) => panic!("the worker complains: {}", log.text),
            Out::Applied(_)
            | Out::Forward(_)
            | Out::Refused(_)
            | Out::Metrics(_)
            | Out::ExternalClose(_)
            | Out::Consumed(_) => None,
        }
    }
}
