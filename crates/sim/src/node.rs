//! One simulated VN: a real manager and real workers in one process, over a simulated host.

use std::collections::{BTreeMap, BTreeSet};

use boundary::{
    Evidence, HostToManager, Launched, ManagerToHost, ManagerToPlatform, PlatformToManager, Start,
    WorkerStarted, host_to_manager, manager_to_host, manager_to_platform, platform_to_manager,
};
use bytes::Bytes;
use manager::{Input, Manager, Output};
use tee::software::Statement;
use types::Millis;
use worker::Worker;

use crate::disk::Disk;
use crate::network::{Consortium, MANAGER, SETTINGS, WORKER, address};
use crate::report::Report;

/// What is wrong with a VN that wants to join; none of it may get anywhere.
#[cfg_attr(not(test), allow(dead_code))] // only tests send frauds
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fraud {
    /// Runs an image that nobody endorsed.
    Image,
    /// Presents evidence that was made for something else.
    ReplayedEvidence,
    /// Presents evidence that is two minutes old.
    StaleEvidence,
    /// Its tuple is signed by another member than its owner.
    ForeignTuple,
    /// Its platform's key is certified by nobody that the TEE manifest names.
    ForeignPlatform,
}

/// Manager and workers come to rest within so many rounds, or they never do.
const ROUNDS_MAX: u32 = 10_000;

/// The enclaves of a VN while it runs.
pub struct Process {
    pub manager: Manager,
    workers: BTreeMap<u64, Worker>,
    next_worker: u64,
    entropy: [u8; 32],
    pub fraud: Option<Fraud>,
    /// Batches that a worker proposed, by height.
    proposed: BTreeMap<u64, Bytes>,
    /// Batches that are committed, as its workers know them; kept where there is an outside.
    committed: BTreeMap<u64, Bytes>,
}

/// A VN at its place in the constitution, running or not.
pub struct Node {
    pub place: usize,
    pub process: Option<Process>,
    /// Which start of the VN this is; events of a former one are void.
    pub incarnation: u64,
    pub disk: Disk,
    /// A sync takes up to this long.
    pub disk_ms: u64,
    pub syncs_until: Millis,
    /// The next append does not fit.
    pub full: bool,
    /// An append did not fit: nothing is stored any more.
    pub storage_failed: bool,
    /// The next entry that is read is altered on the way.
    pub spoil_read: bool,
    /// This entry was altered when the manager read it last, and must not be believed.
    pub read_spoilt: Option<u64>,
    /// A copy of the files that somebody kept.
    pub copy: Option<Disk>,
    /// What on the disk is not as it was written.
    pub spoilt_entries: BTreeSet<u64>,
    pub spoilt_snapshots: BTreeSet<u64>,
    /// What this incarnation's manager told its host last.
    pub gauges: BTreeMap<String, u64>,
    /// This incarnation is not a voter yet.
    pub joining: bool,
    /// Entries that this incarnation found on its disk, until it is known how many it keeps.
    found: Option<u64>,
    /// The operator told the manager to stop.
    pub stopping: bool,
    /// It ended to take part in the restart of the network.
    pub again: bool,
    /// Members vote it out: it ends when it hears of that.
    pub removed: bool,
    /// What it had in memory when it ended for that.
    pub memory: Option<Process>,
    /// Manager and worker did not come to rest.
    pub spins: bool,
    /// What this host adds to the true time.
    pub skew_ms: i64,
    /// When its clock was last known to be far off.
    pub lied_at: Option<Millis>,
    pub fraud: Option<Fraud>,
    /// When its workers were killed lately.
    pub worker_kills: Vec<Millis>,
    pub next_connection: u64,
    /// Host-side connections: number → the wire and whether this end is the dialler.
    pub wires: BTreeMap<u64, (u64, bool)>,
    /// Committed batches that a worker here proposed or applied; kept where there is an outside.
    pub batches: BTreeMap<u64, Bytes>,
}

impl Node {
    pub fn new(place: usize) -> Self {
        Self {
            place,
            process: None,
            incarnation: 0,
            disk: Disk::default(),
            disk_ms: 4,
            syncs_until: Millis::ZERO,
            full: false,
            storage_failed: false,
            spoil_read: false,
            read_spoilt: None,
            copy: None,
            spoilt_entries: BTreeSet::new(),
            spoilt_snapshots: BTreeSet::new(),
            gauges: BTreeMap::new(),
            joining: false,
            found: None,
            stopping: false,
            again: false,
            removed: false,
            memory: None,
            spins: false,
            skew_ms: 0,
            lied_at: None,
            fraud: None,
            worker_kills: Vec::new(),
            next_connection: 2,
            wires: BTreeMap::new(),
            batches: BTreeMap::new(),
        }
    }

    /// Whether its clock is further off than nodes tolerate of one another.
    pub fn lies(&self) -> bool {
        self.skew_ms.abs() > 1_000
    }

    /// The host's clock.
    pub fn clock(&self, now: Millis) -> Millis {
        Millis(now.0.saturating_add_signed(self.skew_ms))
    }

    /// Starts the VN on whatever its disk holds. Gives what the host is asked to do.
    pub fn start(
        &mut self,
        now: Millis,
        create: bool,
        entropy: [u8; 32],
        manager: Manager,
        consortium: &Consortium,
    ) -> Vec<manager_to_host::Message> {
        self.incarnation += 1;
        self.next_connection = 2;
        self.wires.clear();
        self.joining = true;
        self.gauges.clear();
        self.syncs_until = now;
        self.found = Some(self.disk.count());
        let runs = self.disk.runs();
        self.process = Some(Process {
            manager,
            workers: BTreeMap::new(),
            next_worker: 1,
            entropy,
            fraud: self.fraud,
            proposed: BTreeMap::new(),
            committed: BTreeMap::new(),
        });
        let owner = &consortium.members[self.place];
        let der = owner.certificate.der();
        let mut owner_chain = u32::try_from(der.len())
            .expect("a certificate is short")
            .to_be_bytes()
            .to_vec();
        owner_chain.extend_from_slice(der);
        let (network, constitution) = match &consortium.in_force {
            None => (String::new(), &consortium.constitution),
            Some(in_force) => {
                let network = consortium.constitution.network_id();
                (hex::encode(network.0), in_force)
            }
        };
        let start = Start {
            network,
            owner: owner.name.clone(),
            address: address(self.place),
            constitution: constitution.to_cbor().into(),
            create,
            peers: (0..consortium.members.len())
                .filter(|p| *p != self.place)
                .map(address)
                .collect(),
            owner_chain: owner_chain.into(),
            ledger_last: runs.ledger_last,
            protocols: vec![boundary::ProtocolSettings {
                protocol: "kv".into(),
                settings: Bytes::from_static(SETTINGS),
            }],
            tick_ms: 25,
            tail_first: runs.tail.0,
            tail_last: runs.tail.1,
            snapshots: self.disk.snapshots().keys().copied().collect(),
            restart_order: consortium.restart_order.clone(),
        };
        let launched = Launched {
            entropy: Bytes::copy_from_slice(&entropy),
            measurement: MANAGER.to_vec().into(),
            missing: Vec::new(),
        };
        let launched = Input::Platform(PlatformToManager {
            message: Some(platform_to_manager::Message::Launched(launched)),
        });
        let mut host = self.run(now, launched, consortium);
        host.extend(self.tell(now, host_to_manager::Message::Start(start), consortium));
        host
    }

    /// With its first append, or its end, an incarnation has decided what it keeps of its disk.
    pub fn settle_reuse(&mut self, report: &mut Report) {
        if let Some(found) = self.found.take() {
            report.entries_reused += found.min(self.disk.count());
        }
    }

    /// The host tells its manager something. Gives what the host is asked to do.
    pub fn tell(
        &mut self,
        now: Millis,
        message: host_to_manager::Message,
        consortium: &Consortium,
    ) -> Vec<manager_to_host::Message> {
        let message = HostToManager {
            now: self.clock(now).0,
            message: Some(message),
        };
        self.run(now, Input::Host(message), consortium)
    }

    /// A worker says something that no worker of ours would.
    pub fn tell_as_worker(
        &mut self,
        now: Millis,
        worker: u64,
        message: boundary::WorkerToManager,
        consortium: &Consortium,
    ) -> Vec<manager_to_host::Message> {
        self.run(now, Input::Worker(worker, message), consortium)
    }

    /// One turn of the enclaves: a message, everything that it leads to between manager, workers and
    /// platform, and the flushes of both.
    fn run(
        &mut self,
        now: Millis,
        input: Input,
        consortium: &Consortium,
    ) -> Vec<manager_to_host::Message> {
        let clock = self.clock(now);
        let Some(process) = &mut self.process else {
            return Vec::new();
        };
        let mut host = Vec::new();
        process.turn(input, clock, consortium, &mut host);
        for round in 0.. {
            if round == ROUNDS_MAX {
                self.spins = true;
                break;
            }
            let mut said = Vec::new();
            for (id, worker) in &mut process.workers {
                let mut out = Vec::new();
                worker.flush(clock, &mut out);
                said.extend(out.into_iter().map(|message| Input::Worker(*id, message)));
            }
            if said.is_empty() {
                break;
            }
            for input in said {
                process.turn(input, clock, consortium, &mut host);
            }
        }
        process.turn(Input::Flush, clock, consortium, &mut host);
        self.batches.append(&mut process.committed);
        host
    }

    /// A worker dies; the platform says so.
    pub fn kill_worker(
        &mut self,
        now: Millis,
        consortium: &Consortium,
    ) -> Vec<manager_to_host::Message> {
        let Some((worker, _)) = self
            .process
            .as_mut()
            .and_then(|process| process.workers.pop_first())
        else {
            return Vec::new();
        };
        let ended = boundary::WorkerEnded {
            worker,
            reason: "killed".into(),
        };
        let message = PlatformToManager {
            message: Some(platform_to_manager::Message::WorkerEnded(ended)),
        };
        self.run(now, Input::Platform(message), consortium)
    }

    /// Value of a key in this node's committed state, by the worker that serves it.
    pub fn worker(&self) -> Option<&Worker> {
        self.process.as_ref()?.workers.values().next()
    }
}

impl Process {
    fn turn(
        &mut self,
        input: Input,
        clock: Millis,
        consortium: &Consortium,
        host: &mut Vec<manager_to_host::Message>,
    ) {
        let mut inputs = vec![input];
        while !inputs.is_empty() {
            let mut next = Vec::new();
            for input in inputs {
                if consortium.outside.is_some() {
                    self.keep_proposal(&input);
                }
                let mut out = Vec::new();
                self.manager.handle(input, &mut out);
                for output in out {
                    match output {
                        Output::Host(ManagerToHost {
                            message: Some(message),
                        }) => host.push(message),
                        Output::Host(_) => {}
                        Output::Platform(ManagerToPlatform {
                            message: Some(message),
                        }) => {
                            next.push(Input::Platform(self.platform(message, clock, consortium)));
                        }
                        Output::Platform(_) => {}
                        Output::Worker(id, message) => {
                            if consortium.outside.is_some() {
                                self.keep_batch(&message);
                            }
                            if let Some(worker) = self.workers.get_mut(&id) {
                                let mut said = Vec::new();
                                worker.handle(clock, message, &mut said);
                                next.extend(
                                    said.into_iter().map(|message| Input::Worker(id, message)),
                                );
                            }
                        }
                        Output::StopWorker(id) => {
                            self.workers.remove(&id);
                        }
                    }
                }
            }
            inputs = next;
        }
    }

    fn keep_proposal(&mut self, input: &Input) {
        use boundary::worker_to_manager::Message as M;
        if let Input::Worker(_, message) = input
            && let Some(M::Propose(propose)) = &message.message
        {
            self.proposed.insert(propose.height, propose.body.clone());
        }
    }

    fn keep_batch(&mut self, message: &boundary::ManagerToWorker) {
        use boundary::manager_to_worker::Message as M;
        match &message.message {
            Some(M::Apply(apply)) => {
                self.committed.insert(apply.height, apply.body.clone());
            }
            Some(M::Commit(commit)) => {
                if let Some(body) = self.proposed.remove(&commit.height) {
                    self.committed.insert(commit.height, body);
                }
            }
            _ => {}
        }
    }

    fn platform(
        &mut self,
        message: manager_to_platform::Message,
        clock: Millis,
        consortium: &Consortium,
    ) -> PlatformToManager {
        use manager_to_platform::Message as M;
        let answer = match message {
            M::Evidence(request) => {
                let report_data = request.report_data.as_ref().try_into();
                let honest = Statement {
                    measurement: MANAGER,
                    report_data: report_data.expect("the manager asks with 64 bytes"),
                    launch_data: Vec::new(),
                    instance: self.entropy[..16].try_into().expect("half of 32 bytes"),
                    svn: 1,
                    time: clock,
                    missing: Vec::new(),
                    shared_user: false,
                };
                let statement = match self.fraud {
                    Some(Fraud::Image) => Statement {
                        measurement: [9; 48],
                        ..honest
                    },
                    Some(Fraud::ReplayedEvidence) => Statement {
                        report_data: [7; 64],
                        ..honest
                    },
                    Some(Fraud::StaleEvidence) => Statement {
                        time: Millis(clock.0 - 120_000),
                        ..honest
                    },
                    _ => honest,
                };
                let stranger = &consortium.user;
                let evidence = match self.fraud {
                    Some(Fraud::ForeignPlatform) => tee::software::sign(
                        &stranger.key,
                        std::slice::from_ref(&stranger.certificate),
                        &statement,
                    ),
                    _ => tee::software::sign(
                        &consortium.platform,
                        &consortium.platform_chain,
                        &statement,
                    ),
                };
                platform_to_manager::Message::Evidence(Evidence {
                    request: request.request,
                    evidence: evidence.into(),
                    endorsements: Bytes::new(),
                    failure: String::new(),
                })
            }
            M::StartWorker(start) => {
                let worker = self.next_worker;
                self.next_worker += 1;
                self.workers.insert(
                    worker,
                    Worker::new(consortium.machine(), adapter_kv::front()),
                );
                platform_to_manager::Message::WorkerStarted(WorkerStarted {
                    protocol: start.protocol,
                    worker,
                    measurement: WORKER.to_vec().into(),
                })
            }
        };
        PlatformToManager {
            message: Some(answer),
        }
    }
}
